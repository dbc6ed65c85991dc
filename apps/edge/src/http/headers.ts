import { isIPv6 } from 'node:net'
import { tellsOfCertificate } from '../front/certificate-headers.ts'

/** How a request's body is delimited on the way to the daemon: by its length, in chunks, or there is none. */
export type Framing = { readonly length: string } | 'chunked' | 'none'

/** What the edge says to the origin besides what the visitor said. */
export interface Said {
  /** Hostname, and the port where it is not 443, as in the visitor's address bar. */
  readonly authority: string
  /** Of the peer's socket. */
  readonly remoteAddress: string
  readonly requestId: string
  readonly identityToken: string | undefined
  /** DER of the certificate that the visitor was let in with. */
  readonly certificate: Uint8Array | undefined
  readonly framing: Framing
  /** Whether `Authorization` was the edge's own credential. */
  readonly dropsAuthorization: boolean
  /** A WebSocket's handshake. */
  readonly upgrade?: boolean
}

/** Between two neighbours, never farther: RFC 9110 §7.6.1. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])

/** Where a visitor says what only a proxy can know, or asks for something else than what was decided on. */
const CLAIMED: ReadonlySet<string> = new Set([
  'forwarded',
  'x-forwarded',
  'x-real-ip',
  'x-client-ip',
  'client-ip',
  'true-client-ip',
  'x-cluster-client-ip',
  'cf-connecting-ip',
  'x-original-url',
  'x-original-uri',
  'x-original-host',
  'x-rewrite-url',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  // CGI makes HTTP_PROXY of it, and programs behind it send their own requests there (“httpoxy”, CVE-2016-5385).
  'proxy',
])

/** What no trailer may say: framing, routing, credentials, and what a body is (RFC 9110 §6.5.1). */
const NO_TRAILER: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'content-encoding',
  'content-type',
  'content-range',
  'trailer',
  'expect',
  'cookie',
  'set-cookie',
  'authorization',
])

/** Everything of ours begins with it, whatever an origin takes for a hyphen. */
const RESERVED = 'postern-'
const RESERVED_COOKIE = '__host-postern-'

/** A name as an origin may read it: some take `_` and `.` for `-`. */
function read(name: string): string {
  return name.toLowerCase().replace(/[_.]/g, '-')
}

function isOurs(name: string): boolean {
  return name.startsWith(RESERVED) || name.startsWith('x-forwarded-') || CLAIMED.has(name) || tellsOfCertificate(name)
}

/**
 * The headers of a request as the origin gets them, flat, in the visitor's order and spelling. First goes what the visitor's
 * `Connection` names, then what is between neighbours, of ours, or a claim; what the edge says comes last and once.
 *
 * @param raw as received, flat; pseudo-headers of HTTP/2 are skipped
 */
export function requestHeaders(raw: readonly string[], said: Said): string[] {
  const named = connectionNames(raw)
  const out = ['Host', said.authority]
  const cookies: string[] = []
  let cookieAt: number | undefined
  for (const [name, value] of pairsOf(raw)) {
    const key = read(name)
    if (named.has(name.toLowerCase()) || HOP_BY_HOP.has(key) || isOurs(key)) continue
    if (key === 'host' || key === 'content-length') continue
    if (key === 'authorization' && said.dropsAuthorization) continue
    if (key === 'expect' && (said.framing === 'none' || value.toLowerCase() !== '100-continue')) continue
    if (key === 'trailer' && said.framing !== 'chunked') continue
    if (name.toLowerCase() === 'cookie') {
      // HTTP/2 may send a line for each; HTTP/1.1 knows one (RFC 9113 §8.2.3).
      cookieAt ??= out.push(name, '') - 1
      const left = withoutOurCookies(value)
      if (left !== '') cookies.push(left)
    } else out.push(name, value)
  }
  if (cookieAt !== undefined && cookies.length > 0) out[cookieAt] = cookies.join('; ')
  else if (cookieAt !== undefined) out.splice(cookieAt - 1, 2)
  out.push(...saidHeaders(raw, said))
  return out
}

