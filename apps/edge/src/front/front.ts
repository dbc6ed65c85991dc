import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import {
  type Call,
  type HttpDoor,
  type Logger,
  PosternError,
  type Presented,
  type Problem,
  problem,
  type ReceivedHeaders,
  type SentHeaders,
} from '@postern/interface'
import { countedAddress } from './address.ts'
import { answerProblem } from './answer.ts'
import type { Certificates } from './certificates.ts'
import type { FrontLimits } from './limits.ts'

type Claim = Parameters<HttpDoor['onUpgrade']>[0]

/**
 * A request that is no upgrade of ours: the way in `plain` answers it, as an upgrade would be answered. There is a `response`
 * unless it wanted an upgrade.
 */
export type PlainHandler = (
  request: IncomingMessage,
  answer: (problem: Problem, headers?: SentHeaders) => void,
  response?: ServerResponse,
) => void

export interface FrontOptions {
  readonly certificates: Certificates
  readonly limits: FrontLimits
  readonly log: Logger
  readonly plain: PlainHandler
}

/** Milliseconds between looks at connections that are too slow. */
const CHECK_INTERVAL = 1000
const SAY_INTERVAL = 1000
/**
 * Connections that may wait until they are taken; the kernel takes the smaller of this and its own limit, 4096 on Linux. Of 3,000
 * that came at once, as everybody does after a restart, Node's own 511 lost 1,200 for seconds; this lost none.
 */
const BACKLOG = 4096

/**
 * The public port: TLS, HTTP/1.1, limits. One request per connection, so that nobody's answer can be mixed up with another's;
 * knows nothing of applications.
 */
export class Front implements HttpDoor {
  readonly kind = 'http'
  readonly #options: FrontOptions
  readonly #server: Server
  readonly #claims: Claim[] = []
  readonly #sockets = new Set<Socket>()
  readonly #perAddress = new Map<string, number>()
  readonly #asked = new WeakSet<Duplex>()
  /** Connections refused since that was last said, and when. */
  #refused = 0
  #saidRefused = 0

