import { randomUUID } from 'node:crypto'
import type { Duplex } from 'node:stream'
import {
  type Application,
  type AuthProvider,
  type Call,
  type Dialled,
  PosternError,
  type Transport,
} from '@postern/interface'
import { startTunnel, type Tunnel } from '@postern/tunnel'
import type { Trust } from './connect.ts'
import { dialEdge } from './dial.ts'
import { readHostname } from './hostname.ts'
import type { EndToEnd, Joined } from './join.ts'
import { Making } from './waiting.ts'

export interface ClientOptions {
  /** The application, for example `db.example.com`; with the edge's port where it is not 443. */
  readonly hostname: string
  /** Where the edge listens, when not at the hostname itself. */
  readonly edge?: URL
  readonly auth: readonly AuthProvider[]
  readonly transport: Transport
  readonly trust?: Trust
  /**
   * An end-to-end session wherever the edge offers one: TLS between this program and the daemon, which the edge cannot read. Absent: the
   * edge is the other end of the session.
   *
   * @example { pin: 'sha256:9f0c…' }
   */
  readonly endToEnd?: EndToEnd
  /** Told what becomes of the session, for whoever shows it. */
  readonly onSession?: (news: SessionNews) => void
}

/**
 * `connected`: a session is up. `failed`: it could not be made. `lost`: it ended, and its streams with it, though nobody closed
 * it; the next stream makes another. Both say why.
 */
export type SessionNews =
  | { readonly state: 'connected' }
  | { readonly state: 'lost' | 'failed'; readonly error: PosternError }

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

/** Errors of a session that took no stream: nothing of the user's was sent, and another session may take it. */
const LOST: ReadonlySet<string> = new Set(['SESSION_LOST', 'PEER_SILENT', 'DRAINING'])

class Client implements ApplicationClient {
  #app: Application
  readonly #options: ClientOptions
  readonly #edge: URL
  /** The session that new streams go to, from the moment its making begins. */
  #session: Making<Tunnel> | undefined
  /** Every session that is not over, also those that take no new streams. */
  readonly #alive = new Set<Making<Tunnel>>()
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
    await this.#current(call).wait(call.signal)
  }

  async open(call: Call): Promise<Duplex> {
    const header = { hostname: this.#app.hostname, requestId: randomUUID(), purpose: 'tcp' as const }
    const session = this.#current(call)
    try {
      return await (await session.wait(call.signal)).open(header, call)
    } catch (error) {
      if (!PosternError.is(error) || !LOST.has(error.code)) throw error
      this.#retire(session, call)
      return (await this.#current(call).wait(call.signal)).open(header, call)
    }
  }

  #current(call: Call): Making<Tunnel> {
    if (this.#closed) throw new PosternError('SESSION_LOST', 'this client was closed', { speaker: 'client' })
    if (this.#session) return this.#session
    const session: Making<Tunnel> = new Making(
      signal => this.#make(() => this.#retire(session, call), { log: call.log, signal }),
      () => this.#forget(session),
    )
    this.#session = session
    this.#alive.add(session)
    void this.#follow(session).finally(() => {
      this.#forget(session)
      this.#alive.delete(session)
    })
    return session
  }

  /** Resolves when a session is over. What this client ended itself, or nobody wanted any more, is no news. */
  async #follow(session: Making<Tunnel>): Promise<void> {
    const tell = (news: SessionNews) => this.#closed || this.#options.onSession?.(news)
    try {
      const tunnel = await session.result
      tell({ state: 'connected' })
      const error = await tunnel.closed
      if (error || this.#session === session) tell({ state: 'lost', error: error ?? ended() })
    } catch (thrown) {
      if (!session.stopped) tell({ state: 'failed', error: PosternError.from(thrown) })
    }
  }

  async #make(drained: () => void, call: Call): Promise<Tunnel> {
    const { auth, transport, trust = { ca: [] }, endToEnd } = this.#options
    const { hostname } = this.#app
    const dial = (purpose: 'session' | 'join', headers: Readonly<Record<string, string>> = {}) => {
      const wanted = { purpose: 'access', app: this.#app } as const
      return dialEdge({ edge: this.#edge, host: hostname, purpose, wanted, auth, transport, trust, headers }, call)
    }
    call.log.debug('dialling the edge', { hostname, edge: this.#edge.host })
    const { dialled, pipe, about } = endToEnd
      ? await (await import('./join.ts')).join(hostname, endToEnd, headers => dial('join', headers), call)
      : await alone(dial('session'))
    this.#app = readApplication(dialled.answer['postern-application']?.[0], this.#app)
    call.log.debug('a session begins', { hostname, mode: about ? 'end-to-end' : 'hop' })
    const who = { role: 'client', log: call.log, speaker: 'client' } as const
    return startTunnel(pipe, { ...who, ...(about && { about }), onDrain: drained }, call)
  }

  /** The next `open` makes another session. */
  #forget(session: Making<Tunnel>): void {
    if (this.#session === session) this.#session = undefined
  }

  /** It takes no new streams; what is open on it goes on, and it ends with the last. */
  #retire(session: Making<Tunnel>, { log }: Call): void {
    this.#forget(session)
    const finish = async () => {
      const tunnel = await session.result
      await tunnel.drain({ log, signal: new AbortController().signal })
      await tunnel.close()
    }
    finish().catch(() => {}) // it was never made: whoever waited for it was told
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    const reason = new PosternError('SESSION_LOST', 'this client was closed', { speaker: 'client' })
    const end = async (session: Making<Tunnel>) => {
      session.stop(reason)
      const tunnel = await session.result.catch(() => undefined)
      await tunnel?.close()
    }
    await Promise.all([...this.#alive].map(end))
  }
}

/** The edge is the other end of it. */
async function alone(dialling: Promise<Dialled>): Promise<Joined> {
  const dialled = await dialling
  return { dialled, pipe: dialled.pipe }
}

function ended(): PosternError {
  return new PosternError('SESSION_LOST', 'the edge ended the connection', { speaker: 'edge' })
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
