import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { gone, type HttpExchange, isWorthReading, LINGER } from './exchange.ts'
import type { FrontLimits } from './limits.ts'

/** Requests of a connection that wait for the one before them. No browser sends any so; whoever does has more than enough. */
const MOST_WAITING = 32

type Begin = (request: IncomingMessage, response: ServerResponse) => HttpExchange | undefined

interface Waiting {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** Milliseconds between looks at connections that are too slow. */
const CHECK_INTERVAL = 1000

/** Options of node:http for strangers. */
export function http1Options(limits: FrontLimits) {
  return {
    maxHeaderSize: limits.headBytes,
    headersTimeout: limits.headTime,
    // A body takes as long as whoever reads it allows.
    requestTimeout: 0,
    keepAliveTimeout: limits.idleTime,
    connectionsCheckingInterval: CHECK_INTERVAL,
    // The answer to a missing Host is ours to word.
    requireHostHeader: false,
    insecureHTTPParser: false,
  }
}

/**
 * One HTTP/1.1 connection. Its requests are served one after the other: what follows one that ends the connection, or one that
 * was answered before its body was read, is never looked at.
 */
export class Http1Connection {
  readonly #socket: TLSSocket
  readonly #begin: Begin
  readonly #waiting: Waiting[] = []
  #running: (Waiting & { readonly exchange?: HttpExchange }) | undefined
  #left: number
  #over = false

  /**
   * @param most requests, the last of which is answered with `Connection: close`
   * @param begin serves a request, or answers it itself
   */
  constructor(socket: TLSSocket, most: number, begin: Begin) {
    this.#socket = socket
    this.#left = most
    this.#begin = begin
    // Node would end and destroy at once: with bytes unread, the reset takes the answer from whoever has not read it.
    socket.destroySoon = () => this.#leave()
    socket.once('close', () => {
      this.#over = true
      this.#waiting.length = 0
    })
  }

  /** Gives the socket up to an upgrade. @returns whether it may have it */
  release(): boolean {
    if (this.#over || this.#running !== undefined) return false
    this.#over = true
    Reflect.deleteProperty(this.#socket, 'destroySoon')
    return true
  }

  request(request: IncomingMessage, response: ServerResponse): void {
    if (this.#over) return
    if (this.#waiting.length >= MOST_WAITING) return void this.#socket.destroy()
    this.#waiting.push({ request, response })
    this.#next()
  }

  /** Bytes that are no request. @returns whether nothing is being answered, so that the refusal may be written */
  broken(): boolean {
    const running = this.#running
    if (this.#over) return false
    if (running?.request.complete === true) {
      // It is whole, and gets its answer; nothing after it does.
      this.end()
      return false
    }
    this.#over = true
    running?.exchange?.abort(gone())
    if (running?.response.headersSent === true) this.#socket.destroy()
    return running?.response.headersSent !== true
  }

  /** No further request: what runs is finished first. */
  end(): void {
    this.#over = true
    this.#waiting.length = 0
    if (this.#running === undefined) this.#leave()
    else this.#running.response.shouldKeepAlive = false
  }

  #next(): void {
    if (this.#running !== undefined || this.#over) return
    const waiting = this.#waiting.shift()
    if (waiting === undefined) return
    const { request, response } = waiting
    this.#running = waiting
    this.#left -= 1
    if (this.#left <= 0) response.shouldKeepAlive = false
    response.once('finish', () => this.#finished(request))
    response.once('close', () => {
      this.#running = undefined
      this.#next()
    })
    const exchange = this.#begin(request, response)
    if (exchange !== undefined && this.#running?.response === response) this.#running = { ...waiting, exchange }
  }

  #finished(request: IncomingMessage): void {
    if (this.#over || !isWorthReading(request)) {
      this.#leave()
      return
    }
    if (request.complete) return
    // Node reads the rest of the body and throws it away.
    const timer = setTimeout(() => this.#socket.destroy(), LINGER)
    const done = () => clearTimeout(timer)
    request.once('close', done)
    this.#socket.once('close', done)
  }

  /** Ends our half, and gives the other end the time to read it. What it still sends stays in its own buffers. */
  #leave(): void {
    const socket = this.#socket
    this.#over = true
    if (socket.destroyed) return
    if (!socket.writable) return void socket.destroy()
    socket.end()
    if (this.#running?.request.complete === false) socket.pause()
    const timer = setTimeout(() => socket.destroy(), LINGER)
    socket.once('close', () => clearTimeout(timer))
  }
}
