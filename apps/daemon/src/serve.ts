import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  type Call,
  type Code,
  type Destination,
  type Json,
  PosternError,
  type ProtocolEvent,
  type ProtocolServer,
  problem,
  type RemoteSide,
} from '@postern/interface'
import { cut, type OfferedTunnelStream, type StreamHeader } from '@postern/tunnel'
import { Either } from './either.ts'
import type { FailureLog } from './failure-log.ts'
import { type IngressRule, type Mode, showService } from './ingress.ts'
import { notesOf } from './notes.ts'
import type { DaemonObserver } from './observer.ts'
import { reach } from './reach.ts'
import type { Rules } from './rules.ts'

/** A rule with the plugin that speaks to its service. */
export interface ServedRule extends IngressRule {
  readonly server: ProtocolServer
  /** The plugin’s name: of what is permitted, it is told what stands below that. Without it, everything. */
  readonly protocol?: string
}

/**
 * One stream of a user, opened by the edge (`hop`) or by the user's own client: the rule of its hostname, that rule's plugin, the service. A refusal before the first byte is
 * told with its code and without an internal address; the address stays in this daemon's log. When the plugin is done with
 * the stream, so is the daemon: it is cut where it was not ended, and so is what was dialled for it. Never rejects.
 */
export async function serveStream(
  offered: OfferedTunnelStream,
  rules: Rules<ServedRule>,
  failures: FailureLog,
  call: Call,
  observer: DaemonObserver = {},
  mode: Mode = 'hop',
): Promise<void> {
  const { hostname, requestId } = offered.header
  const rule = rules.find(hostname)
  const observed = { hostname, requestId, ...(rule && { rule: rule.hostname, service: showService(rule.service) }) }
  const began = performance.now()
  const onService = (socket: Socket, milliseconds: number): void => observer.onService?.(observed, socket, milliseconds)
  const note = notesOf(observed, call.log, event => observer.onNote?.(observed, event))
  observer.onStream?.(observed)
  const isAllowed = rule?.mode === undefined || rule.mode === mode
  const error =
    rule && isAllowed
      ? await serveWith(rule, offered, { rules, failures, mode, onService, note }, call)
      : refuse(offered, rule ? 'MODE_FORBIDDEN' : 'INGRESS_NOT_FOUND', failures)
  observer.onStreamEnd?.(observed, {
    ...(error && { code: error.code }),
    duration: performance.now() - began,
  })
}

function refuse(offered: OfferedTunnelStream, code: Code, failures: FailureLog): PosternError {
  const { hostname, requestId } = offered.header
  const why = code === 'MODE_FORBIDDEN' ? 'the mode of its ingress rule is another' : 'no ingress rule'
  failures.warn({ hostname: undefined, code }, `refused a stream: ${why}`, { hostname, requestId })
  const told = problem(code, requestId, { speaker: 'daemon' })
  offered.reject(told)
  return PosternError.fromProblem(told)
}

interface Serving {
  readonly rules: Rules<ServedRule>
  readonly failures: FailureLog
  readonly mode: Mode
  readonly onService: (socket: Socket, milliseconds: number) => void
  readonly note: (event: ProtocolEvent) => void
}

/** @returns why it was refused or cut */
async function serveWith(
  rule: ServedRule,
  offered: OfferedTunnelStream,
  { rules, failures, mode, onService, note }: Serving,
  outer: Call,
): Promise<PosternError | undefined> {
  const { hostname, requestId } = offered.header
  using hold = rules.hold(hostname, rule, mode)
  // Who leaves before an answer takes the dialling along: else an edge could have any number of dials going here.
  using ends = new Either(outer.signal, offered.gone, hold.signal)
  const call: Call = { log: outer.log, signal: ends.signal }
  const answer = new Answer(offered, hold.signal, onService)
  try {
    const remote = remoteSide(rule, offered.header, answer, note, call)
    await rule.server.serve({ accept: () => answer.accept() }, remote, call)
    hold.signal.throwIfAborted()
    answer.finish()
    call.log.debug('stream ended', { hostname, requestId })
    return undefined
  } catch (thrown) {
    const error = PosternError.from(thrown, outer.signal.aborted ? 'DRAINING' : 'INTERNAL', { speaker: 'daemon' })
    const service = showService(rule.service)
    const { code, message: cause } = error
    failures.warn({ hostname: rule.hostname, code }, 'stream failed', { hostname, service, requestId, code, cause })
    answer.fail(error)
    return error
  } finally {
    answer[Symbol.dispose]()
  }
}

