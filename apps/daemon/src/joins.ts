import type { Socket } from 'node:net'
import type { NamedTransport } from '@postern/client'
import type { Credentials } from '@postern/connector/files'
import { checkChain, checkIdentity, keyFingerprint } from '@postern/end-to-end'
import { type DaemonContext, daemonContext, secureAsDaemon } from '@postern/end-to-end/tls'
import { type Call, isCode, PosternError, problem } from '@postern/interface'
import type { Grant } from '@postern/tokens'
import {
  type HostMessage,
  type JoinCutMessage,
  type JoinMessage,
  type Memory,
  type OfferedTunnelStream,
  ownedBy,
  type Place,
  reasonOf,
  Shares,
  type StreamBudget,
  startTunnel,
  type Tunnel,
  type Whose,
} from '@postern/tunnel'
import { Coming } from './coming.ts'
import { Either } from './either.ts'
import type { FailureLog } from './failure-log.ts'
import { GrantCheck } from './grant-check.ts'
import { GrantKeys, type KnownKeys } from './grant-keys.ts'
import { JoinReports } from './join-reports.ts'
import { type DialLeg, Legs } from './legs.ts'
import { noteMessage } from './notes.ts'
import type { DaemonObserver } from './observer.ts'
import type { Rules } from './rules.ts'
import { type ServedRule, serveStream } from './serve.ts'

/** End-to-end sessions at once; each may have as many streams as a connection of the edge's. */
const MOST_SESSIONS = 1024
/** What visitors and applications may have of it is reckoned as an edge does it for a daemon with so many connections. */
const LIKE_CONNECTIONS = 4

/** What a daemon proves to clients, and what it takes their grants by. */
export interface JoinIdentity {
  readonly tunnel: string
  readonly connector: string
  /** Of the tunnel's key: what clients pin. */
  readonly fingerprint: string
  readonly context: DaemonContext
  readonly grantKeys: GrantKeys
}

/**
 * Out of what `posternd login` left.
 *
 * @param keep for keys that the edge tells later
 * @returns undefined where that is not enough: of an older login, or by an older setup token, whose authority ended after a day
 * @throws PosternError CONFIG_INVALID
 */
export function joinIdentity(
  credentials: Credentials | undefined,
  call: Pick<Call, 'log'>,
  keep?: KnownKeys['keep'],
): JoinIdentity | undefined {
  const { tunnel, connector, identity, grantKeys, certificate } = credentials ?? {}
  if (!credentials || !tunnel || !connector || !certificate || identity === undefined || grantKeys === undefined)
    return undefined
  try {
    const authority = checkIdentity(identity)
    checkChain(credentials, authority, tunnel)
    const fingerprint = keyFingerprint(authority.publicKey)
    const { edge } = credentials
    const known = { tunnel, connector, edge, set: grantKeys, ...(keep && { keep }) }
    const context = daemonContext(credentials)
    return { tunnel, connector, fingerprint, context, grantKeys: new GrantKeys(known, call) }
  } catch (cause) {
    const { message } = PosternError.from(cause)
    throw new PosternError('CONFIG_INVALID', `the credentials cannot be used for end-to-end sessions: ${message}`, {
      cause,
      next: 'Log this machine in again: posternd login',
    })
  }
}

export interface JoinParts {
  readonly identity: JoinIdentity
  readonly rules: Rules<ServedRule>
  readonly failures: FailureLog
  readonly observer: DaemonObserver
  readonly memory: Memory
  readonly transports: readonly NamedTransport[]
  readonly dial: DialLeg
  /** Tells the edge, over whichever of its connections. @returns whether it is on its way */
  readonly tell: (message: HostMessage) => boolean
}

/** A client that said its first word, and whose grant is to be looked at. */
interface Begun {
  readonly tunnel: Tunnel
  /** Fingerprint of the key that it proved. */
  readonly client: string
  /** What its streams wait for. */
  readonly granted: PromiseWithResolvers<Grant>
  /** What they count against, from then on. */
  readonly held: { budget?: StreamBudget }
}

