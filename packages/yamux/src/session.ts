import type { Duplex } from 'node:stream'
import { YamuxError } from './errors.ts'
import { GO_AWAY, PING, SYN } from './frame.ts'
import { Growth } from './growth.ts'
import { Inbound, type InboundHost } from './inbound.ts'
import { hooksOf, limitsOf, type YamuxOptions } from './options.ts'
import { FrameParser } from './parser.ts'
import { Pings } from './pings.ts'
import type { YamuxStream } from './stream.ts'
import { StreamTable } from './table.ts'
import { PipeWriter } from './writer.ts'

/** How a session ended. */
export interface YamuxClosed {
  /**
   * True only if the pipe came to its clean end ('end') between two frames, after a normal go-away from either side, with no stream open and
   * none cut by our own `end()`. A stream finished on both sides is not open, even if its last bytes are not read yet.
   */
  readonly clean: boolean
  /** Why it was not clean; absent when it was. */
  readonly error?: Error
}

/**
 * A yamux session over any pipe: many streams, each with its own window and half-close.
 * The session owns the pipe from here on (reads it, ends it, destroys it); the pipe must emit 'close' when it is destroyed, as Node's do.
 *
 * @example
 * const session = new YamuxSession(socket, { role: 'server', onStream: stream => stream.pipe(stream) })
 * const { clean, error } = await session.closed
 *
 * @see https://github.com/hashicorp/yamux/blob/master/spec.md
 */
export class YamuxSession {
  /** Settles, never rejects, when the session is over and its pipe closed. */
  readonly closed: Promise<YamuxClosed>

  readonly #pipe: Duplex
  readonly #onStream: ((stream: YamuxStream) => void) | undefined
  readonly #onGoAway: ((code: number) => void) | undefined
  readonly #parser: FrameParser
  readonly #pings: Pings = new Pings()
  readonly #writer: PipeWriter
  readonly #table: StreamTable
  #settle!: (outcome: YamuxClosed) => void
  #outcome: YamuxClosed | undefined
  #saidGoAway = false
  #heardGoAway = false
  #normalGoAway = false
  #ending = false
  #cutByEnd = false

