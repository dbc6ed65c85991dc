import type { Duplex } from 'node:stream'
import { Flight } from './flight.ts'
import { DATA, encodeHeader, HEADER_BYTES, PING, SYN } from './frame.ts'
import { Owner, Turns } from './line.ts'
import type { Limits } from './options.ts'

/**
 * Bytes of payload that are worth a write of their own. Smaller frames wait until what this turn of the loop read is answered: fewer
 * writes for short streams, and no later, because the loop writes before it waits.
 */
const LARGE = 4096

/**
 * Bytes that one stream may send ahead of those that send much, out of every {@link ROUND} that all of them send: a message, an answer,
 * a key that was pressed. One 64 KiB frame of every other stream before each of them was measured as hundreds of milliseconds with
 * 256 streams that download.
 */
const AHEAD = 16 * 1024
const ROUND = 1024 * 1024
/** Bytes that go ahead in a row before one frame of those that wait goes: neither starves the other. */
const IN_A_ROW = 256 * 1024
/** Milliseconds between looks at whether the peer answers at all, while data waits for that. */
const LOOK_EVERY = 10_000

/** Something with data to send: it waits in line while the pipe is full. */
export interface Turn {
  /** Bytes that wait. */
  readonly waiting: number
  /** Whose it is; nobody's together are one owner's. */
  readonly owner: Owner<Turn> | undefined
  /** Hands at most one frame to the writer. True: it has more that could go now, and joins the end of the line. */
  takeTurn(): boolean
}

/**
 * What goes into the pipe. Data is held back while the pipe has `maxWriteQueue` bytes or more queued; control frames never are, so that
 * order within a stream is the order of calls, but a peer that does not read is given up at `maxControlQueue`.
 */
export class PipeWriter {
  readonly #pipe: Duplex
  readonly #limits: Limits
  readonly #onOverflow: () => void
  /** Streams that send little, and all others. */
  readonly #ahead: Turns<Turn> = new Turns()
  readonly #behind: Turns<Turn> = new Turns()
  readonly #nobody: Owner<Turn> = new Owner()
  readonly #owners: WeakMap<object, Owner<Turn>> = new WeakMap()
  /** What the others have on their way. */
  readonly #flight: Flight = new Flight(id => this.control(PING, SYN, 0, id))
  #look: NodeJS.Timeout | undefined
  /** Bytes of data handed over so far, and of those that went ahead since one of the others went. */
  #carried = 0
  #inARow = 0
  #turning = false
  #corked = false
  /** What is corked goes at the end of this tick. */
  #soon = false
  #stopped = false
  /** Bytes of control frames that the pipe has not carried yet. */
  #owed = 0

  constructor(pipe: Duplex, limits: Limits, onOverflow: () => void) {
    this.#pipe = pipe
    this.#limits = limits
    this.#onOverflow = onOverflow
  }

  /** Half of the room for control frames is in use: no new streams of ours until it is not. */
  get crowded(): boolean {
    return this.#owed > this.#limits.maxControlQueue / 2
  }

