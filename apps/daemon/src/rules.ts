import { PosternError } from '@postern/interface'
import { type IngressRule, type Mode, showService } from './ingress.ts'

interface Held {
  readonly hostname: string
  readonly service: string
  readonly mode: Mode
  readonly end: AbortController
}

/** A stream's hold on its rule. Disposed when the stream is over. */
export interface Hold extends Disposable {
  /** Aborted when the rule is taken away while the stream is open. */
  readonly signal: AbortSignal
}

/** What other rules changed: lines for the log, `db.example.com → tcp://localhost:5432`. */
export interface Difference {
  readonly added: readonly string[]
  readonly removed: readonly string[]
  readonly changed: readonly string[]
  /** Open streams that had to end. */
  readonly cut: number
}

/** The rules that hold now, and who is on them. A name goes before a wildcard: `*.example.com` is what else is there. */
export class Rules<R extends IngressRule> {
  #rules: ReadonlyMap<string, R>
  #unserved: ReadonlySet<string>
  readonly #held = new Set<Held>()

  /**
   * @param unserved hostnames that nothing answers, though a wildcard would
   * @throws PosternError OPTION_CONFLICT
   */
  constructor(rules: readonly R[], unserved: readonly string[] = []) {
    this.#rules = byHostname(rules)
    this.#unserved = new Set(unserved)
  }

  get size(): number {
    return this.#rules.size
  }

  /** The rule of a hostname, in lower case as the edge sends it. `*` stands for one label, as in a certificate. */
  find(hostname: string): R | undefined {
    const own = this.#rules.get(hostname)
    if (own || this.#unserved.has(hostname)) return own
    return this.#rules.get(hostname.replace(/^[^.*]+/, '*'))
  }

  /** @param mode that of the stream */
  hold(hostname: string, rule: R, mode: Mode): Hold {
    const held = { hostname, service: showService(rule.service), mode, end: new AbortController() }
    this.#held.add(held)
    return { signal: held.end.signal, [Symbol.dispose]: () => void this.#held.delete(held) }
  }

  /**
   * From now on these hold. A stream whose hostname has the same service as before goes on and notices nothing; every other one
   * is cut, since what it reaches is not allowed any more.
   *
   * @throws PosternError OPTION_CONFLICT; nothing was changed then
   */
  replace(rules: readonly R[], unserved: readonly string[] = []): Difference {
    const old = this.#rules
    this.#rules = byHostname(rules)
    this.#unserved = new Set(unserved)
    return { ...difference(old, this.#rules), cut: this.#cutOthers() }
  }

  #cutOthers(): number {
    let cut = 0
    for (const { hostname, service, mode, end } of this.#held) {
      const rule = this.find(hostname)
      const isAllowed = rule?.mode === undefined || rule.mode === mode
      if (rule && isAllowed && showService(rule.service) === service) continue
      cut++
      end.abort(
        rule && !isAllowed
          ? new PosternError('MODE_FORBIDDEN', 'the ingress rule’s mode was changed', { speaker: 'daemon' })
          : rule
            ? new PosternError('STREAM_CUT', 'the ingress rule was changed', { speaker: 'daemon' })
            : new PosternError('INGRESS_NOT_FOUND', 'the ingress rule was removed', { speaker: 'daemon' }),
      )
    }
    return cut
  }
}

function byHostname<R extends IngressRule>(rules: readonly R[]): ReadonlyMap<string, R> {
  const map = new Map<string, R>()
  for (const rule of rules) {
    if (map.has(rule.hostname)) throw new PosternError('OPTION_CONFLICT', `two ingress rules are for ${rule.hostname}`)
    map.set(rule.hostname, rule)
  }
  return map
}

export function showRule(rule: IngressRule): string {
  return `${rule.hostname} → ${showWhere(rule)}`
}

function showWhere({ service, mode }: IngressRule): string {
  return `${showService(service)}${mode ? `, ${mode} only` : ''}`
}

function difference(old: ReadonlyMap<string, IngressRule>, now: ReadonlyMap<string, IngressRule>) {
  const added: string[] = []
  const changed: string[] = []
  for (const [hostname, rule] of now) {
    const before = old.get(hostname)
    if (!before) added.push(showRule(rule))
    else if (showWhere(before) !== showWhere(rule)) changed.push(`${showRule(rule)} (was ${showWhere(before)})`)
  }
  const removed = [...old].filter(([hostname]) => !now.has(hostname)).map(([, rule]) => showRule(rule))
  return { added, removed, changed }
}
