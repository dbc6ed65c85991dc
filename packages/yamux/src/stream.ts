import { Duplex } from 'node:stream'
import type { StreamLink } from './link.ts'

const OPTIONS = {
  allowHalfOpen: true,
  // One piece in Node's buffer: the rest waits in the link's queue, which is what the window bounds.
  readableHighWaterMark: 1,
  writableHighWaterMark: 64 * 1024,
}

/**
 * One stream: a Node `Duplex` with half-close.
 *
 * - 'end' comes only for the peer's FIN, after every byte. `end()` sends FIN after every byte; 'finish' says that it is handed to the pipe.
 * - A cut (the peer's RST, the session or its pipe gone) destroys the stream with a `YamuxError`; bytes not yet read are dropped. One case
 *   differs: FIN had come before the cut and nothing of ours waited to be sent. Then reading goes on to 'end', and the error follows (at once
 *   on a write).
 * - `destroy()` before both sides have finished sends RST; after, nothing. So a stream half closed by the peer and destroyed here is a cut for
 *   the peer. `session.destroy()` and `session.end()` cut open streams without exception, bytes unread are dropped.
 * - A stream whose both sides have finished owes nothing to its session: what it received can be read after the session is gone.
 * - An 'error' that nobody listens to is silent (a visitor must not be able to end the process); 'close' without 'end' is a cut.
 */
export class YamuxStream extends Duplex {
  /** Odd if the client opened it. */
  readonly id: number
  readonly #link: StreamLink

  /** @internal Streams come from `session.open()` and `onStream`. */
  constructor(link: StreamLink) {
    super(OPTIONS)
    this.id = link.id
    this.#link = link
    link.stream = this
    this.on('error', ignore)
  }

  /** Tells the peer that its stream is taken (ACK, and the full window). The first write, read or `end()` does it too. */
  accept(): void {
    this.#link.accept()
  }

  /**
   * Says whose the stream is. Owners take turns with what they send, and so do the streams of each: who has many gets no more of the
   * session than who has one. Streams that nobody owns are together one owner's. An owner's windows grow by 8 MiB together, in all sessions.
   */
  ownedBy(owner: object): void {
    this.#link.ownedBy(owner)
  }

  /** Cuts the stream: the peer gets RST, whatever has been finished on one side only. The same as `destroy(error)`. */
  reset(error?: Error): void {
    this.destroy(error)
  }

  /** As Node's: but notes what the reader took, so that the peer gets its window back. */
  override read(size?: number): unknown {
    const chunk: unknown = super.read(size)
    this.#link.taken()
    return chunk
  }

  /** @internal */
  override _read(): void {
    this.#link.want()
  }

  /** @internal */
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#link.write(chunk, done)
  }

  /** @internal */
  override _final(done: (error?: Error | null) => void): void {
    this.#link.finish(done)
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#link.destroy(error)
    done(error)
  }
}

function ignore(): void {}
