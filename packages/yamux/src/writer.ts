import type { Duplex } from 'node:stream'
import { DATA, encodeHeader, HEADER_BYTES } from './frame.ts'
import type { Limits } from './options.ts'

/**
 * Bytes of payload that are worth a write of their own. Smaller frames wait until what this turn of the loop read is answered: fewer
 * writes for short streams, and no later, because the loop writes before it waits.
 */
const LARGE = 4096

/** Something with data to send: it waits in line while the pipe is full. */
export interface Turn {
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
  #line: Turn[] = []
  #head = 0
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
    this.#cork(payload.length >= LARGE)
    this.#pipe.write(encodeHeader(DATA, 0, id, payload.length))
    this.#pipe.write(payload)
  }

  /** Puts a turn at the end of the line, and takes turns if nothing holds them back. */
  offer(turn: Turn): void {
    this.#line.push(turn)
    this.takeTurns()
  }

  /**
   * Takes turns until the pipe is full or the line is empty. Every call looks at the pipe as it is now, so a late or repeated 'drain' does
   * no harm.
   */
  takeTurns(): void {
    if (this.#turning) return
    this.#turning = true
    try {
      while (this.#head < this.#line.length && !this.#full && !this.#stopped) {
        const turn = this.#line[this.#head]!
        this.#head += 1
        this.#compact()
        if (turn.takeTurn()) this.#line.push(turn)
      }
    } finally {
      this.#turning = false
    }
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
    this.#line = []
    this.#head = 0
  }

  // 'drain' is sure to come only if the pipe said it needs one: its own high-water mark may be above ours.
  get #full(): boolean {
    return this.#pipe.writableNeedDrain && this.#pipe.writableLength >= this.#limits.maxWriteQueue
  }

  #compact(): void {
    if (this.#head === this.#line.length) {
      this.#line.length = 0
      this.#head = 0
    } else if (this.#head >= 1024) {
      this.#line = this.#line.slice(this.#head)
      this.#head = 0
    }
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
