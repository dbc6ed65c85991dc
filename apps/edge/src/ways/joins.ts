import { createHmac, randomBytes } from 'node:crypto'
import { type Call, isCode, type Pipe, PosternError } from '@postern/interface'
import { cut } from '@postern/pump'
import { createTicket } from '@postern/tokens'
import type { ComingMessage, DeclineMessage, ReportMessage } from '@postern/tunnel'
import type { AccessAdmission, ConnectorAdmission } from '../authorize/authorize.ts'

/** Milliseconds a daemon has to come. Less than a client waits for the answer to its upgrade, so that it hears why. */
const COMING_TIME = 8000
/** Clients who wait for a daemon at once, in all. */
const MOST_WAITING = 1024
/** Milliseconds that the reports of a session still come after its end, and how many ended ones are remembered. */
const REPORTED_TIME = 60_000
const MOST_ENDED = 1024
/** Milliseconds that a ticket shown in the open is known after its use, and how many are remembered. */
const SHOWN_TIME = 30_000
const MOST_SHOWN = 8192

/** The one daemon that somebody is joined to. */
export interface Side {
  readonly tunnelId: string
  readonly connectorId: string
}

/** Whose connection a daemon was told on, and what that was let in by. */
export interface Told extends Side {
  readonly admission: ConnectorAdmission
}

/** The pipe that a daemon dialled for a client, and the admission it was let in by. */
export interface Leg {
  readonly pipe: Pipe
  readonly admission: ConnectorAdmission
}

/** One client who waits. */
export interface Waiting {
  readonly ticket: string
  /** Resolves when its daemon says that it comes: an older one just does. Never rejects. */
  readonly announced: Promise<void>
  /**
   * @returns undefined: the daemon does not come, and the client is to be served through the edge
   * @throws PosternError TIMED_OUT; why the daemon declined; `call.signal.reason`
   */
  leg(call: Call): Promise<Leg | undefined>
}

/** Whoever has a client's ticket comes once, and with a pipe or not at all. */
export interface Taken {
  come(leg: Leg): void
  /** The client is to be served through the edge. */
  giveUp(): void
  fail(error: unknown): void
}

/** A ticket that a daemon showed in the open, where somebody may have seen it, and perhaps been quicker. */
export type Shown =
  | { readonly taken: Taken; readonly admission: ConnectorAdmission }
  /** It was used, and that is said here the first time it comes again: by whom, and for which client. */
  | { readonly first: string; readonly client: AccessAdmission }

interface Used {
  readonly first: string
  readonly client: AccessAdmission
  /** Milliseconds since the epoch. */
  readonly until: number
}

interface Waiter extends Told {
  readonly client: AccessAdmission
  readonly coming: PromiseWithResolvers<Leg | undefined>
  readonly announce: () => void
}

interface Joined extends Side {
  readonly admission: AccessAdmission
  readonly cut: (reason: PosternError) => void
  /** Resolves at its end. */
  readonly over: PromiseWithResolvers<void>
  /** Milliseconds since the epoch, once it has ended. */
  until?: number
}

/** Clients who wait for a daemon, by their ticket; and end-to-end sessions that there are or were a moment ago, by the id of the admission. */
export class Joins {
  readonly #waiters = new Map<string, Waiter>()
  readonly #open = new Map<string, Joined>()
  readonly #ended = new Map<string, Joined>()
  readonly #shown = new Map<string, Used>()
  /** Of this process: what daemons hear of visitors says nothing to anybody else. */
  readonly #key = randomBytes(32)
  readonly #comingTime: number
  readonly #now: () => number

  constructor(comingTime: number = COMING_TIME, now: () => number = Date.now) {
    this.#comingTime = comingTime
    this.#now = now
  }

  /** End-to-end sessions now. */
  get size(): number {
    return this.#open.size
  }

  get waiting(): number {
    return this.#waiters.size
  }

