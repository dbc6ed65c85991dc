import type { EventEmitter } from 'node:events'
import { IncomingMessage, type ServerResponse } from 'node:http'
import {
  type Http2SecureServer,
  type Http2ServerRequest,
  Http2ServerResponse,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket, TlsOptions } from 'node:tls'
import { type Call, type HttpDoor, PosternError, type Presented } from '@postern/interface'
import { answerProblem } from './answer.ts'
import { type Exchange, gone, HttpExchange, lifeOf, sendProblem, type UpgradeExchange } from './exchange.ts'
import type { Handshake } from './handshake.ts'
import { type Head, HeadRefused, readHead, type SentHead, subprotocolsOf } from './head.ts'
import { Http1Connection } from './http1.ts'
import { closeAfterAnswer, guardWrites, watchSession } from './http2.ts'
import { Port, type PortOptions } from './port.ts'
import { headersOf, problemOf, refusalOf } from './refusal.ts'
import {
  checkStreamUpgrade,
  checkUpgrade,
  checkWebSocket,
  isOwnProtocol,
  methodOfConnect,
  plainHeaders,
  SocketUpgrade,
  StreamUpgrade,
} from './upgrade.ts'

type Claim = Parameters<HttpDoor['onUpgrade']>[0]
type RequestClaim = Parameters<HttpDoor['onRequest']>[0]

export interface FrontOptions extends PortOptions {
  /** Answers a request. Whatever goes wrong in it is its own to answer. */
  readonly exchange: (exchange: Exchange) => void
  /** Answers an upgrade to WebSocket that is no transport's. */
  readonly upgrade: (upgrade: UpgradeExchange) => void
  /** Whether an upgrade is offered to the transports, and to nobody else. */
  readonly isTransports: (hostname: string, subprotocols: readonly string[]) => boolean
}

/**
 * The public port: TLS, HTTP/1.1 and HTTP/2, limits. It hands out requests whose heads can be read in one way; it knows nothing of
 * applications, and reads no body.
 */
export class Front implements HttpDoor {
  readonly kind = 'http'
  readonly #options: FrontOptions
  readonly #port: Port
  readonly #claims: Claim[] = []
  readonly #requestClaims = new Set<RequestClaim>()
  readonly #http1 = new Map<Duplex, Http1Connection>()
  readonly #presented = new WeakMap<IncomingMessage | Http2ServerRequest, Presented>()
  /** Of each connection, by its socket, or its session over HTTP/2. */
  readonly #handshakes = new WeakMap<object, Handshake>()
  /** Requests and upgrades that are not over, and what says that they are. */
  readonly #open = new Map<HttpExchange | SocketUpgrade | StreamUpgrade, EventEmitter>()
  /** The connection that was made last. */
  #secure: readonly [TLSSocket, Handshake] | undefined
  #stopping = false

