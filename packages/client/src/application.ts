import { randomUUID } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { type Application, type AuthProvider, type Call, type Code, PosternError } from '@postern/interface'
import { keepConnected, type StreamHeader, type Tunnel } from '@postern/tunnel'
import type { Trust } from './connect.ts'
import { readHostname } from './hostname.ts'
import type { EndToEnd } from './join.ts'
import { type Made, makeSession, type Told } from './make-session.ts'
import { isPassing } from './passing.ts'
import { type NamedTransport, Transports } from './transports.ts'
import { Making, untilAborted } from './waiting.ts'

export interface ApplicationOptions {
  /** The application, for example `db.example.com`; with the edge's port where it is not 443. */
  readonly hostname: string
  /** Where the edge listens, when not at the hostname itself. */
  readonly edge?: URL
  readonly auth: readonly AuthProvider[]
  /** At least one, in the order in which they are tried. What an edge says is final, by whichever; a way that does not get through is not. */
  readonly transports: readonly NamedTransport[]
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
  /** Told before each sign-in: whether somebody waits for it, who may be asked. Nobody does where {@link ApplicationClient.stay} signs in anew. */
  readonly mayAsk?: (may: boolean) => void
}

/**
 * `connected`: a session is up, by which transport, and with whom: the daemon (end-to-end) or the edge (hop). `failed`: it could not be
 * made. `lost`: it ended, and its streams with it, though nobody closed it. Both say why, and whether another is made without anybody's doing (`stay`); else the next stream makes it.
 */
export type SessionNews =
  | { readonly state: 'connected'; readonly transport: string; readonly mode: 'end-to-end' | 'hop' }
  | { readonly state: 'lost' | 'failed'; readonly error: PosternError; readonly again: boolean }

/** A way to one application. */
export interface ApplicationClient extends AsyncDisposable {
  readonly app: Application
  /** Signs in and makes the session now, so that a refusal is known at start. Without it, the first `open` does. */
  connect(call: Call): Promise<void>
  /** The same as far as the edge has a say: who is behind it is heard at the first `open`, which is a round trip earlier by this. */
  begin(call: Call): Promise<void>
  /**
   * Keeps a session up until it is aborted: one that is lost is made anew within a second, and then every six at most. What waiting
   * does not mend (access that ended, a sign-in) waits for the next `open`.
   * @throws `call.signal.reason`
   */
  stay(call: Call): Promise<never>
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
 * await using db = createApplicationClient({ hostname: 'db.example.com', auth: [token], transports: [{ name: 'websocket', transport }] })
 * const stream = await db.open({ signal: AbortSignal.timeout(10_000), log })
 * @throws PosternError HOSTNAME_INVALID; BAD_USAGE without a transport
 */
export function createApplicationClient(options: ApplicationOptions): ApplicationClient {
  return new Client(options)
}

/** Errors of a session that took no stream: nothing of the user's was sent, and another session may take it. */
const LOST: ReadonlySet<string> = new Set(['SESSION_LOST', 'PEER_SILENT', 'DRAINING'])

/** Milliseconds, the longest wait before a lost session is dialled for again. An open does not wait for it. */
const LONGEST_WAIT = 6_000

/** What there is of a session beside its making. */
interface Course {
  /** The first pipe of it that streams can be sent on, though nobody there has said a word yet. Never rejects. */
  readonly begun: PromiseWithResolvers<Tunnel>
  /** Resolved when the next stream needs another session, with what ended this one. */
  readonly over: PromiseWithResolvers<PosternError | undefined>
}

class Client implements ApplicationClient {
  #app: Application
  readonly #options: ApplicationOptions
  readonly #edge: URL
  readonly #transports: Transports
  /** The session that new streams go to, from the moment its making begins. */
  #session: Making<Made> | undefined
  /** Every session that is not over, also those that take no new streams. */
  readonly #alive = new Map<Making<Made>, Course>()
  /** Nobody was asked for these. */
  readonly #unasked = new WeakSet<Making<Made>>()
  /** Resolved when somebody wants a session. */
  #wanted = Promise.withResolvers<void>()
  #closed = false
  #stays = false

  constructor(options: ApplicationOptions) {
    const { hostname, port } = readHostname(options.hostname)
    this.#options = options
    this.#transports = new Transports(options.transports)
    this.#edge = options.edge ?? new URL(`https://${hostname}${port === undefined ? '' : `:${port}`}`)
    this.#app = { hostname, id: '', teamDomain: '', protocols: [] }
  }

  get app(): Application {
    return this.#app
  }

  async connect(call: Call): Promise<void> {
    await this.#current(call).wait(call.signal)
  }

  async begin(call: Call): Promise<void> {
    await this.#waitFor(this.#current(call), call).first
  }