  /** @throws YamuxError `OPTION` when an option is out of its range. */
  constructor(duplex: Duplex, options: YamuxOptions) {
    const limits = limitsOf(options)
    this.#pipe = duplex
    this.#onStream = options.onStream
    this.#onGoAway = options.onGoAway
    this.closed = new Promise(resolve => {
      this.#settle = resolve
    })
    this.#writer = new PipeWriter(duplex, limits, this.#onOverflow)
    const growth = new Growth(limits, this.#pings, () =>
      this.#pings.sound(id => this.#writer.control(PING, SYN, 0, id)),
    )
    this.#table = new StreamTable(options.role, limits, this.#writer, growth, hooksOf(options))
    this.#parser = new FrameParser(new Inbound(this.#table, this.#writer, this.#pings, limits, this.#host()))
    if (duplex.destroyed || duplex.readableEnded || !duplex.writable) process.nextTick(this.#onDeadPipe)
    duplex.on('data', this.#onData)
    duplex.on('end', this.#onPipeEnd)
    duplex.on('drain', this.#onDrain)
    duplex.on('error', this.#onPipeError)
    duplex.on('close', this.#onPipeClose)
    duplex.resume()
  }

  /** Streams not yet closed, of both directions: what `maxStreams` limits. */
  get streams(): number {
    return this.#table.held
  }

  /** The peer wants no new streams from us: `open()` throws. */
  get remoteGoneAway(): boolean {
    return this.#heardGoAway
  }

  /**
   * Opens a stream. It can be written at once; the peer may still refuse it, which looks like any reset.
   *
   * @throws YamuxError `SESSION_CLOSED` · `GONE_AWAY` · `TOO_MANY_STREAMS` · `TOO_MANY_UNACKNOWLEDGED` · `PIPE_FULL` · `IDS_EXHAUSTED`.
   */
  open(): YamuxStream {
    this.#assertOpen()
    if (this.#heardGoAway)
      throw new YamuxError('GONE_AWAY', 'The peer takes no new streams in this session; open a new one')
    return this.#table.open()
  }

  /** Asks the peer for a sign of life. Resolves to the round trip in ms; rejects with `signal.reason`, or a YamuxError when the session ends. */
  async ping(signal: AbortSignal): Promise<number> {
    this.#assertOpen()
    return await this.#pings.start(signal, id => this.#writer.control(PING, SYN, 0, id))
  }

  /**
   * Tells the peer to open no new streams; one it opens all the same is reset. Streams there are go on, and our own `open()` still works.
   * 0 normal, 1 protocol error, 2 internal error: a peer ends the session at once on 1 and 2 (Go and this one do).
   */
  goAway(code: 0 | 1 | 2 = 0): void {
    if (this.#outcome !== undefined) return
    this.#saidGoAway = true
    if (code === 0) this.#normalGoAway = true
    this.#writer.control(GO_AWAY, 0, 0, code)
  }

  /**
   * Ends the session in order: streams still open are cut (RST, at once), then go-away, then the end of the pipe behind all that was written.
   * Resolves when that is handed over, or the session is over. `closed` waits for the peer to end the pipe too: bound that time with
   * your own deadline and `destroy()`.
   */
  async end(): Promise<void> {
    if (this.#outcome === undefined && !this.#ending) {
      this.#ending = true
      this.#cutByEnd = this.#table.live > 0
      this.#table.resetAll(new YamuxError('SESSION_CLOSED', 'This side ended the session'))
      this.goAway(0)
      this.#pings.fail(new YamuxError('SESSION_CLOSED', 'This side ended the session'))
      this.#writer.flush()
      this.#writer.stop()
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#pipe.end(() => resolve())
    await Promise.race([promise, this.closed])
  }

  /** Cuts everything at once: every open stream, what is not yet written, the pipe. Streams get `error`, or a YamuxError `SESSION_CLOSED`. */
  destroy(error: Error = new YamuxError('SESSION_CLOSED', 'This side destroyed the session')): void {
    this.#conclude({ clean: false, error }, true)
    this.#pipe.destroy()
  }

  #assertOpen(): void {
    if (this.#outcome === undefined && !this.#ending) return
    throw new YamuxError('SESSION_CLOSED', 'The session is over; open a new one', { cause: this.#outcome?.error })
  }

  #host(): InboundHost {
    const session = this
    return {
      get accepting() {
        return !session.#saidGoAway
      },
      offerStream: stream => this.#offerStream(stream),
      peerGoesAway: code => this.#peerGoesAway(code),
      violation: message => this.#violation(message),
    }
  }

  #offerStream(stream: YamuxStream): void {
    if (this.#onStream === undefined) {
      stream.destroy()
      return
    }
    try {
      this.#onStream(stream)
    } catch (error) {
      stream.destroy(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #peerGoesAway(code: number): void {
    this.#heardGoAway = true
    if (code === 0) this.#normalGoAway = true
    this.#onGoAway?.(code)
    if (code === 0) return
    const reason = code === 1 ? 'a protocol error of ours' : code === 2 ? 'an internal error' : `unknown reason ${code}`
    this.#fail(new YamuxError('PEER_FAILED', `The peer ended the session for ${reason}`))
  }

  #violation(message: string): void {
    if (this.#outcome !== undefined) return
    this.#writer.control(GO_AWAY, 0, 0, 1)
    this.#writer.flush()
    this.#conclude({ clean: false, error: new YamuxError('PROTOCOL', `The peer broke the yamux protocol: ${message}`) })
    // One turn of the loop, so that a pipe that writes asynchronously may still carry the go-away. The streams are cut already.
    setImmediate(() => this.#pipe.destroy())
  }

  #fail(error: YamuxError): void {
    this.#conclude({ clean: false, error })
    this.#pipe.destroy()
  }

  /** The end of the session, once: nothing is read or written from here, every stream knows. The pipe is the caller's to end. */
  #conclude(outcome: YamuxClosed, atOnce = false): void {
    if (this.#outcome !== undefined) return
    this.#outcome = outcome
    this.#parser.stop()
    this.#writer.stop()
    this.#pipe.off('data', this.#onData)
    this.#pipe.off('end', this.#onPipeEnd)
    this.#pipe.off('drain', this.#onDrain)
    const error = outcome.error ?? new YamuxError('SESSION_CLOSED', 'The session ended')
    this.#table.cutAll(error, atOnce)
    this.#pings.fail(error)
  }

  readonly #onData = (chunk: Buffer): void => {
    let whole = false
    try {
      this.#parser.push(chunk)
      whole = true
    } finally {
      // A listener of the application threw: the rest of the chunk is lost, and what follows would be read out of step.
      if (!whole) this.destroy(new YamuxError('SESSION_CLOSED', 'A listener threw while data was delivered to it'))
    }
  }

  readonly #onDrain = (): void => {
    this.#writer.takeTurns()
  }

  readonly #onPipeEnd = (): void => {
    const why = this.#untidiness()
    if (why === undefined) {
      this.#conclude({ clean: true })
      this.#pipe.end(() => this.#pipe.destroy())
    } else this.#fail(new YamuxError(this.#cutByEnd ? 'SESSION_CLOSED' : 'PIPE_LOST', why))
  }

  /** What keeps the pipe's end from being the session's clean end. */
  #untidiness(): string | undefined {
    if (!this.#parser.atBoundary) return 'The pipe ended inside a frame'
    if (this.#table.live > 0) return `The pipe ended with ${this.#table.live} streams open`
    if (this.#cutByEnd) return 'This side ended the session with streams open'
    if (!this.#normalGoAway) return 'The pipe ended without a go-away'
    return undefined
  }

  readonly #onPipeError = (cause: Error): void => {
    this.#fail(new YamuxError('PIPE_LOST', `The pipe failed: ${cause.message}`, { cause }))
  }

  /** 'close' may have been emitted before anybody listened, or be about to be. */
  readonly #onDeadPipe = (): void => {
    if (this.#pipe.closed) this.#onPipeClose()
    else this.#fail(new YamuxError('PIPE_LOST', 'The pipe was closed before its end'))
  }

  // A socket may emit it while its destroy() runs, before it says of itself that it is closed: the event is what counts.
  readonly #onPipeClose = (): void => {
    this.#fail(new YamuxError('PIPE_LOST', 'The pipe was closed before its end'))
    this.#pipe.off('close', this.#onPipeClose)
    // Else an 'error' is still to come, which nobody but us may hear.
    if (this.#pipe.closed) this.#pipe.off('error', this.#onPipeError)
    this.#settle(this.#outcome!)
  }

  readonly #onOverflow = (): void => {
    this.#fail(new YamuxError('PEER_NOT_READING', 'The peer does not read what it asks for'))
  }
}
