import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
} from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { helloMessage, records, vector } from './hello.ts'

// TLS 1.3 by hand (RFC 8446), as far as a client needs that says another name in its second hello than in its first. No library does.

const HASH = 32
const X25519 = Buffer.from('001d', 'hex')
/** RFC 8410: what is before the 32 bytes of a key. */
const SPKI = Buffer.from('302a300506032b656e032100', 'hex')
const [CHANGE, ALERT, HANDSHAKE, DATA] = [20, 21, 22, 23]
const [CERTIFICATE_REQUEST, FINISHED] = [13, 20]

const sha256 = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest()
const hmac = (key: Uint8Array, ...parts: Uint8Array[]) =>
  createHmac('sha256', key).update(Buffer.concat(parts)).digest()
const message = (type: number, body: Uint8Array) => Buffer.concat([Buffer.from([type]), vector(3, body)])

/** §7.1; of one block at most. */
function expand(secret: Uint8Array, label: string, context: Uint8Array, length = HASH): Buffer {
  const size = Buffer.from([0, length])
  const info = [size, vector(1, Buffer.from(`tls13 ${label}`)), vector(1, context), Buffer.from([1])]
  return hmac(secret, ...info).subarray(0, length)
}

/** What one side encrypts with (§5.2, §5.3). */
class Keys {
  readonly #key: Buffer
  readonly #iv: Buffer
  #count = 0

  constructor(secret: Uint8Array) {
    this.#key = expand(secret, 'key', Buffer.alloc(0), 16)
    this.#iv = expand(secret, 'iv', Buffer.alloc(0), 12)
  }

