import { type NamedTransport, Transports, untilAborted } from '@postern/client'
import { type Call, type Code, PosternError } from '@postern/interface'
import { type HostMessage, type KeepConnectedOptions, keepConnected, type Tunnel } from '@postern/tunnel'
import type { DaemonObserver } from './observer.ts'

/** Two survive the loss of one while it reconnects, and four spread over edges; the number people know from elsewhere. */
export const CONNECTIONS = 4

/** More would only be a burden to the edge. */
const MOST_CONNECTIONS = 16

/**
 * Milliseconds, the longest wait for the next dial. Four connections dial on their own, so after any outage the first of them is up
 * within 3.2 s of the edge in 19 cases of 20 (6·(1 − ⁴√0.05)), and the others follow it.
 */
const LONGEST_WAIT = 6_000

/** Connections that the edge drained and that still have streams, for each one that is kept. */
const MOST_DRAINED = 4

/** Refusals that no waiting mends: the daemon says so and ends instead of knocking for ever. */
export const FATAL: ReadonlySet<Code> = new Set([
  'AUTH_REJECTED',
  'TOKEN_EXPIRED',
  'TOKEN_REVOKED',
  'ACCESS_DENIED',
  'LOGIN_REQUIRED',
  'VERSION_UNSUPPORTED',
  'EDGE_UNTRUSTED',
  'BAD_USAGE',
  'CONNECTOR_EVICTED',
  'HOSTNAME_INVALID',
  'OPTION_INVALID',
  'OPTION_CONFLICT',
])

/** @throws PosternError OPTION_INVALID */
export function checkConnections(connections: number): void {
  if (!Number.isInteger(connections) || connections < 1 || connections > MOST_CONNECTIONS)
    throw new PosternError('OPTION_INVALID', `--connections is 1 to ${MOST_CONNECTIONS}, not ${connections}`)
}

export interface ConnectionsParts {
  readonly edge: URL
  /** Kept at once. */
  readonly count: number
  readonly transports: readonly NamedTransport[]
  readonly observer: DaemonObserver
  /** Makes one. `onDrain` is told when the edge wants it to take no new streams. */
  readonly open: (index: number, by: NamedTransport, onDrain: () => void, call: Call) => Promise<Tunnel>
  /** Told when no more are made: with the refusal that ended that, or nothing after a stop. */
  readonly onOver: (error: PosternError | undefined) => void
}

/** The daemon's connections to the edge, each dialled again when it is lost. */
export class Connections {
  readonly #parts: ConnectionsParts
  /** Ends everything. */
  readonly #call: Call
  /** Ends the dialling only. */
  readonly #settled = new AbortController()
  readonly #tunnels = new Set<Tunnel>()
  readonly #transports: Transports
  readonly #first = Promise.withResolvers<void>()
  #loops: Promise<void>[] = []
  /** Aborted when a connection came up: whoever waits to dial waits no longer. */
  #news = new AbortController()
  #toldAt = Number.NEGATIVE_INFINITY
  /** There was one once. From then on a strange certificate is somebody in the way, who must not be able to end the daemon. */
  #served = false

  constructor(parts: ConnectionsParts, call: Call) {
    this.#parts = parts
    this.#transports = new Transports(parts.transports)
    this.#call = call
  }

