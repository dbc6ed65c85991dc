import type { EventEmitter } from 'node:events'
import { IncomingMessage, type ServerResponse } from 'node:http'
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  Http2ServerResponse,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket, TlsOptions } from 'node:tls'
import { type Call, type HttpDoor, type Logger, PosternError, type Presented } from '@postern/interface'
import { answerProblem } from './answer.ts'
import type { Certificates } from './certificates.ts'
import { Connections } from './connections.ts'
import { type Exchange, HttpExchange, lifeOf, sendProblem, type UpgradeExchange } from './exchange.ts'
import { type Head, HeadRefused, readHead, subprotocolsOf } from './head.ts'
import { Http1Connection, http1Options } from './http1.ts'
import { closeAfterAnswer, guardWrites, http2Options, watchSession } from './http2.ts'
import type { FrontLimits } from './limits.ts'
import { headersOf, problemOf, refusalOf } from './refusal.ts'
import {
  checkStreamUpgrade,
  checkUpgrade,
  checkWebSocket,
  methodOfConnect,
  plainHeaders,
  SocketUpgrade,
  StreamUpgrade,
} from './upgrade.ts'

type Claim = Parameters<HttpDoor['onUpgrade']>[0]

export interface FrontOptions {
  readonly certificates: Certificates
  readonly limits: FrontLimits
  readonly log: Logger
  /** Answers a request. Whatever goes wrong in it is its own to answer. */
  readonly exchange: (exchange: Exchange) => void
  /** Answers an upgrade to WebSocket that is no transport's. */
  readonly upgrade: (upgrade: UpgradeExchange) => void
  /** Whether an upgrade is offered to the transports, and to nobody else. */
  readonly isTransports: (hostname: string, subprotocols: readonly string[]) => boolean
}

/**
 * Connections that may wait until they are taken; the kernel takes the smaller of this and its own limit, 4096 on Linux. Of 3,000
 * that came at once, as everybody does after a restart, Node's own 511 lost 1,200 for seconds; this lost none.
 */
const BACKLOG = 4096

/**
 * The public port: TLS, HTTP/1.1 and HTTP/2, limits. It hands out requests whose heads can be read in one way; it knows nothing of
 * applications, and reads no body.
 */
export class Front implements HttpDoor {
  readonly kind = 'http'
  readonly #options: FrontOptions
  readonly #server: Http2SecureServer
  readonly #connections: Connections
  readonly #claims: Claim[] = []
  readonly #http1 = new Map<Duplex, Http1Connection>()
  readonly #presented = new WeakMap<IncomingMessage, Presented>()
  /** Requests and upgrades that are not over. */
  /** Requests and upgrades that are not over, and what says that they are. */
  readonly #open = new Map<HttpExchange | SocketUpgrade | StreamUpgrade, EventEmitter>()
  /** The connection that was made last. */
  #secure: TLSSocket | undefined
  #stopping = false