function saidHeaders(raw: readonly string[], said: Said): string[] {
  const { authority, remoteAddress, requestId, identityToken, certificate, framing, upgrade } = said
  const out = [
    ...['X-Forwarded-For', remoteAddress],
    ...['X-Forwarded-Proto', 'https'],
    ...['X-Forwarded-Host', authority],
    ...['Forwarded', `for=${nodeOf(remoteAddress)};host="${authority}";proto=https`],
    ...['Postern-Request-Id', requestId],
  ]
  if (identityToken !== undefined) out.push('Postern-Identity', identityToken)
  if (certificate !== undefined) out.push('Client-Cert', byteSequence(certificate))
  if (framing === 'chunked') out.push('Transfer-Encoding', 'chunked')
  else if (framing !== 'none') out.push('Content-Length', framing.length)
  if (upgrade) return [...out, 'Connection', 'Upgrade', 'Upgrade', 'websocket']
  // gRPC's servers want to hear that trailers are understood.
  if (takesTrailers(raw)) return [...out, 'TE', 'trailers', 'Connection', 'keep-alive, TE']
  return [...out, 'Connection', 'keep-alive']
}

const SEQUENCES = new WeakMap<Uint8Array, string>()

/** RFC 9440 §2.1: a byte sequence of structured fields (RFC 8941 §3.3.5). */
function byteSequence(bytes: Uint8Array): string {
  const known = SEQUENCES.get(bytes) ?? `:${Buffer.from(bytes).toString('base64')}:`
  SEQUENCES.set(bytes, known)
  return known
}

/** RFC 7239 §6. */
function nodeOf(address: string): string {
  return isIPv6(address) ? `"[${address}]"` : address
}

function takesTrailers(raw: readonly string[]): boolean {
  for (const [name, value] of pairsOf(raw)) if (name.toLowerCase() === 'te' && /\btrailers\b/i.test(value)) return true
  return false
}

/**
 * The headers of an answer as the visitor gets them: without what is between neighbours, without what only the edge says, and
 * without what would reach beyond the application. `dropped` names what a careful log mentions.
 */
export function answerHeaders(raw: readonly string[]): { readonly headers: string[]; readonly dropped: string[] } {
  const named = connectionNames(raw)
  const headers: string[] = []
  const dropped: string[] = []
  for (const [name, value] of pairsOf(raw)) {
    const key = name.toLowerCase()
    if (named.has(key) || HOP_BY_HOP.has(key)) continue
    // Clear-Site-Data ends sessions of the whole site, the team domain's too; Alt-Svc names ports that are not the origin's.
    const ours = key.startsWith(RESERVED) || key === 'clear-site-data' || key === 'alt-svc'
    if (ours || (key === 'set-cookie' && isOurCookie(value))) dropped.push(key)
    else headers.push(name, value)
  }
  return { headers, dropped }
}

/** Trailers, in either direction, that may go on; as pairs. */
export function trailersOf(raw: readonly string[]): [string, string][] {
  return pairsOf(raw).filter(([name]) => {
    const key = read(name)
    return !(HOP_BY_HOP.has(key) || isOurs(key) || NO_TRAILER.has(key))
  })
}

/** Names in lower case, with every value: the form for HTTP/2, where order among other names is kept. */
export function grouped(pairs: Iterable<readonly [string, string]>): Record<string, string | string[]> {
  const out: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of pairs) {
    const key = name.toLowerCase()
    const known = out[key]
    if (known === undefined) out[key] = value
    else out[key] = [known, value].flat()
  }
  return out
}

export function pairsOf(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? ''
    if (!name.startsWith(':')) pairs.push([name, raw[at + 1] ?? ''])
  }
  return pairs
}

/** What `Connection` says is for the neighbour only. */
function connectionNames(raw: readonly string[]): ReadonlySet<string> {
  const names = new Set<string>()
  for (let at = 0; at + 1 < raw.length; at += 2) {
    if (raw[at]?.toLowerCase() !== 'connection') continue
    for (const word of (raw[at + 1] ?? '').split(',')) names.add(word.trim().toLowerCase())
  }
  return names
}

/** A Cookie header without the edge's cookies; the very same text where there are none of them. */
function withoutOurCookies(value: string): string {
  const pieces = value.split(';')
  const left = pieces.filter(piece => !isOurCookie(piece))
  return left.length === pieces.length ? value : left.join(';').trimStart()
}

/** A nameless cookie `=__Host-…` is sent back as if that were its name, so it counts as one. */
function isOurCookie(text: string): boolean {
  return text
    .replace(/^[\s=]+/, '')
    .toLowerCase()
    .startsWith(RESERVED_COOKIE)
}
