import { randomUUID } from 'node:crypto'
import { STATUS_CODES, validateHeaderName, validateHeaderValue } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import type { Duplex } from 'node:stream'
import { PosternError, type Presented, type Problem, type ReceivedHeaders, type SentHeaders } from '@postern/interface'
import { answerProblem } from './answer.ts'
import { gone, sendProblem, type UpgradeExchange } from './exchange.ts'
import { type Head, HeadRefused } from './head.ts'

/** Made here, or of the connection to the origin only. */
const OURS = new Set(['connection', 'upgrade', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'content-length'])
/** Headers that speak of a body. */
const BODY = ['content-length', 'transfer-encoding', 'expect', 'trailer']

/** What the two ways of upgrading have in common. */
abstract class Upgrading implements UpgradeExchange {
  readonly requestId: string = randomUUID()
  abstract readonly version: '1.1' | '2'
  readonly method: string
  readonly hostname: string
  readonly target: string
  readonly presented: Presented
  readonly headers: readonly string[]
  readonly #left = new AbortController()
  readonly #stream: Duplex
  #answered = false

  constructor(head: Head, raw: readonly string[], stream: Duplex) {
    this.#stream = stream
    this.method = head.method
    this.hostname = head.hostname
    this.target = head.target
    this.presented = head.presented
    this.headers = raw
    stream.on('error', ignore)
    stream.once('close', () => this.abort(gone()))
  }

  get signal(): AbortSignal {
    return this.#left.signal
  }

  get answered(): boolean {
    return this.#answered
  }

  abort(reason: PosternError): void {
    this.#left.abort(reason)
  }

  /** After an answer, it cuts. */
  refuse(problem: Problem, headers: SentHeaders = {}): void {
    if (this.#answered) {
      this.#stream.destroy()
      return
    }
    this.answer()
    this.say(problem, headers)
  }

  abstract accept(headers: readonly string[]): Duplex

  protected abstract say(problem: Problem, headers: SentHeaders): void

  protected answer(): void {
    if (this.#answered) throw new PosternError('INTERNAL', 'an upgrade can be answered once')
    this.#answered = true
  }
}

/** Over HTTP/1.1: the connection becomes the WebSocket’s. */
export class SocketUpgrade extends Upgrading {
  readonly version = '1.1'
  readonly #socket: Duplex
  readonly #first: Buffer

  constructor(head: Head, raw: readonly string[], socket: Duplex, first: Buffer) {
    super(head, raw, socket)
    this.#socket = socket
    this.#first = first
  }

  accept(headers: readonly string[]): Duplex {
    const lines = pairs(headers).map(([name, value]) => `${name}: ${value}`)
    this.answer()
    const socket = this.#socket
    if (!socket.writable) throw gone()
    const start = [`HTTP/1.1 101 ${STATUS_CODES[101]}`, 'Upgrade: websocket', 'Connection: Upgrade']
    socket.write(`${[...start, ...lines].join('\r\n')}\r\n\r\n`, 'latin1')
    if (this.#first.length > 0) socket.unshift(this.#first)
    return socket
  }

  protected say(problem: Problem, headers: SentHeaders): void {
    answerProblem(this.#socket, problem, headers)
  }
}

/** Over HTTP/2: one stream becomes the WebSocket’s. */
export class StreamUpgrade extends Upgrading {
  readonly version = '2'
  readonly #response: Http2ServerResponse

  constructor(head: Head, raw: readonly string[], response: Http2ServerResponse) {
    super(head, raw, response.stream)
    this.#response = response
  }

  accept(headers: readonly string[]): Duplex {
    const fields: Record<string, string[]> = {}
    for (const [name, value] of pairs(headers)) {
      const lower = name.toLowerCase()
      if (lower !== 'sec-websocket-accept') fields[lower] = [...(fields[lower] ?? []), value]
    }
    this.answer()
    const stream: ServerHttp2Stream = this.#response.stream
    if (stream.destroyed) throw gone()
    stream.respond({ ':status': 200, ...fields })
    return stream
  }

  protected say(problem: Problem, headers: SentHeaders): void {
    sendProblem(this.#response.req, this.#response, problem, headers)
  }
}

/**
 * Checks an upgrade over HTTP/1.1 before anybody is asked about it (RFC 6455 §4.2.1).
 *
 * @throws PosternError BAD_USAGE
 */
export function checkUpgrade({ method, presented: { headers } }: Head, httpVersion: string): void {
  if (headers.upgrade?.length !== 1 || headers.upgrade[0]?.toLowerCase() !== 'websocket')
    throw bad('the only upgrade here is to websocket')
  if (method !== 'GET' || httpVersion !== '1.1') throw bad('a WebSocket starts with GET over HTTP/1.1')
  checkBodiless(headers)
  const key = headers['sec-websocket-key']
  if (key?.length !== 1 || !/^[+/0-9A-Za-z]{22}==$/.test(key[0] ?? '')) throw bad('Sec-WebSocket-Key is not valid')
}

/** Whether an upgrade is to a protocol of Postern's, in whatever version: only a transport knows those. */
export function isOwnProtocol({ headers: { upgrade } }: Presented): boolean {
  return upgrade?.length === 1 && /^postern\/\d{1,9}$/i.test(upgrade[0] ?? '')
}

/** The same for extended CONNECT, which has neither Upgrade nor key. @throws PosternError BAD_USAGE */
export function checkStreamUpgrade({ headers }: Presented): void {
  checkBodiless(headers)
}

/** Version and sub-protocols, over either version of HTTP. @throws PosternError BAD_USAGE, with status 426 for the version */
export function checkWebSocket({ headers }: Presented): void {
  const version = headers['sec-websocket-version']
  if (version?.length !== 1 || version[0] !== '13')
    throw new HeadRefused('BAD_USAGE', 'Sec-WebSocket-Version must be 13', 426)
}

/** Something in between that counts a body reads another connection than we do (WebSocket smuggling). */
function checkBodiless(headers: ReceivedHeaders): void {
  if (BODY.some(name => headers[name])) throw bad('a WebSocket starts without a body')
}

/** Extended CONNECT is decided as the GET that it is over HTTP/1.1; CONNECT is nothing here. */
export function methodOfConnect({ headers }: Http2ServerRequest): string {
  return headers[':protocol'] === 'websocket' ? 'GET' : 'CONNECT'
}

/** Without pseudo-headers; with a Host. */
export function plainHeaders(raw: readonly string[]): readonly string[] {
  const plain: string[] = []
  let host: string | undefined
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = '', value = ''] = raw.slice(at, at + 2)
    if (name === ':authority') host = value
    else if (!name.startsWith(':') && name !== 'host') plain.push(name, value)
  }
  return host === undefined ? plain : ['host', host, ...plain]
}

function pairs(headers: readonly string[]): (readonly [string, string])[] {
  const found: (readonly [string, string])[] = []
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const [name = '', value = ''] = headers.slice(at, at + 2)
    validateHeaderName(name)
    validateHeaderValue(name, value)
    if (!OURS.has(name.toLowerCase())) found.push([name, value])
  }
  return found
}

function bad(message: string): HeadRefused {
  return new HeadRefused('BAD_USAGE', message)
}

function ignore(): void {}
