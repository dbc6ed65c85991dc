import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { type ConnectionOptions, connect as secure } from 'node:tls'
import { records, unrecorded } from './hello.ts'

/** What becomes of a client's bytes on their way, and when it leaves. */
export interface Manner {
  /** Bytes of each write to the server. Default: as they come. */
  readonly piece?: number
  /** Bytes of each TLS record that the ClientHello is cut into. Default: as it comes. */
  readonly record?: number
  /** It leaves after so many reads and writes, by RST or without a word to the server's. */
  readonly leaves?: { readonly after: number; readonly by: 'reset' | 'end' | 'destroy' }
  /** Nothing is written after so many writes. */
  readonly holds?: number
}

/** A TCP connection to a server of TLS, between the two of which somebody stands. */
export class Wire extends Duplex {
  readonly socket: Socket
  readonly #manner: Manner
  #events = 0
  #writes = 0

  constructor(port: number, manner: Manner) {
    super()
    this.#manner = manner
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.socket
      .on('error', () => {})
      .on('close', () => this.destroy())
      .on('data', chunk => {
        if (!this.#event()) this.push(chunk)
      })
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: string, done: () => void): void {
    const { record, holds = Number.POSITIVE_INFINITY } = this.#manner
    const first = this.#writes === 0
    this.#writes += 1
    if (this.#event() || this.#writes > holds) return void done()
    const sent = first && record !== undefined ? records(unrecorded(chunk), record) : chunk
    void this.#send(sent).then(done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.socket.destroy()
    done(error)
  }

  async #send(bytes: Buffer): Promise<void> {
    const { piece = bytes.length } = this.#manner
    for (let at = 0; at < bytes.length; at += piece) {
      await new Promise<void>(resolve => this.socket.write(bytes.subarray(at, at + piece), () => resolve()))
      // The kernel would send what comes in one turn together.
      if (piece < bytes.length) await new Promise<void>(resolve => void setImmediate(resolve))
    }
  }

  /** @returns whether the client is gone */
  #event(): boolean {
    const { leaves } = this.#manner
    this.#events += 1
    if (leaves === undefined || this.#events <= leaves.after) return false
    if (leaves.by === 'reset') this.socket.resetAndDestroy()
    else if (leaves.by === 'end') this.socket.end()
    else this.socket.destroy()
    return true
  }
}

/** Connects in that manner; resolves when the connection is over. @returns whether there was one */
export async function visitIn(
  manner: Manner,
  port: number,
  options: ConnectionOptions,
  request: string,
): Promise<boolean> {
  const wire = new Wire(port, manner)
  const tls = secure({ socket: wire, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'], ...options })
  let answered = false
  tls
    .on('error', () => {})
    .on('data', () => {
      answered = true
    })
  tls.once('secureConnect', () => tls.write(request))
  await new Promise<void>(resolve => wire.socket.once('close', () => resolve()))
  tls.destroy()
  return answered
}
