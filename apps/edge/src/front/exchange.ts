import { randomUUID } from 'node:crypto'
import type { EventEmitter } from 'node:events'
import { IncomingMessage, type OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Duplex } from 'node:stream'
import { PosternError, type Presented, type Problem, type SentHeaders } from '@postern/interface'
import { type Head, isNavigation } from './head.ts'

/** One HTTP request at the public port, over HTTP/1.1 or HTTP/2, and the way to answer it. */
export interface Exchange {
  readonly requestId: string
  /** HTTP/1.0 counts as 1.1: Node answers it as it wants. */
  readonly version: '1.1' | '2'
  readonly method: string
  /** Validated, lower case, no port. */
  readonly hostname: string
  /** Path and query in the one spelling that is judged and forwarded; what has none was refused with 400. */
  readonly target: string
  /** As plain data. `url` is the target; `headers.host` is always there, over HTTP/2 from `:authority`. */
  readonly presented: Presented
  /**
   * The body. It is not read before somebody reads it, and `Expect: 100-continue` is not answered: whoever wants the body says
   * `response.writeContinue()`. Over HTTP/2 `rawHeaders` has the pseudo-headers too; `presented.headers` has not.
   */
  readonly request: IncomingMessage | Http2ServerRequest
  /** 1xx, head, body, trailers. A cut is `cut()`, never `end()`. */
  readonly response: ServerResponse | Http2ServerResponse
  /** Aborted when the visitor leaves before the answer is whole, or the edge stops at once. */
  readonly signal: AbortSignal
  /** Whether a browser asks for a page, and is to be answered in HTML. */
  readonly isNavigation: boolean
  /** Answers with a problem (JSON); the connection stays usable where it safely can. After a head was sent, it cuts. */
  refuse(problem: Problem, headers?: SentHeaders): void
  /** Ends the answer so that nobody takes it for a whole one. */
  cut(reason?: Error): void
}

/** An upgrade to WebSocket that is no transport's: HTTP/1.1 Upgrade, or HTTP/2 extended CONNECT (RFC 8441). */
export interface UpgradeExchange extends Omit<Exchange, 'request' | 'response' | 'isNavigation' | 'cut'> {
  /**
   * Names and values in turn, in order, without pseudo-headers. Over HTTP/2 there is no `connection`, `upgrade` nor
   * `sec-websocket-key`: who forwards it over HTTP/1.1 makes its own.
   */
  readonly headers: readonly string[]
  /**
   * Answers 101 (200 over HTTP/2) and gives the bytes, what came behind the request first. A cut is `destroy(error)`.
   *
   * @param headers of the answer, names and values in turn; what speaks of the connection is made here and left out of these, and
   *   so is `sec-websocket-accept` over HTTP/2
   * @throws PosternError STREAM_CUT: the visitor left
   */
  accept(headers: readonly string[]): Duplex
}

/** Milliseconds for an answer of ours to be taken, and for a body that nobody wants to come to its end. */
export const LINGER = 2000
/** Bytes of a body nobody wants that are read to keep a connection. */
const WORTH_READING = 65_536

/** An exchange over either version. */
export class HttpExchange implements Exchange {
  readonly requestId: string = randomUUID()
  readonly version: '1.1' | '2'
  readonly method: string
  readonly hostname: string
  readonly target: string
  readonly presented: Presented
  readonly request: IncomingMessage | Http2ServerRequest
  readonly response: ServerResponse | Http2ServerResponse
  readonly isNavigation: boolean
  readonly #left = new AbortController()

  constructor(request: Exchange['request'], response: Exchange['response'], head: Head) {
    this.request = request
    this.response = response
    this.version = request instanceof IncomingMessage ? '1.1' : '2'
    this.method = head.method
    this.hostname = head.hostname
    this.target = head.target
    this.presented = head.presented
    this.isNavigation = isNavigation(head.presented)
    // Nobody else need listen: what goes wrong with either ends both, and the signal says so.
    request.on('error', ignore)
    response.on('error', ignore)
    lifeOf(response).once('close', () => {
      if (!isWhole(response)) this.abort(gone())
    })
  }

  get signal(): AbortSignal {
    return this.#left.signal
  }

  abort(reason: PosternError): void {
    this.#left.abort(reason)
  }

  refuse(problem: Problem, headers: SentHeaders = {}): void {
    if (this.response.headersSent) this.cut()
    else sendProblem(this.request, this.response, problem, headers)
  }

  cut(reason: Error = new Error('cut')): void {
    const { response } = this
    if (response instanceof ServerResponse) response.destroy(reason)
    // Anything gentler would end the stream first, which looks whole.
    else response.stream.destroy(reason)
  }
}

/** `response.writeHead` over either version. Over HTTP/2 nothing may be said about the connection. */
export function sendHead(response: Exchange['response'], status: number, headers: OutgoingHttpHeaders): void {
  if (response instanceof ServerResponse) response.writeHead(status, headers)
  else response.writeHead(status, headers)
}

/** Answers with a problem, in one form for everything the front and its guests refuse. */
export function sendProblem(
  request: Exchange['request'],
  response: Exchange['response'],
  problem: Problem,
  headers: SentHeaders,
): void {
  const body = Buffer.from(JSON.stringify(problem))
  const fields: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers)) fields[name] = typeof value === 'string' ? value : [...value]
  const all = {
    ...fields,
    'content-type': 'application/problem+json',
    'content-length': String(body.length),
    'cache-control': 'no-store',
    'postern-request-id': problem.requestId,
  }
  if (response instanceof ServerResponse) {
    if (!isWorthReading(request)) response.shouldKeepAlive = false
  } else {
    if (response.stream.destroyed) return
    const { stream } = response
    const timer = setTimeout(() => stream.destroy(new Error('nobody takes the answer')), LINGER)
    stream.once('close', () => clearTimeout(timer))
  }
  sendHead(response, problem.status, all)
  if (request.method === 'HEAD') response.end()
  else response.end(body)
}

/**
 * Whether the rest of a body that nobody wants is read, to keep the connection. Who waits for 100 may or may not send it: no
 * one knows then where the next request begins.
 */
export function isWorthReading(request: Exchange['request']): boolean {
  if (request.complete) return true
  const { 'content-length': length, 'transfer-encoding': coding, expect } = request.headers
  if (length === undefined && coding === undefined) return true
  return expect === undefined && coding === undefined && Number(length) <= WORTH_READING
}

/** What is closed when it is all over: over HTTP/2 the stream, for the response of a HEAD that was left unanswered never says so. */
export function lifeOf(response: Exchange['response']): EventEmitter {
  return response instanceof ServerResponse ? response : response.stream
}

function isWhole(response: Exchange['response']): boolean {
  if (response instanceof ServerResponse) return response.writableFinished
  return response.writableEnded && response.stream.rstCode === 0
}

export function gone(): PosternError {
  return new PosternError('STREAM_CUT', 'the visitor left', { speaker: 'client' })
}

function ignore(): void {}
