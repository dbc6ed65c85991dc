import { PosternError, type Speaker } from '@postern/interface'
import { Budget, type Room } from '@postern/pump'
import { Bucket } from './bucket.ts'
import { type Clock, sleep, systemClock } from './clock.ts'
import type { StreamBudget } from './tunnel.ts'

/** What one visitor, and all of one application, may have at an edge or a daemon. */
export interface ShareLimits {
  /** Streams of one visitor that are not answered yet; more wait for their turn. A quarter of what one session takes. */
  readonly opening: number
  /** Streams of one visitor that wait for their turn; more are refused. As many as one session may have unanswered. */
  readonly waiting: number
  /** Streams of one visitor at once, for each connection there is: half of what it takes. */
  readonly perConnection: number
  /** Streams of one visitor at once, however many connections there are. A stopped reader costs a window a stream at each end. */
  readonly streams: number
  /** Streams of one application at once, for each connection: a quarter of each is left to the others. */
  readonly applicationPerConnection: number
  /**
   * Streams of one visitor a second while others are there, and as many at once; more wait for their turn. Half of what an edge was
   * measured to open (2,156 a second, two cores). Who is alone hurts nobody, and has all.
   */
  readonly rate: number
  /** Streams of one visitor that come to nothing in a second; more are reset unread. As many as one session may have unanswered. */
  readonly failing: number
  /** Sessions of one visitor at once: a quarter of the connections that one address may have. */
  readonly sessions: number
  /** Sessions of one visitor that begin in a second, after `sessions` at once. Each costs a handshake, about 3 ms of a core. */
  readonly sessionRate: number
  /** Sessions of one application at once: half of the connections that an edge takes. */
  readonly applicationSessions: number
  /** Bytes that readers of one visitor which are behind share; each has 64 KiB in any case. As many as 32 streams hold at most. */
  readonly bytes: number
  /** The same of one application: as many as eight such visitors. */
  readonly applicationBytes: number
}

export const SHARE_LIMITS: ShareLimits = {
  opening: 64,
  waiting: 256,
  perConnection: 512,
  streams: 1024,
  applicationPerConnection: 768,
  rate: 1000,
  failing: 256,
  sessions: 128,
  sessionRate: 16,
  applicationSessions: 5000,
  bytes: 32 * 2 ** 20,
  applicationBytes: 256 * 2 ** 20,
}

/** Visitors that are remembered before the first look at who can be forgotten. */
const SWEEP = 1024

/** Whose stream or session it is. */
export interface Whose {
  /** Who, and of which tunnel where there are several. */
  readonly visitor: string
  readonly application: string
}

/** One stream's place. */
export interface Place {
  /** In which budgets counts what waits for its readers: see `ownedBy`. */
  readonly room: Room
  /** The other end has answered. */
  answered(): void
  /** The stream is over. */
  release(): void
}

/** Of one visitor. */
interface Share {
  opening: number
  streams: number
  sessions: number
  readonly waiting: Set<() => void>
  readonly opened: Bucket
  readonly failed: Bucket
  readonly begun: Bucket
  readonly waits: Budget
}

interface Held {
  streams: number
  sessions: number
}

/** Of one application. */
interface Application extends Held {
  readonly waits: Budget
}

/**
 * What each visitor and each application has of an edge, or of a daemon where the edge is not in between. One that opens and never
 * finishes leaves room for the others, however many sessions it spreads that over; streams past its share in opening, or faster than
 * others can bear, wait their turn, and what is past its share is refused.
 */
export class Shares {
  readonly #shares = new Map<string, Share>()
  readonly #applications = new Map<string, Application>()
  readonly #limits: ShareLimits
  readonly #speaker: Speaker
  readonly #clock: Clock
  #busy = 0

  constructor(speaker: Speaker, limits: Partial<ShareLimits> = {}, clock: Clock = systemClock) {
    this.#speaker = speaker
    this.#limits = { ...SHARE_LIMITS, ...limits }
    this.#clock = clock
  }

  /** Visitors who have something open now. */
  get size(): number {
    return this.#busy
  }

