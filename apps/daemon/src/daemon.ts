import { dialEdge, type NamedTransport, Transports, type Trust, untilAborted } from '@postern/client'
import {
  type AuthProvider,
  type Call,
  type Code,
  type Dialled,
  PosternError,
  type SentHeaders,
} from '@postern/interface'
import { type HostMessage, type KeepConnectedOptions, keepConnected, startTunnel, type Tunnel } from '@postern/tunnel'
import { type DaemonAbout, ownAbout } from './about.ts'
import { FailureLog } from './failure-log.ts'
import { type JoinIdentity, Joins } from './joins.ts'
import { noteMessage } from './notes.ts'
import type { DaemonObserver } from './observer.ts'
import { type Difference, Rules, showRule } from './rules.ts'
import { type ServedRule, serveStream } from './serve.ts'
import { WebServing } from './serve-web.ts'
import { showWebRule, type Web } from './web-rules.ts'

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

export interface DaemonConfig {
  /** Where the edge listens, for example `https://edge.example.com`. */
  readonly edge: URL
  /** The edge's own hostname, for Host and SNI. Default: the hostname of `edge`. */
  readonly teamDomain?: string
  readonly rules: readonly ServedRule[]
  /** Hostnames that nothing answers, though a wildcard of `rules` would. */
  readonly unserved?: readonly string[]
  /** Its HTTP applications. `rules` are for bytes. */
  readonly web?: Web
  readonly auth: readonly AuthProvider[]
  /** At least one, in the order in which connections are tried by them. */
  readonly transports: readonly NamedTransport[]
  readonly trust?: Trust
  /** Connections kept alive at once, 1–16. Default 4. */
  readonly connections?: number
  /** What it says of itself to the edge. Default: an id of its own, and this version. */
  readonly about?: DaemonAbout
  /** For end-to-end sessions. Absent: the edge is the other end of every session. */
  readonly joining?: JoinIdentity
  /** Told what happens. It costs nothing where nobody listens. */
  readonly observer?: DaemonObserver
}

export interface RunningDaemon extends AsyncDisposable {
  /** Connections to the edge that take streams now. */
  readonly connections: number
  /**
   * From now on these rules hold. Streams of a hostname whose service stays the same go on; those of one that was removed or
   * changed are cut, and so are requests that another rule would answer now. What changed is logged.
   *
   * @throws PosternError OPTION_CONFLICT: two rules for one hostname; the old ones hold on
   */
  setRules(rules: readonly ServedRule[], unserved?: readonly string[], web?: Web): Difference
  /** Takes no new streams and dials no more; resolves when the open ones ended. @throws `call.signal.reason` */
  drain(call: Call): Promise<void>
  /** Resolves when the daemon is over: undefined after a stop, the refusal that ended it otherwise. */
  readonly closed: Promise<PosternError | undefined>
}

/**
 * Dials out and serves until stopped. Resolves when the first connection is up; an edge that is away is waited for.
 *
 * @param starting ends the waiting for the first connection
 * @param running ends the daemon at once
 * @throws PosternError OPTION_INVALID, OPTION_CONFLICT for what cannot be; a refusal that no waiting mends (AUTH_REJECTED,
 *   EDGE_UNTRUSTED, …); the reason of either signal
 */
export async function startDaemon(
  config: DaemonConfig,
  starting: Call,
  running: Call = starting,
): Promise<RunningDaemon> {
  checkConnections(config.connections ?? CONNECTIONS)
  const daemon = new Daemon(config, running)
  try {
    await daemon.start(starting.signal)
    return daemon
  } catch (error) {
    await daemon[Symbol.asyncDispose]()
    throw error
  }
}

/** @throws PosternError OPTION_INVALID */
export function checkConnections(connections: number): void {
  if (!Number.isInteger(connections) || connections < 1 || connections > MOST_CONNECTIONS)
    throw new PosternError('OPTION_INVALID', `--connections is 1 to ${MOST_CONNECTIONS}, not ${connections}`)
}

class Daemon implements RunningDaemon {
  readonly #config: DaemonConfig
  readonly #observer: DaemonObserver
  #about: DaemonAbout | undefined
  /** Ends everything: streams, connections, attempts. */
  readonly #call: Call
  readonly #stop = new AbortController()
  /** Ends the dialling only. */
  readonly #settled = new AbortController()
  readonly #tunnels = new Set<Tunnel>()
  readonly #transports: Transports
  readonly #rules: Rules<ServedRule>
  readonly #web: WebServing
  readonly #failures: FailureLog
  readonly #joins: Joins | undefined
  readonly #first = Promise.withResolvers<void>()
  readonly #over = Promise.withResolvers<PosternError | undefined>()
  #loops: Promise<void>[] = []
  /** Aborted when a connection came up: whoever waits to dial waits no longer. */
  #news = new AbortController()
  #toldAt = Number.NEGATIVE_INFINITY
  /** It was connected once. From then on a strange certificate is somebody in the way, who must not be able to end it. */
  #served = false

