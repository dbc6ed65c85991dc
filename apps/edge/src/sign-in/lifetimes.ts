import type { ApplicationRecord, Snapshot, Store } from '@postern/store'
import type { Seen } from './seen.ts'
import type { CookieRecord, SessionRecord } from './session-record.ts'

/** When sessions end: by their age, which differs by application, and by not being used. Milliseconds since the epoch. */
export class Lifetimes {
  readonly #store: Pick<Store, 'snapshot'>
  readonly #seen: Pick<Seen, 'at'>
  /** The longest `sessionSeconds` of all applications, for as long as these are the same. */
  #longest: { readonly of: Snapshot['applications']; readonly seconds: number } | undefined

  constructor(store: Pick<Store, 'snapshot'>, seen: Pick<Seen, 'at'>) {
    this.#store = store
    this.#seen = seen
  }

  /** When a session ends for an application; in the past: sign in again. */
  endsFor({ authenticatedAt, expiresAt }: SessionRecord, { options }: Pick<ApplicationRecord, 'options'>): number {
    const seconds = options?.sessionSeconds
    return seconds === undefined ? expiresAt : authenticatedAt + seconds * 1000
  }

  /** When a session ends for the application that lets in for longest. */
  lastEnd({ authenticatedAt, expiresAt }: SessionRecord): number {
    const { applications } = this.#store.snapshot
    if (this.#longest?.of !== applications) {
      const all = [...applications.values()].map(({ options }) => options?.sessionSeconds ?? 0)
      this.#longest = { of: applications, seconds: Math.max(0, ...all) }
    }
    return Math.max(expiresAt, authenticatedAt + this.#longest.seconds * 1000)
  }

  /** Whether it has not ended for everything. */
  isLive(session: SessionRecord, now: number): boolean {
    return this.lastEnd(session) > now && !this.isIdle(session, now)
  }

  isIdle(session: SessionRecord, now: number): boolean {
    const { idleSeconds: idle } = session
    return idle !== undefined && this.seenAt(session) + idle * 1000 <= now
  }

  /** The same of what a browser may do at one application; a command line's tokens are the session's own. */
  isIdleThere({ id, hostname, hash, createdAt }: CookieRecord, now: number): boolean {
    if (hash === undefined) return false
    const idle = this.#store.snapshot.applications.get(hostname)?.options?.idleSeconds
    return idle !== undefined && (this.#seen.at(id) ?? createdAt) + idle * 1000 <= now
  }

  seenAt({ id, createdAt }: SessionRecord): number {
    return this.#seen.at(id) ?? createdAt
  }
}
