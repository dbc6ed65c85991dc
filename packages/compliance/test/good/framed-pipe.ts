import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'

const LENGTH = 4

/** A pipe over one socket: frames of a 4-byte length and that many bytes; an empty frame is the clean end. */
export class FramedPipe extends Duplex {
  protected readonly socket: Socket
  protected peerEnded = false
  #unread: Buffer

  constructor(socket: Socket, head: Buffer) {
    super({ allowHalfOpen: true })
    this.socket = socket
    this.#unread = head
    socket.on('data', chunk => this.arrive(chunk as Buffer))
    socket.on('error', error => this.lost(error))
    socket.on('end', () => this.lost())
    socket.on('close', () => this.lost())
    if (head.length > 0) setImmediate(() => this.arrive(Buffer.alloc(0)))
  }

  protected arrive(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk])
    while (this.#unread.length >= LENGTH && !this.peerEnded) {
      const end = LENGTH + this.#unread.readUInt32BE(0)
      if (this.#unread.length < end) return
      const payload = Buffer.from(this.#unread.subarray(LENGTH, end))
      this.#unread = this.#unread.subarray(end)
      if (payload.length > 0) this.deliver(payload)
      else this.ended()
    }
  }

  protected deliver(payload: Buffer): void {
    if (!this.push(payload)) this.socket.pause()
  }

  protected ended(): void {
    this.peerEnded = true
    this.push(null)
  }

  /** The socket is gone. After the peer's clean end that is no loss to the reader. */
  protected lost(cause?: Error): void {
    if (!this.peerEnded) this.destroy(new PosternError('STREAM_CUT', 'the connection was cut', { cause }))
  }

  override _read(): void {
    this.socket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    const length = Buffer.alloc(LENGTH)
    length.writeUInt32BE(chunk.length)
    this.send(Buffer.concat([length, chunk]), callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.send(Buffer.alloc(LENGTH), callback)
  }

  protected send(frame: Buffer, callback: (error?: Error | null) => void): void {
    if (this.socket.destroyed) callback()
    else this.socket.write(frame, () => callback())
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!error && this.peerEnded && this.writableFinished) this.socket.resume().end()
    else this.socket.destroy()
    callback(error)
  }
}
