import type { TlsOptions } from 'node:tls'
import { type Call, PosternError } from '@postern/interface'
import type { Store } from '@postern/store'
import { Memory, Shares, type Tunnel } from '@postern/tunnel'
import type { Administration } from './admin/administration.ts'
import { AdminHttp, type AdminRequest } from './admin/http.ts'
import { startAdminSocket } from './admin/socket.ts'
import { isForApi } from './admin/target.ts'
import { assemble } from './assembly.ts'
import type { AuthorizationServer } from './authorization-server/authorization-server.ts'
import { Authorizer } from './authorize/authorize.ts'
import { certificateRuleOf } from './certificates/authorities.ts'
import { CertificateSweep } from './certificates/sweep.ts'
import type { EdgeConfig } from './config.ts'
import type { Exchange } from './front/exchange.ts'
import { Front } from './front/front.ts'
import { FRONT_LIMITS } from './front/limits.ts'
import { CertificateReload } from './front/reload.ts'
import type { HttpContext } from './http/context.ts'
import { serveHttp } from './http/serve.ts'
import { serveHttpUpgrade } from './http/upgrade.ts'
import { Live } from './live.ts'
import { DEFAULT_PORT, type EdgeParts, openParts } from './parts.ts'
import { Routes } from './routes/routes.ts'
import type { Directory } from './sign-in/directory.ts'
import type { TeamSite } from './team/site.ts'
import { arrive } from './ways/arrive.ts'
import type { WayContext } from './ways/context.ts'
import { drain } from './ways/drain.ts'
import { Hops } from './ways/hops.ts'
import { Joins } from './ways/joins.ts'

export interface RunningEdge extends AsyncDisposable {
  readonly host: string
  readonly port: number
  /** `host:port`, as listened on. */
  readonly address: string
  readonly teamDomain: string
  /** Where people reach it: `https://edge.example.com`, with its port where that is not 443. */
  readonly team: string
  /** The dev CA's certificate; absent with own certificate files. */
  readonly caFile?: string
  readonly administration: Administration
  /** People whom the edge knows by a password. */
  readonly directory: Directory
  /** The Unix socket of the administration. */
  readonly adminSocket?: string
  /** Where the setup token is, while nobody has an admin token. */
  readonly setupTokenFile?: string
  /** For tests and the audit log's reader. */
  readonly store: Store
  /** The daemons' connections now. */
  readonly routes: Routes
  /** Clients' sessions, daemons' connections and TCP connections now. */
  counts(): {
    readonly sessions: number
    readonly connectors: number
    readonly sockets: number
    readonly admitted: number
  }
  /** Reads own certificate files again, as is done every minute; a bad pair is logged and the old one serves on. */
  reloadCertificates(): Promise<void>
  /** Drains, then ends everything. A second call, or the call's abort, does not wait. */
  close(): Promise<void>
}

/** Milliseconds. */
const GRACE = 10_000

/**
 * Starts an edge.
 *
 * @throws PosternError CONFIG_INVALID (not initialised, bad certificate), FILE_*, STORE_*, PLUGIN_*, LISTEN_FAILED (the
 *   administration's socket too); `call.signal.reason`
 * @example
 * await using edge = await startEdge({ data: '/var/lib/postern', listen: { port: 0 } }, { signal, log })
 */
export async function startEdge(config: EdgeConfig, call: Call): Promise<RunningEdge> {
  await using stack = new AsyncDisposableStack()
  const edge = new Edge(await openParts(config, stack, call))
  edge.owns(stack.move())
  try {
    await edge.start(call)
  } catch (error) {
    await edge.stopNow()
    throw error
  }
  return edge
}

class Edge implements RunningEdge {
  readonly teamDomain: string
  readonly caFile?: string
  readonly administration: Administration
  readonly directory: Directory
  readonly adminSocket?: string
  readonly setupTokenFile?: string
  readonly store: Store
  readonly routes: Routes
  host = ''
  port = 0
  readonly #parts: EdgeParts
  readonly #front: Front
  readonly #authorization: AuthorizationServer
  readonly #team: TeamSite
  readonly #admin: AdminHttp
  readonly #context: WayContext
  readonly #http: HttpContext
  readonly #now = new AbortController()
  readonly #mounted = new AbortController()
  #stack = new AsyncDisposableStack()
  #reload: CertificateReload | undefined
  #draining = false
  #closed: Promise<void> | undefined

