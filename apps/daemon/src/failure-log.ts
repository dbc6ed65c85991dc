import type { Code, Fields, Logger } from '@postern/interface'
import { type Clock, systemClock } from '@postern/tunnel'

/** Lines of one kind that are written in full. */
const IN_FULL = 10
/** Milliseconds. */
const WINDOW = 60_000

/** What kind of failure a line tells of. Both are the daemon’s own words, so that there are few kinds. */
export interface FailureKind {
  /** Of the ingress rule; undefined where no rule was found. */
  readonly hostname: string | undefined
  readonly code: Code
}

/**
 * The log lines that strangers cause. Whoever may open streams would otherwise write this log, and fill this disk, at his own
 * pace: of each kind the first ten a minute are written, and then one line that says how many more there were.
 */
export class FailureLog implements Disposable {
  readonly #log: Logger
  readonly #clock: Clock
  readonly #kinds = new Map<string, FailureKind & { count: number }>()
  #cancel: (() => void) | undefined
  #over = false

  constructor(log: Logger, clock: Clock = systemClock) {
    this.#log = log
    this.#clock = clock
  }

  warn({ hostname, code }: FailureKind, message: string, fields: Fields): void {
    const key = `${code} ${hostname ?? ''}`
    const kind = this.#kinds.get(key) ?? { hostname, code, count: 0 }
    this.#kinds.set(key, kind)
    kind.count++
    if (kind.count <= IN_FULL) this.#log.warn(message, fields)
    if (!this.#over) this.#cancel ??= this.#clock.after(WINDOW, () => this.#sum())
  }

  #sum(): void {
    this.#cancel = undefined
    for (const { hostname, code, count } of this.#kinds.values())
      if (count > IN_FULL)
        this.#log.warn('more streams failed in the same way', { hostname, code, leftOut: count - IN_FULL })
    this.#kinds.clear()
  }

  /** Says what was not said yet. A stream that fails after this, while the daemon ends, starts no timer any more. */
  [Symbol.dispose](): void {
    this.#over = true
    this.#cancel?.()
    this.#sum()
  }
}
