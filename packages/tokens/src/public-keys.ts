import { createHash, createPublicKey, type JsonWebKeyInput, type KeyObject } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { type Algorithm, isAlgorithm } from './compact-jws.ts'

/** A key that signatures are verified with, and the one algorithm it is for (RFC 8725 §3.1). */
export interface VerificationKey {
  readonly kid: string
  readonly alg: Algorithm
  readonly key: KeyObject
}

/** A JWK set (RFC 7517 §5) as it is published: public members only. */
export interface Jwks {
  readonly keys: readonly PublicJwk[]
}

export type PublicJwk = Readonly<Record<string, string>> & { readonly kid: string; readonly kty: string }

/** Keys of one set that are looked at. A set of ours has two to four. */
const MOST_KEYS = 64
/** NIST SP 800-131A; RFC 7518 §3.3. More than 8192 bits cost a verifier milliseconds each and nobody needs them. */
const RSA_BITS = { least: 2048, most: 8192 }
/** The exponent everybody uses. 1 accepts any signature, and a huge one is a way to keep a verifier busy. */
const RSA_EXPONENT = 65537n
/** Members that make a JWK a private or symmetric one (RFC 7518 §6). */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']

/**
 * Reads a JWK set strictly. Left out are keys that cannot verify our tokens: symmetric (`oct`), private, RSA below 2048
 * bits, another curve, `use: enc`, another `alg`, no `kid`.
 *
 * @returns kid → key: at least one
 * @throws OPTION_INVALID when it is no JWK set, has more than 64 keys, names one `kid` twice, or leaves no key to verify with
 */
export function readJwks(jwks: unknown): ReadonlyMap<string, VerificationKey> {
  const listed = typeof jwks === 'object' && jwks !== null && 'keys' in jwks ? jwks.keys : undefined
  if (!Array.isArray(listed)) throw invalid('it is not a JWK set')
  if (listed.length > MOST_KEYS) throw invalid(`it has more than ${MOST_KEYS} keys`)
  const kids = listed.map(one => (one as { kid?: unknown } | null)?.kid).filter(kid => kid !== undefined)
  if (new Set(kids).size !== kids.length) throw invalid('it names one kid twice')
  const keys = listed.flatMap(one => readPublicJwk(one) ?? [])
  if (keys.length === 0) throw invalid('it has no key that a token can be verified with')
  return new Map(keys.map(key => [key.kid, key]))
}

function readPublicJwk(jwk: unknown): VerificationKey | undefined {
  if (typeof jwk !== 'object' || jwk === null) return undefined
  const { kid, use, alg, key_ops: operations } = jwk as Record<string, unknown>
  if (typeof kid !== 'string' || SECRET_MEMBERS.some(member => member in jwk)) return undefined
  if (use !== undefined && use !== 'sig') return undefined
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return undefined
  try {
    const key = createPublicKey({ key: jwk as JsonWebKeyInput['key'], format: 'jwk' })
    const found = algorithmOf(key)
    return found && (alg === undefined || alg === found) ? { kid, alg: found, key } : undefined
  } catch {
    return undefined // not a key that this Node knows: as good as not there
  }
}

/** The one algorithm a key is for. @returns undefined for a key that is too weak, or of a kind that is not used here */
export function algorithmOf(key: KeyObject): Algorithm | undefined {
  const { namedCurve, modulusLength = 0, publicExponent } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'ec') return namedCurve === 'prime256v1' ? 'ES256' : undefined
  if (key.asymmetricKeyType !== 'rsa' || publicExponent !== RSA_EXPONENT) return undefined
  return modulusLength >= RSA_BITS.least && modulusLength <= RSA_BITS.most ? 'RS256' : undefined
}

/** The public half of a key as it is published, and its thumbprint as the `kid`. */
export function toPublicJwk(key: KeyObject, alg: Algorithm): PublicJwk {
  const { kty = '', crv = '', x = '', y = '', n = '', e = '' } = key.export({ format: 'jwk' })
  const members: Record<string, string> = kty === 'EC' ? { crv, kty, x, y } : { e, kty, n }
  return { kid: thumbprint(members), kty, ...members, alg, use: 'sig' }
}

/** RFC 7638 §3: SHA-256 over the required members in the order of their names, which is how they come here. */
function thumbprint(members: Readonly<Record<string, string>>): string {
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url')
}

/** Whether a word is the name of an algorithm, for data that was kept. @throws OPTION_INVALID */
export function asAlgorithm(word: unknown): Algorithm {
  if (isAlgorithm(word)) return word
  throw new PosternError('OPTION_INVALID', 'a signing key is for ES256 or RS256')
}

function invalid(reason: string): PosternError {
  return new PosternError('OPTION_INVALID', `the key set cannot be used: ${reason}`)
}
