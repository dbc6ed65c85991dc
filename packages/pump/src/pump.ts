import type { Duplex } from 'node:stream'
import { cut } from './cut.ts'
import { countIn, eachOf, type Room, roomOf } from './room.ts'
import { isEnough, type Reader, rest } from './turn.ts'

export interface PumpOptions {
  /**
   * Bytes that may wait in a stream's write queue before its source is paused, per direction. Default 1 MiB (measured), at least 1. Less
   * where many readers of the same visitor are behind: see `Budget`.
   */
  readonly highWater?: number
  /** Cuts both sides when it aborts. */
  readonly signal?: AbortSignal
}

/** How it went. Without `error` every byte of both directions was handed over and both ends were clean. */
export interface Pumped {
  /** Bytes read from `a` and written to `b`. After an error some of them may not have arrived. */
  readonly sent: number
  /** Bytes read from `b` and written to `a`. */
  readonly received: number
  /** What cut it: the first error of either side, a close before its end, or the signal's reason. */
  readonly error?: Error
  /** Whose error it was; absent when the signal's. */
  readonly failed?: 'a' | 'b'
}

const MIB = 1024 * 1024
/** How long one side that ended and closed waits for the other's end, as TCP does in FIN_WAIT_2 (Linux: 60 s). */
const LINGER_MS = 60_000
/** How long a destroyed stream may take to emit 'close' before the pump lets go of it. */
const CLOSE_MS = 5_000

/**
 * Joins two streams until both directions are done. An end is passed on as an end, alone; what fails, or closes before its end, makes the
 * other side fail (RST on TCP), never end. Both streams are closed when it resolves, and nothing listens to them any more.
 *
 * The streams must be binary, emit 'close', and keep half-closes: TCP and TLS sockets are made with `allowHalfOpen: true`, and TLS is put
 * on a socket of its own (`tls.connect({ socket })`), since only that can be reset.
 *
 * @returns counts, and what went wrong; it never rejects
 */
export function pump(a: Duplex, b: Duplex, options: PumpOptions = {}): Promise<Pumped> {
  return new Promise(resolve => new Joint(a, b, options, resolve).start())
}

/** Two flows that live and die together. */
class Joint {
  readonly #there: Flow
  readonly #back: Flow
  readonly #signal: AbortSignal | undefined
  readonly #resolve: (result: Pumped) => void
  #failed: Flow | undefined
  #error: Error | undefined
  #tearing = false
  #timer: NodeJS.Timeout | undefined

  constructor(a: Duplex, b: Duplex, { highWater = MIB, signal }: PumpOptions, resolve: (result: Pumped) => void) {
    this.#signal = signal
    this.#resolve = resolve
    const room = roomOf(a, b)
    this.#there = new Flow(a, b, highWater, room, this)
    this.#back = new Flow(b, a, highWater, room, this)
  }