  constructor(options: FrontOptions) {
    this.#options = options
    const { limits, certificates } = options
    this.#server = createServer({
      ...certificates.server,
      maxHeaderSize: limits.headBytes,
      headersTimeout: limits.headTime,
      handshakeTimeout: limits.headTime,
      requestTimeout: limits.requestTime,
      connectionsCheckingInterval: CHECK_INTERVAL,
      // The answer to a missing Host is ours to word.
      requireHostHeader: false,
      insecureHTTPParser: false,
      noDelay: true,
    })
    // Node drops the headers above its own limit without a word; ours are counted and refused.
    this.#server.maxHeadersCount = 0
    this.#listen()
  }

  /** @throws PosternError LISTEN_FAILED */
  async listen(host: string, port: number, call: Call): Promise<AddressInfo> {
    call.signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const failed = (cause: NodeJS.ErrnoException) =>
      reject(new PosternError('LISTEN_FAILED', `cannot listen on ${host}:${port} (${cause.code})`, { cause }))
    this.#server.once('error', failed)
    this.#server.listen({ host, port, backlog: BACKLOG }, resolve)
    await promise
    this.#server.off('error', failed)
    this.#server.on('error', error => this.#options.log.error('the public port failed', { error: error.message }))
    return this.#server.address() as AddressInfo
  }

  /** Another certificate for whoever comes from now on. */
  setCertificates(server: TlsOptions): void {
    this.#server.setSecureContext(server)
  }

  onUpgrade(claim: Claim): () => void {
    this.#claims.push(claim)
    return () => {
      const at = this.#claims.indexOf(claim)
      if (at >= 0) this.#claims.splice(at, 1)
    }
  }

  present(request: IncomingMessage): Presented {
    return {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: receivedHeaders(request.rawHeaders),
      remoteAddress: request.socket.remoteAddress ?? '',
    }
  }

  /** TCP connections now. */
  get connections(): number {
    return this.#sockets.size
  }

  /** No new connections; what is open lives on. */
  stop(): void {
    this.#server.close()
  }

  /** Ends everything; resolves when the last socket is gone. */
  async close(): Promise<void> {
    this.#server.close()
    this.#server.closeAllConnections()
    const gone = [...this.#sockets].map(socket => new Promise<void>(resolve => socket.once('close', () => resolve())))
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(gone)
  }

  #listen(): void {
    const server = this.#server
    server.on('connection', socket => this.#connected(socket))
    // Whoever takes the socket listens as well; this one is for the moments when nobody has it.
    server.on('secureConnection', socket => socket.on('error', ignore))
    server.on('tlsClientError', (error, socket) => {
      this.#options.log.debug('a TLS handshake failed', { error: String((error as NodeJS.ErrnoException).code) })
      socket.destroy()
    })
    server.on('clientError', (error, socket) => this.#broken(error, socket))
    for (const event of ['request', 'checkContinue', 'checkExpectation'] as const) {
      server.on(event, (request: IncomingMessage, response: ServerResponse) =>
        this.#request(request, request.socket, response),
      )
    }
    server.on('connect', (request, socket) => this.#request(request, socket))
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
  }

  #connected(socket: Socket): void {
    const { limits } = this.#options
    socket.on('error', ignore)
    const address = countedAddress(socket.remoteAddress ?? '')
    const count = this.#perAddress.get(address) ?? 0
    if (this.#sockets.size >= limits.connections || count >= limits.connectionsPerAddress) {
      socket.destroy()
      this.#turnedAway(address)
      return
    }
    this.#sockets.add(socket)
    this.#perAddress.set(address, count + 1)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      const left = (this.#perAddress.get(address) ?? 1) - 1
      if (left > 0) this.#perAddress.set(address, left)
      else this.#perAddress.delete(address)
    })
  }

  /** Said once a second: who knocks without end fills no log. */
  #turnedAway(address: string): void {
    this.#refused += 1
    const now = Date.now()
    if (now - this.#saidRefused < SAY_INTERVAL) return
    const fields = { refused: this.#refused, address, open: this.#sockets.size }
    this.#options.log.warn('connections were refused: too many are open', fields)
    this.#refused = 0
    this.#saidRefused = now
  }

  #request(request: IncomingMessage, socket: Duplex, response?: ServerResponse): void {
    if (this.#first(request, socket)) this.#plain(request, socket, response)
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (!this.#first(request, socket)) return
    // An upgrade said twice is nobody's: it is decided, and answered, as a plain request.
    const once = request.headersDistinct.upgrade?.length === 1
    for (const claim of this.#claims) if (once && claim(request, socket, head)) return
    this.#plain(request, socket)
  }

  #plain(request: IncomingMessage, socket: Duplex, response?: ServerResponse): void {
    const answer = (refusal: Problem, headers: SentHeaders = {}) =>
      answerProblem(socket, refusal, headers, request.method === 'HEAD')
    this.#options.plain(request, answer, response)
  }

  /** One request per connection, within the limits. */
  #first(request: IncomingMessage, socket: Duplex): boolean {
    socket.on('error', ignore)
    if (this.#asked.has(socket)) {
      socket.destroy()
      return false
    }
    this.#asked.add(socket)
    const tooLarge = this.#tooLarge(request)
    if (tooLarge !== undefined) answerProblem(socket, tooLarge, {}, request.method === 'HEAD')
    return tooLarge === undefined
  }

  #tooLarge(request: IncomingMessage): Problem | undefined {
    const { limits } = this.#options
    if ((request.url?.length ?? 0) > limits.target)
      return { ...problem('REQUEST_TOO_LARGE', randomUUID()), status: 414 }
    if (request.rawHeaders.length / 2 > limits.headers) return problem('REQUEST_TOO_LARGE', randomUUID())
    return undefined
  }

  /** Bytes that are no request. Whatever they are, they cost their sender the connection and nobody else anything. */
  #broken(error: NodeJS.ErrnoException, socket: Duplex): void {
    this.#options.log.debug('a request was refused unread', { error: String(error.code) })
    if (this.#asked.has(socket) || error.code === 'ECONNRESET') return void socket.destroy()
    this.#asked.add(socket)
    answerProblem(socket, problemOf(error))
  }
}

function problemOf(error: NodeJS.ErrnoException): Problem {
  const id = randomUUID()
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return { ...problem('TIMED_OUT', id), status: 408 }
  return problem(error.code === 'HPE_HEADER_OVERFLOW' ? 'REQUEST_TOO_LARGE' : 'BAD_USAGE', id)
}

/** Every header with every value, as it came: Node's own views join or drop what came twice. */
function receivedHeaders(raw: readonly string[]): ReceivedHeaders {
  const headers = new Map<string, string[]>()
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase()
    const values = headers.get(name)
    if (values === undefined) headers.set(name, [raw[at + 1] ?? ''])
    else values.push(raw[at + 1] ?? '')
  }
  return Object.fromEntries(headers)
}

function ignore(): void {}
