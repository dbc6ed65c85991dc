import { type Json, PosternError } from '@postern/interface'
import { type Algorithm, LONGEST_TOKEN } from './compact-jws.ts'
import type { Jwks } from './public-keys.ts'
import { createKey, type KeyState, type LoadedKey, loadKey, type StoredKey } from './signing-key.ts'
import { type ExpectedToken, type VerifiedToken, verifyToken } from './verify-token.ts'

/** A ring as it is kept: plain JSON. It holds private keys, so it is a secret. */
export interface StoredKeyRing {
  readonly version: 1
  readonly alg: Algorithm
  /** How long a key that was rotated out still verifies. */
  readonly overlapSeconds: number
  readonly keys: readonly StoredKey[]
}

export interface KeyRingOptions {
  /** Default ES256; RS256 for verifiers that know nothing newer. */
  readonly alg?: Algorithm
  /** How long a key that was rotated out still verifies, and the most a token may live: 60 s to 90 days. Default 7 days. */
  readonly overlapSeconds?: number
  /** ms since the epoch. Default now. */
  readonly now?: number
}

export interface SignOptions {
  /** The kind of token (RFC 8725 §3.11): what verifies it asks for exactly this. */
  readonly typ: string
  readonly issuer: string
  /** The one place it is for. */
  readonly audience: string
  /** From 1 to the ring’s overlap, so that no rotation outruns a token. */
  readonly lifetimeSeconds: number
  /** ms since the epoch. Default now. */
  readonly now?: number
}

const WEEK_SECONDS = 7 * 24 * 3600
const OVERLAP_SECONDS = { least: 60, most: 90 * 24 * 3600 }
/** Set by {@link KeyRing.sign} alone (RFC 7519 §4.1). */
const OWN_CLAIMS = ['iss', 'aud', 'exp', 'iat', 'nbf']

/**
 * Signing keys that rotate. A ring is a value: what changes it gives a new one, to be kept before it is used.
 *
 * Printing a ring, or `JSON.stringify` of it, shows no key: {@link KeyRing.exportSecret} is the one way out.
 *
 * @example
 * const ring = KeyRing.create()
 * const token = await ring.sign({ sub: 'ann' }, { typ: 'at+jwt', issuer: 'https://team.example.com', audience: 'app.example.com', lifetimeSeconds: 300 })
 * const { claims } = await ring.verify(token, { typ: 'at+jwt', issuer: 'https://team.example.com', audience: 'app.example.com' })
 */
export class KeyRing {
  readonly #stored: StoredKeyRing
  readonly #keys: ReadonlyMap<string, LoadedKey>

  private constructor(stored: StoredKeyRing) {
    this.#stored = stored
    this.#keys = new Map(stored.keys.map(loadKey).map(key => [key.stored.kid, key]))
  }

  /** A new ring: one key that signs, and the one that will. @throws OPTION_INVALID */
  static create(options: KeyRingOptions = {}): KeyRing {
    const { alg = 'ES256', overlapSeconds = WEEK_SECONDS, now = Date.now() } = options
    return KeyRing.from({
      version: 1,
      alg,
      overlapSeconds,
      keys: [createKey(alg, 'current', now), createKey(alg, 'next', now)],
    })
  }

  /**
   * A ring that was kept. Every key is tried.
   *
   * @throws OPTION_INVALID when it is missing, empty or not whole: a program that cannot verify must not start
   */
  static from(stored: StoredKeyRing | null | undefined): KeyRing {
    if (stored?.version !== 1 || !Array.isArray(stored.keys)) throw invalid('the key ring is missing')
    const { overlapSeconds: overlap, keys } = stored
    if (!Number.isFinite(overlap) || overlap < OVERLAP_SECONDS.least || overlap > OVERLAP_SECONDS.most)
      throw invalid(`overlapSeconds is from ${OVERLAP_SECONDS.least} to ${OVERLAP_SECONDS.most}`)
    for (const state of ['current', 'next'] satisfies KeyState[])
      if (keys.filter(key => key?.state === state).length !== 1) throw invalid(`the key ring has not one ${state} key`)
    if (new Set(keys.map(key => key?.kid)).size !== keys.length) throw invalid('the key ring names one kid twice')
    return new KeyRing(structuredClone(stored))
  }