/** Clients that the edge joins to this daemon: TLS between the two, and inside it a session that the edge does not see. */
export class Joins implements AsyncDisposable {
  readonly #parts: JoinParts
  readonly #call: Call
  readonly #legs: Legs
  readonly #coming = new Coming()
  readonly #grants: GrantCheck
  readonly #reports: JoinReports
  readonly #sessions = new Set<Tunnel>()
  readonly #shares = new Shares('daemon')
  /** By the id of the admission at the edge, once their grant was taken. */
  readonly #granted = new Map<string, Tunnel>()
  #draining = false

  /** @param call ends everything */
  constructor(parts: JoinParts, call: Call) {
    this.#parts = parts
    this.#legs = new Legs(parts.transports, parts.dial)
    this.#grants = new GrantCheck(parts.identity)
    this.#reports = new JoinReports(parts.tell)
    this.#call = call
  }

  /** Sessions now. */
  get size(): number {
    return this.#sessions.size
  }

  /** The edge asks for a pipe. Where there is none to be had, the client is served through the edge, or told why not. */
  async take({ ticket, requestId, hostname, legs = [], visitor }: JoinMessage): Promise<void> {
    await this.#parts.identity.grantKeys.settled
    const rule = this.#parts.rules.find(hostname)
    const isFull = !this.#coming.hasRoom(visitor) || this.#sessions.size >= MOST_SESSIONS
    const { isStale } = this.#parts.identity.grantKeys
    const isAble = !isFull && !this.#draining && !isStale
    if (rule && rule.mode !== 'hop' && isAble) {
      this.#parts.tell({ type: 'coming', ticket })
      return void this.#serve(ticket, requestId, legs, visitor)
    }
    const why = this.#draining ? 'DRAINING' : isStale ? 'MODE_FORBIDDEN' : 'LIMIT_EXCEEDED'
    const code = rule?.mode === 'end-to-end' ? why : undefined
    this.#parts.tell({ type: 'decline', ticket, ...(code && { code }) })
  }

  /** The edge cuts a session, and cannot say why to the client: this end can, as the edge's word. */
  cut({ sid, code, message }: JoinCutMessage): void {
    const detail = message !== undefined && { detail: message }
    const reason = problem(isCode(code) ? code : 'STREAM_CUT', sid, { speaker: 'edge', ...detail })
    this.#granted.get(sid)?.cut(reasonOf(reason))
  }

