import { Duplex } from 'node:stream'

type Done = (error?: Error | null) => void

/**
 * What TLS reads and writes instead of the pipe itself. Node reads the end of what is below it as the end of what is inside, though no
 * close_notify came, and whoever is between could end a session so. This never ends: it tells its owner that the pipe did, once TLS
 * has every byte.
 */
export class Below extends Duplex {
  readonly #pipe: Duplex
  readonly #onEnd: () => void
  #ended = false

  constructor(pipe: Duplex, onEnd: () => void) {
    // TLS takes it over: who reads the other's end ends as well.
    super({ allowHalfOpen: false, readableHighWaterMark: 64 * 1024, writableHighWaterMark: 64 * 1024 })
    this.#pipe = pipe
    this.#onEnd = onEnd
    pipe.on('data', this.#onData)
    pipe.on('end', this.#onPipeEnd)
    pipe.pause()
  }

  /** Tells TLS that nothing comes any more: for who ended it already. */
  finish(): void {
    this.push(null)
  }

  override _read(): void {
    if (this.#ended) this.#onPipeEnd()
    else this.#pipe.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#wait(this.#pipe.write(chunk), done)
  }

  override _writev(chunks: { readonly chunk: Buffer }[], done: Done): void {
    let more = true
    this.#pipe.cork()
    for (const { chunk } of chunks) more = this.#pipe.write(chunk)
    this.#pipe.uncork()
    this.#wait(more, done)
  }

  override _final(done: Done): void {
    this.#pipe.end()
    done()
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#pipe.off('data', this.#onData).off('end', this.#onPipeEnd)
    done(error)
  }

  /** A pipe that is destroyed meanwhile drains no more: its owner then destroys this. */
  #wait(more: boolean, done: Done): void {
    if (more) done()
    else this.#pipe.once('drain', () => done())
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!this.push(chunk)) this.#pipe.pause()
  }

  /** Bytes that TLS has not asked for yet go first. */
  readonly #onPipeEnd = (): void => {
    this.#ended = true
    if (this.readableLength === 0) this.#onEnd()
  }
}
