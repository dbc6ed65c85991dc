import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Call, PosternError, type ProtocolServer, type RequestRule } from '@postern/interface'
import { cut } from '@postern/tunnel'
import { showTarget } from './ingress.ts'
import { matches, type Pattern, segmentsOf, showPattern } from './pattern.ts'
import { reach } from './reach.ts'

/** What answers requests of a hostname and path. */
export interface WebRule extends Pattern {
  /** A service that speaks HTTP, or the status that is answered. */
  readonly service: URL | number
  /** As the protocol’s `rule` reads them. */
  readonly options: Readonly<Record<string, unknown>>
}

/** The rules of HTTP applications, in order, and the plugin that serves them. */
export interface Web {
  readonly server: ProtocolServer
  readonly rules: readonly WebRule[]
}

export type OnService = (rule: LiveRule, socket: Socket, milliseconds: number) => void

/** A rule at work: it holds the connections that were made for it, and takes them along when it goes. */
export class LiveRule implements RequestRule {
  readonly pattern: Pattern
  readonly service: URL | number
  readonly options: Readonly<Record<string, unknown>>
  /** What makes it the same rule as another. */
  readonly key: string
  readonly #end = new AbortController()
  readonly #sockets = new Set<Socket>()
  readonly #onService: OnService

  constructor(rule: WebRule, onService: OnService) {
    this.pattern = rule
    this.service = rule.service
    this.options = rule.options
    this.key = JSON.stringify([showPattern(rule), showTarget(rule.service), rule.options])
    this.#onService = onService
  }

  get signal(): AbortSignal {
    return this.#end.signal
  }

  async dial({ log, signal }: Call): Promise<Duplex> {
    this.signal.throwIfAborted()
    if (typeof this.service === 'number')
      throw new PosternError('DESTINATION_FORBIDDEN', 'the ingress rule has no service', { speaker: 'daemon' })
    const began = performance.now()
    const socket = await reach(this.service, undefined, { log, signal: AbortSignal.any([signal, this.signal]) })
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    if (this.signal.aborted) cut(socket) // meanwhile
    this.#onService(this, socket, performance.now() - began)
    return socket
  }

  /** What it carries is told why, and then cut. */
  end(reason: PosternError): void {
    this.#end.abort(reason)
    for (const socket of this.#sockets) cut(socket)
  }
}

interface Placed {
  readonly order: number
  readonly rule: LiveRule
}

/** The rules for requests that hold now. The first one that matches answers. */
export class WebRules implements Disposable {
  readonly #onService: OnService
  #placed: ReadonlyMap<string, readonly Placed[]> = new Map()

  constructor(rules: readonly WebRule[], onService: OnService) {
    this.#onService = onService
    this.replace(rules)
  }

  get size(): number {
    return this.#all().length
  }

  /** @param path as it was sent, without its query */
  at(hostname: string, path: string): LiveRule | undefined {
    const segments = segmentsOf(path)
    return segments && this.#find(hostname, one => matches(one.pattern, hostname, segments))
  }

  /** The first rule of a hostname, whatever its path. */
  anyOf(hostname: string): LiveRule | undefined {
    return this.#find(hostname, () => true)
  }

  /** A rule that stays as it was keeps its connections and what they carry. The others end. */
  replace(rules: readonly WebRule[]): { readonly added: readonly string[]; readonly removed: readonly string[] } {
    const before = new Map(this.#all().map(rule => [rule.key, rule]))
    const kept = new Set<LiveRule>()
    const now = new Map<string, Placed[]>()
    const added: string[] = []
    for (const [order, rule] of rules.entries()) {
      const fresh = new LiveRule(rule, this.#onService)
      const live = before.get(fresh.key) ?? fresh
      if (live === fresh) added.push(showWebRule(rule))
      kept.add(live)
      const list = now.get(rule.hostname ?? '') ?? []
      now.set(rule.hostname ?? '', list)
      list.push({ order, rule: live })
    }
    this.#placed = now
    const gone = [...before.values()].filter(rule => !kept.has(rule))
    for (const rule of gone)
      rule.end(new PosternError('INGRESS_NOT_FOUND', 'the ingress rule was removed or changed', { speaker: 'daemon' }))
    return { added, removed: gone.map(({ pattern, service }) => showWebRule({ ...pattern, service })) }
  }

  [Symbol.dispose](): void {
    for (const rule of this.#all())
      rule.end(new PosternError('DRAINING', 'the daemon was stopped', { speaker: 'daemon' }))
  }

  #all(): readonly LiveRule[] {
    return [...this.#placed.values()].flat().map(({ rule }) => rule)
  }

  #find(hostname: string, isIt: (rule: LiveRule) => boolean): LiveRule | undefined {
    let first: Placed | undefined
    for (const name of [hostname, hostname.replace(/^[^.*]+/, '*'), '']) {
      const found = this.#placed.get(name)?.find(({ rule }) => isIt(rule))
      if (found && (!first || found.order < first.order)) first = found
    }
    return first?.rule
  }
}

export function showWebRule(rule: Omit<WebRule, 'options'>): string {
  return `${showPattern(rule)} → ${showTarget(rule.service)}`
}