  /** Never rejects: what goes wrong with one client ends that client. */
  async #serve(ticket: string, requestId: string, legs: readonly string[], visitor = ''): Promise<void> {
    const { log, signal } = this.#call
    try {
      const begin = (inner: Call) => this.#begin(ticket, legs, visitor, inner)
      await this.#session(await this.#coming.during(visitor, begin, this.#call), requestId, visitor)
    } catch (thrown) {
      if (signal.aborted) return
      const { code, message: cause } = PosternError.from(thrown, 'TIMED_OUT')
      this.#parts.failures.warn({ hostname: undefined, code }, 'an end-to-end session failed', {
        requestId,
        code,
        cause,
      })
      log.debug('an end-to-end session failed', { requestId, code, cause })
    }
  }

  /** Dials for a client, until it has said its first word. No stream of it is looked at before its grant was. */
  async #begin(ticket: string, legs: readonly string[], visitor: string, call: Call): Promise<Begun> {
    const dialled = await this.#legs.come(ticket, legs, call)
    const { pipe, client } = await secureAsDaemon(dialled, this.#parts.identity.context, call)
    const granted = Promise.withResolvers<Grant>()
    granted.promise.catch(() => {}) // told by whoever rejects it
    const onStream = (offered: OfferedTunnelStream) =>
      void granted.promise.then(
        grant => this.#stream(offered, grant, whoseOf(grant, visitor)),
        () => {},
      )
    const held: { budget?: StreamBudget } = {}
    // Until the grant says who it is, nothing is begun for its streams, and there may be 256 of them.
    const budget: StreamBudget = {
      admits: () => held.budget?.admits() ?? true,
      failed: () => held.budget?.failed(),
    }
    const { log } = call
    const options = { role: 'server', log, speaker: 'daemon', hears: ['client'], onStream, budget } as const
    const tunnel = await startTunnel(pipe, options, call)
    this.#sessions.add(tunnel)
    return { tunnel, client, granted, held }
  }

  async #session({ tunnel, client, granted, held }: Begun, requestId: string, visitor: string): Promise<void> {
    let leave = (): void => {}
    try {
      const grant = await this.#grants.take(tunnel.peerAbout?.grant, { client, requestId })
      this.#call.log.debug('an end-to-end session begins', { hostname: grant.hostname, requestId: grant.sid })
      const whose = whoseOf(grant, visitor)
      leave = this.#shares.begin(whose)
      this.#granted.set(grant.sid, tunnel)
      const tooMany = () => this.#reports.streamEnd(grant.sid, { code: 'LIMIT_EXCEEDED', duration: 0 })
      held.budget = this.#shares.budgetOf(whose, tooMany)
      granted.resolve(grant)
      if (this.#draining) void tunnel.drain(this.#call).catch(() => {})
      await tunnel.closed.finally(() => this.#granted.delete(grant.sid))
    } catch (thrown) {
      const error = PosternError.from(thrown)
      granted.reject(error)
      tunnel.cut(error)
      await tunnel.closed
      throw error
    } finally {
      leave()
      this.#sessions.delete(tunnel)
    }
  }

  /** What it may reach, and as whom, the grant says; of the header only the name is taken, and only that of the grant. */
  async #stream(offered: OfferedTunnelStream, grant: Grant, whose: Whose): Promise<void> {
    const { rules, failures, observer } = this.#parts
    const { hostname, purpose, requestId } = offered.header
    if (hostname !== grant.hostname || purpose !== 'tcp') {
      const code = 'DESTINATION_FORBIDDEN'
      failures.warn({ hostname: grant.hostname, code }, 'refused a stream: the grant is for another application', {
        requestId,
        hostname,
      })
      offered.reject(problem(code, requestId, { speaker: 'daemon' }))
      return this.#reports.streamEnd(grant.sid, { code, duration: 0 })
    }
    const ends = new Either(this.#call.signal, offered.gone)
    const taking = this.#place(whose, ends.signal).catch((thrown: unknown) => {
      const { code } = PosternError.from(thrown)
      offered.reject(problem(code, requestId, { speaker: 'daemon' }))
      if (!ends.signal.aborted) this.#reports.streamEnd(grant.sid, { code, duration: 0 })
    })
    const place = await taking.finally(() => ends[Symbol.dispose]())
    if (place === undefined) return
    const { identities, permit } = grant
    const held: OfferedTunnelStream = {
      header: { hostname, purpose, requestId, identities, permit },
      gone: offered.gone,
      accept: () => {
        place.answered()
        const stream = offered.accept()
        ownedBy(stream, place.room)
        return stream
      },
      reject: refusal => offered.reject(refusal),
    }
    const sockets: Socket[] = []
    const reporting: DaemonObserver = {
      onStream: stream => observer.onStream?.(stream),
      onService: (stream, socket, milliseconds) => {
        sockets.push(socket)
        observer.onService?.(stream, socket, milliseconds)
      },
      onNote: (stream, event) => {
        observer.onNote?.(stream, event)
        this.#parts.tell(noteMessage(grant.sid, stream, event))
      },
      onStreamEnd: (stream, end) => {
        observer.onStreamEnd?.(stream, end)
        this.#reports.streamEnd(grant.sid, end, stream, sockets)
      },
    }
    await serveStream(held, rules, failures, this.#call, reporting, 'end-to-end')
    place.release()
  }

  /** @throws PosternError LIMIT_EXCEEDED; `signal.reason` */
  async #place(whose: Whose, signal: AbortSignal): Promise<Place> {
    if (this.#parts.memory.isFull(this.#shares.behind(whose.visitor)))
      throw new PosternError('LIMIT_EXCEEDED', 'the daemon holds as much as it may for slow readers')
    return this.#shares.take(whose, LIKE_CONNECTIONS, signal)
  }

  /** Takes no new sessions and streams; resolves when the open ones ended. @throws `call.signal.reason` */
  async drain(call: Call): Promise<void> {
    this.#draining = true
    await Promise.all([...this.#sessions].map(session => session.drain(call)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#draining = true
    await Promise.all([...this.#sessions].map(session => session.close()))
  }
}

/** In whose share it counts: the edge’s word for the visitor, who may be anonymous; of an older edge, the identities of the grant. */
function whoseOf({ identities, hostname }: Grant, visitor: string): Whose {
  const known = () => identities.map(({ issuer, subject }) => `${issuer} ${subject}`).join(', ')
  return { visitor: visitor || known(), application: hostname }
}