  /** Everything, private keys included, for the caller to keep: encrypted, or in a file that is its own alone. */
  exportSecret(): StoredKeyRing {
    return structuredClone(this.#stored)
  }

  /** Which keys there are, oldest last: nothing secret. */
  list(): readonly Omit<StoredKey, 'privateJwk'>[] {
    return this.#stored.keys.map(({ privateJwk: _, ...shown }) => shown)
  }

  /**
   * The next key signs from now on, the one before it verifies for the overlap, and a new next one is published. Verifiers
   * that keep a set for a while have known the new signing key since the rotation before, so rotate no faster than they ask.
   */
  rotate(now: number = Date.now()): KeyRing {
    const until = now + this.#stored.overlapSeconds * 1000
    const keys = this.#stored.keys
      .filter(key => isLive(key, now))
      .map((key): StoredKey => {
        if (key.state === 'next') return { ...key, state: 'current', since: now }
        return key.state === 'current' ? { ...key, state: 'previous', since: now, until } : key
      })
    return this.#with([createKey(this.#stored.alg, 'next', now), ...keys])
  }

  /**
   * Takes a key out at once, because somebody else may have it: nothing it signed verifies any more (NIST SP 800-57 part 1
   * §8.3.5). When it signed, the next key does from now on. The caller cuts what was opened with tokens of this `kid`.
   *
   * @throws CONFLICT when there is no such key
   */
  remove(kid: string, now: number = Date.now()): KeyRing {
    const gone = this.#keys.get(kid)?.stored
    if (!gone) throw new PosternError('CONFLICT', 'the key ring has no key of this kid; it may be removed already')
    const rest = this.#stored.keys.filter(key => key.kid !== kid)
    if (gone.state === 'previous') return this.#with(rest)
    const kept = gone.state === 'next' ? rest : rest.map(key => promote(key, now))
    return this.#with([createKey(this.#stored.alg, 'next', now), ...kept])
  }

  /** What to publish (RFC 7517 §5): the public half of every key that verifies, at least the next and the current one. */
  jwks(now: number = Date.now()): Jwks {
    return { keys: [...this.#keys.values()].filter(key => isLive(key.stored, now)).map(key => ({ ...key.publicJwk })) }
  }

  /**
   * Signs claims with the current key. `iss`, `aud`, `iat` and `exp` come from the options.
   *
   * @throws OPTION_INVALID when claims or options cannot be, or the token would be longer than 8 KiB
   */
  async sign(claims: Readonly<Record<string, Json>>, options: SignOptions): Promise<string> {
    const { typ, issuer, audience, lifetimeSeconds, now = Date.now() } = options
    for (const [name, value] of Object.entries({ typ, issuer, audience }))
      if (typeof value !== 'string' || value === '') throw invalid(`a token needs its ${name}`)
    const own = OWN_CLAIMS.find(name => Object.hasOwn(claims, name))
    if (own) throw invalid(`the claim ${own} is set by the options`)
    if (!Number.isSafeInteger(lifetimeSeconds) || lifetimeSeconds < 1 || lifetimeSeconds > this.#stored.overlapSeconds)
      throw invalid(`lifetimeSeconds is a whole number from 1 to the ring’s overlap, ${this.#stored.overlapSeconds}`)
    const iat = Math.floor(now / 1000)
    const payload = { ...claims, iss: issuer, aud: audience, iat, exp: iat + lifetimeSeconds }
    const { CompactSign } = await import('jose')
    const { stored, privateKey } = this.#current()
    const token = await new CompactSign(Buffer.from(JSON.stringify(payload)))
      .setProtectedHeader({ alg: stored.alg, typ, kid: stored.kid })
      .sign(privateKey)
    if (token.length > LONGEST_TOKEN) throw invalid(`a token of these claims is longer than ${LONGEST_TOKEN} bytes`)
    return token
  }

  /** {@link verifyToken} with the keys of this ring. Tokens of a key that was removed, or whose overlap has ended, are refused. */
  verify(token: unknown, expected: ExpectedToken): Promise<VerifiedToken> {
    const now = expected.now ?? Date.now()
    return verifyToken(
      token,
      kid => {
        const found = this.#keys.get(kid)
        return found && isLive(found.stored, now) ? { kid, alg: found.stored.alg, key: found.publicKey } : undefined
      },
      expected,
    )
  }

  #current(): LoadedKey {
    for (const key of this.#keys.values()) if (key.stored.state === 'current') return key
    throw invalid('the key ring has no current key')
  }

  #with(keys: readonly StoredKey[]): KeyRing {
    return KeyRing.from({ ...this.#stored, keys })
  }
}

function isLive({ state, until = 0 }: StoredKey, now: number): boolean {
  return state !== 'previous' || now < until
}

function promote(key: StoredKey, now: number): StoredKey {
  return key.state === 'next' ? { ...key, state: 'current', since: now } : key
}

function invalid(message: string): PosternError {
  return new PosternError('OPTION_INVALID', message)
}
