import { PosternError } from '@postern/interface'
import { type JwsHeader, readCompactJws, rejected } from './compact-jws.ts'
import type { VerificationKey } from './public-keys.ts'

/** What a token must be to be accepted. Everything is required and compared exactly: nothing here has a default that accepts. */
export interface ExpectedToken {
  /** The kind of token (RFC 8725 §3.11), for example `at+jwt`. Compared as it is, without case folding or `application/`. */
  readonly typ: string
  /** `iss`, to the character. */
  readonly issuer: string
  /** `aud`: a string and this one. A list is refused, also a list of one (RFC 8725 §3.9). */
  readonly audience: string
  /** How far this clock and the signer’s may be apart, in seconds: 0 to 60. Default 0. */
  readonly clockToleranceSeconds?: number
  /** ms since the epoch. Default now. */
  readonly now?: number
}

/** A token whose signature and claims hold. */
export interface VerifiedToken {
  readonly claims: TokenClaims
  /** The key that signed it: what it gave ends when this key is removed. */
  readonly kid: string
}

export type TokenClaims = Readonly<Record<string, unknown>> & {
  readonly iss: string
  readonly aud: string
  /** Seconds since the epoch (RFC 7519 §2, NumericDate), whole ones. */
  readonly exp: number
  readonly iat: number
}

/** The key of a `kid`. It is a name to look up among known keys: nothing is opened, asked or fetched under it. */
export type FindKey = (kid: string) => VerificationKey | undefined | Promise<VerificationKey | undefined>

const MOST_TOLERANCE_SECONDS = 60

/**
 * Verifies a token that Postern signed: compact JWS, `alg` that of the key, exact `typ`, `iss` and `aud`, `exp` and `iat`
 * there (RFC 7519 §4.1, RFC 8725 §3).
 *
 * @throws TOKEN_EXPIRED when that is all that is wrong with it; AUTH_REJECTED for everything else; OPTION_INVALID when what is
 * expected cannot be
 */
export async function verifyToken(token: unknown, find: FindKey, expected: ExpectedToken): Promise<VerifiedToken> {
  checkExpected(expected)
  const { header, payload } = readCompactJws(token)
  if (header.typ !== expected.typ) throw rejected('it is of another kind')
  const key = await find(header.kid)
  if (!key || key.alg !== header.alg) throw rejected('its key is not known')
  await verifySignature(token as string, header, key)
  return { claims: checkClaims(payload, expected), kid: header.kid }
}

/** Throws OPTION_INVALID at the start of a program rather than accepting a token later. */
export function checkExpected({ typ, issuer, audience, clockToleranceSeconds = 0 }: ExpectedToken): void {
  for (const [name, value] of Object.entries({ typ, issuer, audience }))
    if (typeof value !== 'string' || value === '') throw invalid(`the expected ${name} is missing`)
  if (!(clockToleranceSeconds >= 0 && clockToleranceSeconds <= MOST_TOLERANCE_SECONDS))
    throw invalid(`clockToleranceSeconds is from 0 to ${MOST_TOLERANCE_SECONDS}`)
}

async function verifySignature(token: string, { alg }: JwsHeader, { key }: VerificationKey) {
  const { compactVerify, errors } = await import('jose')
  try {
    await compactVerify(token, key, { algorithms: [alg] })
  } catch (error) {
    throw error instanceof errors.JOSEError ? rejected('its signature does not fit') : error
  }
}

/** The signature holds. Expiry is looked at last, so that TOKEN_EXPIRED means a token that was good. */
function checkClaims(claims: Readonly<Record<string, unknown>>, expected: ExpectedToken): TokenClaims {
  const { iss, aud, exp, iat, nbf } = claims
  const now = Math.floor((expected.now ?? Date.now()) / 1000)
  const tolerance = expected.clockToleranceSeconds ?? 0
  if (iss !== expected.issuer) throw rejected('it is from another issuer')
  if (aud !== expected.audience) throw rejected('it is for another audience')
  if (!isTime(exp) || !isTime(iat) || exp <= iat) throw rejected('its exp and iat are not times in order')
  if (iat > now + tolerance) throw rejected('it was made in the future: compare the clocks')
  if (nbf !== undefined && !(isTime(nbf) && nbf <= now + tolerance)) throw rejected('it is not valid yet')
  if (exp + tolerance <= now) throw new PosternError('TOKEN_EXPIRED', 'the token has expired')
  return { ...claims, iss, aud, exp, iat }
}

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function invalid(message: string): PosternError {
  return new PosternError('OPTION_INVALID', message)
}
