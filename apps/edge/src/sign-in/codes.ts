import { randomBytes } from 'node:crypto'
import { mark } from './wanted.ts'

/** Whom a code lets in, and where. */
export interface Issued {
  readonly session: string
  readonly hostname: string
  readonly target: string
  /** {@link mark} of the browser’s number on that hostname. */
  readonly browser: string
}

/** Milliseconds. */
const LIFETIME = 60_000
/** Codes that wait; a code is used within a second. */
const MOST = 10_000
/** Of one session: tabs that open at once. The oldest goes for one more. */
const MOST_OF_SESSION = 64

/** One-time codes that carry a sign-in from the team domain to one application. In memory, by their hash. */
export class Codes {
  readonly #issued = new Map<string, Issued & { readonly expiresAt: number }>()
  readonly #now: () => number

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** Codes that wait to be used. */
  get size(): number {
    return this.#issued.size
  }

  issue(issued: Issued): string {
    this.#makeRoom(issued.session)
    const code = randomBytes(32).toString('base64url')
    this.#issued.set(mark(code), { ...issued, expiresAt: this.#now() + LIFETIME })
    return code
  }

  /** What a code was issued for, once: whoever shows it, and wherever, it is used up. */
  take(code: string): Issued | undefined {
    const key = mark(code)
    const found = this.#issued.get(key)
    this.#issued.delete(key)
    return found !== undefined && found.expiresAt > this.#now() ? found : undefined
  }

  /** All live equally long, so they stand in the order in which they expire. */
  #makeRoom(session: string): void {
    const now = this.#now()
    for (const [key, { expiresAt }] of this.#issued) {
      if (expiresAt > now && this.#issued.size < MOST) break
      this.#issued.delete(key)
    }
    const own = [...this.#issued].filter(([, one]) => one.session === session)
    for (const [key] of own.slice(0, Math.max(0, own.length - MOST_OF_SESSION + 1))) this.#issued.delete(key)
  }
}
