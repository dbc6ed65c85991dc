import type { Duplex } from 'node:stream'
import { YamuxError } from './errors.ts'
import { ACK, FIN, INITIAL_WINDOW, MAX_UINT32, RST, SYN, WINDOW_UPDATE } from './frame.ts'
import type { Growth } from './growth.ts'
import type { Owner } from './line.ts'
import type { Limits } from './options.ts'
import { ReceiveQueue } from './receive-queue.ts'
import { type PipeWriter, Share, type Turn } from './writer.ts'

/** Who keeps the links of a session. */
export interface LinkOwner {
  /** The peer's stream is accepted. */
  accepted(link: StreamLink): void
  /** The stream has left the wire: frames for its id are late ones from here. Told once. */
  released(link: StreamLink): void
  /** The stream is destroyed on this side and the peer must be told: `send` does it. */
  resetting(link: StreamLink, error: Error | null, send: () => void): void
  /** The stream is destroyed: nothing of it is held any more. Told once, after `released`. */
  destroyed(link: StreamLink): void
}

type Done = (error?: Error | null) => void

/** The wire's side of one stream: windows, half-closes and order. `YamuxStream` is Node's side. */
export class StreamLink implements Turn {
  readonly id: number
  /** True if we opened it. */
  readonly ours: boolean
  /** The SYN (ours) or the ACK (the peer's stream) is sent. */
  announced = false
  /** The peer has accepted our stream. */
  acknowledged = false
  /** Set by the stream's constructor. */
  stream!: Duplex
  owner: Owner<Turn> | undefined
  #whose: object | undefined

  readonly #limits: Pick<Limits, 'window' | 'maxFrame'>
  readonly #writer: PipeWriter
  readonly #growth: Growth
  readonly #owner: LinkOwner
  readonly #queue: ReceiveQueue = new ReceiveQueue()
  #attached = true
  #wanted = false
  #endPushed = false
  #peerFinished = false
  #finished = false
  #receiveWindow = INITIAL_WINDOW
  /** What the window has grown by, and when half of it was given back last, in milliseconds. */
  #grown = 0
  #credited = 0
  /** Bytes that arrived and the peer has not been given back as window. */
  #uncredited = 0
  #sendWindow = INITIAL_WINDOW
  #pending: Buffer | undefined
  #pendingDone: Done | undefined
  #inLine = false
  readonly #share: Share = new Share()
  #cutError: Error | undefined

  constructor(
    id: number,
    ours: boolean,
    limits: Pick<Limits, 'window' | 'maxFrame'>,
    writer: PipeWriter,
    growth: Growth,
    owner: LinkOwner,
  ) {
    this.id = id
    this.ours = ours
    this.#limits = limits
    this.#writer = writer
    this.#growth = growth
    this.#owner = owner
  }

  // ── what the peer does ──

  get peerFinished(): boolean {
    return this.#peerFinished
  }

