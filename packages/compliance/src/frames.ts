import { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'

/**
 * The smallest session that can prove a pipe fit for one: streams that half-close, no flow control of their own. A frame is
 * type, stream id and length (1, 4 and 4 bytes), then the payload. Not Postern's session, and not fit to be anybody's.
 */
export class FrameSession {
  readonly #pipe: Duplex
  readonly #onStream: (stream: Duplex) => void
  readonly #streams = new Map<number, FrameStream>()
  #nextId = 1
  #unread: Buffer<ArrayBufferLike> = Buffer.alloc(0)

  constructor(pipe: Duplex, onStream: (stream: Duplex) => void = () => {}) {
    this.#pipe = pipe
    this.#onStream = onStream
    pipe.on('data', (chunk: Buffer) => this.#read(chunk))
    const lost = (): void => {
      for (const stream of this.#streams.values()) stream.destroy(new PosternError('SESSION_LOST', 'the pipe is gone'))
    }
    pipe.on('error', lost)
    pipe.on('close', lost)
  }

  /** Only one of the two sides may open. */
  open(): Duplex {
    return this.#add(this.#nextId++)
  }

  #add(id: number): FrameStream {
    const stream = new FrameStream((type, payload, sent) => {
      const header = Buffer.alloc(HEADER)
      header.writeUInt8(type)
      header.writeUInt32BE(id, 1)
      header.writeUInt32BE(payload.length, 5)
      this.#pipe.write(Buffer.concat([header, payload]), () => sent())
    })
    stream.on('error', () => {})
    stream.on('close', () => this.#streams.delete(id))
    this.#streams.set(id, stream)
    return stream
  }

  #read(chunk: Buffer): void {
    this.#unread = this.#unread.length > 0 ? Buffer.concat([this.#unread, chunk]) : chunk
    while (this.#unread.length >= HEADER) {
      const end = HEADER + this.#unread.readUInt32BE(5)
      if (this.#unread.length < end) return
      const [type, id] = [this.#unread.readUInt8(), this.#unread.readUInt32BE(1)]
      const payload = this.#unread.subarray(HEADER, end)
      this.#unread = this.#unread.subarray(end)
      const known = this.#streams.get(id)
      const stream = known ?? this.#add(id)
      if (!known) this.#onStream(stream)
      stream.push(type === FIN ? null : Buffer.from(payload))
    }
  }
}

const HEADER = 9
const DATA = 0
const FIN = 1

class FrameStream extends Duplex {
  readonly #send: (type: number, payload: Buffer, sent: () => void) => void

  constructor(send: (type: number, payload: Buffer, sent: () => void) => void) {
    super({ allowHalfOpen: true })
    this.#send = send
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    this.#send(DATA, chunk, callback)
  }

  override _final(callback: () => void): void {
    this.#send(FIN, Buffer.alloc(0), callback)
  }
}
