import { hash as hashOf, randomBytes, timingSafeEqual } from 'node:crypto'

/** Every secret made here is 256 random bits: guessing is hopeless, so a fast salted hash is enough at rest. */
const SECRET_BYTES = 32
const SALT_BYTES = 16
const DIGEST_BYTES = 32

/** No secret of ours is longer than 64 characters. What is presented is cut here before it is hashed. */
const LONGEST_SECRET = 256

const HASH = /^sha256\$([A-Za-z0-9_-]{22})\$([A-Za-z0-9_-]{43})$/

/** Read and compared against when there is nothing else, so that an unknown id costs the same as a known one. */
const NOBODY = `sha256$${randomBytes(SALT_BYTES).toString('base64url')}$${randomBytes(DIGEST_BYTES).toString('base64url')}`

type Comparer = (a: Uint8Array, b: Uint8Array) => boolean

/** 256 random bits as 43 characters of base64url. */
export function randomSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url')
}

/**
 * What may be kept of a secret: `sha256$<salt>$<digest>`, base64url, 16 bytes of salt. The same secret hashes differently each time.
 */
export function hashSecret(secret: string): string {
  const salt = randomBytes(SALT_BYTES)
  return `sha256$${salt.toString('base64url')}$${digestOf(salt, secret).toString('base64url')}`
}

/**
 * Whether a secret is the one that was hashed. Takes the same work whether or not there is a hash, and compares digests of
 * equal length in constant time.
 *
 * @param hash undefined for an unknown id; anything {@link hashSecret} did not make is treated the same way
 */
export function verifySecret(secret: string, hash: string | undefined): boolean {
  return verifySecretWith(timingSafeEqual, secret, hash)
}

/** {@link verifySecret} with the comparer given: tests look at what it is handed. */
export function verifySecretWith(compare: Comparer, secret: string, hash: string | undefined): boolean {
  const known = HASH.test(hash ?? NOBODY) && hash !== undefined
  const { salt, digest } = readHash(known ? hash : NOBODY)
  const equal = compare(digestOf(salt, secret.slice(0, LONGEST_SECRET)), digest)
  return equal && known && secret.length <= LONGEST_SECRET
}

/**
 * A short public name of one stored hash: the first 16 hexadecimal digits of its SHA-256. Says which secret of a token
 * somebody came with, in revoke keys and the audit log, and nothing about the secret itself.
 */
export function hashId(hash: string): string {
  return hashOf('sha256', hash, 'hex').slice(0, 16)
}

function readHash(hash: string): { salt: Buffer; digest: Buffer } {
  const [, salt = '', digest = ''] = hash.split('$')
  return { salt: Buffer.from(salt, 'base64url'), digest: Buffer.from(digest, 'base64url') }
}

function digestOf(salt: Uint8Array, secret: string): Buffer {
  return hashOf('sha256', Buffer.concat([salt, Buffer.from(secret, 'utf8')]), 'buffer')
}
