import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign, verify } from 'node:crypto'
import { promisify } from 'node:util'
import { PosternError } from '@postern/interface'

/** A way to sign, and what names it (RFC 8017, 5758, 8410). */
interface SignatureAlgorithm {
  readonly oid: string
  /** What a certificate or request has of it: the content of the OID, in hex. */
  readonly encoded: string
  readonly keyType: 'rsa' | 'ec' | 'ed25519'
  readonly hash: 'sha256' | 'sha384' | 'sha512' | null
}

/** All that may sign anything here. The first of a key's type signs with it; SHA-1 and MD5 are not here, and RSA-PSS is not. */
const ALGORITHMS: readonly SignatureAlgorithm[] = [
  { oid: '1.2.840.113549.1.1.11', encoded: '2a864886f70d01010b', keyType: 'rsa', hash: 'sha256' },
  { oid: '1.2.840.113549.1.1.12', encoded: '2a864886f70d01010c', keyType: 'rsa', hash: 'sha384' },
  { oid: '1.2.840.113549.1.1.13', encoded: '2a864886f70d01010d', keyType: 'rsa', hash: 'sha512' },
  { oid: '1.2.840.10045.4.3.2', encoded: '2a8648ce3d040302', keyType: 'ec', hash: 'sha256' },
  { oid: '1.2.840.10045.4.3.3', encoded: '2a8648ce3d040303', keyType: 'ec', hash: 'sha384' },
  { oid: '1.2.840.10045.4.3.4', encoded: '2a8648ce3d040304', keyType: 'ec', hash: 'sha512' },
  { oid: '1.3.101.112', encoded: '2b6570', keyType: 'ed25519', hash: null },
]

const CURVES: readonly string[] = ['prime256v1', 'secp384r1', 'secp521r1']
const LEAST_RSA_BITS = 2048
/** More costs whoever verifies it, and protects nobody. */
const MOST_RSA_BITS = 8192
const LEAST_EXPONENT = 65_537n
const MOST_EXPONENT = 2n ** 32n

/** What is wrong with a key, to be said after “its key is”; undefined where it is good. */
export function weaknessOf(key: KeyObject): string | undefined {
  const { modulusLength = 0, publicExponent = 0n, namedCurve } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'ed25519') return undefined
  if (key.asymmetricKeyType === 'ec') {
    if (namedCurve !== undefined && CURVES.includes(namedCurve)) return undefined
    return `on the curve ${namedCurve ?? 'of its own'}; P-256, P-384, P-521 and Ed25519 are accepted`
  }
  if (key.asymmetricKeyType !== 'rsa') return `${key.asymmetricKeyType}; RSA, EC and Ed25519 are accepted`
  if (modulusLength < LEAST_RSA_BITS || modulusLength > MOST_RSA_BITS)
    return `RSA of ${modulusLength} bits; ${LEAST_RSA_BITS} to ${MOST_RSA_BITS} are accepted`
  if (publicExponent < LEAST_EXPONENT || publicExponent > MOST_EXPONENT || publicExponent % 2n === 0n)
    return `RSA with the exponent ${publicExponent}; 65537 is usual, and the least`
  return undefined
}

/**
 * A public key to be certified.
 *
 * @param key SPKI, PEM or DER
 * @throws PosternError BAD_USAGE: not a public key, or a weak one
 */
export function readPublicKey(key: string | Uint8Array, whose: string): KeyObject {
  const read = parsePublicKey(key, whose)
  const weakness = weaknessOf(read)
  if (weakness === undefined) return read
  throw new PosternError('BAD_USAGE', `the key of ${whose} is ${weakness}`, {
    next: 'Make another key, EC P-256 for example.',
  })
}

function parsePublicKey(key: string | Uint8Array, whose: string): KeyObject {
  // A private key would be taken too, and its public half derived; whoever sends one here is told.
  const isPublic = typeof key !== 'string' || key.includes('-----BEGIN PUBLIC KEY-----')
  try {
    if (isPublic)
      return createPublicKey(typeof key === 'string' ? key : { key: Buffer.from(key), format: 'der', type: 'spki' })
  } catch (cause) {
    throw new PosternError('BAD_USAGE', `the key of ${whose} is no public key`, { cause })
  }
  throw new PosternError('BAD_USAGE', `the key of ${whose} is no public key in PEM`)
}

const makeKeyPair = promisify(generateKeyPair)

/** Makes a private key off the main thread. @returns PKCS#8 PEM; EC P-256 or RSA 2048 */
export async function makeKey(type: 'ec' | 'rsa' = 'ec'): Promise<string> {
  const { privateKey } =
    type === 'ec'
      ? await makeKeyPair('ec', { namedCurve: 'P-256' })
      : await makeKeyPair('rsa', { modulusLength: LEAST_RSA_BITS })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/**
 * The public half of a private key.
 *
 * @param key PKCS#8 PEM
 * @returns SPKI in PEM
 * @throws PosternError BAD_USAGE when it is no private key in PEM, or an encrypted one
 */
export function publicKeyOf(key: string): string {
  try {
    return createPublicKey(createPrivateKey(key)).export({ type: 'spki', format: 'pem' }).toString()
  } catch (cause) {
    throw new PosternError('BAD_USAGE', 'the key is no private key in PEM, or is encrypted', { cause })
  }
}

/** How a key signs: with the hash that is as strong as its curve. */
export function signatureAlgorithmOf(key: KeyObject): { readonly oid: string; readonly hasNull: boolean } {
  return { oid: algorithmOf(key).oid, hasNull: key.asymmetricKeyType === 'rsa' }
}

function algorithmOf(key: KeyObject): SignatureAlgorithm {
  const hash = { prime256v1: 'sha256', secp384r1: 'sha384', secp521r1: 'sha512' }[
    key.asymmetricKeyDetails?.namedCurve ?? ''
  ]
  const found = ALGORITHMS.find(one => one.keyType === key.asymmetricKeyType && (!hash || one.hash === hash))
  if (found) return found
  throw new PosternError('CONFIG_INVALID', `a key of type ${key.asymmetricKeyType} cannot sign certificates here`)
}

const signWith = promisify<string | null, Uint8Array, KeyObject, Buffer>(sign)
const verifyWith = promisify<string | null, Uint8Array, KeyObject, Uint8Array, boolean>(verify)

/** Off the main thread. */
export function signBytes(key: KeyObject, bytes: Uint8Array): Promise<Buffer> {
  return signWith(algorithmOf(key).hash, bytes, key)
}

/** Whether an algorithm, by the content of its OID, may sign what is brought here. */
export function isStrongSignature(oid: Uint8Array): boolean {
  const encoded = Buffer.from(oid).toString('hex')
  return ALGORITHMS.some(one => one.encoded === encoded)
}

/** Whether a key signed these bytes, by the algorithm that the signature names; off the main thread. */
export async function isSignedBy(
  key: KeyObject,
  bytes: Uint8Array,
  signature: { readonly oid: Uint8Array; readonly value: Uint8Array },
): Promise<boolean> {
  const encoded = Buffer.from(signature.oid).toString('hex')
  const algorithm = ALGORITHMS.find(one => one.encoded === encoded && one.keyType === key.asymmetricKeyType)
  return algorithm !== undefined && (await verifyWith(algorithm.hash, bytes, key, signature.value))
}
