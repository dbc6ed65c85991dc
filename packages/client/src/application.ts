import { randomUUID } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { type Application, type AuthProvider, type Call, PosternError, type Transport } from '@postern/interface'
import { startTunnel, type Tunnel } from '@postern/tunnel'
import type { Trust } from './connect.ts'
import { dialEdge } from './dial.ts'
import { readHostname } from './hostname.ts'

export interface ClientOptions {
  /** The application, for example `db.example.com`; with the edge's port where it is not 443. */
  readonly hostname: string
  /** Where the edge listens, when not at the hostname itself. */
  readonly edge?: URL
  readonly auth: readonly AuthProvider[]
  readonly transport: Transport
  readonly trust?: Trust
}

/** A way to one application. */
export interface ApplicationClient extends AsyncDisposable {
  readonly app: Application
  /** Signs in and makes the session now, so that a refusal is known at start. Without it, the first `open` does. */
  connect(call: Call): Promise<void>
  /**
   * One stream: one TCP connection of the user, half-closing both ways. A session that was lost is made anew.
   * @throws PosternError the refusal of edge, daemon or service; `call.signal.reason`
   */
  open(call: Call): Promise<Duplex>
}

/**
 * A client for one application: one session, many streams.
 *
 * @example
 * await using db = createClient({ hostname: 'db.example.com', auth: [token], transport })
 * const stream = await db.open({ signal: AbortSignal.timeout(10_000), log })
 * @throws PosternError HOSTNAME_INVALID
 */
export function createClient(options: ClientOptions): ApplicationClient {
  return new Client(options)
}

class Client implements ApplicationClient {
  #app: Application
  readonly #options: ClientOptions
  readonly #edge: URL
  /** The making of the session that new streams go to: callers that come meanwhile share it. */
  #session: Promise<Tunnel> | undefined
  /** Every session that still has streams, also those that take no new ones. */
  readonly #alive = new Set<Tunnel>()
  #closed = false

  constructor(options: ClientOptions) {
    const { hostname, port } = readHostname(options.hostname)
    this.#options = options
    this.#edge = options.edge ?? new URL(`https://${hostname}${port === undefined ? '' : `:${port}`}`)
    this.#app = { hostname, id: '', teamDomain: '', protocols: [] }
  }

  get app(): Application {
    return this.#app
  }

  async connect(call: Call): Promise<void> {
    await this.#current(call)
  }

  async open(call: Call): Promise<Duplex> {
    const header = { hostname: this.#app.hostname, requestId: randomUUID(), purpose: 'tcp' as const }
    const session = this.#current(call)
    try {
      return await (await session).open(header, call)
    } catch (error) {
      if (!PosternError.is(error) || !(error.code === 'SESSION_LOST' || error.code === 'DRAINING')) throw error
      this.#forget(session) // it was lost before a byte was sent: one more try is safe
      return (await this.#current(call)).open(header, call)
    }
  }

  #current(call: Call): Promise<Tunnel> {
    if (this.#closed) return Promise.reject(new PosternError('SESSION_LOST', 'this client was closed'))
    if (this.#session) return this.#session
    const session: Promise<Tunnel> = this.#make(() => this.#forget(session), call)
    this.#session = session
    session.catch(() => this.#forget(session))
    return session
  }

  async #make(over: () => void, call: Call): Promise<Tunnel> {
    const { auth, transport, trust = { ca: [] } } = this.#options
    const wanted = { purpose: 'access', app: this.#app } as const
    const dialled = await dialEdge(
      { edge: this.#edge, host: this.#app.hostname, purpose: 'session', wanted, auth, transport, trust },
      call,
    )
    this.#app = readApplication(dialled.answer['postern-application']?.[0], this.#app)
    const tunnel = await startTunnel(dialled.pipe, { role: 'client', log: call.log, onDrain: over }, call)
    this.#alive.add(tunnel)
    void tunnel.closed.then(() => {
      this.#alive.delete(tunnel)
      over()
    })
    return tunnel
  }

  /** The next `open` makes another session; what is open on this one goes on. */
  #forget(session: Promise<Tunnel>): void {
    if (this.#session === session) this.#session = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await this.#session?.catch(() => {})
    this.#session = undefined
    await Promise.all([...this.#alive].map(tunnel => tunnel.close()))
  }
}

/** What the edge says of the application, as far as it is well-formed; a client works without it. */
function readApplication(header: string | undefined, known: Application): Application {
  if (header === undefined || header.length > 4096) return known
  try {
    const { id, teamDomain, protocols } = JSON.parse(header) as Record<string, unknown>
    return {
      hostname: known.hostname,
      id: typeof id === 'string' ? id : '',
      teamDomain: typeof teamDomain === 'string' ? teamDomain : '',
      protocols: Array.isArray(protocols) ? protocols.filter(name => typeof name === 'string') : [],
    }
  } catch {
    return known
  }
}
