import { type NamedTransport, Transports } from '@postern/client'
import type { Call, Pipe } from '@postern/interface'

/** Milliseconds for which a way that did not get through is tried last: what is between seldom goes away sooner. */
const REMEMBERED = 600_000

/** Dials the edge for the client of a ticket. */
export type DialLeg = (by: NamedTransport, ticket: string, call: Call) => Promise<Pipe>

/** The ways by which a daemon comes for clients. Those that the edge offers for the ticket alone are the fastest, and go first. */
export class Legs {
  readonly #transports: readonly NamedTransport[]
  readonly #dial: DialLeg
  /** When each was found not to get through. */
  readonly #failed = new Map<string, number>()

  constructor(transports: readonly NamedTransport[], dial: DialLeg) {
    this.#transports = transports
    this.#dial = dial
  }

  /**
   * @param offered names of transports, by the edge's word
   * @throws as {@link Transports.use}
   */
  come(ticket: string, offered: readonly string[], call: Call): Promise<Pipe> {
    const failedAt = (one: NamedTransport) => this.#failed.get(one.name) ?? Number.NEGATIVE_INFINITY
    const isWelcome = (one: NamedTransport) =>
      offered.includes(one.name) && failedAt(one) < performance.now() - REMEMBERED
    const order = [...this.#transports.filter(isWelcome), ...this.#transports.filter(one => !isWelcome(one))]
    return new Transports(order).use(one => this.#by(one, ticket, call), call)
  }

  async #by(one: NamedTransport, ticket: string, call: Call): Promise<Pipe> {
    try {
      return await this.#dial(one, ticket, call)
    } catch (error) {
      if (!call.signal.aborted) this.#failed.set(one.name, performance.now())
      throw error
    }
  }
}
