import { dialEdge, type NamedTransport, type Trust } from '@postern/client'
import { type AuthProvider, type Call, type Dialled, PosternError, type SentHeaders } from '@postern/interface'
import { type HostMessage, Memory, startTunnel, type Tunnel } from '@postern/tunnel'
import { type DaemonAbout, ownAbout } from './about.ts'
import { CONNECTIONS, Connections, type ConnectionsParts, checkConnections } from './connections.ts'
import { FailureLog } from './failure-log.ts'
import { Hops } from './hops.ts'
import { type JoinIdentity, Joins } from './joins.ts'
import { noteMessage } from './notes.ts'
import type { DaemonObserver } from './observer.ts'
import { type Difference, Rules, showRule } from './rules.ts'
import { type ServedRule, serveStream } from './serve.ts'
import { WebServing } from './serve-web.ts'
import { showWebRule, type Web } from './web-rules.ts'

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

class Daemon implements RunningDaemon {
  readonly #config: DaemonConfig
  readonly #observer: DaemonObserver
  #about: DaemonAbout | undefined
  /** Ends everything: streams, connections, attempts. */
  readonly #call: Call
  readonly #stop = new AbortController()
  readonly #connections: Connections
  readonly #rules: Rules<ServedRule>
  readonly #web: WebServing
  readonly #failures: FailureLog
  readonly #memory = new Memory()
  readonly #hops: Hops
  readonly #joins: Joins | undefined
  readonly #over = Promise.withResolvers<PosternError | undefined>()

  constructor(config: DaemonConfig, call: Call) {
    this.#config = config
    this.#observer = config.observer ?? {}
    this.#rules = new Rules(config.rules, config.unserved)
    this.#failures = new FailureLog(call.log)
    this.#hops = new Hops(this.#memory, this.#failures)
    this.#web = new WebServing(config.web, this.#failures, this.#observer)
    this.#call = { log: call.log, signal: AbortSignal.any([call.signal, this.#stop.signal]) }
    const { edge, transports, connections: count = CONNECTIONS } = config
    const parts: ConnectionsParts = {
      ...{ edge, transports, count, observer: this.#observer },
      open: (...connection) => this.#open(...connection),
      onOver: error => {
        this.#over.resolve(error)
        if (error) this.#stop.abort(error)
      },
    }
    this.#connections = new Connections(parts, this.#call)
    this.#joins = config.joining && this.#joinsBy(config.joining)
  }

  get connections(): number {
    return this.#connections.size
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
    const over = this.#over.promise.then(error => Promise.reject(error ?? this.#call.signal.reason))
    over.catch(() => {}) // told through `closed` once it runs
    await this.#connections.start(over, signal)
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
            ? this.#hops.takeWeb(offered, placed => this.#web.serve(placed, this.#call))
            : this.#hops.take(offered, placed =>
                serveStream(placed, this.#rules, this.#failures, this.#call, observer),
              )),
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
      memory: this.#memory,
      transports: this.#config.transports,
      dial: async (by: NamedTransport, ticket: string, call: Call) =>
        (await this.#dial('join', by, { 'postern-join': ticket }, call)).pipe,
      tell: (message: HostMessage) => this.#connections.tell(message),
    }
    return new Joins(parts, this.#call)
  }

  async drain(call: Call): Promise<void> {
    this.#observer.onStopping?.()
    await this.#connections.settle()
    this.#web.drain()
    await Promise.all([this.#joins?.drain(call), this.#connections.drain(call)])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new PosternError('DRAINING', 'the daemon was stopped', { speaker: 'daemon' }))
    await this.#connections.ended()
    await this.#joins?.[Symbol.asyncDispose]()
    await this.#connections.close()
    this.#web[Symbol.dispose]()
    this.#failures[Symbol.dispose]()
    this.#over.resolve(undefined)
  }
}
