import { isHostname } from './hostname.ts'

/** What of a ClientHello decides who answers it. */
export interface ClientHello {
  /** As {@link serverNameOf} says it. */
  readonly serverName?: string
  /** The protocols it offers, in order. */
  readonly alpn: readonly string[]
}

/**
 * `more`: it is not all there. `malformed`: it never will be, for what reason. `too long`: it may be one, but of more than
 * {@link LONGEST_HELLO} bytes.
 */
export type HelloRead = ClientHello | 'more' | 'too long' | { readonly malformed: string }

/** Bytes, as they are sent. The largest that clients send, with post-quantum keys and tickets, are a fifth of it. */
export const LONGEST_HELLO = 16_384

const HANDSHAKE = 22
const CLIENT_HELLO = 1
const RECORD_HEAD = 5
const MESSAGE_HEAD = 4
/** RFC 8446 §5.1. */
const LONGEST_RECORD = 16_384
const SERVER_NAME = 0
const ALPN = 16
const HOST_NAME = 0

/**
 * Reads the ClientHello (RFC 8446 §4.1.2) at the beginning of a connection, in however many TLS records it comes.
 *
 * It says which of our servers a connection is handed to and nothing else: OpenSSL reads the same bytes again, and what counts
 * is what it says. So whatever is none of our business is not looked at.
 *
 * @param bytes all that came until now; what follows the hello is ignored
 */
export function readClientHello(bytes: Uint8Array): HelloRead {
  try {
    const message = messageIn(bytes)
    if (message !== undefined) return helloIn(message)
    return bytes.length < LONGEST_HELLO ? 'more' : 'too long'
  } catch (error) {
    if (error === TOO_LONG) return 'too long'
    if (error instanceof Malformed) return { malformed: error.message }
    throw error
  }
}

/**
 * The hostname that a client asks for by a server name: lower case, as we keep them.
 *
 * @param sent as sent, or what Node says where none was
 * @returns undefined where there is none, or what is there is no hostname, as with a dot at its end (RFC 6066 §3)
 */
export function serverNameOf(sent: string | false | null | undefined): string | undefined {
  if (!sent) return undefined
  const name = sent.replace(/[A-Z]+/g, letters => letters.toLowerCase())
  return isHostname(name) ? name : undefined
}

class Malformed extends Error {}
const TOO_LONG = new Error('too long')

/** The body of the first message, put together from its records; undefined while it is not all there. */
function messageIn(bytes: Uint8Array): Uint8Array | undefined {
  const parts: Uint8Array[] = []
  let have = 0
  let wanted = MESSAGE_HEAD
  for (let at = 0; have < wanted; ) {
    if (at < bytes.length && bytes[at] !== HANDSHAKE) throw new Malformed('no TLS handshake')
    if (at + 1 < bytes.length && bytes[at + 1] !== 3) throw new Malformed('no version of TLS')
    if (at + RECORD_HEAD > bytes.length) return undefined
    const length = number(bytes, at + 3, 2)
    if (length === 0 || length > LONGEST_RECORD) throw new Malformed('the length of a record')
    const part = bytes.subarray(at + RECORD_HEAD, at + RECORD_HEAD + length)
    parts.push(part)
    const had = have
    have += part.length
    if (had < MESSAGE_HEAD && have > 0) wanted = wantedOf(parts, have)
    if (part.length < length && have < wanted) return undefined
    at += RECORD_HEAD + length
  }
  const whole = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
  return whole.subarray(MESSAGE_HEAD, wanted)
}

/** Bytes of the message with its head; that of the head while that is not all there. */
function wantedOf(parts: readonly Uint8Array[], have: number): number {
  const [first = new Uint8Array()] = parts
  if (first.length > 0 && first[0] !== CLIENT_HELLO) throw new Malformed('no ClientHello')
  if (have < MESSAGE_HEAD) return MESSAGE_HEAD
  const wanted = MESSAGE_HEAD + number(parts.length === 1 ? first : Buffer.concat(parts), 1, 3)
  if (wanted > LONGEST_HELLO) throw TOO_LONG
  return wanted
}

function helloIn(message: Uint8Array): ClientHello {
  const hello = new Reader(message)
  if (hello.number(2) >> 8 !== 3) throw new Malformed('no version of TLS')
  hello.take(32)
  if (hello.vector(1).left > 32) throw new Malformed('the length of the session id')
  hello.vector(2)
  hello.vector(1)
  // TLS 1.2 knows hellos that end here.
  const extensions = hello.left === 0 ? hello : hello.vector(2)
  hello.end()
  let serverName: string | undefined
  let alpn: readonly string[] = []
  const seen = new Set<number>()
  while (extensions.left > 0) {
    const type = extensions.number(2)
    const body = extensions.vector(2)
    if (type !== SERVER_NAME && type !== ALPN) continue
    if (seen.has(type)) throw new Malformed('an extension that comes twice')
    seen.add(type)
    if (type === ALPN) alpn = protocolsIn(body)
    else serverName = serverNameOf(nameIn(body))
  }
  return serverName === undefined ? { alpn } : { serverName, alpn }
}

/** One name, as OpenSSL and everybody else reads it. */
function nameIn(body: Reader): string {
  const list = body.vector(2)
  body.end()
  if (list.number(1) !== HOST_NAME) throw new Malformed('a server name that is no hostname')
  const name = list.vector(2)
  list.end()
  return name.text()
}

function protocolsIn(body: Reader): readonly string[] {
  const list = body.vector(2)
  body.end()
  const found: string[] = []
  while (list.left > 0) found.push(list.vector(1).text())
  return found
}

/** Bytes in order; whatever would be beyond their end is malformed. */
class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  take(length: number): Uint8Array {
    if (length > this.left) throw new Malformed('a length beyond its end')
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  number(size: number): number {
    return number(this.take(size), 0, size)
  }

  /** What has its length before it, in so many bytes. */
  vector(size: number): Reader {
    return new Reader(this.take(this.number(size)))
  }

  text(): string {
    return Buffer.from(this.take(this.left)).toString('latin1')
  }

  end(): void {
    if (this.left > 0) throw new Malformed('bytes behind the end')
  }
}

function number(bytes: Uint8Array, at: number, size: number): number {
  let value = 0
  for (let index = at; index < at + size; index += 1) value = value * 256 + (bytes[index] ?? 0)
  return value
}
