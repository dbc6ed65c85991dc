import type { Socket } from 'node:net'
import type { NamedTransport } from '@postern/client'
import type { Credentials } from '@postern/connector/files'
import { checkChain, checkIdentity, keyFingerprint } from '@postern/end-to-end'
import { type DaemonContext, daemonContext, secureAsDaemon } from '@postern/end-to-end/tls'
import { type Call, isCode, type Pipe, PosternError, problem } from '@postern/interface'
import { type Grant, readGrant, rememberUntil } from '@postern/tokens'
import {
  type HostMessage,
  type JoinCutMessage,
  type JoinMessage,
  type OfferedTunnelStream,
  reasonOf,
  Shares,
  type StreamBudget,
  startTunnel,
  type Tunnel,
  type Whose,
} from '@postern/tunnel'
import { Either } from './either.ts'
import type { FailureLog } from './failure-log.ts'
import { GrantKeys, type KnownKeys } from './grant-keys.ts'
import { type DialLeg, Legs } from './legs.ts'
import { kindOf, noteMessage } from './notes.ts'
import type { DaemonObserver, ObservedStream, StreamEnd } from './observer.ts'
import type { Rules } from './rules.ts'
import { type ServedRule, serveStream } from './serve.ts'

/** Clients for whom this daemon dials, or agrees on TLS, at once. */
const MOST_COMING = 64
/** The same for clients of one visitor, who may let every one of them stand. */
const MOST_OF_ONE = MOST_COMING / 4
/** End-to-end sessions at once; each may have as many streams as a connection of the edge's. */
const MOST_SESSIONS = 1024
/** Milliseconds until TLS is agreed on, from the edge's word on: the client waits no longer either. */
const COMING_TIME = 15_000
/** What visitors and applications may have of it is reckoned as an edge does it for a daemon with so many connections. */
const LIKE_CONNECTIONS = 4
/** Grants that are remembered until nobody takes them any more, two minutes at most. */
const MOST_GRANTS = 16_384

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
  readonly transports: readonly NamedTransport[]
  readonly dial: DialLeg
  /** Tells the edge, over whichever of its connections. @returns whether it is on its way */
  readonly tell: (message: HostMessage) => boolean
}

/** Clients that the edge joins to this daemon: TLS between the two, and inside it a session that the edge does not see. */
export class Joins implements AsyncDisposable {
  readonly #parts: JoinParts
  readonly #call: Call
  readonly #legs: Legs
  readonly #sessions = new Set<Tunnel>()
  readonly #shares = new Shares('daemon')
  /** By the id of the admission at the edge, once their grant was taken. */
  readonly #granted = new Map<string, Tunnel>()
  /** By `jti`: until when, in milliseconds since the epoch. In the order in which they came. */
  readonly #taken = new Map<string, number>()
  #coming = 0
  /** By visitor, as the edge tells them apart. */
  readonly #comingOf = new Map<string, number>()
  #draining = false
  #lostReports = 0

