import { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'

/** What may wait for its reader here, beside what the stream itself holds. */
const HIGH_WATER = 16 * 1024

/**
 * A stream that can be handed out before it is open, as far a `net.Socket` as clients of databases want one: it connects, says so, and ends
 * half by half. Whatever is set of TCP is the session's business, and taken without effect.
 */
export class ClientSocket extends Duplex {
  readonly #open: (signal: AbortSignal) => Promise<Duplex>
  readonly #gone = new AbortController()
  #opening: Promise<Duplex> | undefined
  #stream: Duplex | undefined

  /** @param open rejects with the signal's reason once nobody wants it any more */
  constructor(open: (signal: AbortSignal) => Promise<Duplex>) {
    super({ allowHalfOpen: true, highWaterMark: HIGH_WATER })
    this.#open = open
  }

  /** Whether it is still on its way. */
  get connecting(): boolean {
    return this.#opening !== undefined && this.#stream === undefined && !this.destroyed
  }

  /** Opens it. Where to is known: host and port are not looked at. */
  connect(...args: readonly unknown[]): this {
    const told = args.at(-1)
    if (typeof told === 'function') this.once('connect', () => told())
    // Whoever calls it twice is told twice.
    if (this.#stream) process.nextTick(() => this.emit('connect'))
    else this.#start()
    return this
  }

  /** Without effect: Postern never waits to fill a packet. */
  setNoDelay(): this {
    return this
  }

  /** Without effect: the session asks whether the other end is alive. */
  setKeepAlive(): this {
    return this
  }

  /** Without effect: a stream may be idle for as long as access lasts. */
  setTimeout(): this {
    return this
  }

  /** Without effect: a session keeps the process alive until its client is closed. */
  ref(): this {
    return this
  }

  /** Without effect, as `ref`. */
  unref(): this {
    return this
  }

  override _read(): void {
    if (this.#stream) this.#stream.resume()
    else this.#start()
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#stream) return void this.#stream.write(chunk, encoding, done)
    this.#started().then(
      stream => stream.write(chunk, encoding, done),
      // It is destroyed with that error, which says more than a failed write.
      () => done(),
    )
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#started().then(
      stream => stream.end(done),
      () => done(),
    )
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#gone.abort(error ?? new PosternError('STREAM_CUT', 'the socket was destroyed', { speaker: 'client' }))
    this.#stream?.destroy(error ?? undefined)
    done(error)
  }

  #start(): void {
    this.#started().catch(() => {}) // told as its error
  }

  #started(): Promise<Duplex> {
    this.#opening ??= this.#begin()
    return this.#opening
  }

  async #begin(): Promise<Duplex> {
    try {
      const stream = await this.#open(this.#gone.signal)
      this.#join(stream)
      if (this.#gone.signal.aborted) throw this.#gone.signal.reason
      this.#stream = stream
      this.emit('connect')
      return stream
    } catch (error) {
      this.destroy(PosternError.from(error))
      throw error
    }
  }

  #join(stream: Duplex): void {
    stream.on('error', error => this.destroy(error))
    if (this.#gone.signal.aborted) return void stream.destroy()
    stream
      .on('data', chunk => {
        if (!this.push(chunk)) stream.pause()
      })
      .on('end', () => this.push(null))
      .on('close', () => {
        // A cut without an error: of ours, whose reason was told already.
        if (!stream.readableEnded) this.destroy()
      })
  }
}
