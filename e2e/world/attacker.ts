// A hostile peer of bare sockets: it sends what none of our programs would.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'

export const DATA = 0
export const WINDOW = 1
export const PING = 2
export const GO_AWAY = 3
export const SYN = 1
export const FIN = 4
export const RST = 8

/** One yamux frame. `length` where it is not that of the payload. */
export function yamux(type: number, flags: number, id: number, payload: Uint8Array | string = '', length?: number) {
  const bytes = Buffer.from(payload)
  const head = Buffer.alloc(12)
  head[1] = type
  head.writeUInt16BE(flags, 2)
  head.writeUInt32BE(id, 4)
  head.writeUInt32BE(length ?? bytes.length, 8)
  return Buffer.concat([head, bytes])
}

export const HELLO: Buffer = yamux(DATA, SYN, 1, '{"v":1,"type":"hello"}\n')

/** A stream's header, or whatever else is put there, with its length before it. */
export function framed(value: unknown): Buffer {
  const text = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
  const length = Buffer.alloc(2)
  length.writeUInt16BE(text.length)
  return Buffer.concat([length, text])
}

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly length: number
  readonly payload: Buffer
}

/** One end of a session, without any of its manners. */
export class RawSession {
  readonly pipe: Duplex
  readonly frames: Frame[] = []
  closed = false
  #rest: Buffer = Buffer.alloc(0)
  #heard: (() => void)[] = []

  constructor(pipe: Duplex) {
    this.pipe = pipe
    pipe.on('error', () => {})
    pipe.on('data', (chunk: Buffer) => this.#read(chunk))
    for (const over of ['end', 'close']) {
      pipe.on(over, () => {
        this.closed = true
        this.#tell()
      })
    }
  }

  send(...frames: readonly Uint8Array[]): void {
    if (!this.pipe.destroyed) this.pipe.write(Buffer.concat(frames))
  }

  /** Opens a stream and says this in it. */
  open(id: number, header: unknown): void {
    this.send(yamux(DATA, SYN, id, framed(header)))
  }

  /** Everything the other end sent on a stream. */
  text(id: number): string {
    return Buffer.concat(
      this.frames.filter(one => one.type === DATA && one.id === id).map(one => one.payload),
    ).toString()
  }

  /** What it answered to the stream's header. */
  answer(id: number): { readonly ok?: true; readonly problem?: { readonly code: string } } | undefined {
    const bytes = Buffer.concat(this.frames.filter(one => one.type === DATA && one.id === id).map(one => one.payload))
    if (bytes.length < 2 || bytes.length < 2 + bytes.readUInt16BE()) return undefined
    return JSON.parse(bytes.subarray(2, 2 + bytes.readUInt16BE()).toString())
  }

  /** Waits for something that is so sooner or later. @throws when it is not within ten seconds */
  async until(what: () => boolean, name: string): Promise<void> {
    const late = AbortSignal.timeout(10_000)
    while (!what()) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#heard.push(resolve)
      const timer = setTimeout(resolve, 100)
      await promise
      clearTimeout(timer)
      if (late.aborted) throw new Error(`it never came to: ${name}; frames: ${JSON.stringify(this.frames.slice(-5))}`)
    }
  }

  async over(): Promise<void> {
    await this.until(() => this.closed, 'the end of the session')
  }

  #read(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    while (this.#rest.length >= 12) {
      const [type, flags, id] = [this.#rest[1] ?? 0, this.#rest.readUInt16BE(2), this.#rest.readUInt32BE(4)]
      const length = this.#rest.readUInt32BE(8)
      const end = 12 + (type === DATA ? length : 0)
      if (this.#rest.length < end) break
      this.frames.push({ type, flags, id, length, payload: this.#rest.subarray(12, end) })
      this.#rest = this.#rest.subarray(end)
    }
    this.#tell()
  }

  #tell(): void {
    for (const heard of this.#heard.splice(0)) heard()
  }
}

export interface Target {
  readonly port: number
  readonly caFile: string
}

/** TLS to an edge on loopback. Errors after that are nobody's business. */
export async function dialTls(to: Target, servername: string, more: ConnectionOptions = {}): Promise<TLSSocket> {
  const ca = readFileSync(to.caFile)
  const socket = connect({ port: to.port, host: '127.0.0.1', servername, ca, ALPNProtocols: ['http/1.1'], ...more })
  await once(socket, 'secureConnect')
  return socket.on('error', () => {})
}

const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

export function lines(headers: Readonly<Record<string, string>>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
}

export function upgrade(host: string, headers: string, subprotocol?: string): string {
  const named = subprotocol === undefined ? '' : `Sec-WebSocket-Protocol: ${subprotocol}\r\n`
  return `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${named}${headers}\r\n`
}

/** A client's WebSocket frame: masked, with zeros, unless told otherwise. */
export function webSocketFrame(first: number, payload: Uint8Array | string = '', masked = true): Buffer {
  const bytes = Buffer.from(payload)
  const head = Buffer.alloc(bytes.length < 126 ? 2 : bytes.length < 65_536 ? 4 : 10)
  head[0] = first
  if (head.length === 2) head[1] = bytes.length
  else if (head.length === 4) {
    head[1] = 126
    head.writeUInt16BE(bytes.length, 2)
  } else {
    head[1] = 127
    head.writeBigUInt64BE(BigInt(bytes.length), 2)
  }
  if (masked) head[1] = (head[1] ?? 0) | 0x80
  return Buffer.concat([head, Buffer.alloc(masked ? 4 : 0), bytes])
}

/** Everything until the other end is done, or three seconds of silence after `enough`. */
export async function readAll(socket: Duplex, enough?: RegExp): Promise<string> {
  const chunks: Buffer[] = []
  const done = Promise.withResolvers<void>()
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    if (enough?.test(Buffer.concat(chunks).toString('latin1'))) done.resolve()
  })
  socket.once('end', done.resolve).once('close', done.resolve)
  const timer = setTimeout(done.resolve, 20_000)
  await done.promise
  clearTimeout(timer)
  return Buffer.concat(chunks).toString('latin1')
}
