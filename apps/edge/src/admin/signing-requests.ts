import { createPublicKey, randomBytes } from 'node:crypto'
import type { SigningRequest } from '@postern/admin'
import { checkConnector, keyFingerprint } from '@postern/connector'
import { PosternError } from '@postern/interface'
import type { Change, Snapshot } from '@postern/store'
import { checked, identityOf } from './enrolment.ts'
import type { Handlers } from './handling.ts'
import { instantOf, type Lives, rowsOf, SIGNING_REQUESTS } from './records.ts'
import { mustBeTunnel } from './tunnels.ts'

/** Milliseconds until who has the tunnel's identity has signed. */
const PATIENCE = 900_000
/** Keys of one tunnel that wait at the same time: an administrator asked for each. */
const MOST_WAITING = 16

interface RequestRecord extends Lives {
  readonly tunnel: string
  readonly connector: string
  readonly publicKey: string
  readonly fingerprint: string
  readonly host: string
  readonly actor: string
  readonly remoteAddress?: string
  readonly createdAt: number
  readonly expiresAt: number
  readonly certificate?: string
}

export const SIGNING: Handlers<
  'signing-request.create' | 'signing-request.list' | 'signing-request.get' | 'signing-request.sign'
> = {
  'signing-request.create': (handling, { params: { name }, body: { connector, publicKey, host } }) =>
    handling.change((snapshot, now) => {
      identityOf(snapshot, name, now)
      if (waiting(snapshot, name, now).length >= MOST_WAITING)
        throw new PosternError('LIMIT_EXCEEDED', `${MOST_WAITING} keys wait to be signed already`, {
          speaker: 'edge',
          next: `Sign them, or wait: postern tunnel sign ${name}`,
        })
      const id = randomBytes(8).toString('hex')
      const { actor, remoteAddress } = handling.note
      const fingerprint = fingerprintOf(publicKey)
      const from = remoteAddress === undefined ? {} : { remoteAddress }
      const lives = { createdAt: now, expiresAt: now + PATIENCE }
      const value: RequestRecord = { tunnel: name, connector, publicKey, fingerprint, host, actor, ...from, ...lives }
      return {
        changes: [...forgetOld(snapshot, now), putOf(id, value)],
        action: 'signing-request.create',
        detail: { tunnel: name, id, connector, fingerprint, host },
        answer: () => shown(id, value),
      }
    }),
  'signing-request.list': ({ store: { snapshot }, now }, { params: { name } }) => {
    mustBeTunnel(snapshot, name)
    return waiting(snapshot, name, now).map(([id, one]) => shown(id, one))
  },
  'signing-request.get': ({ store: { snapshot }, now }, { params: { name, id } }) =>
    shown(id, mustWait(snapshot, name, id, now)),
  'signing-request.sign': (handling, { params: { name, id }, body: { certificate } }) =>
    handling.change((snapshot, now) => {
      const found = mustWait(snapshot, name, id, now)
      const issuer = identityOf(snapshot, name, now)
      const signed = checked(() => checkConnector(certificate, issuer, name, now))
      if (signed.id !== found.connector || keyFingerprint(signed.publicKey) !== found.fingerprint)
        throw new PosternError('BAD_USAGE', 'the certificate is for another connector, or another key', {
          speaker: 'edge',
        })
      const value = { ...found, certificate }
      return {
        changes: [putOf(id, value)],
        action: 'signing-request.sign',
        detail: { tunnel: name, id, connector: found.connector, fingerprint: signed.fingerprint },
        answer: () => shown(id, value),
      }
    }),
}

function requestsOf(snapshot: Snapshot): ReadonlyMap<string, RequestRecord> {
  return rowsOf(snapshot, SIGNING_REQUESTS, row => typeof row.tunnel === 'string' && typeof row.expiresAt === 'number')
}

/** Those that are not over, with what was signed already: the daemon has yet to fetch it. */
function waiting(snapshot: Snapshot, tunnel: string, now: number): readonly (readonly [string, RequestRecord])[] {
  return [...requestsOf(snapshot)].filter(([, one]) => one.tunnel === tunnel && one.expiresAt > now)
}

/** @throws PosternError NOT_FOUND */
function mustWait(snapshot: Snapshot, tunnel: string, id: string, now: number): RequestRecord {
  mustBeTunnel(snapshot, tunnel)
  const found = waiting(snapshot, tunnel, now).find(([key]) => key === id)
  if (found) return found[1]
  throw new PosternError('NOT_FOUND', 'no such key waits to be signed', {
    speaker: 'edge',
    next: 'It may be over: log the daemon in again.',
  })
}

function fingerprintOf(publicKey: string): string {
  try {
    // Of a private key or a certificate a public one would be read, too, and what is behind it not at all; it would be kept.
    if (!/^-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----\s*$/.test(publicKey))
      throw new Error('not a public key')
    const key = createPublicKey(publicKey)
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return keyFingerprint(key)
  } catch {
    // told below
  }
  throw new PosternError('BAD_USAGE', 'publicKey is not a public key of the curve P-256', { speaker: 'edge' })
}

function shown(id: string, { createdAt, expiresAt, ...one }: RequestRecord): SigningRequest {
  return { id, ...one, createdAt: instantOf(createdAt), expiresAt: instantOf(expiresAt) }
}

function putOf(id: string, value: RequestRecord): Change {
  return { put: 'record', namespace: SIGNING_REQUESTS, id, value: { ...value } }
}

function forgetOld(snapshot: Snapshot, now: number): readonly Change[] {
  const old = [...requestsOf(snapshot)].filter(([, { expiresAt }]) => expiresAt <= now)
  return old.map(([id]) => ({ delete: 'record', namespace: SIGNING_REQUESTS, id }))
}
