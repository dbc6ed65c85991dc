import type { Json } from '@postern/interface'
import { readCompactJws, rejected } from './compact-jws.ts'
import {
  audience,
  es256,
  GRANT_SECONDS,
  GRANT_TOLERANCE_SECONDS,
  type Grant,
  type GrantReader,
  ISSUER,
} from './grant.ts'
import type { KeyRing } from './key-ring.ts'
import { type Jwks, type PublicJwk, readJwks, type VerificationKey } from './public-keys.ts'
import { verifyToken } from './verify-token.ts'

/** The `typ` of new keys for grants, and of no other token. */
export const GRANT_KEYS_TYP = 'postern-grant-keys+jwt'
/** More are not needed: the one that signs, and the next one. */
const MOST_KEYS = 8
const CLAIMS = ['aud', 'exp', 'iat', 'iss', 'keys', 'sequence']

/** The keys that an edge signs grants with, as one daemon is told them after a rotation. */
export interface GrantKeySet {
  /** Later ones have a higher one: a whole number from 1. */
  readonly sequence: number
  readonly jwks: Jwks
}

/**
 * Signs a set for one daemon, with the key that signs grants now: a daemon that was given the set before this one knows it.
 *
 * @throws PosternError OPTION_INVALID: longer than 8 KiB; AUTH_REJECTED: what no daemon would take
 */
export async function signGrantKeys(
  ring: KeyRing,
  aud: Grant['aud'],
  { sequence, jwks }: GrantKeySet,
  now: number = Date.now(),
): Promise<string> {
  readSet({ sequence, keys: jwks.keys })
  const claims = { sequence, keys: jwks.keys as unknown as Json }
  const how = { typ: GRANT_KEYS_TYP, issuer: ISSUER, audience: audience(aud), lifetimeSeconds: GRANT_SECONDS }
  return ring.sign(claims, { ...how, now })
}

/**
 * Reads one strictly. What is left to the daemon is to take none that has not a higher `sequence` than the set it has.
 *
 * @param keys that the daemon has
 * @returns undefined: whoever signed it, it was by none of these keys
 * @throws PosternError TOKEN_EXPIRED: that is all that is wrong with it; AUTH_REJECTED
 */
export async function readGrantKeys(
  token: unknown,
  keys: ReadonlyMap<string, VerificationKey>,
  { tunnel, connector, now = Date.now() }: GrantReader,
): Promise<GrantKeySet | undefined> {
  const { header } = readCompactJws(token)
  if (header.typ !== GRANT_KEYS_TYP) throw rejected('it is of another kind')
  const key = es256(keys.get(header.kid))
  if (key === undefined) return undefined
  const expected = { typ: GRANT_KEYS_TYP, issuer: ISSUER, audience: audience({ tunnel, connector }), now }
  const { claims } = await verifyToken(token, () => key, {
    ...expected,
    clockToleranceSeconds: GRANT_TOLERANCE_SECONDS,
  })
  const unknown = Object.keys(claims).find(name => !CLAIMS.includes(name))
  if (unknown !== undefined) throw rejected('it has a claim that this version does not know')
  if (claims.exp - claims.iat > GRANT_SECONDS) throw rejected(`it is good for more than ${GRANT_SECONDS} s`)
  return readSet(claims)
}

function readSet({ sequence, keys }: Readonly<Record<string, unknown>>): GrantKeySet {
  if (!Number.isSafeInteger(sequence) || (sequence as number) < 1) throw rejected('its sequence is no number from 1')
  if (!Array.isArray(keys) || keys.length > MOST_KEYS) throw rejected(`its keys are not a list of at most ${MOST_KEYS}`)
  const jwks = { keys: keys as readonly PublicJwk[] }
  try {
    readJwks(jwks)
  } catch {
    throw rejected('its keys cannot be used')
  }
  return { sequence: sequence as number, jwks }
}
