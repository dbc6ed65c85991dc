import {
  type Call,
  type Code,
  PosternError,
  type ProtocolServer,
  problem,
  type RequestAnswer,
} from '@postern/interface'
import type { OfferedTunnelStream } from '@postern/tunnel'
import type { FailureLog } from './failure-log.ts'
import { showTarget } from './ingress.ts'
import type { DaemonObserver, ObservedStream } from './observer.ts'
import { type LiveRule, type Web, WebRules } from './web-rules.ts'

/** How streams of requests end where nothing is wrong here: the edge says whose access ended, and when. */
const ENDINGS: readonly Code[] = ['STREAM_CUT', 'DRAINING', 'ACCESS_ENDED']

/** How long an idle stream stays after a stop was asked for: the edge has heard of it by then, and sends no request into its end. */
const LAST_REQUESTS = 1_000

/** A stream of requests that is open. */
interface OpenStream {
  readonly hostname: string
  readonly end: AbortController
  /** The request that is answered now, if there is one. */
  current: { readonly path: string; readonly rule: LiveRule | undefined } | undefined
}

/** Serves streams of requests: each request by the rules of the moment. */
export class WebServing implements Disposable {
  readonly #failures: FailureLog
  readonly #observer: DaemonObserver
  readonly #rules: WebRules
  readonly #open = new Set<OpenStream>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #server: ProtocolServer | undefined
  #isDraining = false

  constructor(web: Web | undefined, failures: FailureLog, observer: DaemonObserver) {
    this.#failures = failures
    this.#observer = observer
    this.#server = web?.server
    this.#rules = new WebRules(web?.rules ?? [], (rule, socket, milliseconds) =>
      observer.onService?.({ ...observedOf(rule), requestId: '' }, socket, milliseconds),
    )
  }

  get size(): number {
    return this.#rules.size
  }

  /** @returns what changed, and how many requests had to end */
  replace(web: Web | undefined): { added: readonly string[]; removed: readonly string[]; cut: number } {
    this.#server = web?.server ?? this.#server
    const busy = [...this.#open].filter(one => one.current)
    const changed = this.#rules.replace(web?.rules ?? [])
    const elsewhere = busy.filter(
      ({ current, hostname }) => current && this.#rules.at(hostname, current.path) !== current.rule,
    )
    // A rule that went has told its own; here is who now would be answered by another one.
    const moved = new PosternError('STREAM_CUT', 'the ingress rules were changed', { speaker: 'daemon' })
    for (const { current, end } of elsewhere) if (current?.rule?.signal.aborted === false) end.abort(moved)
    return { ...changed, cut: elsewhere.length }
  }

  /** Streams end as soon as nothing is asked over them. */
  drain(): void {
    this.#isDraining = true
    for (const one of this.#open) if (!one.current) this.#endSoon(one)
  }

  /** Never rejects. */
  async serve(offered: OfferedTunnelStream, outer: Call): Promise<void> {
    const { hostname, requestId } = offered.header
    const first = this.#rules.anyOf(hostname)
    const observed: ObservedStream = { ...(first && observedOf(first)), hostname, requestId }
    const began = performance.now()
    this.#observer.onStream?.(observed)
    const error = await this.#serve(offered, first, outer)
    this.#observer.onStreamEnd?.(observed, { ...(error && { code: error.code }), duration: performance.now() - began })
  }

  /** @returns why it was refused or cut */
  async #serve(
    offered: OfferedTunnelStream,
    first: LiveRule | undefined,
    outer: Call,
  ): Promise<PosternError | undefined> {
    const { hostname, requestId } = offered.header
    const server = this.#server
    let stream: ReturnType<OfferedTunnelStream['accept']> | undefined
    const open: OpenStream = { hostname, end: new AbortController(), current: undefined }
    this.#open.add(open)
    try {
      if (!first || !server?.serveRequests)
        throw new PosternError('INGRESS_NOT_FOUND', 'no ingress rule for HTTP', { speaker: 'daemon' })
      const call: Call = { log: outer.log, signal: AbortSignal.any([outer.signal, open.end.signal]) }
      const accept = () => {
        stream ??= offered.accept()
        return stream
      }
      await server.serveRequests({ accept }, this.#sideOf(open), call)
      // An end that is still on its way out is an end; anything else is not.
      if (stream && !stream.writableEnded) stream.destroy()
      return undefined
    } catch (thrown) {
      const error = PosternError.from(thrown, outer.signal.aborted ? 'DRAINING' : 'INTERNAL', { speaker: 'daemon' })
      const { code, message: cause } = error
      if (!ENDINGS.includes(code))
        this.#failures.warn({ hostname: first?.pattern.hostname, code }, 'stream of requests failed', {
          hostname,
          requestId,
          code,
          cause,
        })
      if (stream) stream.destroy(error)
      else offered.reject(problem(code, requestId, { speaker: 'daemon' }))
      return error
    } finally {
      this.#open.delete(open)
    }
  }

  #sideOf(open: OpenStream) {
    const { hostname } = open
    return {
      hostname,
      at: (path: string): LiveRule | undefined => {
        const rule = this.#rules.at(hostname, path)
        open.current = { path, rule }
        return rule
      },
      answered: (answer: RequestAnswer): void => {
        const rule = open.current?.rule
        open.current = undefined
        this.#tell(hostname, rule, answer)
        if (this.#isDraining) this.#endSoon(open)
      },
    }
  }

  #tell(hostname: string, rule: LiveRule | undefined, { status, error, duration, requestId }: RequestAnswer): void {
    const left = error?.code === 'STREAM_CUT' && error.speaker !== 'service' // a visitor may go when they want
    this.#observer.onRequest?.(
      { ...(rule && observedOf(rule)), hostname, requestId },
      { ...(status !== undefined && { status }), ...(error && !left && { code: error.code }), duration },
    )
    if (!error || left) return
    const { code, message: cause } = error
    const service = rule && showTarget(rule.service)
    this.#failures.warn({ hostname: rule?.pattern.hostname, code }, 'request failed', {
      hostname,
      ...(service && { service }),
      requestId,
      code,
      cause,
    })
  }

  #endSoon(open: OpenStream): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      if (!open.current) open.end.abort(new PosternError('DRAINING', 'the daemon stops', { speaker: 'daemon' }))
    }, LAST_REQUESTS)
    this.#timers.add(timer)
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#rules[Symbol.dispose]()
  }
}

/** Labels are the rule’s own words. */
function observedOf({ pattern, service }: LiveRule): { hostname: string; rule: string; service: string } {
  const hostname = pattern.hostname ?? '*'
  return { hostname, rule: hostname, service: showTarget(service) }
}
