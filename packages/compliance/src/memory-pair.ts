import { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'

export interface PairOptions {
  /** Bytes held for a reader that does not read, each way, before `write()` waits. */
  readonly highWaterMark?: number
  /** The most bytes delivered at once: 1 is the network at its most annoying. */
  readonly chunk?: number
  /** Milliseconds before each delivery. */
  readonly delay?: number
}

/**
 * Two ends of one byte stream in memory, as a TCP connection behaves: half-closing both ways, with backpressure, and with an
 * end that is told apart from a cut: destroying one end before it is done makes the other fail.
 */
export function memoryPair(options: PairOptions = {}): readonly [MemoryEnd, MemoryEnd] {
  const one = new MemoryEnd(options)
  const other = new MemoryEnd(options)
  MemoryEnd.join(one, other)
  return [one, other]
}

export class MemoryEnd extends Duplex {
  #peer!: MemoryEnd
  readonly #chunk: number
  readonly #delay: number
  #timer: NodeJS.Timeout | undefined
  #whenRead: (() => void) | undefined

  constructor({ highWaterMark = 64 * 1024, chunk = Number.MAX_SAFE_INTEGER, delay = 0 }: PairOptions) {
    super({ allowHalfOpen: true, highWaterMark })
    this.#chunk = chunk
    this.#delay = delay
  }

  static join(one: MemoryEnd, other: MemoryEnd): void {
    one.#peer = other
    other.#peer = one
  }

  /** The network between the two fails: both get an error. */
  kill(error: Error = new PosternError('SESSION_LOST', 'the connection between the two ends failed')): void {
    this.#peer.destroy(error)
    this.destroy(error)
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    // Copied, as a socket does: the writer may use its buffer again.
    this.#peer.#take(Buffer.from(bytes), callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (!this.#peer.destroyed) this.#peer.push(null)
    callback()
  }

  override _read(): void {
    const next = this.#whenRead
    this.#whenRead = undefined
    next?.()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.#timer)
    const done = this.readableEnded && this.writableFinished
    const peer = this.#peer
    if ((error || !done) && !peer.destroyed) {
      const cut = new PosternError('STREAM_CUT', 'the other end was destroyed', { cause: error ?? undefined })
      queueMicrotask(() => peer.destroy(cut))
    }
    callback(error)
  }

  #take(bytes: Buffer, done: () => void): void {
    if (this.destroyed) {
      done()
      return
    }
    const rest = bytes.subarray(this.#chunk)
    const more = this.push(bytes.subarray(0, this.#chunk))
    const next = rest.length > 0 ? () => this.#take(rest, done) : done
    if (!more) this.#whenRead = next
    else if (this.#delay > 0) this.#timer = setTimeout(next, this.#delay)
    else if (rest.length > 0) setImmediate(next)
    else next()
  }
}
