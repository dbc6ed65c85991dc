// What both sides agree on: the name of the HTTP upgrade, and frames. A frame is a length of four bytes and that many bytes; an
// empty one is the clean end. So an end that was said can always be told from a connection that was cut.
import { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'

export const UPGRADE = 'my-plugin'

const HEAD = 4
/** Bytes of the largest frame. What is written is cut to size; what claims to be larger is no frame of ours. */
const LARGEST = 65_536

export class Pipe extends Duplex {
  #socket
  #unread
  #peerEnded = false

  /** @param {import('node:stream').Duplex} socket @param {Buffer} head what was read from it already */
  constructor(socket, head) {
    super({ allowHalfOpen: true })
    this.#socket = socket
    this.#unread = head
    socket.on('data', chunk => this.#arrive(chunk))
    socket.on('error', error => this.#lose(error))
    socket.on('end', () => this.#lose())
    socket.on('close', () => this.#lose())
    if (head.length > 0) setImmediate(() => this.#arrive(Buffer.alloc(0)))
  }

  /** @param {Buffer} chunk */
  #arrive(chunk) {
    this.#unread = this.#unread.length > 0 ? Buffer.concat([this.#unread, chunk]) : chunk
    let at = 0
    while (this.#unread.length - at >= HEAD && !this.#peerEnded) {
      const length = this.#unread.readUInt32BE(at)
      if (length > LARGEST)
        return void this.destroy(new PosternError('PROTOCOL_VIOLATION', `a frame of ${length} bytes`))
      if (this.#unread.length - at < HEAD + length) break
      at += HEAD + length
      if (length === 0) {
        this.#peerEnded = true
        this.push(null)
      } else if (!this.push(this.#unread.subarray(at - length, at))) this.#socket.pause()
    }
    this.#unread = this.#unread.subarray(at)
  }

  /** The connection is gone. After the other end's clean end that is no loss to a reader. @param {Error} [cause] */
  #lose(cause) {
    if (!this.#peerEnded) this.destroy(new PosternError('STREAM_CUT', 'the connection was cut', { cause }))
  }

  _read() {
    this.#socket.resume()
  }

  /** @param {Buffer} chunk @param {BufferEncoding} _encoding @param {(error?: Error | null) => void} done */
  _write(chunk, _encoding, done) {
    const frames = []
    for (let at = 0; at < chunk.length; at += LARGEST) frames.push(frameOf(chunk.subarray(at, at + LARGEST)))
    this.#send(Buffer.concat(frames), done)
  }

  /** @param {(error?: Error | null) => void} done */
  _final(done) {
    this.#send(frameOf(Buffer.alloc(0)), done)
  }

  /** @param {Buffer} bytes @param {(error?: Error | null) => void} done when there is room for more */
  #send(bytes, done) {
    if (this.#socket.destroyed) done()
    else this.#socket.write(bytes, () => done())
  }

  /** @param {Error | null} error @param {(error?: Error | null) => void} done */
  _destroy(error, done) {
    const isClean = !error && this.#peerEnded && this.writableFinished
    if (isClean) this.#socket.resume().end()
    else this.#socket.destroy()
    done(error)
  }
}

/** @param {Buffer} bytes */
function frameOf(bytes) {
  const head = Buffer.alloc(HEAD)
  head.writeUInt32BE(bytes.length)
  return Buffer.concat([head, bytes])
}