  seal(type: number, body: Uint8Array): Buffer {
    const head = Buffer.from([DATA, 3, 3, 0, 0])
    head.writeUInt16BE(body.length + 17, 3)
    const cipher = createCipheriv('aes-128-gcm', this.#key, this.#nonce()).setAAD(head)
    return Buffer.concat([
      head,
      cipher.update(body),
      cipher.update(Buffer.from([type])),
      cipher.final(),
      cipher.getAuthTag(),
    ])
  }

  open(head: Uint8Array, body: Buffer): { readonly type: number; readonly body: Buffer } {
    const cipher = createDecipheriv('aes-128-gcm', this.#key, this.#nonce()).setAAD(head)
    const inner = Buffer.concat([cipher.setAuthTag(body.subarray(-16)).update(body.subarray(0, -16)), cipher.final()])
    return { type: inner.at(-1) ?? 0, body: inner.subarray(0, -1) }
  }

  #nonce(): Buffer {
    const nonce = Buffer.from(this.#iv)
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ this.#count++) >>> 0, 8)
    return nonce
  }
}

/** The records that come, opened where there are keys. */
class Incoming {
  keys: Keys | undefined
  readonly #socket: Socket
  #held = Buffer.alloc(0)

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** @throws Error where the connection ended */
  async next(): Promise<{ readonly type: number; readonly body: Buffer }> {
    while (true) {
      const length = this.#held.length < 5 ? undefined : this.#held.readUInt16BE(3)
      if (length !== undefined && this.#held.length >= 5 + length) {
        const [head, body] = [this.#held.subarray(0, 5), this.#held.subarray(5, 5 + length)]
        this.#held = this.#held.subarray(5 + length)
        if (head[0] === CHANGE) continue
        const found = head[0] === DATA ? this.keys?.open(head, body) : { type: head[0] ?? 0, body }
        if (found === undefined || found.type === ALERT) throw new Error('the server has said no')
        return found
      }
      const more: unknown = this.#socket.read()
      if (more instanceof Buffer) this.#held = Buffer.concat([this.#held, more])
      else if (this.#socket.readableEnded || this.#socket.destroyed) throw new Error('the connection has ended')
      else await Promise.race([once(this.#socket, 'readable'), once(this.#socket, 'close')])
    }
  }
}

/** Names in the two hellos, and the one that is asked for. Without a certificate. @returns what is answered, or nothing */
export async function askAfterRetry(port: number, names: readonly [string, string], host: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' }).on('error', () => {})
  try {
    return await converse(socket, names, host)
  } catch {
    return ''
  } finally {
    socket.destroy()
  }
}

async function converse(socket: Socket, [first, second]: readonly [string, string], host: string): Promise<string> {
  const own = generateKeyPairSync('x25519')
  const incoming = new Incoming(socket)
  const share = Buffer.concat([
    X25519,
    vector(2, own.publicKey.export({ type: 'spki', format: 'der' }).subarray(-HASH)),
  ])
  // None in the first hello, which has the server ask for one (§4.2.8).
  const hellos = [helloOf(first, Buffer.alloc(0)), helloOf(second, share)]
  socket.write(records(hellos[0] ?? share))
  const { body: retry } = await incoming.next()
  socket.write(records(hellos[1] ?? share))
  const { body: answer } = await incoming.next()
  const said: Uint8Array[] = [message(254, sha256(hellos[0] ?? share)), retry, hellos[1] ?? share, answer]
  const key = createPublicKey({ key: Buffer.concat([SPKI, shareIn(answer)]), format: 'der', type: 'spki' })
  const empty = sha256()
  const early = expand(hmac(Buffer.alloc(HASH), Buffer.alloc(HASH)), 'derived', empty)
  const secret = hmac(early, diffieHellman({ privateKey: own.privateKey, publicKey: key }))
  const [mine, theirs] = ['c hs traffic', 's hs traffic'].map(label => expand(secret, label, sha256(...said)))
  incoming.keys = new Keys(theirs ?? share)
  const isAsked = await readFlight(incoming, said)
  const master = hmac(expand(secret, 'derived', empty), Buffer.alloc(HASH))
  const [up, down] = ['c ap traffic', 's ap traffic'].map(label => new Keys(expand(master, label, sha256(...said))))
  const sealing = new Keys(mine ?? share)
  const certificate = isAsked ? [message(11, Buffer.alloc(4))] : []
  said.push(...certificate)
  const finished = message(FINISHED, hmac(expand(mine ?? share, 'finished', Buffer.alloc(0)), sha256(...said)))
  socket.write(sealing.seal(HANDSHAKE, Buffer.concat([...certificate, finished])))
  const request = `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
  socket.write(up?.seal(DATA, Buffer.from(request)) ?? share)
  incoming.keys = down
  for (;;) {
    const { type, body } = await incoming.next()
    if (type === DATA) return body.toString()
  }
}

/** The server's messages until its last. @returns whether a certificate is asked for */
async function readFlight(incoming: Incoming, said: Uint8Array[]): Promise<boolean> {
  let isAsked = false
  for (let held = Buffer.alloc(0); ; ) {
    held = Buffer.concat([held, (await incoming.next()).body])
    while (held.length >= 4 && held.length >= 4 + held.readUIntBE(1, 3)) {
      const one = held.subarray(0, 4 + held.readUIntBE(1, 3))
      held = held.subarray(one.length)
      said.push(one)
      if (one[0] === CERTIFICATE_REQUEST) isAsked = true
      if (one[0] === FINISHED) return isAsked
    }
  }
}

function helloOf(name: string, share: Uint8Array): Buffer {
  return helloMessage({
    names: [name],
    alpn: ['http/1.1'],
    extensions: [
      [10, vector(2, X25519)],
      [13, vector(2, Buffer.from('0403080408050806', 'hex'))],
      [43, vector(1, Buffer.from('0304', 'hex'))],
      [51, vector(2, share)],
    ],
  })
}

/** The 32 bytes of the server's own key: nothing else in its hello is as long. */
function shareIn(hello: Buffer): Buffer {
  const at = hello.indexOf(Buffer.from('00330024001d0020', 'hex'))
  if (at < 0) throw new Error('no key of the server')
  return hello.subarray(at + 8, at + 8 + HASH)
}
