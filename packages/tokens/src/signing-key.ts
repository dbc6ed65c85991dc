import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKeyInput,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import { PosternError } from '@postern/interface'
import type { Algorithm } from './compact-jws.ts'
import { algorithmOf, asAlgorithm, type PublicJwk, toPublicJwk } from './public-keys.ts'

/**
 * Where a key stands. `next` is published and signs nothing yet, so that verifiers know it before it does; `current` signs;
 * `previous` only verifies, until its end.
 */
export type KeyState = 'next' | 'current' | 'previous'

/** One signing key as it is kept. `privateJwk` is a secret: encrypt it at rest. */
export interface StoredKey {
  readonly kid: string
  readonly alg: Algorithm
  readonly state: KeyState
  /** ms since the epoch: when it came to this state. */
  readonly since: number
  /** ms since the epoch: from when a `previous` key verifies nothing more. */
  readonly until?: number
  readonly privateJwk: Readonly<Record<string, string>>
}

/** A stored key, ready for use. */
export interface LoadedKey {
  readonly stored: StoredKey
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  readonly publicJwk: PublicJwk
}

const RSA_BITS = 2048
const STATES: readonly unknown[] = ['next', 'current', 'previous'] satisfies KeyState[]

/** A new key pair, made by OpenSSL. ES256: under a millisecond; RS256: about a tenth of a second. */
export function createKey(alg: Algorithm, state: KeyState, since: number): StoredKey {
  const { privateKey, publicKey } =
    asAlgorithm(alg) === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: RSA_BITS, publicExponent: 65537 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const privateJwk = privateKey.export({ format: 'jwk' }) as Record<string, string>
  return { kid: toPublicJwk(publicKey, alg).kid, alg, state, since, privateJwk }
}

/**
 * Reads a kept key and tries it: it is what its `alg` and `kid` say, and what it signs can be verified.
 *
 * @throws OPTION_INVALID, which never holds anything of the key
 */
export function loadKey(stored: StoredKey): LoadedKey {
  if (typeof stored !== 'object' || stored === null) throw invalid('it is missing')
  const { kid, alg, state, since, until, privateJwk } = stored
  if (!STATES.includes(state) || !Number.isFinite(since) || (state === 'previous' && !Number.isFinite(until)))
    throw invalid('its state is not whole')
  const { privateKey, publicKey } = readPair(privateJwk)
  if (algorithmOf(publicKey) !== asAlgorithm(alg)) throw invalid(`it is not a key for ${alg}`)
  const publicJwk = toPublicJwk(publicKey, alg)
  if (publicJwk.kid !== kid) throw invalid('its kid is not its thumbprint')
  const sample = Buffer.from(kid)
  if (!verify('sha256', sample, publicKey, sign('sha256', sample, privateKey))) throw invalid('its halves do not fit')
  return { stored, privateKey, publicKey, publicJwk }
}

function readPair(privateJwk: Readonly<Record<string, string>>): { privateKey: KeyObject; publicKey: KeyObject } {
  try {
    const privateKey = createPrivateKey({ key: privateJwk as JsonWebKeyInput['key'], format: 'jwk' })
    return { privateKey, publicKey: createPublicKey(privateKey) }
  } catch {
    throw invalid('its private part cannot be read') // without the cause: it may quote what it could not read
  }
}

function invalid(reason: string): PosternError {
  return new PosternError('OPTION_INVALID', `a signing key cannot be used: ${reason}`)
}
