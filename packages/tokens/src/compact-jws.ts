import { PosternError } from '@postern/interface'

/** Signatures that are made and accepted: ECDSA with P-256 and SHA-256, RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.1). Nothing else has a name here. */
export type Algorithm = 'ES256' | 'RS256'
const ALGORITHMS: readonly unknown[] = ['ES256', 'RS256'] satisfies Algorithm[]

/** Bytes of a whole token. Node’s HTTP server takes 16 KiB of all headers together; half of that is the most one may need. */
export const LONGEST_TOKEN: number = 8 * 1024

/** The `kid` of our keys has 43 characters of base64url. What is no such name is not even looked up. */
const KID = /^[A-Za-z0-9_.-]{1,128}$/
const HEADER_MEMBERS = ['alg', 'kid', 'typ']

/** The protected header: these three members and no other. */
export interface JwsHeader {
  readonly alg: Algorithm
  readonly typ: string
  readonly kid: string
}

/** What a token says of itself. Nothing is proved by it until the signature was verified. */
export interface CompactJws {
  readonly header: JwsHeader
  readonly payload: Readonly<Record<string, unknown>>
}

/**
 * Reads the one form tokens have here: compact JWS (RFC 7515 §7.1), three parts in canonical base64url, header and payload
 * plain JSON objects written as `JSON.stringify` writes them. That last rule leaves one spelling of each token: a member
 * given twice, white space, a byte order mark and a number such as `9e9` do not survive being written again.
 *
 * The header has `alg`, `typ` and `kid` alone, so `jwk`, `jku`, `x5u`, `x5c` (RFC 8725 §3.10), `crit`, `b64`, `zip` and
 * whatever comes next are refused, not ignored.
 *
 * @throws AUTH_REJECTED for anything else, before any key is looked for
 */
export function readCompactJws(token: unknown): CompactJws {
  if (typeof token !== 'string') throw rejected('it is not a string')
  if (token.length > LONGEST_TOKEN) throw rejected(`it is longer than ${LONGEST_TOKEN} bytes`)
  const parts = token.split('.', 4)
  const [header = '', payload = '', signature = ''] = parts
  if (parts.length !== 3) throw rejected('it does not have the three parts of a compact JWS')
  decode(signature, 'signature')
  return { header: readHeader(readObject(header, 'header')), payload: readObject(payload, 'payload') }
}

function readHeader(header: Readonly<Record<string, unknown>>): JwsHeader {
  const { alg, typ, kid } = header
  if (!isAlgorithm(alg)) throw rejected(`its algorithm is not one of ${ALGORITHMS.join(', ')}`)
  if (typeof typ !== 'string') throw rejected('its header has no typ')
  if (typeof kid !== 'string' || !KID.test(kid)) throw rejected('its header has no kid')
  if (Object.keys(header).sort().join() !== HEADER_MEMBERS.join())
    throw rejected('its header has members other than alg, typ and kid')
  return { alg, typ, kid }
}

export function isAlgorithm(word: unknown): word is Algorithm {
  return ALGORITHMS.includes(word)
}

/** A part as bytes. Only the one spelling that writing them gives: no padding, and unused bits are zero (RFC 4648 §3.5). */
function decode(part: string, name: string): Buffer {
  const bytes = Buffer.from(part, 'base64url')
  if (bytes.toString('base64url') !== part) throw rejected(`its ${name} is not base64url`)
  return bytes
}

function readObject(part: string, name: string): Readonly<Record<string, unknown>> {
  const bytes = decode(part, name)
  let value: unknown
  let isAsWritten = false
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    value = JSON.parse(text)
    isAsWritten = JSON.stringify(value) === text
  } catch {
    throw rejected(`its ${name} is not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !isAsWritten)
    throw rejected(`its ${name} is not one plain JSON object`)
  return value as Readonly<Record<string, unknown>>
}

/** Why a token was turned down. The reason names a part, never what stood there: it may end in a log. */
export function rejected(reason: string): PosternError {
  return new PosternError('AUTH_REJECTED', `the token was refused: ${reason}`)
}
