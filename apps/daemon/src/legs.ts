import { type NamedTransport, Transports } from '@postern/client'
import { type Call, type Code, type Pipe, PosternError } from '@postern/interface'

/** Milliseconds for which a way that does not get through is tried last: what is between seldom goes away sooner. */
const REMEMBERED = 600_000

/** How often in a row nothing came back by a way until it is taken for one that does not get through. Once may be the network, or an edge that ended. */
const NO_CHANCE = 2

/** What it looks like where something between does not let a way through: no answer, or none of an edge's. An edge that says no, or is not there, says nothing of the way. */
const LOOKS_BLOCKED: ReadonlySet<Code> = new Set(['EDGE_PROTOCOL', 'TIMED_OUT'])

/** Dials the edge for the client of a ticket. */
export type DialLeg = (by: NamedTransport, ticket: string, call: Call) => Promise<Pipe>

/** The ways by which a daemon comes for clients. Those that the edge offers for the ticket alone are the fastest, and go first. */
export class Legs {
  readonly #transports: readonly NamedTransport[]
  readonly #dial: DialLeg
  /** By name: how often in a row nothing came back by it, and when last. */
  readonly #lost = new Map<string, { readonly times: number; readonly at: number }>()

  constructor(transports: readonly NamedTransport[], dial: DialLeg) {
    this.#transports = transports
    this.#dial = dial
  }

  /**
   * @param offered names of transports, by the edge's word
   * @throws as {@link Transports.use}
   */
  come(ticket: string, offered: readonly string[], call: Call): Promise<Pipe> {
    const isWelcome = (one: NamedTransport) => offered.includes(one.name) && !this.#isBlocked(one)
    const order = [...this.#transports.filter(isWelcome), ...this.#transports.filter(one => !isWelcome(one))]
    return new Transports(order).use(one => this.#by(one, ticket, call), call)
  }

  #isBlocked({ name }: NamedTransport): boolean {
    return this.#lostBy(name) >= NO_CHANCE
  }

  /** How often in a row, as far as that is remembered. */
  #lostBy(name: string): number {
    const lost = this.#lost.get(name)
    return lost !== undefined && lost.at > performance.now() - REMEMBERED ? lost.times : 0
  }

  async #by(one: NamedTransport, ticket: string, call: Call): Promise<Pipe> {
    try {
      const pipe = await this.#dial(one, ticket, call)
      this.#lost.delete(one.name)
      return pipe
    } catch (error) {
      if (!call.signal.aborted) this.#note(one, error)
      throw error
    }
  }

  #note({ name }: NamedTransport, error: unknown): void {
    if (!PosternError.is(error) || !LOOKS_BLOCKED.has(error.code)) return
    this.#lost.set(name, { times: this.#lostBy(name) + 1, at: performance.now() })
  }
}
