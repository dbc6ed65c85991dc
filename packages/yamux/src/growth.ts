import type { Limits } from './options.ts'
import type { Pings } from './pings.ts'

const MIB = 1024 * 1024
/**
 * What all windows of this process may have grown by, those of one session, and those of one owner in all sessions: what readers that stop
 * then hold more. A window that has grown stays so while its stream is there, used or not: the owner's is half of a session's.
 */
const ROOM = { process: 64 * MIB, session: 16 * MIB, owner: 8 * MIB }
/** A path shorter than so many milliseconds carries more through a window of 1 MiB (250 MB/s) than a session does. */
const SHORT = 4
/** Half a window that is taken within so many round trips is one that the sender waits for; with one lost packet it takes two. */
const WAITED_FOR = 3

let grownHere = 0
const grownOf = new WeakMap<object, number>()

/**
 * Lets the windows of a session grow where the path is long: at 50 ms, 1 MiB is 20 MB/s at most, and half of that where packets are lost.
 * They grow only for readers that keep up. What is on its way behind them is the sender's to hold (`Flight`).
 */
export class Growth {
  readonly #pings: Pick<Pings, 'least'>
  readonly #most: number
  readonly #sound: () => void
  #sounded = false
  #grown = 0

  /** @param sound sends a ping */
  constructor({ maxWindow }: Pick<Limits, 'maxWindow'>, pings: Pick<Pings, 'least'>, sound: () => void) {
    this.#most = maxWindow
    this.#pings = pings
    this.#sound = sound
  }

  /** Much comes now: it is time to know how long the path is. */
  prepare(): void {
    if (this.#sounded) return
    this.#sounded = true
    this.#sound()
  }

  /**
   * @param owner whose stream it is, if anybody's
   * @returns bytes by which a window may grow, half of which was taken within so many milliseconds; they are to be given back
   */
  take(window: number, milliseconds: number, owner?: object): number {
    const { least } = this.#pings
    if (least < SHORT || least === Number.POSITIVE_INFINITY || milliseconds > WAITED_FOR * least) return 0
    const left = owner === undefined ? ROOM.session : ROOM.owner - (grownOf.get(owner) ?? 0)
    const more = Math.min(window, this.#most - window, left, ROOM.session - this.#grown, ROOM.process - grownHere)
    if (more <= 0) return 0
    this.#count(more, owner)
    return more
  }

  /** The stream is gone. @param owner as it was taken for */
  giveBack(bytes: number, owner?: object): void {
    this.#count(-bytes, owner)
  }

  #count(bytes: number, owner: object | undefined): void {
    this.#grown += bytes
    grownHere += bytes
    if (owner !== undefined) grownOf.set(owner, (grownOf.get(owner) ?? 0) + bytes)
  }
}