  async open(call: Call): Promise<Duplex> {
    const header = { hostname: this.#app.hostname, requestId: randomUUID(), purpose: 'tcp' as const }
    const session = this.#current(call)
    try {
      return await this.#openOn(session, header, call)
    } catch (error) {
      if (!PosternError.is(error) || !this.#isWorthAnother(error.code, session)) throw error
      this.#retire(session, call)
      return this.#openOn(this.#current(call), header, call)
    }
  }

  /**
   * Behind this end's hello, without waiting for the other one's, which is a round trip. Where that never comes, the session is made by
   * another way or not at all, and the stream with it.
   */
  async #openOn(session: Making<Made>, header: StreamHeader, call: Call): Promise<Duplex> {
    const { first, whole } = this.#waitFor(session, call)
    const tunnel = await first
    try {
      return await tunnel.open(header, call)
    } catch (error) {
      const made = await whole
      if (made === tunnel) throw error
      return made.open(header, call)
    }
  }

  #waitFor(
    session: Making<Made>,
    { signal }: Call,
  ): { readonly first: Promise<Tunnel>; readonly whole: Promise<Tunnel> } {
    const whole = session.wait(signal).then(({ tunnel }) => tunnel)
    const begun = this.#alive.get(session)?.begun.promise
    return { first: Promise.race(begun ? [begun, whole] : [whole]), whole }
  }

  #isWorthAnother(code: Code, session: Making<Made>): boolean {
    return LOST.has(code) || (code === 'LOGIN_REQUIRED' && this.#unasked.has(session))
  }

  async stay(call: Call): Promise<never> {
    const again = async (_attempt: number, inner: Call) => {
      const session = this.#current(inner, true)
      const over = this.#alive.get(session)?.over.promise ?? Promise.resolve(undefined)
      // Now, and not when the news of it is told: who tries again at once would find it here.
      await session.wait(inner.signal).catch(error => {
        this.#forget(session)
        throw error
      })
      return { closed: over }
    }
    const fatal = (error: unknown) => !this.#comesAgain(PosternError.from(error))
    this.#stays = true
    for (;;) {
      await keepConnected(again, { capMs: LONGEST_WAIT, fatal }, call).catch(() => {})
      call.signal.throwIfAborted()
      if (this.#closed) throw closed()
      if (!this.#session) await untilAborted(this.#wanted.promise, call.signal)
    }
  }

  /** @param alone nobody waits for it who could be asked anything */
  #current(call: Call, alone = false): Making<Made> {
    if (this.#closed) throw closed()
    if (this.#session) return this.#session
    const make = (signal: AbortSignal): Promise<Made> => {
      this.#options.mayAsk?.(!alone)
      const drained = () => this.#retire(session, call)
      return this.#make({ drained, begun: course.begun.resolve }, { log: call.log, signal })
    }
    const course: Course = { begun: Promise.withResolvers(), over: Promise.withResolvers() }
    const session: Making<Made> = new Making(make, () => this.#forget(session))
    if (alone) this.#unasked.add(session)
    this.#session = session
    this.#alive.set(session, course)
    this.#wanted.resolve()
    this.#wanted = Promise.withResolvers()
    void this.#follow(session).then(error => {
      this.#forget(session, error)
      this.#alive.delete(session)
    })
    return session
  }

  /** Resolves when a session is over. What this client ended itself, or nobody wanted any more, is no news. */
  async #follow(session: Making<Made>): Promise<PosternError | undefined> {
    const tell = (news: SessionNews) => this.#closed || this.#options.onSession?.(news)
    try {
      const { tunnel, transport, mode } = await session.result
      tell({ state: 'connected', transport, mode })
      const error = await tunnel.closed
      const why = error ?? ended()
      if (error || this.#session === session) tell({ state: 'lost', error: why, again: this.#comesAgain(why) })
      return error
    } catch (thrown) {
      const error = PosternError.from(thrown)
      if (!session.stopped) tell({ state: 'failed', error, again: this.#comesAgain(error) })
      return error
    }
  }

  #comesAgain(error: PosternError): boolean {
    return this.#stays && isPassing(error)
  }

  #make(told: Pick<Told, 'drained' | 'begun'>, call: Call): Promise<Made> {
    const learnt = (app: Application) => {
      this.#app = app
    }
    const make = (one: NamedTransport) =>
      makeSession({ ...this.#options, edge: this.#edge, app: this.#app }, one, { ...told, learnt }, call)
    return this.#transports.use(make, call)
  }

  /** The next `open` makes another session. */
  #forget(session: Making<Made>, why?: PosternError): void {
    if (this.#session === session) this.#session = undefined
    this.#alive.get(session)?.over.resolve(why)
  }

  /** It takes no new streams; what is open on it goes on, and it ends with the last. */
  #retire(session: Making<Made>, { log }: Call): void {
    this.#forget(session)
    const finish = async () => {
      const { tunnel } = await session.result
      await tunnel.drain({ log, signal: new AbortController().signal })
      await tunnel.close()
    }
    finish().catch(() => {}) // it was never made: whoever waited for it was told
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    const end = async (session: Making<Made>) => {
      session.stop(closed())
      const made = await session.result.catch(() => undefined)
      await made?.tunnel.close()
    }
    await Promise.all([...this.#alive.keys()].map(end))
  }
}

function closed(): PosternError {
  return new PosternError('SESSION_LOST', 'this client was closed', { speaker: 'client' })
}

function ended(): PosternError {
  return new PosternError('SESSION_LOST', 'the edge ended the connection', { speaker: 'edge' })
}
