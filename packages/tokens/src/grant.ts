import type { Identity, Json } from '@postern/interface'
import { rejected } from './compact-jws.ts'
import type { KeyRing } from './key-ring.ts'
import type { VerificationKey } from './public-keys.ts'
import { type TokenClaims, verifyToken } from './verify-token.ts'

/** The `typ` of a grant, and of no other token. */
export const GRANT_TYP = 'postern-grant+jwt'
/** A grant is good for this many seconds: it is used at once. */
export const GRANT_SECONDS = 60
/** Seconds that the clocks of an edge and a daemon may differ. */
export const GRANT_TOLERANCE_SECONDS = 60

/** Whoever holds the key of it is an edge that the daemon was enrolled at, so which one it was says nothing more. */
export const ISSUER = 'postern:edge'

/** What an edge decided about one client, for one daemon to hold it to: end-to-end, where the edge sees nothing of what follows. */
export interface Grant {
  /** The one daemon that it is for. */
  readonly aud: { readonly tunnel: string; readonly connector: string }
  /** Its own name, of 1–128 visible characters: a daemon takes it once. */
  readonly jti: string
  /** The admission at the edge that it stands for, 1–128 visible characters: reports name it. */
  readonly sid: string
  /** The one application that it opens. */
  readonly hostname: string
  readonly identities: readonly Identity[]
  readonly permit: Json
  /** `sha256:` and 64 hexadecimal digits: of the client's public key (its SubjectPublicKeyInfo), which it has to prove. */
  readonly cnf: string
  readonly mode: 'end-to-end'
  /** Seconds since the epoch. */
  readonly exp: number
}

/** For whom a daemon reads one. */
export interface GrantReader {
  readonly tunnel: string
  readonly connector: string
  /** Milliseconds since the epoch. Default now. */
  readonly now?: number
}

const MOST_IDENTITIES = 16
const CLAIMS = ['aud', 'cnf', 'exp', 'hostname', 'iat', 'identities', 'iss', 'jti', 'mode', 'permit', 'sid']
const KINDS: readonly unknown[] = ['user', 'service', 'certificate'] satisfies Identity['kind'][]
const VISIBLE = /^[\x21-\x7e]{1,128}$/
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/
const FINGERPRINT = /^sha256:[0-9a-f]{64}$/

/**
 * Signs one, good for a minute.
 *
 * @param ring of ES256; its keys sign nothing else
 * @throws PosternError OPTION_INVALID: longer than 8 KiB; AUTH_REJECTED: what no daemon would take
 */
export async function signGrant(
  ring: KeyRing,
  grant: Omit<Grant, 'exp' | 'mode'>,
  now: number = Date.now(),
): Promise<string> {
  const { aud, jti, sid, hostname, identities, permit, cnf } = grant
  const claims = { jti, sid, hostname, identities: identities as unknown as Json, permit, cnf, mode: 'end-to-end' }
  readClaims({ ...claims, iss: ISSUER, aud: audience(aud), iat: 0, exp: GRANT_SECONDS }, aud)
  const how = { typ: GRANT_TYP, issuer: ISSUER, audience: audience(aud), lifetimeSeconds: GRANT_SECONDS }
  return ring.sign(claims, { ...how, now })
}

/**
 * Reads one strictly: a claim that is not known may restrict what it opens, so it is refused, not skipped. What is left to the daemon is to
 * take each `jti` once ({@link rememberUntil}) and to see the key of `cnf` proved.
 *
 * @param keys of the edge, as they were given at enrolment (`readJwks`)
 * @throws PosternError TOKEN_EXPIRED: that is all that is wrong with it; AUTH_REJECTED
 */
export async function readGrant(
  token: unknown,
  keys: ReadonlyMap<string, VerificationKey>,
  { tunnel, connector, now = Date.now() }: GrantReader,
): Promise<Grant> {
  const aud = { tunnel, connector }
  const expected = { typ: GRANT_TYP, issuer: ISSUER, audience: audience(aud), now }
  const tolerance = { clockToleranceSeconds: GRANT_TOLERANCE_SECONDS }
  const { claims } = await verifyToken(token, kid => es256(keys.get(kid)), { ...expected, ...tolerance })
  return readClaims(claims, aud)
}

/** Milliseconds since the epoch: until then a daemon remembers that it took a grant. Later nobody takes it any more. */
export function rememberUntil({ exp }: Pick<Grant, 'exp'>): number {
  return (exp + GRANT_TOLERANCE_SECONDS) * 1000
}

export function es256(key: VerificationKey | undefined): VerificationKey | undefined {
  return key?.alg === 'ES256' ? key : undefined
}

/** One spelling of each daemon: neither of the two names has a colon. */
export function audience({ tunnel, connector }: Grant['aud']): string {
  if (!NAME.test(tunnel) || !NAME.test(connector)) throw rejected('it is for no connector of a tunnel')
  return `postern:connector:${tunnel}:${connector}`
}

function readClaims(claims: TokenClaims, aud: Grant['aud']): Grant {
  const { jti, sid, hostname, identities, permit, cnf, mode, exp, iat } = claims
  const unknown = Object.keys(claims).find(name => !CLAIMS.includes(name))
  if (unknown !== undefined) throw rejected('it has a claim that this version does not know')
  if (!matches(jti, VISIBLE) || !matches(sid, VISIBLE)) throw rejected('it has no jti or no sid')
  if (!isHostname(hostname)) throw rejected('its hostname is not one')
  if (!Array.isArray(identities) || identities.length > MOST_IDENTITIES || !identities.every(isIdentity))
    throw rejected(`its identities are not a list of at most ${MOST_IDENTITIES}`)
  if (permit === undefined) throw rejected('it has no permit')
  if (!matches(cnf, FINGERPRINT)) throw rejected('its cnf is no fingerprint of a key')
  if (mode !== 'end-to-end') throw rejected('its mode is not end-to-end')
  if (exp - iat > GRANT_SECONDS) throw rejected(`it is good for more than ${GRANT_SECONDS} s`)
  return { aud, jti, sid, hostname, identities, permit: permit as Json, cnf, mode, exp }
}

function isIdentity(value: unknown): value is Identity {
  if (!isRecord(value)) return false
  const { kind, issuer, subject, email, groups, claims, expiresAt, revokeKeys } = value
  return (
    KINDS.includes(kind) &&
    isText(issuer) &&
    isText(subject) &&
    (email === undefined || isText(email)) &&
    (groups === undefined || isTexts(groups)) &&
    isRecord(claims) &&
    (expiresAt === undefined || Number.isFinite(expiresAt)) &&
    isTexts(revokeKeys)
  )
}

function isHostname(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 253 && value.split('.').every(label => LABEL.test(label))
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every(one => typeof one === 'string')
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function matches(value: unknown, form: RegExp): value is string {
  return typeof value === 'string' && form.test(value)
}