  start(): void {
    this.#there.attach()
    this.#back.attach()
    this.#signal?.addEventListener('abort', this.#onAbort)
    if (this.#signal?.aborted) this.#onAbort()
  }

  /** A flow is done. */
  done(): void {
    if (this.#there.done && this.#back.done) this.#tear()
  }

  /** @param failed the flow whose source it was */
  fail(error: Error, failed?: Flow): void {
    if (this.#tearing) return
    this.#error = error
    this.#failed = failed
    this.#tear()
  }

  /** A flow's source has closed. */
  closed(out: Flow): void {
    if (this.#tearing) {
      if (this.#there.closed && this.#back.closed) this.#finish()
      return
    }
    const into = out === this.#there ? this.#back : this.#there
    if (out.from.errored) this.fail(out.from.errored, out)
    else if (!out.ended || into.lost)
      this.fail(failure('ERR_STREAM_PREMATURE_CLOSE', 'the connection was closed before its end'), out)
    else if (!into.done) {
      // Closed after its end, like close() on TCP: nothing is lost unless the other side still sends.
      clearTimeout(this.#timer)
      this.#timer = setTimeout(this.#onLinger, LINGER_MS)
      into.refuse()
    }
  }

  readonly #onLinger = (): void => {
    this.fail(failure('ETIMEDOUT', `one side has gone, the other did not end within ${LINGER_MS} ms`))
  }

  readonly #onAbort = (): void => {
    const reason: unknown = this.#signal?.reason
    this.fail(reason instanceof Error ? reason : new Error('aborted', { cause: reason }))
  }

  #tear(): void {
    this.#tearing = true
    this.#signal?.removeEventListener('abort', this.#onAbort)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(this.#finish, CLOSE_MS)
    for (const { from } of [this.#there, this.#back]) {
      if (this.#error === undefined) from.destroy()
      else cut(from, this.#error)
    }
    if (this.#there.closed && this.#back.closed) this.#finish()
  }

  readonly #finish = (): void => {
    clearTimeout(this.#timer)
    this.#there.detach()
    this.#back.detach()
    const counts = { sent: this.#there.bytes, received: this.#back.bytes }
    const side = this.#failed === this.#there ? ('a' as const) : this.#failed && ('b' as const)
    const failure = this.#error && { error: this.#error, ...(side && { failed: side }) }
    this.#resolve({ ...counts, ...failure })
  }
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

/** One direction. */
class Flow implements Reader {
  readonly from: Duplex
  readonly #to: Duplex
  readonly #highWater: number
  readonly #room: Room
  readonly #joint: Joint
  next: Reader | undefined
  bytes = 0
  /** `from` came to its clean end, and `to` was told. */
  ended = false
  /** That end, and every byte before it, is handed over by `to`. */
  done = false
  /** `from` has emitted 'close'. */
  closed = false
  /** `to` has not taken everything, and counts among the readers that are behind; with `choked` nothing more is read for it. */
  #behind = false
  #choked = false
  #resting = false
  #refusing = false

  constructor(from: Duplex, to: Duplex, highWater: number, room: Room, joint: Joint) {
    this.from = from
    this.#to = to
    this.#highWater = highWater
    this.#room = room
    this.#joint = joint
  }

  attach(): void {
    this.from.on('error', this.#onError)
    this.from.on('close', this.#onClose)
    this.from.on('data', this.#onData)
    this.from.on('end', this.#onEnd)
    // One listener for the flow's whole life: a drain that comes late finds nobody behind and does nothing.
    this.#to.on('drain', this.#onDrain)
    this.#to.on('finish', this.#onFinish)
    if (this.from.readableEnded) this.#onEnd()
    else if (!this.from.destroyed) this.from.resume()
    // Its 'close' may have been emitted already, or be about to: by then it, and an 'error' before it, has.
    if (this.from.closed) setImmediate(this.#onClose)
  }

  detach(): void {
    this.from.off('data', this.#onData)
    this.from.off('end', this.#onEnd)
    this.#to.off('drain', this.#onDrain)
    this.#to.off('finish', this.#onFinish)
    this.from.off('close', this.#onClose)
    if (this.closed) this.from.off('error', this.#onError)
    this.#catchUp()
  }

  /** Bytes were taken that `to` can no longer send. */
  get lost(): boolean {
    return this.#to.destroyed && this.#to.writableLength > 0
  }

  /** `to` takes nothing any more: an end is fine, a byte is not. */
  refuse(): void {
    this.#refusing = true
    if (this.ended) this.#finish()
    else this.from.resume()
  }

  readonly #onError = (error: Error): void => {
    this.#joint.fail(error, this)
  }

  readonly #onClose = (): void => {
    if (this.closed) return
    this.closed = true
    this.#joint.closed(this)
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#refusing) {
      this.#joint.fail(failure('EPIPE', 'one side still sent after the other had gone'))
      return
    }
    this.bytes += chunk.length
    // 'drain' comes only after a write that said false, so that is asked first.
    if (!this.#to.write(chunk)) this.#falls()
    if (isEnough(chunk.length, this, this.#room[0])) this.#rest()
    else if (this.#choked) this.from.pause()
  }

  /** The reader is behind: as far as it may be where it is choked. */
  #falls(): void {
    if (!this.#behind) countIn(this.#room, 1)
    this.#behind = true
    this.#choked = this.#to.writableLength > Math.min(this.#highWater, eachOf(this.#room))
  }

  /** Others are read from first. */
  #rest(): void {
    this.from.pause()
    if (this.#resting) return
    this.#resting = true
    rest(this, this.#room[0])
  }

  goOn(): void {
    this.#resting = false
    if (!this.#choked && !this.from.destroyed) this.from.resume()
  }

  readonly #onDrain = (): void => {
    const wasChoked = this.#choked
    this.#catchUp()
    if (wasChoked && !this.#resting) this.from.resume()
  }

  #catchUp(): void {
    if (this.#behind) countIn(this.#room, -1)
    this.#behind = this.#choked = false
  }

  readonly #onEnd = (): void => {
    if (this.ended) return
    this.ended = true
    if (this.#refusing || this.#to.writableFinished) this.#finish()
    else this.#to.end()
  }

  readonly #onFinish = (): void => {
    if (this.ended) this.#finish()
  }

  #finish(): void {
    if (this.done) return
    this.done = true
    this.#joint.done()
  }
}
