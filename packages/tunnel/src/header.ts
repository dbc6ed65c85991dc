import { type Identity, type Json, PosternError, type Problem, readProblem } from '@postern/interface'
import { checkVersion, WIRE_VERSION } from './control.ts'
import { encodeFrame } from './framing.ts'

/**
 * What a stream carries. `tcp`: one connection of one visitor, as bytes. `http`: HTTP/1.1 requests of several visitors, one
 * after the other; who each is for is said in its own headers, so the stream's names nobody.
 */
export type StreamPurpose = 'tcp' | 'http'

/** How a stream starts: where it wants to go and, between edge and daemon, for whom. */
export interface StreamHeader {
  /** The application's: lower case, no trailing dot, 1–253 characters, no port. */
  readonly hostname: string
  /** 1–128 visible ASCII characters. */
  readonly requestId: string
  readonly purpose: StreamPurpose
  /** At most 16. Not with the purpose `http`, and neither is a permit. */
  readonly identities?: readonly Identity[]
  readonly permit?: Json
}

const MAX_IDENTITIES = 16
const MAX_LIST = 1024
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/
const VISIBLE = /^[\x21-\x7e]{1,128}$/

/** @throws PosternError BAD_USAGE when our own side made no valid header; REQUEST_TOO_LARGE */
export function encodeHeader(header: StreamHeader): Buffer {
  const { hostname, requestId, purpose, identities, permit } = header
  try {
    readHeader({ v: WIRE_VERSION, ...header })
  } catch (cause) {
    throw new PosternError('BAD_USAGE', `This stream header cannot be sent: ${PosternError.from(cause).message}`, {
      cause,
    })
  }
  return encodeFrame({ v: WIRE_VERSION, hostname, requestId, purpose, identities, permit })
}

/**
 * Checks a header strictly: a key this version does not know may restrict what the stream may do, so it is refused, not skipped.
 * @throws PosternError PROTOCOL_VIOLATION, VERSION_UNSUPPORTED
 */
export function readHeader(value: unknown): StreamHeader {
  const fields = record(value, 'the stream header')
  checkVersion(fields.v, 'The stream header')
  onlyKeys(fields, ['v', 'hostname', 'requestId', 'purpose', 'identities', 'permit'], 'the stream header')
  const { hostname, requestId, purpose, identities, permit } = fields
  if (!isHostname(hostname)) throw violation('the stream header’s hostname is not one')
  if (typeof requestId !== 'string' || !VISIBLE.test(requestId))
    throw violation('the stream header’s requestId is not one')
  if (purpose !== 'tcp' && purpose !== 'http') throw unknownPurpose(purpose)
  if (purpose === 'http' && (identities !== undefined || permit !== undefined))
    throw violation('a stream of several visitors’ requests says whose it is')
  return {
    hostname,
    requestId,
    purpose,
    ...(identities !== undefined && { identities: list(identities, MAX_IDENTITIES, 'identities').map(readIdentity) }),
    ...(permit !== undefined && { permit: permit as Json }),
  }
}

/** The answer to a header: yes, or why not. */
export function encodeAnswer(refusal?: Problem): Buffer {
  if (refusal === undefined) return encodeFrame({ v: WIRE_VERSION, ok: true })
  // Read as the peer will: clipped and clean. Its texts then fit a frame, with room for escapes of all but the longest.
  const told = readProblem(refusal) ?? refusal
  try {
    return encodeFrame({ v: WIRE_VERSION, problem: told })
  } catch {
    return encodeFrame({ v: WIRE_VERSION, problem: { ...told, detail: undefined, next: undefined } })
  }
}

/**
 * @returns undefined for yes
 * @throws PosternError PROTOCOL_VIOLATION, VERSION_UNSUPPORTED
 */
export function readAnswer(value: unknown): Problem | undefined {
  const fields = record(value, 'the answer')
  checkVersion(fields.v, 'The answer to a stream')
  onlyKeys(fields, ['v', 'ok', 'problem'], 'the answer')
  if (fields.ok === true && fields.problem === undefined) return undefined
  const refusal = fields.ok === undefined ? readProblem(fields.problem) : undefined
  if (refusal === undefined) throw violation('the answer is neither yes nor a problem')
  return refusal
}

function readIdentity(value: unknown): Identity {
  const fields = record(value, 'an identity')
  const { kind, issuer, subject, email, groups, claims, expiresAt, revokeKeys } = fields
  onlyKeys(fields, ['kind', 'issuer', 'subject', 'email', 'groups', 'claims', 'expiresAt', 'revokeKeys'], 'an identity')
  if (kind !== 'user' && kind !== 'service' && kind !== 'certificate')
    throw violation('an identity’s kind is not known')
  if (!isText(issuer) || !isText(subject)) throw violation('an identity has no issuer or subject')
  if (email !== undefined && !isText(email)) throw violation('an identity’s email is not text')
  if (expiresAt !== undefined && !Number.isFinite(expiresAt)) throw violation('an identity’s expiresAt is not a time')
  return {
    kind,
    issuer,
    subject,
    ...(email !== undefined && { email }),
    ...(groups !== undefined && { groups: texts(groups, 'groups') }),
    claims: record(claims, 'an identity’s claims') as Record<string, Json>,
    ...(expiresAt !== undefined && { expiresAt: expiresAt as number }),
    revokeKeys: texts(revokeKeys, 'revokeKeys'),
  }
}

function isHostname(value: unknown): value is string {
  if (typeof value !== 'string' || value.length > 253) return false
  return value.split('.').every(label => LABEL.test(label))
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function texts(value: unknown, what: string): string[] {
  return list(value, MAX_LIST, what).map(item => {
    if (typeof item !== 'string') throw violation(`${what} holds something that is not text`)
    return item
  })
}

function list(value: unknown, most: number, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > most) throw violation(`${what} is not a list of at most ${most}`)
  return value
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw violation(`${what} is not an object`)
  return value as Record<string, unknown>
}

function onlyKeys(fields: Record<string, unknown>, known: readonly string[], what: string): void {
  const unknown = Object.keys(fields).find(key => !known.includes(key))
  if (unknown !== undefined)
    throw violation(`${what} has a key this version does not know: ${JSON.stringify(unknown.slice(0, 64))}`)
}

/** A word is of a later version, and its end is to be told that; anything else is of none. */
function unknownPurpose(purpose: unknown): PosternError {
  if (typeof purpose !== 'string') return violation('the stream header’s purpose is not one')
  const word = JSON.stringify(purpose.slice(0, 64))
  return new PosternError(
    'VERSION_UNSUPPORTED',
    `The stream header is for ${word}; this end speaks version ${WIRE_VERSION}, which carries tcp and http`,
  )
}

function violation(message: string): PosternError {
  return new PosternError('PROTOCOL_VIOLATION', message)
}
