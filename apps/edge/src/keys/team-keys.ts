import { type Json, type Logger, PosternError } from '@postern/interface'
import type { ChangeNote, Snapshot, Store } from '@postern/store'
import { type Jwks, KeyRing, type StoredKey, type StoredKeyRing, type VerifiedToken } from '@postern/tokens'
import type { Origins } from '../origins.ts'
import type { Seal } from './seal.ts'

const NAMESPACE = 'team-keys'
const ROW = 'ring'
/** Milliseconds a key signs before the next one does: six weeks. The one before it verifies for seven days more. */
export const ROTATION = 6 * 7 * 24 * 3600_000
/** Milliseconds between looks at the age of the key. */
const LOOK = 3600_000
/** Milliseconds a published set is handed out as it is: a key whose overlap ended is in it no longer than that. */
const PUBLISHED = 60_000

/** Who asked for a change, for its audit row. */
export type KeyNote = Pick<ChangeNote, 'actor' | 'requestId' | 'remoteAddress'>

export interface SignedFor {
  /** The kind of token (RFC 8725 §3.11), for example `at+jwt`. */
  readonly typ: string
  /** The one place it is for. */
  readonly audience: string
}

export interface TeamKeysOptions {
  readonly store: Store
  readonly seal: Seal
  readonly origins: Origins
  readonly log: Logger
}

/** Whether the database keeps keys, so that the seal they were sealed with must be there. */
export function hasTeamKeys({ records }: Snapshot): boolean {
  return records.get(NAMESPACE)?.has(ROW) ?? false
}

/** @throws PosternError CONFIG_INVALID: sealed with another key; OPTION_INVALID: not whole */
export function readTeamKeys({ records }: Snapshot, seal: Seal): KeyRing | undefined {
  const row = records.get(NAMESPACE)?.get(ROW)
  if (row === undefined) return undefined
  if (!isSealed(row)) throw new PosternError('CONFIG_INVALID', 'the team’s keys cannot be read')
  return KeyRing.from(JSON.parse(seal.open(row.sealed)) as StoredKeyRing)
}

/** What the team signs with. Kept sealed in the store; what changes it is durable before it is used. */
export class TeamKeys implements Disposable {
  readonly #options: TeamKeysOptions
  readonly #timer: NodeJS.Timeout
  #ring: KeyRing
  #published: { readonly jwks: Jwks; readonly until: number } | undefined
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(options: TeamKeysOptions, ring: KeyRing) {
    this.#options = options
    this.#ring = ring
    this.#timer = setInterval(() => void this.#lookAtAge(), LOOK).unref()
  }

  /**
   * The keys that are kept, or new ones.
   *
   * @throws PosternError CONFIG_INVALID: sealed with another key; OPTION_INVALID: not whole; STORE_UNUSABLE
   */
  static async open(options: TeamKeysOptions): Promise<TeamKeys> {
    const { store, seal } = options
    const ring = readTeamKeys(store.snapshot, seal)
    const keys = ring === undefined ? await TeamKeys.#first(options) : new TeamKeys(options, ring)
    await keys.#lookAtAge()
    return keys
  }

  static async #first(options: TeamKeysOptions): Promise<TeamKeys> {
    const ring = KeyRing.create()
    await options.store.apply([rowOf(ring, options.seal)], { action: 'key.create', actor: 'edge' })
    return new TeamKeys(options, ring)
  }

  /** `iss` of everything that is signed here. */
  get issuer(): string {
    return this.#options.origins.team
  }

  /**
   * Signs claims with the current key; `iss`, `aud`, `iat` and `exp` are set here.
   *
   * @param how `lifetimeSeconds`: 1 to 604,800
   * @throws PosternError OPTION_INVALID when the token would be longer than 8 KiB
   */
  sign(claims: Readonly<Record<string, Json>>, how: SignedFor & { readonly lifetimeSeconds: number }): Promise<string> {
    return this.#ring.sign(claims, { ...how, issuer: this.issuer })
  }

  /** @throws PosternError TOKEN_EXPIRED when that is all that is wrong with it; AUTH_REJECTED */
  verify(token: unknown, expected: SignedFor): Promise<VerifiedToken> {
    return this.#ring.verify(token, { ...expected, issuer: this.issuer })
  }

  /** What is published (RFC 7517 §5). The same object for as long as it is the same. */
  jwks(): Jwks {
    const now = Date.now()
    if (this.#published === undefined || this.#published.until <= now)
      this.#published = { jwks: this.#ring.jwks(now), until: now + PUBLISHED }
    return this.#published.jwks
  }

  /** Which keys there are: nothing secret. */
  list(): readonly Omit<StoredKey, 'privateJwk'>[] {
    return this.#ring.list()
  }

  /** The next key signs from now on; the one before it verifies for seven days more. */
  async rotate(note: KeyNote): Promise<void> {
    await this.#change(ring => ring.rotate(), 'key.rotate', note)
  }

  /**
   * Takes a key out at once, because somebody else may have it: nothing it signed is good any more, and what was opened with it
   * is cut.
   *
   * @throws PosternError NOT_FOUND
   */
  async remove(kid: string, note: KeyNote): Promise<void> {
    await this.#change(
      ring => {
        if (!ring.list().some(key => key.kid === kid))
          throw new PosternError('NOT_FOUND', `no key ${JSON.stringify(kid.slice(0, 64))}`, {
            speaker: 'edge',
            next: 'postern admin key list shows the keys there are.',
          })
        return ring.remove(kid)
      },
      'key.remove',
      note,
      kid,
    )
  }

  /** Of keys that had been removed before an older copy of the database was put in its place. */
  async removeAgain(kids: readonly string[]): Promise<void> {
    for (const kid of kids) if (this.list().some(key => key.kid === kid)) await this.remove(kid, { actor: 'edge' })
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  #change(make: (ring: KeyRing) => KeyRing, action: string, note: KeyNote, removed?: string): Promise<void> {
    const mine = this.#turn.then(async () => {
      const ring = make(this.#ring)
      const { store, seal } = this.#options
      const revoked = removed === undefined ? [] : [{ revoke: `key:${removed}` }]
      const kid = removed ?? ring.list().find(({ state }) => state === 'current')?.kid ?? null
      await store.apply([rowOf(ring, seal), ...revoked], { ...note, action, detail: { kid } })
      this.#ring = ring
      this.#published = undefined
    })
    this.#turn = mine.catch(() => {})
    return mine
  }

  async #lookAtAge(): Promise<void> {
    const current = this.#ring.list().find(({ state }) => state === 'current')
    if (current === undefined || current.since + ROTATION > Date.now()) return
    try {
      await this.rotate({ actor: 'edge' })
      this.#options.log.info('the signing key was rotated for its age')
    } catch (error) {
      this.#options.log.error('the signing key cannot be rotated', { error: String(error) })
    }
  }
}

function rowOf(ring: KeyRing, seal: Seal) {
  const value = { sealed: seal.seal(JSON.stringify(ring.exportSecret())) }
  return { put: 'record', namespace: NAMESPACE, id: ROW, value } as const
}

function isSealed(row: Json): row is { readonly sealed: string } {
  return typeof row === 'object' && row !== null && 'sealed' in row && typeof row.sealed === 'string'
}