  /** What a daemon may know a visitor by, who may not fill it with clients that never finish. */
  tagOf(visitor: string): string {
    return createHmac('sha256', this.#key).update(visitor).digest('base64url').slice(0, 22)
  }

  /** @throws PosternError LIMIT_EXCEEDED */
  wait({ tunnelId, connectorId, admission }: Told, client: AccessAdmission): Waiting {
    if (this.#waiters.size >= MOST_WAITING)
      throw new PosternError('LIMIT_EXCEEDED', 'too many wait for a daemon to come', { speaker: 'edge' })
    const ticket = createTicket()
    const coming = Promise.withResolvers<Leg | undefined>()
    coming.promise.catch(() => {})
    const { promise: announced, resolve: announce } = Promise.withResolvers<void>()
    this.#waiters.set(ticket, { tunnelId, connectorId, admission, client, coming, announce })
    return { ticket, announced, leg: call => this.#leg(ticket, coming, call) }
  }

  async #leg(ticket: string, coming: Waiter['coming'], { signal }: Call): Promise<Leg | undefined> {
    const late = () => coming.reject(notCome(this.#comingTime))
    const aborted = () => coming.reject(signal.reason)
    const timer = setTimeout(late, this.#comingTime)
    if (signal.aborted) aborted()
    else signal.addEventListener('abort', aborted)
    try {
      return await coming.promise
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      this.#waiters.delete(ticket)
    }
  }

  /** For the daemon it was told to and nobody else, once. @returns undefined: nobody waits with that ticket, for this daemon */
  take(ticket: string, by: Side): Taken | undefined {
    const found = this.#waiterOf(ticket, by)
    if (found === undefined) return undefined
    this.#waiters.delete(ticket)
    const { promise, resolve, reject } = found.coming
    const come = (leg: Leg) => {
      // Until it is joined nobody else listens.
      leg.pipe.on('error', () => {})
      resolve(leg)
      // The client may have gone, or its time be over: then this changes nothing.
      void promise.then(
        taken => taken === leg || cut(leg.pipe),
        () => cut(leg.pipe),
      )
    }
    return { come, giveUp: () => resolve(undefined), fail: reject }
  }

  #waiterOf(ticket: string, { tunnelId, connectorId }: Side): Waiter | undefined {
    const found = this.#waiters.get(ticket)
    return found?.tunnelId === tunnelId && found.connectorId === connectorId ? found : undefined
  }

  /**
   * For whoever shows the ticket of a daemon and nothing else, once.
   *
   * @returns undefined: nobody waits with that ticket; or it was used, and that was told
   */
  show(ticket: string, address: string): Shown | undefined {
    const used = this.#shown.get(ticket)
    if (used !== undefined) {
      this.#shown.delete(ticket)
      return used.until > this.#now() ? used : undefined
    }
    const waiter = this.#waiters.get(ticket)
    const taken = waiter && this.take(ticket, waiter)
    if (waiter === undefined || taken === undefined) return undefined
    const { admission, client } = waiter
    this.#shown.set(ticket, { first: address, client, until: this.#now() + SHOWN_TIME })
    if (this.#shown.size > MOST_SHOWN) this.#shown.delete(this.#shown.keys().next().value ?? '')
    return { taken, admission }
  }

  comes({ ticket }: ComingMessage, by: Side): void {
    this.#waiterOf(ticket, by)?.announce()
  }

  decline({ ticket, code }: DeclineMessage, by: Side): void {
    const taken = this.take(ticket, by)
    if (code === undefined) taken?.giveUp()
    else
      taken?.fail(new PosternError(isCode(code) ? code : 'INTERNAL', 'the daemon did not come', { speaker: 'daemon' }))
  }

  /** Nobody waits any more: what would begin now would be cut in a moment. */
  refuse(reason: PosternError): void {
    for (const { coming } of this.#waiters.values()) coming.reject(reason)
    this.#waiters.clear()
  }

  /** Something is joined. @param cut ends it, in a moment @returns to be called at its end */
  begin(admission: AccessAdmission, { tunnelId, connectorId }: Side, cut: (reason: PosternError) => void): () => void {
    const sid = admission.requestId
    const joined: Joined = { tunnelId, connectorId, admission, cut, over: Promise.withResolvers() }
    this.#open.set(sid, joined)
    return () => {
      this.#open.delete(sid)
      joined.over.resolve()
      joined.until = this.#now() + REPORTED_TIME
      this.#ended.set(sid, joined)
      if (this.#ended.size > MOST_ENDED) this.#ended.delete(this.#ended.keys().next().value ?? '')
    }
  }

  /** Cuts everything that is joined. Resolves when that is over. */
  async cut(reason: PosternError): Promise<void> {
    const open = [...this.#open.values()]
    for (const one of open) one.cut(reason)
    await Promise.all(open.map(({ over }) => over.promise))
  }

  /** The session a report or a note is about. @returns undefined: there is none of this daemon's, or it ended long ago */
  reported({ sid }: Pick<ReportMessage, 'sid'>, by: Side): AccessAdmission | undefined {
    const { tunnelId, connectorId, admission, until } = this.#open.get(sid) ?? this.#ended.get(sid) ?? {}
    if (tunnelId !== by.tunnelId || connectorId !== by.connectorId) return undefined
    return until === undefined || until > this.#now() ? admission : undefined
  }
}

function notCome(ms: number): PosternError {
  return new PosternError('TIMED_OUT', `the daemon did not come within ${ms / 1000} s`, { speaker: 'edge' })
}
