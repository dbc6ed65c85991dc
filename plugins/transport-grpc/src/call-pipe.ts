import type { ClientHttp2Stream, ServerHttp2Stream } from 'node:http2'
import { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import { headOf, MessageReader, type Violation } from './messages.ts'

type Done = (error?: Error | null) => void

/** Bytes of one message: a chunk as Node reads it. */
const MESSAGE = 65_536
/** Bytes that may wait in the stream before a writer is told to wait. */
const HIGH_WATER = 256 * 1024
/** Pieces this small are copied behind their head; larger ones are sent as they are. */
const SMALL = 4096
/** Milliseconds the other end has to answer our end, counted only while our reader reads. */
export const CLOSE_WAIT = 5000

/**
 * The bytes of one call's messages, as a pipe that ends as a whole: either end's clean end is answered at once, and what is written
 * after it is dropped without an error. Everything else is a cut (STREAM_CUT). `end()` finishes when the other end has answered.
 *
 * A stream of HTTP/2 says too little about its end: a cancelled one may look ended first, and one that was ended may still be reset.
 * So nothing is taken for a clean end but the word of gRPC for it: status OK from the edge, a last message from the client.
 */
export abstract class CallPipe<S extends ClientHttp2Stream | ServerHttp2Stream> extends Duplex {
  protected readonly stream: S
  protected readonly messages: MessageReader
  protected cause: Error | undefined
  /** Bytes handed to the stream and not yet written out. */
  #unsent = 0
  #writer: Done | undefined
  #ender: Done | undefined
  #ended = false
  #peerEnded = false
  #closed = false
  #timer: NodeJS.Timeout | undefined

  constructor(stream: S) {
    super({ readableHighWaterMark: 256 * 1024, writableHighWaterMark: 64 * 1024, decodeStrings: true })
    this.stream = stream
    this.messages = new MessageReader(bytes => {
      if (!this.push(bytes)) stream.pause()
    })
    stream.on('data', (chunk: Buffer) => this.#read(chunk))
    stream.on('error', (error: Error) => {
      this.cause ??= error
    })
    stream.on('end', () => {
      if (this.isOver()) this.peerEnd()
      else if (!this.#ended) this.#lose()
    })
    stream.on('close', () => this.#close())
  }

  /** Says the clean end behind everything that was written. */
  protected abstract finish(): void
  /** Whether a stream that is over ended cleanly. */
  protected abstract isOver(): boolean
  /** Ends the call otherwise, at once. */
  protected abstract cutOff(violation: Violation | undefined): void
  /** Our clean end was not answered in time. */
  protected abstract giveUp(): void
  protected abstract why(): string

  override _read(): void {
    this.stream.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#send(chunk)
    this.#wait(done)
  }

  override _writev(chunks: { readonly chunk: Buffer }[], done: Done): void {
    let small: Buffer[] = []
    let size = 0
    const flush = (): void => {
      if (size > 0) this.#send(small.length === 1 ? small[0]! : Buffer.concat(small, size))
      small = []
      size = 0
    }
    for (const { chunk } of chunks) {
      if (chunk.length > SMALL || size + chunk.length > MESSAGE) flush()
      if (chunk.length > SMALL) {
        this.#send(chunk)
        continue
      }
      small.push(chunk)
      size += chunk.length
    }
    flush()
    this.#wait(done)
  }

  override _final(done: Done): void {
    if (this.#peerEnded || this.#closed) done()
    else {
      this.#ender = done
      this.#finish()
    }
  }

  override _destroy(error: Error | null, done: Done): void {
    // After both ends, the last words are still being written; the timer sees to it that they do not take for ever.
    if (!this.#closed && !(this.#ended && this.#peerEnded)) this.cutOff(undefined)
    this.#writer = undefined
    this.#ender = undefined
    done(error)
  }

  /** The other end has no more to say. */
  protected peerEnd(): void {
    if (this.#peerEnded || this.destroyed) return
    this.#peerEnded = true
    this.push(null)
    this.#release()
    this.#finish()
    this.#ender?.()
    this.#ender = undefined
  }

  #read(chunk: Buffer): void {
    if (this.#peerEnded || this.destroyed) return
    try {
      this.messages.read(chunk)
    } catch (error) {
      this.#violated(error as Violation)
    }
  }

  #violated(violation: Violation): void {
    this.#ended = this.#peerEnded = true
    this.#arm()
    this.cutOff(violation)
    this.destroy(
      new PosternError('STREAM_CUT', `the other end broke the protocol: ${violation.message}`, { cause: violation }),
    )
  }

  #send(bytes: Buffer): void {
    for (let start = 0; start < bytes.length; start += MESSAGE) {
      if (this.#ended || !this.stream.writable) return
      const piece = start === 0 && bytes.length <= MESSAGE ? bytes : bytes.subarray(start, start + MESSAGE)
      this.#unsent += piece.length
      const sent = () => this.#sent(piece.length)
      const head = headOf(piece.length)
      if (piece.length <= SMALL) this.stream.write(Buffer.concat([head, piece]), sent)
      else {
        this.stream.cork()
        this.stream.write(head)
        this.stream.write(piece, sent)
        this.stream.uncork()
      }
    }
  }

  #sent(length: number): void {
    this.#unsent -= length
    if (this.#unsent < HIGH_WATER) this.#release()
  }

  #wait(done: Done): void {
    if (this.#ended || this.#closed || this.#unsent < HIGH_WATER) done()
    else this.#writer = done
  }

  #release(): void {
    const writer = this.#writer
    this.#writer = undefined
    writer?.()
  }

  #finish(): void {
    if (this.#ended || this.#closed) return
    this.#ended = true
    this.#arm()
    this.finish()
  }

  #close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    if (this.isOver()) this.peerEnd()
    if (!this.#peerEnded) this.destroy(new PosternError('STREAM_CUT', this.why(), this.cause && { cause: this.cause }))
    this.#release()
    this.#ender?.()
    this.#ender = undefined
  }

  #lose(): void {
    this.destroy(new PosternError('STREAM_CUT', this.why(), this.cause && { cause: this.cause }))
  }

  /** From now on the call has so long to end by itself. */
  #arm(): void {
    if (this.#timer || this.#closed) return
    this.#timer = setTimeout(() => {
      // The answer may wait behind bytes that nobody here reads yet: that is not the other end’s fault.
      if (this.stream.isPaused() && !this.destroyed) this.#timer?.refresh()
      else this.giveUp()
    }, CLOSE_WAIT)
  }
}
