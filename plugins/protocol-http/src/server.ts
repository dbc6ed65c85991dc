import { createServer, type IncomingMessage, type Server, ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  type Call,
  type OfferedStream,
  type OriginHost,
  PosternError,
  type RequestRule,
  type RequestsSide,
} from '@postern/interface'
import { Exchange, LINGER } from './exchange.ts'
import { encodeProblem, failure, failureOf, PROBLEM_HEADER, problemOf } from './failures.ts'
import { forward } from './forward.ts'
import { forwardOverHttp2 } from './forward-http2.ts'
import { Identities } from './identity.ts'
import { Pool } from './pool.ts'
import { asSocket } from './socket.ts'
import { forwardUpgrade } from './upgrade.ts'

/** Bytes of a request’s head, as the edge may send it: what it takes from visitors, and what it adds. */
const LARGEST_HEAD = 96 * 1024

/** A stream that is served. */
interface Served {
  readonly side: RequestsSide
  readonly call: Call
  /** Requests that are being answered. */
  open: number
}

/** Reads HTTP/1.1 off the edge’s streams and answers each request by its ingress rule. */
export class RequestServer {
  readonly #server: Server
  readonly #identities: Identities
  readonly #served = new WeakMap<Duplex, Served>()
  readonly #pools = new Map<RequestRule, Pool>()

  constructor(host: OriginHost) {
    this.#identities = new Identities(host)
    const server = createServer({
      insecureHTTPParser: false,
      keepAliveTimeout: 0, // the edge keeps these streams, and ends them
      maxHeaderSize: LARGEST_HEAD,
      requestTimeout: 0,
    })
    server.maxHeadersCount = 0 // bounded by their size; the default drops what is too many, silently
    const onRequest = (request: IncomingMessage, response: ServerResponse) => void this.#answer(request, response)
    server.on('request', onRequest).on('checkContinue', onRequest).on('checkExpectation', onRequest)
    server.on('upgrade', (request, stream, early) => void this.#upgrade(request, stream, early))
    server.on('clientError', (error, stream) => this.#garbled(error, stream))
    this.#server = server
  }

  /** Resolves when the edge has ended the stream. @throws PosternError what cut it in the middle of a request; `call.signal.reason` */
  async serve(offered: OfferedStream, side: RequestsSide, call: Call): Promise<void> {
    call.signal.throwIfAborted()
    const stream = asSocket(offered.accept())
    const served: Served = { side, call, open: 0 }
    this.#served.set(stream, served)
    const closed = new Promise<void>(resolve => stream.once('close', resolve))
    stream.on('error', () => {}) // told by 'close'
    const onAbort = (): void => void stream.destroy(PosternError.from(call.signal.reason))
    call.signal.addEventListener('abort', onAbort)
    let cutOpen = false
    stream.once('close', () => {
      cutOpen = served.open > 0 && stream.errored !== null
    })
    this.#server.emit('connection', stream)
    try {
      await closed
    } finally {
      call.signal.removeEventListener('abort', onAbort)
    }
    call.signal.throwIfAborted()
    // An idle stream that the edge drops is the end of it; each request told of its own end.
    if (cutOpen) throw PosternError.from(stream.errored, 'STREAM_CUT')
  }

  close(): void {
    for (const pool of this.#pools.values()) pool[Symbol.dispose]()
    this.#pools.clear()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = this.#exchange(request, response)
    if (!exchange) return
    try {
      const begun = await this.#begin(exchange)
      if (!begun) return
      const { rule, options, service } = begun
      const pool = this.#poolFor(rule, service)
      if (options.http2) await forwardOverHttp2(exchange, pool, options)
      else await forward(exchange, pool, options)
    } catch (thrown) {
      exchange.fail(thrown)
    }
  }

  async #upgrade(request: IncomingMessage, stream: Duplex, early: Buffer): Promise<void> {
    const response = new ServerResponse(request)
    response.assignSocket(request.socket)
    const exchange = this.#exchange(request, response)
    if (!exchange) return
    response.shouldKeepAlive = false // what follows a request for an upgrade is not for an HTTP parser, whatever the answer
    response.once('finish', () => finish(stream))
    try {
      if (!/^\s*websocket\s*$/i.test(request.headers.upgrade ?? ''))
        throw failure('PROTOCOL_VIOLATION', 'a request wants to be upgraded to something else than a WebSocket')
      const begun = await this.#begin(exchange)
      if (!begun) return
      if (begun.options.http2)
        throw failure('ORIGIN_FAILED', 'the rule speaks HTTP/2 to its service, and a WebSocket begins with HTTP/1.1')
      await forwardUpgrade(exchange, this.#poolFor(begun.rule, begun.service), begun.options, stream, early)
    } catch (thrown) {
      exchange.fail(thrown)
    }
  }

  #exchange(request: IncomingMessage, response: ServerResponse): Exchange | undefined {
    const served = this.#served.get(request.socket)
    if (!served) {
      request.socket.destroy()
      return undefined
    }
    served.open++
    response.once('close', () => served.open--)
    return new Exchange(request, response, served.side, served.call)
  }

  /** @returns undefined when the rule answers by itself */
  async #begin(exchange: Exchange) {
    const { rule, options } = exchange.begin()
    if (options.requireIdentity)
      await this.#identities.require(exchange.side.hostname, exchange.head.identity, exchange.call)
    if (exchange.left.aborted) return undefined
    rule.signal.throwIfAborted() // meanwhile
    const { service } = rule
    if (typeof service !== 'number') return { rule, options, service }
    exchange.answer(
      service,
      STATUS_CODES[service] ?? '',
      [204, 205, 304].includes(service) ? [] : ['Content-Length', '0'],
    )
    exchange.response.end()
    return undefined
  }

  #poolFor(rule: RequestRule, service: URL): Pool {
    const known = this.#pools.get(rule)
    if (known) return known
    const pool = new Pool(rule, service)
    this.#pools.set(rule, pool)
    rule.signal.addEventListener(
      'abort',
      () => {
        this.#pools.delete(rule)
        pool[Symbol.dispose]()
      },
      { once: true },
    )
    return pool
  }

  /** What is no HTTP: an answer where none has begun, and the end of the stream. */
  #garbled(error: Error, stream: Duplex): void {
    const served = this.#served.get(stream)
    if (stream.destroyed || !stream.writable) return
    if (!served || served.open > 0 || (error as NodeJS.ErrnoException).code === 'ECONNRESET') {
      stream.destroy(failureOf(error))
      return
    }
    const told = problemOf(failure('PROTOCOL_VIOLATION', 'no HTTP'), '')
    stream.write(
      `HTTP/1.1 400 Bad Request\r\n${PROBLEM_HEADER}: ${encodeProblem(told)}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
    )
    finish(stream)
  }
}

/** The last word was said: what is still sent is read by nobody, and not for long. */
function finish(stream: Duplex): void {
  stream.end()
  stream.resume()
  const timer = setTimeout(() => stream.destroy(), LINGER)
  stream.once('close', () => clearTimeout(timer))
}
