import type { Attempts } from '@postern/interface'

/** Failures of one key within the window before it is slowed. */
export const MOST_FAILURES = 60
/** Milliseconds. */
const WINDOW = 60_000
/** Keys remembered; the longest unused is forgotten first. About 2 MB. */
const MOST_KEYS = 10_000

/**
 * Counts failures, in memory and bounded. Asking never changes anything and a success is never held up: whoever knows the
 * secret is checked before anybody asks here.
 */
export class FailureCounter implements Attempts {
  readonly #failures = new Map<string, { count: number; since: number }>()
  readonly #now: () => number
  readonly #window: number

  /** @param window milliseconds from the first failure of a key, after which its count begins again */
  constructor(now: () => number = Date.now, window: number = WINDOW) {
    this.#now = now
    this.#window = window
  }

  /** Keys remembered now. */
  get size(): number {
    return this.#failures.size
  }

  async allow(key: string): Promise<boolean> {
    return !this.isOver(key)
  }

  async failed(key: string): Promise<void> {
    this.count(key)
  }

  isOver(key: string, most: number = MOST_FAILURES): boolean {
    const found = this.#failures.get(key)
    return found !== undefined && found.count >= most && this.#now() - found.since < this.#window
  }

  /** @returns failures of this key in the current window, this one included */
  count(key: string): number {
    const now = this.#now()
    const found = this.#failures.get(key)
    const fresh = found === undefined || now - found.since >= this.#window
    const next = fresh ? { count: 1, since: now } : { count: found.count + 1, since: found.since }
    this.#failures.delete(key)
    this.#failures.set(key, next)
    if (this.#failures.size > MOST_KEYS) this.#failures.delete(this.#failures.keys().next().value ?? '')
    return next.count
  }

  /** One that was counted and was none after all. */
  takeBack(key: string): void {
    const found = this.#failures.get(key)
    if (found !== undefined && found.count > 0) found.count -= 1
  }

  /** The counter as one plugin sees it: its keys are its own. */
  of(namespace: string): Attempts {
    return {
      allow: key => this.allow(`${namespace}\0${key}`),
      failed: key => this.failed(`${namespace}\0${key}`),
    }
  }
}