  constructor(options: FrontOptions) {
    this.#options = options
    this.#port = new Port(options, (...made) => this.#secured(...made))
    for (const server of this.#port.servers) this.#serve(server)
  }

  /** @throws PosternError LISTEN_FAILED */
  listen(host: string, port: number, call: Call): Promise<AddressInfo> {
    return this.#port.listen(host, port, call)
  }

  /** Another certificate for whoever comes from now on. */
  setCertificates(server: TlsOptions): void {
    this.#port.setCertificates(server)
  }

  onUpgrade(claim: Claim): () => void {
    this.#claims.push(claim)
    return () => {
      const at = this.#claims.indexOf(claim)
      if (at >= 0) this.#claims.splice(at, 1)
    }
  }

  get teamDomain(): string {
    return this.#options.teamDomain
  }

  onServerName(claim: Parameters<HttpDoor['onServerName']>[0]): () => void {
    return this.#port.onServerName(claim)
  }

  onPreface(...claim: Parameters<HttpDoor['onPreface']>): () => void {
    return this.#port.onPreface(...claim)
  }

  onRequest(claim: RequestClaim): () => void {
    this.#requestClaims.add(claim)
    return () => void this.#requestClaims.delete(claim)
  }

  present(request: IncomingMessage | Http2ServerRequest): Presented {
    const presented = this.#presented.get(request)
    if (presented === undefined) throw new PosternError('INTERNAL', 'a request that was not offered is not known here')
    return presented
  }

  /** TCP connections now. */
  get connections(): number {
    return this.#port.size
  }

  /** No new connections and no new requests; what runs lives on, and its connection ends with it. */
  stop(): void {
    this.#stopping = true
    this.#port.stop()
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
    await this.#port.close()
  }

  #serve(server: Http2SecureServer): void {
    server.on('session', session => {
      // What node:http2 makes of a socket is told to us while it makes it.
      const [socket, handshake] = this.#secure ?? []
      if (socket === undefined || handshake === undefined) return
      this.#handshakes.set(session, handshake)
      watchSession(session, socket, this.#options.limits)
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

  #secured(socket: TLSSocket, handshake: Handshake): void {
    // Whoever takes the socket listens as well; this one is for the moments when nobody has it.
    socket.on('error', ignore)
    this.#secure = [socket, handshake]
    if (socket.alpnProtocol === 'h2') return
    this.#handshakes.set(socket, handshake)
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
    const stream = response instanceof Http2ServerResponse ? response.stream : undefined
    if (stream?.destroyed || stream?.aborted) return undefined
    let exchange: HttpExchange
    try {
      const head = this.#read(request)
      if (response instanceof Http2ServerResponse && this.#isClaimed(request as Http2ServerRequest, response, head))
        return undefined
      if (stream !== undefined) closeAfterAnswer(stream)
      exchange = new HttpExchange(request, response, head)
    } catch (error) {
      if (response instanceof Http2ServerResponse) closeAfterAnswer(response.stream)
      else response.shouldKeepAlive = false
      request.on('error', ignore)
      sendProblem(request, response, refusalOf(error), {})
      if (error instanceof Outdated) stream?.session?.close()
      return undefined
    }
    this.#keep(exchange, lifeOf(response))
    this.#options.exchange(exchange)
    return exchange
  }

  #isClaimed(request: Http2ServerRequest, response: Http2ServerResponse, head: Head): boolean {
    this.#presented.set(request, head.presented)
    for (const claim of this.#requestClaims) if (claim(request, response)) return true
    return false
  }

  #read(request: Exchange['request']): Head {
    const { method = '', url = '', rawHeaders: raw, socket, httpVersion: version } = request
    const head = this.#readHead(request, { method, url, raw, remoteAddress: socket.remoteAddress ?? '', version })
    // Whoever reads the request itself reads what was judged.
    request.url = head.target
    return head
  }

  /** @throws PosternError as {@link readHead}; MISDIRECTED_REQUEST */
  #readHead(request: Exchange['request'], sent: Omit<SentHead, 'certificate'>): Head {
    const connection = request instanceof IncomingMessage ? request.socket : request.stream.session
    const handshake = connection && this.#handshakes.get(connection)
    if (handshake === undefined) throw gone()
    const head = readHead({ ...sent, certificate: handshake.certificate }, this.#options.limits)
    if (this.#port.isFor(head.hostname, handshake)) return head
    const { hostname = head.hostname } = handshake
    throw hostname === head.hostname ? new Outdated() : new Misdirected()
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
      const isClaimed = () => this.#claims.some(claim => claim(request, socket, first))
      if (isOwnProtocol(head.presented) && isClaimed()) return
      checkUpgrade(head, request.httpVersion)
      if (this.#options.isTransports(head.hostname, subprotocolsOf(head.presented))) {
        if (isClaimed()) return
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
      const head = this.#readHead(request, { method, url: headers[':path'] ?? '', raw, remoteAddress, version })
      checkStreamUpgrade(head.presented)
      if (this.#options.isTransports(head.hostname, subprotocolsOf(head.presented)))
        throw new HeadRefused('VERSION_UNSUPPORTED', 'this upgrade is taken over HTTP/1.1 only')
      checkWebSocket(head.presented)
      const upgrade = new StreamUpgrade(head, plainHeaders(raw), response)
      this.#keep(upgrade, stream)
      this.#options.upgrade(upgrade)
    } catch (error) {
      sendProblem(request, response, refusalOf(error), headersOf(error))
      if (error instanceof Outdated) stream.session?.close()
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

/** A request over a connection that was made under another rule about certificates than its hostname has (RFC 9110 §15.5.20). */
class Misdirected extends HeadRefused {
  constructor() {
    super('MISDIRECTED_REQUEST', 'this connection was not made for the hostname it asks for')
  }
}

/** The same, because the rule changed since, or no name was given: nobody needs the connection any more. */
class Outdated extends Misdirected {}

function guardStream(stream: ServerHttp2Stream): void {
  guardWrites(stream)
  stream.on('error', ignore)
}

function ignore(): void {}