  /**
   * A stream's place.
   *
   * @param connections there are, which streams are spread over
   * @throws PosternError LIMIT_EXCEEDED; `signal.reason`
   */
  async take(whose: Whose, connections: number, signal: AbortSignal): Promise<Place> {
    signal.throwIfAborted()
    const share = this.#of(whose.visitor)
    const held = this.#held(whose.application)
    this.#checkStreams(share, held, Math.max(1, connections))
    const leave = this.#enter(whose, share, held, 'streams')
    try {
      if (share.opening >= this.#limits.opening) await turn(share, signal)
      else share.opening += 1
    } catch (error) {
      leave()
      throw error
    }
    const place = placeIn(share, [share.waits, held.waits], leave)
    try {
      await this.#pace(share, signal)
      return place
    } catch (error) {
      place.release()
      throw error
    }
  }

  /** A place for a stream that is let in elsewhere: it is counted, whatever there is, and never waits. */
  enter(whose: Whose): Place {
    const share = this.#of(whose.visitor)
    const held = this.#held(whose.application)
    const leave = this.#enter(whose, share, held, 'streams')
    share.opening += 1
    return placeIn(share, [share.waits, held.waits], leave)
  }

  /** Readers of a visitor that are behind, either way. */
  behind(visitor: string): number {
    return this.#shares.get(visitor)?.waits.behind ?? 0
  }

  /**
   * A session's place. @returns to be called at its end
   *
   * @throws PosternError LIMIT_EXCEEDED
   */
  begin(whose: Whose): () => void {
    const share = this.#of(whose.visitor)
    const held = this.#held(whose.application)
    const { sessions, applicationSessions } = this.#limits
    if (share.sessions >= sessions) throw this.#tooMany(`you have ${sessions} sessions here, which is all you may`)
    if (held.sessions >= applicationSessions)
      throw this.#tooMany(`the application has ${applicationSessions} sessions, which is all it may`)
    if (!share.begun.take(this.#clock.now())) throw this.#tooMany('you begin sessions faster than you may')
    return this.#enter(whose, share, held, 'sessions')
  }

  /**
   * What of the streams that somebody opens may come to nothing, whichever session they come in.
   *
   * @param tell called at most once a second, with how many were reset unread since
   */
  budgetOf({ visitor }: Whose, tell: (resets: number) => void): StreamBudget {
    const now = () => this.#clock.now()
    let [resets, told] = [0, Number.NEGATIVE_INFINITY]
    return {
      // Looked up each time: who has been idle for long is forgotten.
      admits: () => {
        if (this.#of(visitor).failed.has(now())) return true
        resets += 1
        if (now() - told >= 1000) {
          tell(resets)
          told = now()
          resets = 0
        }
        return false
      },
      failed: () => void this.#of(visitor).failed.owe(now()),
    }
  }

  #checkStreams(share: Share, held: Held, connections: number): void {
    const { streams, perConnection, applicationPerConnection, waiting } = this.#limits
    if (share.streams >= Math.min(streams, connections * perConnection))
      throw this.#tooMany(`you have ${share.streams} connections open here, which is all you may`)
    if (held.streams >= connections * applicationPerConnection)
      throw this.#tooMany(`the application has ${held.streams} connections open, which is all it may`)
    if (share.waiting.size >= waiting) throw this.#tooMany(`${waiting} connections of yours wait to be opened`)
  }

  /** @throws `signal.reason` */
  async #pace({ opened }: Share, signal: AbortSignal): Promise<void> {
    const now = this.#clock.now()
    if (this.#busy === 1) opened.drain(now)
    else {
      const ms = opened.owe(now)
      if (ms > 0) await sleep(ms, signal, this.#clock)
    }
  }

  #of(visitor: string): Share {
    const found = this.#shares.get(visitor)
    if (found !== undefined) return found
    this.#sweep()
    const { rate, failing, sessions, sessionRate, bytes } = this.#limits
    const share: Share = {
      opening: 0,
      streams: 0,
      sessions: 0,
      waiting: new Set<() => void>(),
      opened: new Bucket(rate, rate),
      failed: new Bucket(failing, failing),
      begun: new Bucket(sessionRate, sessions),
      waits: new Budget(bytes),
    }
    this.#shares.set(visitor, share)
    return share
  }

  /** Who has nothing open and owes nothing is forgotten. */
  #sweep(): void {
    if (this.#shares.size < SWEEP || this.#shares.size < 2 * this.#busy) return
    const now = this.#clock.now()
    for (const [visitor, share] of this.#shares)
      if (isIdle(share) && owesNothing(share, now)) this.#shares.delete(visitor)
  }

  #held(application: string): Application {
    const found = this.#applications.get(application)
    if (found !== undefined) return found
    const held = { streams: 0, sessions: 0, waits: new Budget(this.#limits.applicationBytes) }
    this.#applications.set(application, held)
    return held
  }

  /** @returns to be called once, at the end */
  #enter({ visitor, application }: Whose, share: Share, held: Held, what: keyof Held): () => void {
    if (isIdle(share)) this.#busy += 1
    share[what] += 1
    held[what] += 1
    return () => {
      share[what] -= 1
      held[what] -= 1
      if (isIdle(held)) this.#applications.delete(application)
      if (!isIdle(share)) return
      this.#busy -= 1
      if (owesNothing(share, this.#clock.now())) this.#shares.delete(visitor)
    }
  }

  #tooMany(message: string): PosternError {
    return new PosternError('LIMIT_EXCEEDED', message, { speaker: this.#speaker })
  }
}

function isIdle({ streams, sessions }: Held): boolean {
  return streams === 0 && sessions === 0
}

function owesNothing({ opened, failed, begun }: Share, now: number): boolean {
  return opened.isFull(now) && failed.isFull(now) && begun.isFull(now)
}

function placeIn(share: Share, room: Room, leave: () => void): Place {
  let state: 'opening' | 'open' | 'over' = 'opening'
  const answered = () => {
    if (state !== 'opening') return
    state = 'open'
    const [next] = share.waiting
    if (next === undefined) share.opening -= 1
    else next()
  }
  const release = () => {
    answered()
    if (state === 'over') return
    state = 'over'
    leave()
  }
  return { room, answered, release }
}

/** Whoever is answered hands its turn to the longest waiting. */
function turn({ waiting }: Share, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      waiting.delete(mine)
      signal.removeEventListener('abort', aborted)
    }
    const mine = () => {
      settle()
      resolve()
    }
    const aborted = () => {
      settle()
      reject(signal.reason)
    }
    waiting.add(mine)
    signal.addEventListener('abort', aborted)
  })
}
