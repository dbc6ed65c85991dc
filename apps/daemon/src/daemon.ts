import { dialEdge, type Trust } from '@postern/client'
import { type AuthProvider, type Call, type Code, PosternError, type Transport } from '@postern/interface'
import { keepConnected, startTunnel, type Tunnel } from '@postern/tunnel'
import { showService } from './ingress.ts'
import { type ServedRule, serveStream } from './serve.ts'

/** Two survive the loss of one while it reconnects, and four spread over edges; the number people know from elsewhere. */
export const CONNECTIONS = 4

/** Refusals that no waiting mends: the daemon says so and ends instead of knocking for ever. */
const FATAL: ReadonlySet<Code> = new Set([
  'AUTH_REJECTED',
  'TOKEN_EXPIRED',
  'TOKEN_REVOKED',
  'ACCESS_DENIED',
  'LOGIN_REQUIRED',
  'VERSION_UNSUPPORTED',
  'EDGE_UNTRUSTED',
  'BAD_USAGE',
])

export interface DaemonConfig {
  /** Where the edge listens, for example `https://edge.example.com`. */
  readonly edge: URL
  /** The edge's own hostname, for Host and SNI. Default: the hostname of `edge`. */
  readonly teamDomain?: string
  readonly rules: readonly ServedRule[]
  readonly auth: readonly AuthProvider[]
  readonly transport: Transport
  readonly trust?: Trust
  /** Connections kept alive at once, 1–16. Default 4. */
  readonly connections?: number
}

export interface RunningDaemon extends AsyncDisposable {
  /** Live connections now. */
  readonly connections: number
  /** Takes no new streams; resolves when the open ones ended. */
  drain(call: Call): Promise<void>
  /** Resolves when the daemon is over: undefined after a stop, the refusal that ended it otherwise. */
  readonly closed: Promise<PosternError | undefined>
}

/**
 * Dials out and serves until stopped. Resolves when the first connection is up; an edge that is away is waited for.
 *
 * @param starting ends the waiting for the first connection
 * @param running ends the daemon at once
 * @throws PosternError a refusal that no waiting mends (AUTH_REJECTED, EDGE_UNTRUSTED, …); `call.signal.reason`
 */
export async function startDaemon(
  config: DaemonConfig,
  starting: Call,
  running: Call = starting,
): Promise<RunningDaemon> {
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
  readonly #call: Call
  readonly #stop = new AbortController()
  readonly #tunnels = new Set<Tunnel>()
  readonly #rules: ReadonlyMap<string, ServedRule>
  readonly #first = Promise.withResolvers<void>()
  readonly #over = Promise.withResolvers<PosternError | undefined>()
  #loops: Promise<void>[] = []
  #dialling = true

  constructor(config: DaemonConfig, call: Call) {
    this.#config = config
    this.#rules = new Map(config.rules.map(rule => [rule.hostname, rule]))
    this.#call = { log: call.log, signal: AbortSignal.any([call.signal, this.#stop.signal]) }
  }

  get connections(): number {
    return this.#tunnels.size
  }

  get closed(): Promise<PosternError | undefined> {
    return this.#over.promise
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    for (const rule of this.#config.rules) this.#call.log.info(`${rule.hostname} → ${showService(rule.service)}`)
    this.#loops = [this.#keep(0)]
    const { promise, reject } = Promise.withResolvers<never>()
    const stopped = () => reject(signal.reason)
    signal.addEventListener('abort', stopped)
    const over = this.#over.promise.then(error => Promise.reject(error ?? this.#call.signal.reason))
    try {
      await Promise.race([this.#first.promise, over, promise])
    } finally {
      signal.removeEventListener('abort', stopped)
      over.catch(() => {}) // told through `closed` from here on
    }
    for (let index = 1; index < (this.#config.connections ?? CONNECTIONS); index++) this.#loops.push(this.#keep(index))
  }

  async #keep(index: number): Promise<void> {
    const { log } = this.#call
    try {
      await keepConnected(
        (_attempt, call) => this.#connect(index, call),
        {
          fatal: error => PosternError.is(error) && FATAL.has(error.code),
          onRetry: ({ error, delayMs }) => {
            if (this.#dialling)
              log.warn('no connection to the edge', {
                connection: index,
                cause: messageOf(error),
                retryInMs: Math.round(delayMs),
              })
          },
        },
        this.#call,
      )
    } catch (error) {
      if (this.#call.signal.aborted) this.#over.resolve(undefined)
      else {
        this.#over.resolve(PosternError.from(error))
        this.#stop.abort(error)
      }
    }
  }

  async #connect(index: number, call: Call): Promise<Tunnel> {
    const { edge, auth, transport, trust = { ca: [] }, teamDomain = edge.hostname } = this.#config
    const wanted = { purpose: 'connector', teamDomain } as const
    const dialled = await dialEdge(
      { edge, host: teamDomain, purpose: 'connector', wanted, auth, transport, trust },
      call,
    )
    const tunnel = await startTunnel(
      dialled.pipe,
      { role: 'client', log: call.log, onStream: offered => void serveStream(offered, this.#rules, this.#call) },
      call,
    )
    this.#tunnels.add(tunnel)
    call.log.info('connected to the edge', { connection: index, edge: edge.host })
    void tunnel.closed.then(error => {
      this.#tunnels.delete(tunnel)
      if (!this.#call.signal.aborted)
        call.log.warn('connection to the edge ended', {
          connection: index,
          cause: error ? error.message : 'closed by the edge',
        })
    })
    this.#first.resolve()
    return tunnel
  }

  async drain(call: Call): Promise<void> {
    this.#dialling = false
    await Promise.all([...this.#tunnels].map(tunnel => tunnel.drain(call)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new PosternError('DRAINING', 'the daemon was stopped', { speaker: 'daemon' }))
    await Promise.all([...this.#tunnels].map(tunnel => tunnel.close()))
    await Promise.all(this.#loops)
    this.#over.resolve(undefined)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : error === undefined ? 'the connection ended' : String(error)
}
