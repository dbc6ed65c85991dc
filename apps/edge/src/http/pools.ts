import { Agent, type ClientRequest } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Logger, PosternError } from '@postern/interface'
import type { ApplicationRecord, Store } from '@postern/store'
import { ownedByItself } from '@postern/tunnel'
import type { Routes } from '../routes/routes.ts'
import type { HttpLimits } from './limits.ts'

export interface StreamPoolsOptions {
  readonly store: Pick<Store, 'snapshot' | 'onChange'>
  readonly routes: Routes
  readonly limits: HttpLimits
  readonly log: Logger
  /** Aborted when the edge stops. */
  readonly signal: AbortSignal
}

/** Milliseconds between looks for streams whose daemon is leaving. */
const SWEEP_INTERVAL = 1000

/**
 * Streams to the daemons that carry HTTP requests, one request after the other; those that are between two requests wait here,
 * by application and tunnel. An application that moves or goes away loses its own at once.
 */
export class StreamPools implements Disposable {
  readonly #options: StreamPoolsOptions
  readonly #pools = new Map<string, DaemonAgent>()
  readonly #timer: NodeJS.Timeout
  readonly #unsubscribe: () => void

  constructor(options: StreamPoolsOptions) {
    this.#options = options
    this.#unsubscribe = options.store.onChange(() => this.#check())
    this.#timer = setInterval(() => this.#sweep(), SWEEP_INTERVAL).unref()
  }

  /** Streams between two requests, in all. */
  get idle(): number {
    return this.#pools.values().reduce((sum, pool) => sum + pool.idle, 0)
  }

  /** The streams of one application. */
  of(application: ApplicationRecord): Agent {
    const key = keyOf(application)
    const known = this.#pools.get(key)
    if (known !== undefined) return known
    const pool = new DaemonAgent(application, this.#options)
    this.#pools.set(key, pool)
    return pool
  }

  /** A stream for one request alone, a WebSocket's say. */
  single(application: ApplicationRecord): Agent {
    return new DaemonAgent(application, this.#options, false)
  }

  /** Ends those that wait; who still has a request keeps its stream until that is over. */
  close(): void {
    for (const pool of this.#pools.values()) pool.close()
    this.#pools.clear()
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#unsubscribe()
    this.close()
  }

  #check(): void {
    const { applications } = this.#options.store.snapshot
    for (const [key, pool] of this.#pools) {
      const current = applications.get(pool.hostname)
      if (current !== undefined && keyOf(current) === key) continue
      pool.close()
      this.#pools.delete(key)
    }
  }

  #sweep(): void {
    for (const pool of this.#pools.values()) pool.sweep()
  }
}

function keyOf({ id, hostname, tunnelId }: ApplicationRecord): string {
  return `${id} ${hostname} ${tunnelId}`
}

/** What node:http asks of a socket and a tunnel's stream has not. */
interface SocketLike {
  setNoDelay(): this
  setKeepAlive(): this
  setTimeout(): this
  ref(): this
  unref(): this
}

/** node:http's agent over streams of one application's tunnel. */
class DaemonAgent extends Agent {
  readonly #application: ApplicationRecord
  readonly #parts: StreamPoolsOptions
  /** Streams between two requests, and what ends each when it has waited too long. */
  readonly #waiting = new Map<Duplex, NodeJS.Timeout>()
  #closed = false

  constructor(application: ApplicationRecord, parts: StreamPoolsOptions, keepAlive = true) {
    // Waiting requests are nowhere queued: how many run at once is decided before, by visitor.
    super({ keepAlive, maxFreeSockets: parts.limits.idleStreams, scheduling: 'lifo' })
    this.#application = application
    this.#parts = parts
  }

  get hostname(): string {
    return this.#application.hostname
  }

  get idle(): number {
    return this.#waiting.size
  }

  /** All of its streams are alike; node:http asks with every request. */
  override getName(): string {
    return 'daemon'
  }

  override createConnection(_options: unknown, callback?: (error: Error | null, stream: Duplex) => void): undefined {
    void this.#open().then(
      stream => callback?.(null, stream),
      (error: unknown) => callback?.(PosternError.from(error), undefined as unknown as Duplex),
    )
  }

  async #open(): Promise<Duplex> {
    const { routes, log, signal } = this.#parts
    const { hostname, tunnelId } = this.#application
    // Its requests are of several visitors and say their own ids; this one is for the logs of the two ends.
    const header = { hostname, requestId: crypto.randomUUID(), purpose: 'http' } as const
    const stream = socketLike(await routes.open(tunnelId, header, { log, signal }))
    ownedByItself(stream)
    stream.once('close', () => this.#leave(stream))
    return stream
  }

  /** After an answer that was in order, to the last byte. */
  override keepSocketAlive(stream: Duplex): boolean {
    // What arrived behind the answer would be taken for the next visitor's.
    if (this.#closed || stream.readableLength > 0 || this.#parts.routes.isLeaving(stream)) return false
    this.#waiting.set(stream, setTimeout(end, this.#parts.limits.idleTime, stream).unref())
    stream.on('data', unasked)
    return true
  }

  override reuseSocket(stream: Duplex, request: ClientRequest): void {
    this.#leave(stream)
    super.reuseSocket(stream, request)
  }

  close(): void {
    this.#closed = true
    for (const stream of this.#waiting.keys()) stream.destroy()
  }

  sweep(): void {
    for (const stream of this.#waiting.keys()) if (this.#parts.routes.isLeaving(stream)) stream.destroy()
  }

  #leave(stream: Duplex): void {
    const timer = this.#waiting.get(stream)
    if (timer === undefined) return
    clearTimeout(timer)
    stream.off('data', unasked)
    this.#waiting.delete(stream)
  }
}

/** What a daemon says between two requests would be taken for the answer to the next one. */
function unasked(this: Duplex): void {
  this.destroy()
}

function end(stream: Duplex): void {
  stream.destroy()
}

function socketLike(stream: Duplex): Duplex & SocketLike {
  const self = () => stream as Duplex & SocketLike
  return Object.assign(stream, { setNoDelay: self, setKeepAlive: self, setTimeout: self, ref: self, unref: self })
}