  control(type: number, flags: number, id: number, length: number): void {
    if (this.#stopped) return
    this.#cork(false)
    this.#owed += HEADER_BYTES
    this.#pipe.write(encodeHeader(type, flags, id, length), this.#onControlCarried)
    if (this.#owed > this.#limits.maxControlQueue) this.#onOverflow()
  }

  data(id: number, payload: Buffer): void {
    if (this.#stopped) return
    this.#carried += payload.length
    this.#cork(payload.length >= LARGE)
    this.#pipe.write(encodeHeader(DATA, 0, id, payload.length))
    this.#pipe.write(payload)
  }

  /** Puts a turn at the end of its line, and takes turns if nothing holds them back. @param share what it has sent of late */
  offer(turn: Turn, share: Share): void {
    if (share.isLight(this.#carried, turn.waiting)) {
      this.#ahead.push(turn, (turn.owner ?? this.#nobody).ahead)
      if (!share.wasHeavy && this.#flight.isBusy) this.#flight.share()
    } else this.#waits(turn)
    this.takeTurns()
  }

  /** What waits of whoever this is, in this session. */
  ownerOf(key: object): Owner<Turn> {
    const known = this.#owners.get(key)
    if (known !== undefined) return known
    const owner = new Owner<Turn>()
    this.#owners.set(key, owner)
    return owner
  }

  #waits(turn: Turn): void {
    this.#behind.push(turn, (turn.owner ?? this.#nobody).behind)
  }

  /** The peer has answered a mark. */
  marked(id: number): void {
    this.#flight.answered(id)
    this.takeTurns()
  }

  /**
   * Takes turns until the pipe is full, or nobody is in line who may go. Every call looks at the pipe as it is now, so a late or repeated
   * 'drain' does no harm.
   */
  takeTurns(): void {
    if (this.#turning) return
    this.#turning = true
    try {
      while (!this.#full && !this.#stopped) if (!this.#goAhead() && !this.#goBehind()) return
    } finally {
      this.#turning = false
    }
  }

  #goAhead(): boolean {
    const isTheirTurn = this.#inARow >= IN_A_ROW && !this.#behind.isEmpty && !this.#flight.isFull
    const turn = isTheirTurn ? undefined : this.#ahead.take()
    if (turn === undefined) return false
    this.#inARow += turn.waiting
    if (turn.takeTurn()) this.#waits(turn)
    return true
  }

  #goBehind(): boolean {
    this.#inARow = 0
    if (this.#behind.isEmpty) return false
    if (this.#flight.isFull) {
      this.#look ??= setTimeout(lookAtWriter, LOOK_EVERY, this).unref()
      return false
    }
    const turn = this.#behind.take()!
    const before = this.#carried
    const more = turn.takeTurn()
    this.#flight.sends(this.#carried - before)
    if (more) this.#waits(turn)
    return true
  }

  /** A peer that answers no marks is served all the same. */
  look(): void {
    this.#look = undefined
    this.#flight.giveUp()
    this.takeTurns()
  }

  /** Hands everything to the pipe now. Otherwise frames of one turn of the loop go together, and a large one goes with its tick. */
  flush(): void {
    if (!this.#corked) return
    this.#corked = this.#soon = false
    this.#pipe.uncork()
  }

  /** Nothing is written from here on. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#look)
    this.#ahead.clear()
    this.#behind.clear()
  }

  // 'drain' is sure to come only if the pipe said it needs one: its own high-water mark may be above ours.
  get #full(): boolean {
    return this.#pipe.writableNeedDrain && this.#pipe.writableLength >= this.#limits.maxWriteQueue
  }

  readonly #onControlCarried = (): void => {
    this.#owed -= HEADER_BYTES
  }

  // A flush that comes late, for what has gone already, finds nothing corked or hands over early: neither does harm.
  #cork(large: boolean): void {
    if (!this.#corked) {
      this.#corked = true
      this.#pipe.cork()
      if (!large) setImmediate(flushWriter, this)
    }
    if (!large || this.#soon) return
    this.#soon = true
    process.nextTick(flushWriter, this)
  }
}

function flushWriter(writer: PipeWriter): void {
  writer.flush()
}

function lookAtWriter(writer: PipeWriter): void {
  writer.look()
}

/** What one stream has sent of late. */
export class Share {
  #since = 0
  #sent = 0
  #wasHeavy = false

  /** It has sent much in this round or the one before. */
  get wasHeavy(): boolean {
    return this.#wasHeavy || this.#sent > AHEAD
  }

  sends(bytes: number): void {
    this.#sent += bytes
  }

  /** @param carried by all streams so far @param more bytes that wait */
  isLight(carried: number, more: number): boolean {
    if (carried - this.#since > ROUND) {
      this.#wasHeavy = this.#sent > AHEAD
      this.#since = carried
      this.#sent = 0
    }
    return this.#sent + more <= AHEAD
  }
}