  /** A DATA header: takes its length from the window, false if the peer had no right to send that much. */
  charge(length: number): boolean {
    if (length > this.#receiveWindow) return false
    this.#receiveWindow -= length
    return true
  }

  receive(slice: Buffer): void {
    if (!this.#attached) return
    this.#uncredited += slice.length
    // Straight to a reader that takes it at once; anything that would have to be kept goes through the queue.
    if (
      this.#wanted &&
      this.#queue.bytes === 0 &&
      this.stream.readableFlowing === true &&
      this.stream.readableLength === 0
    ) {
      this.#wanted = this.stream.push(slice)
    } else {
      this.#queue.add(slice)
      if (this.#wanted) this.#feed()
    }
    this.#credit()
  }

  /** FIN. */
  receiveEnd(): void {
    if (!this.#attached) return
    this.#peerFinished = true
    this.#pushEnd()
    if (this.#finished) this.#release()
  }

  /** A window update; false if the window would pass 2³²−1. */
  grow(bytes: number): boolean {
    this.#sendWindow += bytes
    if (this.#sendWindow > MAX_UINT32) return false
    if (bytes > 0) this.#offer()
    return true
  }

  /**
   * The stream ends by force: RST, or the session is over. What cannot be told apart later is told here: if the peer's FIN had come before and
   * nothing of ours waits to be sent, the reader still gets the received bytes and their clean end, then the error; else the error now.
   * `atOnce` leaves that out.
   */
  cut(error: Error, atOnce = false): void {
    this.#release()
    const stream = this.stream
    const readable = this.#peerFinished && !stream.readableEnded && !stream.destroyed
    if (atOnce || !readable || stream.writableEnded || stream.writableLength > 0) {
      stream.destroy(error)
      return
    }
    this.#cutError = error
    stream.once('end', () => stream.destroy(error))
  }

  // ── what our side does ──

  /** Sends SYN, with the rest of the receive window. */
  open(): void {
    this.#announce(SYN)
  }

  /** Sends ACK, with the rest of the receive window, unless that has happened. */
  accept(): void {
    if (this.announced || !this.#attached) return
    this.#announce(ACK)
    this.#owner.accepted(this)
  }

  write(chunk: Buffer, done: Done): void {
    if (this.#cutError !== undefined || chunk.length === 0) {
      done(this.#cutError)
      return
    }
    this.accept()
    this.#pending = chunk
    this.#pendingDone = done
    this.#offer()
  }

  /** Called when every byte written is handed to the pipe: FIN goes right behind them. */
  finish(done: Done): void {
    if (this.#cutError !== undefined) {
      done(this.#cutError)
      return
    }
    this.accept()
    this.#finished = true
    this.#writer.control(WINDOW_UPDATE, FIN, this.id, 0)
    if (this.#peerFinished) this.#release()
    done()
  }

  /** Its turns are among those of whoever this is, and what its window grows by; what it has grown by already stays whose it was. */
  ownedBy(key: object): void {
    this.owner = this.#writer.ownerOf(key)
    if (this.#grown === 0) this.#whose = key
  }

  get waiting(): number {
    return this.#pending?.length ?? 0
  }

  takeTurn(): boolean {
    this.#inLine = false
    const pending = this.#pending
    if (pending === undefined || !this.#attached) return false
    const size = Math.min(pending.length, this.#sendWindow, this.#limits.maxFrame)
    this.#sendWindow -= size
    this.#share.sends(size)
    if (size < pending.length) {
      this.#writer.data(this.id, pending.subarray(0, size))
      this.#pending = pending.subarray(size)
      this.#inLine = this.#sendWindow > 0
      return this.#inLine
    }
    const done = this.#pendingDone!
    this.#pending = undefined
    this.#pendingDone = undefined
    this.#writer.data(this.id, pending)
    done()
    return false
  }

  /** Node asks for bytes. */
  want(): void {
    this.#wanted = true
    this.#feed()
  }

  /** The reader may have taken bytes. */
  taken(): void {
    this.#credit()
  }

  /** The stream is destroyed. Unless both sides had finished, the peer gets RST. */
  destroy(error: Error | null): void {
    if (this.#attached) {
      this.#owner.resetting(this, error, () => this.#writer.control(WINDOW_UPDATE, RST, this.id, 0))
      this.#release()
    }
    this.#queue.clear()
    const done = this.#pendingDone
    this.#pending = undefined
    this.#pendingDone = undefined
    if (done !== undefined) {
      process.nextTick(
        done,
        error ?? new YamuxError('STREAM_RESET', `Stream ${this.id} was destroyed before its bytes were sent`),
      )
    }
    if (this.#grown > 0) this.#growth.giveBack(this.#grown, this.#whose)
    this.#owner.destroyed(this)
  }

  #announce(flag: number): void {
    this.announced = true
    const more = this.#limits.window - INITIAL_WINDOW
    this.#receiveWindow += more
    this.#writer.control(WINDOW_UPDATE, flag, this.id, more)
  }

  #offer(): void {
    if (this.#inLine || this.#pending === undefined || this.#sendWindow === 0 || !this.#attached) return
    this.#inLine = true
    this.#writer.offer(this, this.#share)
  }

  /** One push at a time: Node asks again when it wants more, and small slices meet in the queue meanwhile. */
  #feed(): void {
    const buffer = this.#queue.take()
    if (buffer !== undefined) this.#wanted = this.stream.push(buffer)
    if (this.#peerFinished) this.#pushEnd()
  }

  #pushEnd(): void {
    if (this.#endPushed || this.#queue.bytes > 0) return
    this.#endPushed = true
    this.stream.push(null)
  }

  /** Gives back as window what the reader has taken, half a window at a time. */
  #credit(): void {
    if (!this.#attached) return
    const taken = this.#uncredited - this.#queue.bytes - this.stream.readableLength
    if (taken > 0) this.accept()
    const window = this.#limits.window + this.#grown
    if (taken * 8 < window) return
    this.#growth.prepare()
    if (taken * 2 < window || this.#peerFinished) return
    const now = performance.now()
    const more = this.#growth.take(window, now - this.#credited, this.#whose)
    this.#credited = now
    this.#grown += more
    this.#uncredited -= taken
    this.#receiveWindow += taken + more
    this.#writer.control(WINDOW_UPDATE, 0, this.id, taken + more)
  }

  #release(): void {
    if (!this.#attached) return
    this.#attached = false
    this.#owner.released(this)
  }
}