  constructor(parts: EdgeParts) {
    const { store, teamDomain, caFile, config, certificates, plugins, failures, log } = parts
    this.#parts = parts
    this.store = store
    this.teamDomain = teamDomain
    if (caFile !== undefined) this.caFile = caFile
    if (parts.adminSocket !== undefined) this.adminSocket = parts.adminSocket
    if (parts.setupTokenFile !== undefined) this.setupTokenFile = parts.setupTokenFile
    this.routes = new Routes(log)
    const { access, connectors } = plugins
    this.#context = {
      store,
      teamDomain,
      log,
      authorizer: new Authorizer({
        store,
        teamDomain,
        access,
        connectors,
        failures,
        origins: parts.origins,
        sessions: parts.sessions,
      }),
      routes: this.routes,
      shares: new Shares('edge', parts.config.shares),
      memory: new Memory(),
      live: new Live(store, parts.sessions),
      origins: parts.origins,
      sessions: parts.sessions,
      keys: parts.keys,
      grants: parts.grants,
      seal: parts.seal,
      tunnels: new Set<Tunnel>(),
      joins: new Joins(),
      hops: new Hops(),
      legs: plugins.transports.flatMap(({ leg }) => leg ?? []),
      carried: new Set<Promise<unknown>>(),
      draining: () => this.#draining,
      signal: this.#now.signal,
    }
    parts.sessions.countAsUsed(() => this.#context.live.keysInUse())
    const made = assemble(parts, this.#context, () => this.address)
    this.directory = made.directory
    this.administration = made.administration
    this.#authorization = made.authorization
    this.#http = made.http
    this.#team = made.team
    const limits = { ...FRONT_LIMITS, ...config.limits }
    this.#admin = new AdminHttp({
      bodyTime: limits.bodyTime,
      administration: this.administration,
      store,
      keys: parts.keys,
      people: parts.sessions,
      origins: parts.origins,
      failures,
      isKnockNoted: (...knock) => this.#context.authorizer.isKnockNoted(...knock),
      log,
    })
    this.#front = new Front({
      certificates,
      log,
      limits,
      teamDomain,
      certificateRule: hostname => certificateRuleOf(store.snapshot, hostname),
      exchange: exchange => this.#serve(exchange),
      upgrade: upgrade => void serveHttpUpgrade(upgrade, this.#http),
      isTransports: (hostname, subprotocols) => this.#isTransports(hostname, subprotocols),
    })
  }

  /** What is no upgrade: the team domain's API, else somebody for an application. */
  #serve(exchange: Exchange): void {
    const { request, response, presented } = exchange
    const refuse: Exchange['refuse'] = (...refusal) => exchange.refuse(...refusal)
    if (isForApi(exchange.hostname, exchange.target, this.teamDomain))
      void this.#admin.serve({ request, response, presented, refuse, local: false })
    else if (exchange.hostname === this.teamDomain) void this.#team.serve(exchange)
    else void serveHttp(exchange, this.#http)
  }

  /** Ours, by name; and everything for whoever speaks no HTTP, existing or not. */
  #isTransports(hostname: string, subprotocols: readonly string[]): boolean {
    if (subprotocols.some(name => name.startsWith('postern-'))) return true
    return this.store.snapshot.applications.get(hostname)?.protocols.includes('http') !== true
  }

  get team(): string {
    return this.#parts.origins.team
  }

  get address(): string {
    return `${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}`
  }

  async start(call: Call): Promise<void> {
    const mounted = { ...call, signal: this.#mounted.signal }
    for (const transport of this.#parts.plugins.transports) {
      if (transport.door !== this.#front.kind) {
        throw new PosternError(
          'PLUGIN_SIDE',
          `a transport wants the door ${transport.door}, which this edge does not have`,
        )
      }
      await transport.mount(this.#front, incoming => arrive(incoming, this.#context), mounted)
    }
    // Before the socket, so that it goes after it: who was heard is answered, and the store goes last.
    this.#stack.use(this.administration)
    this.#stack.use(this.#authorization)
    this.#stack.use(new CertificateSweep(this.store, call.log))
    const path = this.adminSocket
    if (path !== undefined) {
      const serve = (asked: AdminRequest) => this.#admin.serve(asked)
      this.#stack.use(await startAdminSocket({ path, serve, log: call.log }, call))
    }
    const { host = '127.0.0.1', port = DEFAULT_PORT } = this.#parts.config.listen ?? {}
    const bound = await this.#front.listen(host, port, call)
    this.host = bound.address
    this.port = bound.port
    this.#parts.listens(bound.port)
    const { read } = this.#parts.certificates
    if (read !== undefined) {
      const use = (server: TlsOptions) => this.#front.setCertificates(server)
      this.#reload = this.#stack.use(new CertificateReload({ read, use, log: call.log }))
    }
    const stop = () =>
      this.stopNow().catch(error => call.log.error('the edge did not stop cleanly', { error: String(error) }))
    call.signal.addEventListener('abort', stop, { signal: this.#mounted.signal })
    call.signal.throwIfAborted()
    call.log.info('the edge listens', { address: this.address, teamDomain: this.teamDomain })
  }

  /** What lives as long as the edge does. */
  owns(stack: AsyncDisposableStack): void {
    this.#stack = stack
  }

  counts(): ReturnType<RunningEdge['counts']> {
    const { tunnels, joins, routes, live } = this.#context
    return {
      sessions: tunnels.size + joins.size,
      connectors: routes.all().length,
      sockets: this.#front.connections,
      admitted: live.count,
    }
  }

  async reloadCertificates(): Promise<void> {
    await this.#reload?.look()
  }

  async close(): Promise<void> {
    if (this.#closed !== undefined) this.#abort()
    this.#closed ??= this.#close()
    await this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  /** Without waiting for anybody. */
  async stopNow(): Promise<void> {
    this.#abort()
    this.#closed ??= this.#close()
    await this.#closed
  }

  async #close(): Promise<void> {
    this.#draining = true
    this.#front.stop()
    const { grace = GRACE } = this.#parts.config
    await drain(this.#context, grace, this.#front.finished(), () => this.#http.http.pools.close())
    this.#abort()
    this.#mounted.abort()
    await this.#front.close()
    this.#http.http.pools[Symbol.dispose]()
    this.#context.live[Symbol.dispose]()
    await this.#stack.disposeAsync()
  }

  #abort(): void {
    this.#now.abort(new PosternError('DRAINING', 'the edge was stopped', { speaker: 'edge' }))
  }
}
