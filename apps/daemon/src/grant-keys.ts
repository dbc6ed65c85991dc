import type { GrantKeySetFile } from '@postern/connector/files'
import { type Call, PosternError } from '@postern/interface'
import { GRANT_SECONDS, GRANT_TOLERANCE_SECONDS, readGrantKeys, readJwks, type VerificationKey } from '@postern/tokens'

/** The connector whose grants are taken, and the keys that it has. */
export interface KnownKeys {
  readonly tunnel: string
  readonly connector: string
  /** `https://edge.example.com`: for advice. */
  readonly edge: string
  readonly set: GrantKeySetFile
  /** Keeps another set, for the next start. @returns whether that is where this one came from */
  readonly keep?: (set: GrantKeySetFile) => Promise<boolean>
}

/**
 * The keys that this daemon takes grants by. The edge tells new ones, signed by one of those that are known: each time there are the one that
 * signs and the next one, so that a daemon which was away for one rotation follows, and one that was away for two does not.
 */
export class GrantKeys {
  readonly #known: KnownKeys
  readonly #call: Pick<Call, 'log'>
  #keys: ReadonlyMap<string, VerificationKey>
  /** Those before them: what was signed just then is on its way. They vouch for no others. */
  #before: ReadonlyMap<string, VerificationKey> = new Map()
  #overlapsUntil = 0
  #sequence: number
  #isStale = false
  /** What was told until now was looked at. */
  #looked: Promise<void> = Promise.resolve()
  #waiting = 0
  #kept: Promise<void> = Promise.resolve()

  /** @throws PosternError OPTION_INVALID: it is no set of keys */
  constructor(known: KnownKeys, call: Pick<Call, 'log'>) {
    this.#known = known
    this.#call = call
    this.#keys = readJwks(known.set)
    this.#sequence = known.set.sequence ?? 0
  }

  /** Grants by them are taken now. @param now milliseconds since the epoch */
  keys(now: number = Date.now()): ReadonlyMap<string, VerificationKey> {
    return now < this.#overlapsUntil ? new Map([...this.#before, ...this.#keys]) : this.#keys
  }

  /** The edge signs with keys that nobody vouches for here: no grant of its would be taken. */
  get isStale(): boolean {
    return this.#isStale
  }

  /** What the edge tells, one after the other. */
  hear(token: string): void {
    if (this.#waiting >= MOST_WAITING) return
    this.#waiting += 1
    this.#looked = this.#looked
      .then(() => this.#take(token))
      .finally(() => {
        this.#waiting -= 1
      })
  }

  /** Resolves when all that was told is taken, or is not. */
  get settled(): Promise<void> {
    return this.#looked
  }

  /** Resolves when what was taken is in the file, or cannot be. */
  get kept(): Promise<void> {
    return this.#kept
  }

  async #take(token: string): Promise<void> {
    const { tunnel, connector, edge } = this.#known
    const { log } = this.#call
    try {
      const told = await readGrantKeys(token, this.#keys, { tunnel, connector })
      if (told === undefined) {
        if (!this.#isStale) log.warn(REPLACED, { tunnel, next: loginAgain(edge, tunnel) })
        this.#isStale = true
        return
      }
      this.#isStale = false
      // Each connection is told them; and an old set must not come back.
      if (told.sequence <= this.#sequence) return
      const keys = readJwks(told.jwks)
      const isNew = [...keys.keys()].some(kid => !this.#keys.has(kid))
      this.#before = this.#keys
      this.#overlapsUntil = Date.now() + OVERLAP
      this.#keys = keys
      this.#sequence = told.sequence
      if (isNew) log.info('the edge’s keys of grants were replaced', { tunnel })
      const set = { ...told.jwks, sequence: told.sequence }
      this.#kept = this.#kept.then(() => this.#keep(set))
    } catch (error) {
      const { code, message } = PosternError.from(error)
      log.warn('the edge told keys of grants that are not taken', { tunnel, code, cause: message })
    }
  }

  async #keep(set: GrantKeySetFile): Promise<void> {
    const { tunnel, keep } = this.#known
    const { log } = this.#call
    try {
      const isKept = (await keep?.(set)) ?? false
      log.debug('keys of grants', { tunnel, kept: isKept })
    } catch (error) {
      const next =
        'Let posternd write its credentials file: one that starts with keys of two rotations ago has to log in again.'
      const { code, message } = PosternError.from(error)
      log.warn('the edge’s new keys of grants cannot be kept', { tunnel, code, cause: message, next })
    }
  }
}

/** Milliseconds: as long as a grant is good, for every clock. */
const OVERLAP = (GRANT_SECONDS + GRANT_TOLERANCE_SECONDS) * 1000

/** Sets that are not looked at yet: each connection brings one, and sixteen connections are the most. */
const MOST_WAITING = 64

const REPLACED =
  'the edge’s keys of grants were replaced twice while this daemon was away: its clients go through the edge, or not at all'

function loginAgain(edge: string, tunnel: string): string {
  return `Log this machine in again, and start posternd anew: posternd login --edge ${edge} --tunnel ${tunnel}`
}