  /** Those that take streams now. */
  get size(): number {
    return [...this.#tunnels].filter(tunnel => !tunnel.draining).length
  }

  /** Over whichever. @returns whether it is on its way */
  tell(message: HostMessage): boolean {
    return [...this.#tunnels].some(tunnel => tunnel.tell(message))
  }

  /**
   * Resolves when the first is up; the others follow.
   *
   * @param over rejects when there will be none
   * @throws as `over`; `signal.reason`
   */
  async start(over: Promise<never>, signal: AbortSignal): Promise<void> {
    this.#loops = [this.#keep(0)]
    await untilAborted(Promise.race([this.#first.promise, over]), signal)
    for (let index = 1; index < this.#parts.count; index++) this.#loops.push(this.#keep(index))
  }

  /** Dials no more. */
  async settle(): Promise<void> {
    this.#settled.abort(new PosternError('DRAINING', 'the daemon stops', { speaker: 'daemon' }))
    await this.ended()
  }

  /** Resolves when nothing dials any more, which has been aborted. */
  async ended(): Promise<void> {
    await Promise.all(this.#loops)
  }

  /** Takes no new streams; resolves when the open ones ended. @throws `call.signal.reason` */
  async drain(call: Call): Promise<void> {
    await Promise.all([...this.#tunnels].map(tunnel => tunnel.drain(call)))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#tunnels].map(tunnel => tunnel.close()))
  }

  async #keep(index: number): Promise<void> {
    const { log, signal } = this.#call
    const { observer, onOver } = this.#parts
    const dialling: Call = { log, signal: AbortSignal.any([signal, this.#settled.signal]) }
    const options: KeepConnectedOptions = {
      capMs: LONGEST_WAIT,
      news: () => this.#news.signal,
      fatal: error =>
        PosternError.is(error) && FATAL.has(error.code) && !(this.#served && error.code === 'EDGE_UNTRUSTED'),
      onRetry: ({ error, delayMs }) => {
        log.warn('no connection to the edge', {
          connection: index,
          cause: messageOf(error),
          retryInMs: Math.round(delayMs),
        })
        observer.onRetry?.({ index }, error, delayMs)
      },
    }
    try {
      await keepConnected((_attempt, call) => this.#connect(index, call), options, dialling)
    } catch (error) {
      if (signal.aborted) onOver(undefined)
      else if (!dialling.signal.aborted) onOver(PosternError.from(error))
    }
  }

  /** @returns a connection whose end means that another one is wanted: an edge that drains wants one elsewhere at once */
  async #connect(index: number, call: Call): Promise<{ readonly closed: Promise<unknown> }> {
    const { observer, open } = this.#parts
    observer.onDial?.({ index })
    const drained = Promise.withResolvers<void>()
    const { tunnel, name } = await this.#transports.use(
      async one => ({ tunnel: await open(index, one, drained.resolve, call), name: one.name }),
      call,
    )
    this.#hold(tunnel, index, name)
    drained.promise.then(() => this.#leave(tunnel)).catch(() => {}) // ended with the daemon
    void Promise.race([tunnel.closed, drained.promise]).then(error =>
      observer.onDisconnected?.({ index }, error ?? undefined),
    )
    if (call.signal.aborted) await tunnel.close() // meanwhile
    call.signal.throwIfAborted()
    this.#served = true
    this.#first.resolve()
    this.#tellNews()
    return { closed: Promise.race([tunnel.closed, drained.promise]) }
  }

  /** Not more often than the longest wait: an edge that takes connections and drops them would else be dialled without a pause. */
  #tellNews(): void {
    const now = performance.now()
    if (now - this.#toldAt < LONGEST_WAIT) return
    this.#toldAt = now
    this.#news.abort()
    this.#news = new AbortController()
  }

  #hold(tunnel: Tunnel, connection: number, transport: string): void {
    const { log, signal } = this.#call
    const { edge, observer } = this.#parts
    this.#tunnels.add(tunnel)
    observer.onConnected?.({ index: connection })
    log.info('connected to the edge', { connection, edge: edge.host, transport })
    void tunnel.closed.then(error => {
      this.#tunnels.delete(tunnel)
      if (!signal.aborted)
        log.warn('connection to the edge ended', { connection, cause: error?.message ?? 'closed by the edge' })
    })
  }

  /** Open streams go on, and the connection ends with the last. An edge that drains one after the other does not gather them here. */
  async #leave(tunnel: Tunnel): Promise<void> {
    const drained = [...this.#tunnels].filter(one => one.draining)
    const most = MOST_DRAINED * this.#parts.count
    if (drained.length > most)
      drained[0]?.cut(
        new PosternError('LIMIT_EXCEEDED', `${most} drained connections still have streams, the limit`, {
          speaker: 'daemon',
        }),
      )
    await tunnel.drain(this.#call)
    await tunnel.close()
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : error === undefined ? 'the connection ended' : String(error)
}