  constructor(config: DaemonConfig, call: Call) {
    this.#config = config
    this.#observer = config.observer ?? {}
    this.#transports = new Transports(config.transports)
    this.#rules = new Rules(config.rules, config.unserved)
    this.#failures = new FailureLog(call.log)
    this.#web = new WebServing(config.web, this.#failures, this.#observer)
    this.#call = { log: call.log, signal: AbortSignal.any([call.signal, this.#stop.signal]) }
    this.#joins = config.joining && this.#joinsBy(config.joining)
  }

  get connections(): number {
    return [...this.#tunnels].filter(tunnel => !tunnel.draining).length
  }

  get closed(): Promise<PosternError | undefined> {
    return this.#over.promise
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.#about = this.#config.about ?? (await ownAbout())
    for (const rule of this.#config.rules) this.#call.log.info(showRule(rule))
    for (const rule of this.#config.web?.rules ?? []) this.#call.log.info(showWebRule(rule))
    this.#observer.onRules?.(this.#rules.size + this.#web.size)
    this.#loops = [this.#keep(0)]
    const over = this.#over.promise.then(error => Promise.reject(error ?? this.#call.signal.reason))
    over.catch(() => {}) // told through `closed` once it runs
    await untilAborted(Promise.race([this.#first.promise, over]), signal)
    for (let index = 1; index < (this.#config.connections ?? CONNECTIONS); index++) this.#loops.push(this.#keep(index))
  }

  setRules(rules: readonly ServedRule[], unserved?: readonly string[], web?: Web): Difference {
    const { changed, ...bytes } = this.#rules.replace(rules, unserved)
    const requests = this.#web.replace(web)
    const difference: Difference = {
      added: [...bytes.added, ...requests.added],
      removed: [...bytes.removed, ...requests.removed],
      changed,
      cut: bytes.cut + requests.cut,
    }
    const { log } = this.#call
    for (const line of difference.added) log.info(`added ${line}`)
    for (const line of difference.changed) log.info(`changed ${line}`)
    for (const line of difference.removed) log.info(`removed ${line}`)
    if (difference.cut > 0) log.info('cut streams whose rule was removed or changed', { streams: difference.cut })
    this.#observer.onRules?.(this.#rules.size + this.#web.size)
    return difference
  }

  async #keep(connection: number): Promise<void> {
    const { log, signal } = this.#call
    const dialling: Call = { log, signal: AbortSignal.any([signal, this.#settled.signal]) }
    const options: KeepConnectedOptions = {
      capMs: LONGEST_WAIT,
      news: () => this.#news.signal,
      fatal: error =>
        PosternError.is(error) && FATAL.has(error.code) && !(this.#served && error.code === 'EDGE_UNTRUSTED'),
      onRetry: ({ error, delayMs }) => {
        log.warn('no connection to the edge', {
          connection,
          cause: messageOf(error),
          retryInMs: Math.round(delayMs),
        })
        this.#observer.onRetry?.({ index: connection }, error, delayMs)
      },
    }
    try {
      await keepConnected((_attempt, call) => this.#connect(connection, call), options, dialling)
    } catch (error) {
      if (signal.aborted) this.#over.resolve(undefined)
      else if (!dialling.signal.aborted) {
        this.#over.resolve(PosternError.from(error))
        this.#stop.abort(error)
      }
    }
  }

  /** @returns a connection whose end means that another one is wanted: an edge that drains wants one elsewhere at once */
  async #connect(connection: number, call: Call): Promise<{ readonly closed: Promise<unknown> }> {
    this.#observer.onDial?.({ index: connection })
    const drained = Promise.withResolvers<void>()
    const { tunnel, name } = await this.#transports.use(
      async one => ({ tunnel: await this.#open(connection, one, drained.resolve, call), name: one.name }),
      call,
    )
    this.#hold(tunnel, connection, name)
    drained.promise.then(() => this.#leave(tunnel)).catch(() => {}) // ended with the daemon
    void Promise.race([tunnel.closed, drained.promise]).then(error =>
      this.#observer.onDisconnected?.({ index: connection }, error ?? undefined),
    )
    if (call.signal.aborted) await tunnel.close() // meanwhile
    call.signal.throwIfAborted()
    this.#served = true
    this.#first.resolve()
    this.#tellNews()
    return { closed: Promise.race([tunnel.closed, drained.promise]) }
  }

  async #open(connection: number, by: NamedTransport, onDrain: () => void, call: Call): Promise<Tunnel> {
    const { pipe } = await this.#dial('connector', by, {}, call)
    let tunnel: Tunnel | undefined
    // To the edge that the stream came from, and no other.
    const observer: DaemonObserver = {
      ...this.#observer,
      onNote: (stream, event) => {
        this.#observer.onNote?.(stream, event)
        tunnel?.tell(noteMessage(stream.requestId, stream, event))
      },
    }
    tunnel = await startTunnel(
      pipe,
      {
        role: 'client',
        log: call.log,
        speaker: 'daemon',
        about: { ...this.#about, connection, ...(this.#joins && { join: 1 }) },
        onMessage: message => this.#hear(message),
        onStream: offered =>
          void (offered.header.purpose === 'http'
            ? this.#web.serve(offered, this.#call)
            : serveStream(offered, this.#rules, this.#failures, this.#call, observer)),
        onDrain,
      },
      call,
    )
    return tunnel
  }

  /** What the edge tells beside the streams. */
  #hear(message: HostMessage): void {
    if (message.type === 'join') void this.#joins?.take(message)
    if (message.type === 'join-cut') this.#joins?.cut(message)
    if (message.type === 'grant-keys') this.#config.joining?.grantKeys.hear(message.token)
  }

  #dial(
    purpose: 'connector' | 'join',
    { transport }: NamedTransport,
    headers: SentHeaders,
    call: Call,
  ): Promise<Dialled> {
    const { edge, auth, trust = { ca: [] }, teamDomain = edge.hostname } = this.#config
    const wanted = { purpose: 'connector', teamDomain } as const
    return dialEdge({ edge, host: teamDomain, purpose, wanted, auth, transport, trust, headers }, call)
  }

  #joinsBy(identity: JoinIdentity): Joins {
    const parts = {
      identity,
      rules: this.#rules,
      failures: this.#failures,
      observer: this.#observer,
      transports: this.#config.transports,
      dial: async (by: NamedTransport, ticket: string, call: Call) =>
        (await this.#dial('join', by, { 'postern-join': ticket }, call)).pipe,
      tell: (message: HostMessage) => [...this.#tunnels].some(tunnel => tunnel.tell(message)),
    }
    return new Joins(parts, this.#call)
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
    this.#tunnels.add(tunnel)
    this.#observer.onConnected?.({ index: connection })
    log.info('connected to the edge', { connection, edge: this.#config.edge.host, transport })
    void tunnel.closed.then(error => {
      this.#tunnels.delete(tunnel)
      if (!signal.aborted)
        log.warn('connection to the edge ended', { connection, cause: error?.message ?? 'closed by the edge' })
    })
  }

  /** Open streams go on, and the connection ends with the last. An edge that drains one after the other does not gather them here. */
  async #leave(tunnel: Tunnel): Promise<void> {
    const drained = [...this.#tunnels].filter(one => one.draining)
    const most = MOST_DRAINED * (this.#config.connections ?? CONNECTIONS)
    if (drained.length > most)
      drained[0]?.cut(
        new PosternError('LIMIT_EXCEEDED', `${most} drained connections still have streams, the limit`, {
          speaker: 'daemon',
        }),
      )
    await tunnel.drain(this.#call)
    await tunnel.close()
  }

  async drain(call: Call): Promise<void> {
    this.#observer.onStopping?.()
    this.#settled.abort(new PosternError('DRAINING', 'the daemon stops', { speaker: 'daemon' }))
    await Promise.all(this.#loops)
    this.#web.drain()
    await Promise.all([this.#joins?.drain(call), ...[...this.#tunnels].map(tunnel => tunnel.drain(call))])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new PosternError('DRAINING', 'the daemon was stopped', { speaker: 'daemon' }))
    await Promise.all(this.#loops)
    await this.#joins?.[Symbol.asyncDispose]()
    await Promise.all([...this.#tunnels].map(tunnel => tunnel.close()))
    this.#web[Symbol.dispose]()
    this.#failures[Symbol.dispose]()
    this.#over.resolve(undefined)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : error === undefined ? 'the connection ended' : String(error)
}
