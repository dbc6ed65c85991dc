import { type Json, PosternError } from '@postern/interface'
import type { Seal } from '../keys/seal.ts'

/** Tickets that were used, kept until they expire. Only who signed in has one used. */
const MOST_USED = 10_000
/** Characters: a wanted target of 2,048, and what goes with it, fits well. */
const LONGEST = 8192

export type TicketKind = 'login' | 'provider'

/**
 * What a browser carries for us through a sign-in, sealed: it cannot be read or altered, and however many sign-ins strangers
 * begin, the edge remembers none of them.
 */
export class Tickets {
  readonly #seal: Pick<Seal, 'seal' | 'open'>
  readonly #now: () => number
  /** Ticket → when it expires. */
  readonly #used = new Map<string, number>()

  constructor(seal: Pick<Seal, 'seal' | 'open'>, now: () => number = Date.now) {
    this.#seal = seal
    this.#now = now
  }

  make(kind: TicketKind, value: Json, seconds: number): string {
    return this.#seal.seal(JSON.stringify([kind, this.#now() + seconds * 1000, value]))
  }

  /** @throws PosternError BAD_USAGE: altered, of another kind, expired, or used */
  read(kind: TicketKind, ticket: string): Json {
    if (ticket.length > LONGEST) throw refused('it is not one of ours')
    const [sealedAs, expiresAt, value] = this.#open(ticket)
    if (sealedAs !== kind) throw refused('it is not one of ours')
    if (!(typeof expiresAt === 'number' && expiresAt > this.#now())) throw refused('it is too old')
    if (this.#used.has(ticket)) throw refused('it was used before')
    return value ?? null
  }

  /** After what a ticket was for has succeeded: it is good no more. */
  use(ticket: string, seconds: number): void {
    const now = this.#now()
    for (const [one, expiresAt] of this.#used) {
      if (expiresAt > now && this.#used.size < MOST_USED) break
      this.#used.delete(one)
    }
    this.#used.set(ticket, now + seconds * 1000)
  }

  #open(ticket: string): readonly Json[] {
    try {
      const opened: Json = JSON.parse(this.#seal.open(ticket))
      return Array.isArray(opened) ? opened : []
    } catch {
      return []
    }
  }
}

function refused(why: string): PosternError {
  return new PosternError('BAD_USAGE', `this sign-in cannot go on: ${why}`, {
    speaker: 'edge',
    next: 'Open the application again and sign in from there.',
  })
}