  /** @param call ends everything */
  constructor(parts: JoinParts, call: Call) {
    this.#parts = parts
    this.#legs = new Legs(parts.transports, parts.dial)
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
    const hasAll = visitor !== undefined && (this.#comingOf.get(visitor) ?? 0) >= MOST_OF_ONE
    const isFull = hasAll || this.#coming >= MOST_COMING || this.#sessions.size >= MOST_SESSIONS
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
      const { pipe, client } = await this.#come(ticket, legs, visitor)
      await this.#session(pipe, client, requestId, visitor)
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

  async #come(
    ticket: string,
    legs: readonly string[],
    visitor: string,
  ): Promise<{ readonly pipe: Pipe; readonly client: string }> {
    this.#count(visitor, 1)
    const late = new AbortController()
    const why = new PosternError('TIMED_OUT', `no client came within ${COMING_TIME / 1000} s`, { speaker: 'daemon' })
    const timer = setTimeout(() => late.abort(why), COMING_TIME)
    const call: Call = { log: this.#call.log, signal: AbortSignal.any([this.#call.signal, late.signal]) }
    try {
      return await secureAsDaemon(await this.#legs.come(ticket, legs, call), this.#parts.identity.context, call)
    } finally {
      clearTimeout(timer)
      this.#count(visitor, -1)
    }
  }

  #count(visitor: string, change: 1 | -1): void {
    this.#coming += change
    const left = (this.#comingOf.get(visitor) ?? 0) + change
    if (left > 0) this.#comingOf.set(visitor, left)
    else this.#comingOf.delete(visitor)
  }

  /** No stream is looked at before the grant was. */
  async #session(pipe: Pipe, client: string, requestId: string, visitor: string): Promise<void> {
    const granted = Promise.withResolvers<Grant>()
    granted.promise.catch(() => {}) // told below
    const onStream = (offered: OfferedTunnelStream) =>
      void granted.promise.then(
        grant => this.#stream(offered, grant, whoseOf(grant, visitor)),
        () => {},
      )
    const { log } = this.#call
    let mine: StreamBudget | undefined
    // Until the grant says who it is, nothing is begun for its streams, and there may be 256 of them.
    const budget: StreamBudget = { admits: () => mine?.admits() ?? true, failed: () => mine?.failed() }
    const tunnel = await startTunnel(
      pipe,
      { role: 'server', log, speaker: 'daemon', hears: ['client'], onStream, budget },
      this.#call,
    )
    this.#sessions.add(tunnel)
    let leave = (): void => {}
    try {
      const grant = await this.#grant(tunnel.peerAbout?.grant, client, requestId)
      log.debug('an end-to-end session begins', { hostname: grant.hostname, requestId: grant.sid })
      const whose = whoseOf(grant, visitor)
      leave = this.#shares.begin(whose)
      this.#granted.set(grant.sid, tunnel)
      mine = this.#shares.budgetOf(whose, () => this.#tooMany(grant.sid))
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

  /** @throws PosternError TOKEN_EXPIRED, AUTH_REJECTED, LIMIT_EXCEEDED */
  async #grant(token: unknown, client: string, requestId: string): Promise<Grant> {
    const { tunnel, connector, grantKeys } = this.#parts.identity
    const grant = await readGrant(token, grantKeys.keys(), { tunnel, connector })
    const refused = (why: string) => new PosternError('AUTH_REJECTED', `the grant ${why}`, { speaker: 'daemon' })
    if (grant.cnf !== client) throw refused('is for another key than was proved')
    // The edge cuts a pipe with the admission that it joined it for: under another one somebody would stay who was put out.
    if (grant.sid !== requestId) throw refused('is of another admission than this pipe')
    const now = Date.now()
    for (const [jti, until] of this.#taken) if (until <= now) this.#taken.delete(jti)
    if (this.#taken.has(grant.jti)) throw refused('was used already')
    if (this.#taken.size >= MOST_GRANTS)
      throw new PosternError('LIMIT_EXCEEDED', 'too many end-to-end sessions in a minute', { speaker: 'daemon' })
    this.#taken.set(grant.jti, rememberUntil(grant))
    return grant
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
      return this.#report(grant.sid, undefined, { code, duration: 0 }, [])
    }
    const ends = new Either(this.#call.signal, offered.gone)
    const taking = this.#shares.take(whose, LIKE_CONNECTIONS, ends.signal).catch((thrown: unknown) => {
      const { code } = PosternError.from(thrown)
      offered.reject(problem(code, requestId, { speaker: 'daemon' }))
      if (!ends.signal.aborted) this.#report(grant.sid, undefined, { code, duration: 0 }, [])
    })
    const place = await taking.finally(() => ends[Symbol.dispose]())
    if (place === undefined) return
    const { identities, permit } = grant
    const held: OfferedTunnelStream = {
      header: { hostname, purpose, requestId, identities, permit },
      gone: offered.gone,
      accept: () => {
        place.answered()
        return offered.accept()
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
        this.#report(grant.sid, stream, end, sockets)
      },
    }
    await serveStream(held, rules, failures, this.#call, reporting, 'end-to-end')
    place.release()
  }

  /** For the audit log of the edge, once a second at most. */
  #tooMany(sid: string): void {
    this.#report(sid, undefined, { code: 'LIMIT_EXCEEDED', duration: 0 }, [])
  }

  #report(sid: string, stream: ObservedStream | undefined, end: StreamEnd, sockets: readonly Socket[]): void {
    const sum = (of: 'bytesWritten' | 'bytesRead') => sockets.reduce((total, socket) => total + socket[of], 0)
    const lost = this.#lostReports
    const told = this.#parts.tell({
      type: 'report',
      sid,
      event: 'stream.end',
      service: kindOf(stream?.service),
      up: sum('bytesWritten'),
      down: sum('bytesRead'),
      ms: Math.round(end.duration),
      ...(end.code && { code: end.code }),
      ...(lost > 0 && { lost }),
    })
    this.#lostReports = told ? 0 : lost + 1
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