  constructor(options: FrontOptions) {
    this.#options = options
    const { limits, certificates, log } = options
    this.#connections = new Connections(limits, log)
    this.#server = createSecureServer({
      ...certificates.server,
      ...http2Options(limits),
      ...http1Options(limits),
      allowHTTP1: true,
      handshakeTimeout: limits.headTime,
      unknownProtocolTimeout: limits.headTime,
      noDelay: true,
    })
    // Node drops the headers above its own limit without a word; ours are counted and refused.
    Object.assign(this.#server, { maxHeadersCount: 0 })
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
    const presented = this.#presented.get(request)
    if (presented === undefined) throw new PosternError('INTERNAL', 'a request that was not offered is not known here')
    return presented
  }

  /** TCP connections now. */
  get connections(): number {
    return this.#connections.size
  }

  /** No new connections and no new requests; what runs lives on, and its connection ends with it. */
  stop(): void {
    this.#stopping = true
    this.#server.close()
    for (const connection of this.#http1.values()) connection.end()
  }

  /** Resolves when every request and upgrade that runs now is over. */
  async finished(): Promise<void> {
    await Promise.all(
      [...this.#open.values()].map(of => new Promise<void>(resolve => of.once('close', () => resolve()))),
    )
  }

  /** Ends everything; resolves when the last socket is gone. */
  async close(): Promise<void> {
    this.stop()
    const stopped = new PosternError('DRAINING', 'the edge was stopped', { speaker: 'edge' })
    for (const one of this.#open.keys()) one.abort(stopped)
    await this.#connections.close()
  }

  #listen(): void {
    const server = this.#server
    server.on('connection', socket => this.#connections.take(socket))
    // First: what node:http2 makes of the socket is told to us while it makes it.
    server.prependListener('secureConnection', socket => this.#secured(socket))
    server.on('session', session => {
      if (this.#secure !== undefined) watchSession(session, this.#secure, this.#options.limits)
    })
    server.on('sessionError', error => this.#options.log.debug('an HTTP/2 connection failed', { error: error.message }))
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => this.#broken(error, socket))
    // Before anybody else, so before 'request' is listened to.
    server.on('stream', guardStream)
    for (const event of ['request', 'checkContinue', 'checkExpectation'] as const) {
      server.on(event, (request: Exchange['request'], response: Exchange['response']) =>
        this.#request(request, response),
      )
    }
    server.on('connect', (request: Exchange['request'], answer: Duplex | Http2ServerResponse) => {
      if (answer instanceof Http2ServerResponse) this.#connect(request as Http2ServerRequest, answer)
      else this.#upgrade(request as IncomingMessage, answer, Buffer.alloc(0))
    })
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, first: Buffer) =>
      this.#upgrade(request, socket, first),
    )
  }

  #secured(socket: TLSSocket): void {
    // Whoever takes the socket listens as well; this one is for the moments when nobody has it.
    socket.on('error', ignore)
    this.#secure = socket
    if (socket.alpnProtocol === 'h2') return
    this.#http1.set(
      socket,
      new Http1Connection(socket, this.#options.limits.requests, (...asked) => this.#begin(...asked)),
    )
    socket.once('close', () => this.#http1.delete(socket))
  }

  #request(request: Exchange['request'], response: Exchange['response']): void {
    if (request instanceof IncomingMessage)
      this.#http1.get(request.socket)?.request(request, response as ServerResponse<IncomingMessage>)
    else this.#begin(request, response)
  }

  #begin(request: Exchange['request'], response: Exchange['response']): HttpExchange | undefined {
    // Who leaves before being looked at, a thousand times a second perhaps, is not looked at.
    if (response instanceof Http2ServerResponse) {
      if (response.stream.destroyed || response.stream.aborted) return undefined
      closeAfterAnswer(response.stream)
    }
    let exchange: HttpExchange
    try {
      exchange = new HttpExchange(request, response, this.#read(request))
    } catch (error) {
      if (!(response instanceof Http2ServerResponse)) response.shouldKeepAlive = false
      request.on('error', ignore)
      sendProblem(request, response, refusalOf(error), {})
      return undefined
    }
    this.#keep(exchange, lifeOf(response))
    this.#options.exchange(exchange)
    return exchange
  }

  #read(request: Exchange['request']): Head {
    const { method = '', url = '', rawHeaders: raw, socket, httpVersion: version } = request
    const remoteAddress = socket.remoteAddress ?? ''
    const head = readHead({ method, url, raw, remoteAddress, version }, this.#options.limits)
    // Whoever reads the request itself reads what was judged.
    request.url = head.target
    return head
  }

  #keep(one: HttpExchange | SocketUpgrade | StreamUpgrade, of: EventEmitter): void {
    this.#open.set(one, of)
    of.once('close', () => this.#open.delete(one))
  }

  /** An upgrade, or CONNECT, over HTTP/1.1. */
  #upgrade(request: IncomingMessage, socket: Duplex, first: Buffer): void {
    socket.on('error', ignore)
    const connection = this.#http1.get(request.socket)
    // Nobody upgrades while an earlier request is being answered: the two would write into each other.
    if (connection?.release() !== true || this.#stopping) return void socket.destroy()
    this.#http1.delete(request.socket)
    try {
      const head = this.#read(request)
      this.#presented.set(request, head.presented)
      checkUpgrade(head, request.httpVersion)
      if (this.#options.isTransports(head.hostname, subprotocolsOf(head.presented))) {
        for (const claim of this.#claims) if (claim(request, socket, first)) return
        throw new HeadRefused('BAD_USAGE', 'nobody takes this upgrade')
      }
      checkWebSocket(head.presented)
      const upgrade = new SocketUpgrade(head, request.rawHeaders, socket, first)
      this.#keep(upgrade, socket)
      this.#options.upgrade(upgrade)
    } catch (error) {
      answerProblem(socket, refusalOf(error), headersOf(error))
    }
  }

  /** CONNECT over HTTP/2; the extended one is an upgrade (RFC 8441). */
  #connect(request: Http2ServerRequest, response: Http2ServerResponse): void {
    const { stream } = response
    if (stream.destroyed || stream.aborted) return
    request.on('error', ignore)
    response.on('error', ignore)
    try {
      const { rawHeaders: raw, socket, httpVersion: version, headers } = request
      const [method, remoteAddress] = [methodOfConnect(request), socket.remoteAddress ?? '']
      const head = readHead({ method, url: headers[':path'] ?? '', raw, remoteAddress, version }, this.#options.limits)
      checkStreamUpgrade(head.presented)
      if (this.#options.isTransports(head.hostname, subprotocolsOf(head.presented)))
        throw new HeadRefused('VERSION_UNSUPPORTED', 'this upgrade is taken over HTTP/1.1 only')
      checkWebSocket(head.presented)
      const upgrade = new StreamUpgrade(head, plainHeaders(raw), response)
      this.#keep(upgrade, stream)
      this.#options.upgrade(upgrade)
    } catch (error) {
      sendProblem(request, response, refusalOf(error), headersOf(error))
    }
  }

  /** Bytes that are no request. Whatever they are, they cost their sender the connection and nobody else anything. */
  #broken(error: NodeJS.ErrnoException, socket: Duplex): void {
    this.#options.log.debug('a request was refused unread', { error: String(error.code) })
    const connection = this.#http1.get(socket)
    if (connection === undefined || error.code === 'ECONNRESET') return void socket.destroy()
    if (connection.broken()) answerProblem(socket, problemOf(error))
  }
}

function guardStream(stream: ServerHttp2Stream): void {
  guardWrites(stream)
  stream.on('error', ignore)
}

function ignore(): void {}
