import type { Socket } from 'node:net'
import { PosternError } from '@postern/interface'
import { createTicket } from '@postern/tokens'

/** Milliseconds that a client has to come. */
const COMING_TIME = 10_000
/** Milliseconds that a ticket is known, whatever became of it: whoever comes with it then is no stranger. */
const KNOWN_TIME = 30_000
/** Clients who are to come at once, in all. */
const MOST_WAITING = 1024
/** Tickets that are known; of more, those that nobody is to come with are forgotten, the oldest first. */
const MOST_KNOWN = 8192

/** One client who is to come. */
export interface Awaited {
  /** What it is to say in its SNI. */
  readonly serverName: string
  /** @throws PosternError TIMED_OUT; why it was given up */
  readonly came: Promise<Socket>
  /** Nobody waits any more: who comes then is cut. After it came, that changes nothing. */
  giveUp(why: PosternError): void
}

type Raced = (first: string, second: string) => void

interface Ticket {
  /** The socket that is to come. Undefined once somebody came, or nobody may: a ticket that is only known holds nothing. */
  coming: PromiseWithResolvers<Socket> | undefined
  /** Milliseconds since the epoch. */
  readonly until: number
  /** Told once, and not again. */
  raced: Raced | undefined
  /** The address of who came. */
  first?: string
}

/** Clients who are to come on a connection of their own, by the name that they will say. */
export class Tickets {
  readonly #known = new Map<string, Ticket>()
  readonly #zone: string
  readonly #comingTime: number
  readonly #now: () => number
  #waiting = 0

  /** @param zone what the names end in: with a dot before it */
  constructor(zone: string, comingTime: number = COMING_TIME, now: () => number = Date.now) {
    this.#zone = zone
    this.#comingTime = comingTime
    this.#now = now
  }

  /** Clients who are to come now. */
  get waiting(): number {
    return this.#waiting
  }

  /**
   * @param raced told with both addresses when somebody comes with a ticket that was used
   * @throws PosternError LIMIT_EXCEEDED
   */
  make(raced?: Raced): Awaited {
    if (this.#waiting >= MOST_WAITING)
      throw new PosternError('LIMIT_EXCEEDED', 'too many are to come for their session', { speaker: 'edge' })
    this.#forget()
    const text = createTicket()
    const coming = Promise.withResolvers<Socket>()
    coming.promise.catch(() => {})
    const ticket: Ticket = { coming, until: this.#now() + KNOWN_TIME, raced }
    this.#known.set(text, ticket)
    this.#waiting += 1
    const giveUp = (why: PosternError) => this.#settle(ticket)?.reject(why)
    const timer = setTimeout(() => giveUp(notCome(this.#comingTime)), this.#comingTime)
    const done = () => clearTimeout(timer)
    coming.promise.then(done, done)
    return { serverName: `${text}${this.#zone}`, came: coming.promise, giveUp }
  }

  /** Whoever says a name that was made here. @returns whether it was: then the socket is somebody's, or cut */
  take(serverName: string, socket: Socket): boolean {
    if (!serverName.endsWith(this.#zone)) return false
    const ticket = this.#known.get(serverName.slice(0, -this.#zone.length))
    if (ticket === undefined || ticket.until <= this.#now()) return false
    const address = socket.remoteAddress ?? ''
    const coming = this.#settle(ticket)
    if (coming !== undefined) {
      ticket.first = address
      coming.resolve(socket)
      return true
    }
    socket.resetAndDestroy()
    const { raced, first } = ticket
    ticket.raced = undefined
    if (first !== undefined) raced?.(first, address)
    return true
  }

  /** Nobody is to come any more. */
  close(why: PosternError): void {
    for (const ticket of this.#known.values()) this.#settle(ticket)?.reject(why)
    this.#known.clear()
  }

  /** @returns who was waited for until now */
  #settle(ticket: Ticket): Ticket['coming'] {
    const { coming } = ticket
    if (coming !== undefined) this.#waiting -= 1
    ticket.coming = undefined
    return coming
  }

  #forget(): void {
    const now = this.#now()
    for (const [text, { until, coming }] of this.#known) {
      if (until > now && this.#known.size < MOST_KNOWN) return
      if (coming === undefined) this.#known.delete(text)
    }
  }
}

function notCome(ms: number): PosternError {
  return new PosternError('TIMED_OUT', `the client did not come within ${ms / 1000} s`, { speaker: 'edge' })
}
