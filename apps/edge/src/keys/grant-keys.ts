import { type Json, PosternError } from '@postern/interface'
import type { Snapshot, Store } from '@postern/store'
import {
  type Grant,
  type Jwks,
  KeyRing,
  type StoredKey,
  type StoredKeyRing,
  signGrant,
  signGrantKeys,
} from '@postern/tokens'
import type { Seal } from './seal.ts'
import type { KeyNote } from './team-keys.ts'

const NAMESPACE = 'grant-keys'
const ROW = 'ring'

/**
 * What grants are signed with: nothing else is but the next keys themselves, and they are not replaced by age. A daemon keeps the public halves
 * of the one that signs and of the next one, which it was given when it was enrolled, and is told the new ones when it connects and after
 * each rotation. One that was away for two of them has to log in again. What changes them is durable before it is used.
 */
export class GrantKeys {
  readonly #store: Store
  readonly #seal: Seal
  #ring: KeyRing
  readonly #listeners = new Set<() => void>()
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(store: Store, seal: Seal, ring: KeyRing) {
    this.#store = store
    this.#seal = seal
    this.#ring = ring
  }

  /**
   * The keys that are kept, or new ones.
   *
   * @throws PosternError CONFIG_INVALID: sealed with another key; OPTION_INVALID: not whole; STORE_UNUSABLE
   */
  static async open(store: Store, seal: Seal): Promise<GrantKeys> {
    const kept = read(store.snapshot, seal)
    const ring = kept ?? KeyRing.create()
    if (kept === undefined) await store.apply([rowOf(ring, seal)], { action: 'grant-key.create', actor: 'edge' })
    return new GrantKeys(store, seal, ring)
  }

  /** @throws PosternError OPTION_INVALID: longer than 8 KiB; AUTH_REJECTED: what no daemon would take */
  sign(grant: Omit<Grant, 'exp' | 'mode'>): Promise<string> {
    return signGrant(this.#ring, grant)
  }

  /** What a daemon is given: the public half of the key that signs, and of the next one. */
  jwks(): Jwks {
    const kids = this.list().flatMap(({ kid, state }) => (state === 'previous' ? [] : [kid]))
    return { keys: this.#ring.jwks().keys.filter(({ kid }) => kids.includes(kid)) }
  }

  /** {@link jwks} for one daemon, signed by the key that signs: whoever was there before the last rotation knows that one. */
  announce(aud: Grant['aud']): Promise<string> {
    return signGrantKeys(this.#ring, aud, { sequence: sequenceOf(this.#ring), jwks: this.jwks() })
  }

  /** Calls back after each rotation. @returns forgets it */
  onRotate(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Which keys there are: nothing secret. */
  list(): readonly Omit<StoredKey, 'privateJwk'>[] {
    return this.#ring.list()
  }

  /** The next key signs from now on. Daemons that are connected are told; others know it since the rotation before, or log in again. */
  async rotate(note: KeyNote): Promise<void> {
    const mine = this.#turn.then(async () => {
      // Each set comes after the one before it, whatever the clock says meanwhile.
      const ring = this.#ring.rotate(Math.max(Date.now(), sequenceOf(this.#ring) + 1))
      const kid = ring.list().find(({ state }) => state === 'current')?.kid ?? null
      await this.#store.apply([rowOf(ring, this.#seal)], { ...note, action: 'grant-key.rotate', detail: { kid } })
      this.#ring = ring
      for (const listener of [...this.#listeners]) listener()
    })
    this.#turn = mine.catch(() => {})
    await mine
  }
}

/** Since when the key that signs does so, in milliseconds since the epoch: an edge of a restored backup comes past what was there before. */
function sequenceOf(ring: KeyRing): number {
  return ring.list().find(({ state }) => state === 'current')?.since ?? 1
}

function read({ records }: Snapshot, seal: Seal): KeyRing | undefined {
  const row = records.get(NAMESPACE)?.get(ROW)
  if (row === undefined) return undefined
  if (!isSealed(row)) throw new PosternError('CONFIG_INVALID', 'the keys of grants cannot be read')
  return KeyRing.from(JSON.parse(seal.open(row.sealed)) as StoredKeyRing)
}

function rowOf(ring: KeyRing, seal: Seal) {
  const value = { sealed: seal.seal(JSON.stringify(ring.exportSecret())) }
  return { put: 'record', namespace: NAMESPACE, id: ROW, value } as const
}

function isSealed(row: Json): row is { readonly sealed: string } {
  return typeof row === 'object' && row !== null && 'sealed' in row && typeof row.sealed === 'string'
}