/** What becomes of one offered stream. A rule that is taken away ends it whether the plugin listens or not. */
class Answer implements Disposable {
  readonly #offered: OfferedTunnelStream
  readonly #taken: AbortSignal
  readonly #onService: (socket: Socket, milliseconds: number) => void
  readonly #dialled: Socket[] = []
  #refused = false
  #over = false
  readonly #onTaken = (): void => this.fail(this.#taken.reason)
  #stream: Duplex | undefined

  constructor(
    offered: OfferedTunnelStream,
    taken: AbortSignal,
    onService: (socket: Socket, milliseconds: number) => void,
  ) {
    this.#offered = offered
    this.#taken = taken
    this.#onService = onService
    taken.addEventListener('abort', this.#onTaken)
  }

  accept(): Duplex {
    this.#taken.throwIfAborted()
    this.#stream = this.#offered.accept()
    return this.#stream
  }

  /** A plugin that keeps this for later reaches nothing: the rule may be gone by then. */
  async dial(service: URL, to: Destination | undefined, call: Call): Promise<Duplex> {
    if (this.#over) throw new PosternError('DESTINATION_FORBIDDEN', 'the stream is over', { speaker: 'daemon' })
    const began = performance.now()
    const socket = await reach(service, to, call)
    this.#dialled.push(socket)
    if (this.#over || this.#taken.aborted) cut(socket) // meanwhile
    this.#onService(socket, performance.now() - began)
    return socket
  }

  /** The plugin is done. @throws PosternError: it is not */
  finish(): void {
    const stream = this.#stream
    if (!stream) throw new PosternError('INTERNAL', 'the protocol did not answer the stream', { speaker: 'daemon' })
    if (!stream.writableEnded)
      throw new PosternError('STREAM_CUT', 'the protocol left the stream open', { speaker: 'daemon' })
    stream.resume() // an end was said; what the user still sends is read by nobody
    for (const socket of this.#dialled) if (!socket.writableEnded) cut(socket)
  }

  fail(error: PosternError): void {
    const { requestId } = this.#offered.header
    if (this.#stream) this.#stream.destroy(error)
    else if (!this.#refused)
      this.#offered.reject(problem(error.code, requestId, { speaker: error.speaker ?? 'daemon' }))
    this.#refused = true
    for (const socket of this.#dialled) cut(socket)
  }

  [Symbol.dispose](): void {
    this.#over = true
    this.#taken.removeEventListener('abort', this.#onTaken)
  }
}

/** A protocol’s own part of a permit; null where nothing is said about it. What is no table of protocols is the plugin’s to refuse. */
function permitOf(protocol: string | undefined, permit: Json): Json {
  if (protocol === undefined || typeof permit !== 'object' || permit === null || Array.isArray(permit)) return permit
  const permits = permit as { readonly [name: string]: Json }
  return Object.hasOwn(permits, protocol) ? (permits[protocol] ?? null) : null
}

function remoteSide(
  { service, protocol }: ServedRule,
  { identities = [], permit = null }: StreamHeader,
  answer: Answer,
  note: (event: ProtocolEvent) => void,
  { signal }: Call,
): RemoteSide {
  return {
    service,
    identities,
    permit: permitOf(protocol, permit),
    dial: async (inner, to) => {
      if (inner.signal === signal) return answer.dial(service, to, inner)
      using ends = new Either(inner.signal, signal)
      return await answer.dial(service, to, { ...inner, signal: ends.signal })
    },
    audit: note,
  }
}
