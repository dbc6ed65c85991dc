import { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import { cut } from '@postern/pump'

/**
 * Follows the frames of a WebSocket (RFC 6455 §5.2) to know where one ends. Nothing is unmasked, inflated or kept.
 */
export class Frames {
  readonly #head: number[] = []
  #left = 0

  /** Whether the next byte begins a frame. */
  get isBetween(): boolean {
    return this.#left === 0 && this.#head.length === 0
  }

  take(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at)
        this.#left -= step
        at += step
        continue
      }
      this.#head.push(chunk[at] ?? 0)
      at += 1
      this.#read()
    }
  }

  #read(): void {
    const [, second] = this.#head
    if (second === undefined) return
    const short = second & 0x7f
    const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0
    const size = 2 + lengthBytes + (second & 0x80 ? 4 : 0)
    if (this.#head.length < size) return
    const told = this.#head.slice(2, 2 + lengthBytes)
    this.#left = lengthBytes === 0 ? short : told.reduce((sum, byte) => sum * 256 + byte, 0)
    this.#head.length = 0
  }
}

/** RFC 6455 §7.4.1: going away, and against the policy. */
const GOING_AWAY = 1001
const POLICY = 1008

/**
 * A visitor's WebSocket as bytes. Destroyed with an error of ours, it says why in a close frame, where a frame may begin, and is
 * cut where none may.
 */
export class WebSocketVisitor extends Duplex {
  readonly #visitor: Duplex
  readonly #lastWord: number
  readonly #frames = new Frames()

  /** @param lastWord milliseconds that the visitor has to take the close frame and go */
  constructor(visitor: Duplex, lastWord: number) {
    super({ allowHalfOpen: true })
    this.#visitor = visitor
    this.#lastWord = lastWord
    visitor.on('data', (chunk: Buffer) => {
      if (!this.destroyed && !this.push(chunk)) visitor.pause()
    })
    visitor.once('end', () => this.push(null))
    visitor.on('error', error => this.destroy(error))
    visitor.once('close', () => {
      if (!this.destroyed && !visitor.readableEnded) this.destroy(new Error('the connection was closed before its end'))
    })
    visitor.pause()
  }

  override _read(): void {
    this.#visitor.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#frames.take(chunk)
    if (this.#visitor.write(chunk)) done()
    else this.#visitor.once('drain', () => done())
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#visitor.end(() => done())
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const visitor = this.#visitor
    const code = PosternError.is(error) && this.#frames.isBetween && visitor.writable ? closeCode(error) : undefined
    if (code === undefined) {
      if (error === null) visitor.destroy()
      else cut(visitor, error)
      done(error)
      return
    }
    visitor.end(closeFrame(code, (error as PosternError).message))
    visitor.resume()
    const timer = setTimeout(() => visitor.destroy(), this.#lastWord)
    const gone = () => {
      clearTimeout(timer)
      done(error)
    }
    if (visitor.closed) gone()
    else visitor.once('close', gone)
  }
}

function closeCode({ code }: PosternError): number | undefined {
  if (code === 'ACCESS_ENDED') return POLICY
  return code === 'DRAINING' ? GOING_AWAY : undefined
}

/** A frame of at most 125 bytes, unmasked, as a server's is. */
function closeFrame(code: number, reason: string): Buffer {
  const text = Buffer.from(reason).subarray(0, 123)
  return Buffer.concat([Buffer.of(0x88, 2 + text.length, code >> 8, code & 0xff), text])
}
