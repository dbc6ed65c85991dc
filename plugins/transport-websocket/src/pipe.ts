import { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import { type RawData, WebSocket } from 'ws'

/** What both ends hold their peer to. Compression stays off: it costs more than it saves on ciphertext, and bombs decompress. */
export const BOUNDS = {
  perMessageDeflate: false,
  /** Bytes of one message. Ours are far smaller; a foreign client's may be larger, and wait in memory until they are whole. */
  maxPayload: 1024 * 1024,
  maxFragments: 1024,
  maxBufferedChunks: 4096,
  /** Answers to pings that wait to be sent: one more cuts the connection. */
  maxPendingAutoPongs: 60,
  /** The pipe has its own close timer, which does not run while our reader is slow. This one must not be first: 24 days. */
  closeTimeout: 2 ** 31 - 1,
} as const

/** A WebSocket that says when the other end's close frame arrived: ws tells only once the TCP connection is gone. */
export class ClosingSocket extends WebSocket {
  /** Called once the other end closed, or broke the protocol, with the code; 1005 where it gave none. */
  onPeerClose: ((code: number) => void) | undefined

  /** ws itself calls this when a close frame came, to answer it. We close by {@link begin}. */
  override close(code?: number, data?: string | Buffer): void {
    super.close(code, data)
    this.onPeerClose?.(code ?? 1005)
  }

  /** Starts the closing handshake from this end. */
  begin(code: number): void {
    super.close(code)
  }
}

export interface PipeOptions {
  /** What the WebSocket is on. */
  readonly connection: Duplex
  /** A foreign client's text messages are taken as bytes; in a session they are a violation (close code 1003). */
  readonly text: boolean
  /** Milliseconds the other end has to answer our close, counted only while our reader reads. */
  readonly closeWait: number
}

type Done = (error?: Error | null) => void

/** Bytes of one message: a chunk as Node reads it. Smaller ones cost more, larger ones gained nothing. */
const MESSAGE = 65_536
/** Bytes that may wait in the socket before a writer is told to wait. */
const HIGH_WATER = 256 * 1024
/** Pieces this small are sent in one message. */
const SMALL = 4096

const BINARY = { binary: true }

/**
 * The bytes of one WebSocket's messages, as a pipe that ends as a whole.
 *
 * Close code 1000 is a clean end, everything else is a cut (STREAM_CUT). `end()` finishes when the other end has answered
 * the close. After the other end's close nothing can be sent to it: what is still written is dropped without an error.
 */
export class WebSocketPipe extends Duplex {
  readonly #socket: ClosingSocket
  readonly #options: PipeOptions
  /** Messages handed to the socket and not yet written out. */
  #unsent = 0
  #writer: Done | undefined
  #ender: Done | undefined
  #peerEnded = false
  #closed = false
  /** What came last was for the WebSocket alone: whoever is in between may have sent it. */
  #isControl = false
  /** The connection is left to its closing handshake, though the pipe is gone. */
  #lingers = false
  #timer: NodeJS.Timeout | undefined

  constructor(socket: ClosingSocket, options: PipeOptions) {
    super({ readableHighWaterMark: 256 * 1024, writableHighWaterMark: 64 * 1024, decodeStrings: true })
    this.#socket = socket
    this.#options = options
    socket.onPeerClose = code => this.#peerClose(code)
    socket.on('message', (data, isBinary) => this.#message(data, isBinary))
    socket.on('error', error => this.#cut(`the other end broke the WebSocket protocol: ${error.message}`, error))
    socket.on('close', code => this.#close(code))
    socket.on('ping', this.#onControl).on('pong', this.#onControl)
    // A message is told when all of it is there, which on a slow line is long after its other end has begun. ws hears the bytes first.
    options.connection.on('data', this.#onBytes)
  }

  override _read(): void {
    if (this.#socket.isPaused) this.#socket.resume()
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
      if (size > 0 && size + chunk.length > MESSAGE) flush()
      if (chunk.length > SMALL) {
        flush()
        this.#send(chunk)
      } else {
        small.push(chunk)
        size += chunk.length
      }
    }
    flush()
    this.#wait(done)
  }

  override _final(done: Done): void {
    if (this.#closed) done()
    else {
      this.#ender = done
      if (this.#unsent === 0) this.#begin()
    }
  }

  override _destroy(error: Error | null, done: Done): void {
    if (!this.#closed && !this.#lingers) this.#socket.terminate()
    this.#writer = undefined
    this.#ender = undefined
    done(error)
  }

  #send(bytes: Buffer): void {
    for (let start = 0; start < bytes.length; start += MESSAGE) {
      if (this.#socket.readyState !== this.#socket.OPEN) return
      this.#unsent++
      const whole = start === 0 && bytes.length <= MESSAGE
      this.#socket.send(whole ? bytes : bytes.subarray(start, start + MESSAGE), BINARY, this.#sent)
    }
  }

  /** Also called with an error when the socket is gone; its 'close' says why. */
  readonly #sent = (): void => {
    this.#unsent--
    const writer = this.#writer
    if (writer && this.#socket.bufferedAmount < HIGH_WATER) {
      this.#writer = undefined
      writer()
    }
    if (this.#ender && this.#unsent === 0) this.#begin()
  }

  #wait(done: Done): void {
    if (this.#peerEnded || this.#unsent === 0 || this.#socket.bufferedAmount < HIGH_WATER) done()
    else this.#writer = done
  }

  readonly #onControl = (): void => {
    this.#isControl = true
  }

  readonly #onBytes = (): void => {
    if (!this.#isControl) this.emit('progress')
    this.#isControl = false
  }

  #message(data: RawData, isBinary: boolean): void {
    if (this.readableEnded || this.destroyed) return
    if (!isBinary && !this.#options.text) {
      this.#socket.begin(1003)
      this.#cut('the other end sent text where bytes were agreed')
      return
    }
    const bytes = data as Buffer
    if (bytes.length > 0 && !this.push(bytes)) this.#socket.pause()
  }

  #begin(): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.begin(1000)
    this.#arm()
  }

  #peerClose(code: number): void {
    this.#arm()
    if (code === 1000) this.#peerEnd()
    // Where ws closes because of a violation, its 'error' comes first and says more.
    else process.nextTick(() => this.#cut(`the other end closed the WebSocket with code ${code}`))
  }

  #peerEnd(): void {
    if (this.#peerEnded || this.destroyed) return
    this.#peerEnded = true
    this.push(null)
    const writer = this.#writer
    this.#writer = undefined
    writer?.()
  }

  #close(code: number): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#options.connection.off('data', this.#onBytes)
    if (code === 1000) this.#peerEnd()
    if (!this.#peerEnded) this.#cut('the connection was cut before its end')
    else this.#ender?.()
    this.#ender = undefined
  }

  #cut(message: string, cause?: Error): void {
    if (this.destroyed) return
    // A close frame that says why is on its way: the timer ends the connection, not destroy().
    if (!this.#closed && this.#socket.readyState === this.#socket.CLOSING) {
      this.#lingers = true
      this.#arm()
    }
    this.destroy(new PosternError('STREAM_CUT', message, cause && { cause }))
  }

  /** From now on the connection has so long to end by itself. */
  #arm(): void {
    if (this.#timer || this.#closed) return
    this.#timer = setTimeout(() => {
      // The answer may wait behind bytes that nobody here reads yet: that is not the other end's fault.
      if (this.#socket.isPaused && !this.destroyed) this.#timer?.refresh()
      else this.#socket.terminate()
    }, this.#options.closeWait)
  }
}
