// A WebSocket client of bare sockets: it sends what no library would.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

export function upgradeRequest(lines: readonly string[] = [], first = 'GET / HTTP/1.1'): string {
  const usual = ['host: db.localhost', 'connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 13']
  return [first, ...usual, `sec-websocket-key: ${KEY}`, ...lines, '', ''].join('\r\n')
}

/** Everything a server says until it ends the connection. */
export class Wire {
  readonly socket: Socket
  received = Buffer.alloc(0)

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {})
    this.socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk])
    })
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(bytes)
  }

  async ended(): Promise<string> {
    if (!this.socket.readableEnded && !this.socket.destroyed)
      await Promise.race([once(this.socket, 'end'), once(this.socket, 'close')])
    this.socket.destroy()
    return this.received.toString('latin1')
  }

  async upgraded(): Promise<void> {
    while (!this.received.includes('\r\n\r\n')) await once(this.socket, 'data')
    this.received = this.received.subarray(this.received.indexOf('\r\n\r\n') + 4)
  }
}

const MASK = [1, 2, 3, 4]

/** A masked frame, with any first byte. */
export function frame(first: number, payload: Uint8Array | string = '', masked = true): Buffer {
  const bytes = Buffer.from(payload)
  const length = bytes.length < 126 ? [bytes.length] : [126, bytes.length >> 8, bytes.length & 0xff]
  length[0]! |= masked ? 0x80 : 0
  if (masked) for (let i = 0; i < bytes.length; i++) bytes[i]! ^= MASK[i & 3]!
  return Buffer.concat([Buffer.from([first, ...length, ...(masked ? MASK : [])]), bytes])
}

export function closeFrame(code: number): Buffer {
  return frame(0x88, Buffer.from([code >> 8, code & 0xff]))
}

/** The code of the close frame in what an unmasked server sent, skipping other frames. */
export function closeCode(bytes: Buffer): number | undefined {
  for (let at = 0; at + 10 < bytes.length || (at + 3 < bytes.length && bytes[at + 1]! < 126); ) {
    let length = bytes[at + 1]! & 0x7f
    let head = 2
    if (length === 126) {
      length = bytes.readUInt16BE(at + 2)
      head = 4
    } else if (length === 127) {
      length = Number(bytes.readBigUInt64BE(at + 2))
      head = 10
    }
    if (bytes[at] === 0x88) return length >= 2 ? bytes.readUInt16BE(at + head) : 1005
    at += head + length
  }
  return undefined
}
