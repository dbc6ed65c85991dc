import type { Json, Logger } from '@postern/interface'
import type { Removal } from './chain.ts'

/** Days that traffic is kept unless the setting `auditDays` says otherwise. */
const DAYS = 90
const MOST_DAYS = 36_500
const DAY = 86_400_000

/** Milliseconds after the start before the first look, and between looks. */
const FIRST = 60_000
const INTERVAL = 3_600_000

/** Rows of one step: milliseconds of the writer, who serves others between two steps. */
const STEP = 500

export interface RetentionOptions {
  /** Removes rows from before a time, behind a sequence number. */
  readonly remove: (asked: {
    readonly before: number
    readonly now: number
    readonly after: number
    readonly most: number
  }) => Promise<Removal>
  /** The setting `auditDays`; whatever is no whole number from 1 to 36,500 is 90. */
  readonly days: () => Json | undefined
  readonly log: Logger
}

/** Removes traffic from the audit log once it is old. Changes stay for ever. */
export class Retention implements Disposable {
  readonly #options: RetentionOptions
  #timer: NodeJS.Timeout | undefined
  #over = false

  constructor(options: RetentionOptions) {
    this.#options = options
    this.#arm(FIRST)
  }

  /** Looks now, and resolves when all that is too old is gone. Never rejects. */
  async sweep(now: number = Date.now()): Promise<void> {
    const { remove, days, log } = this.#options
    const before = now - auditDaysOf(days()) * DAY
    let rows = 0
    try {
      for (let after: number | undefined = 0; after !== undefined && !this.#over; ) {
        const { removed, next }: Removal = await remove({ before, now, after, most: STEP })
        rows += removed
        after = next
      }
      if (rows > 0)
        log.info('old traffic was removed from the audit log', { rows, before: new Date(before).toISOString() })
    } catch (error) {
      if (!this.#over) log.warn('old audit rows could not be removed', { error: String(error) })
    }
  }

  [Symbol.dispose](): void {
    this.#over = true
    clearTimeout(this.#timer)
  }

  #arm(delay: number): void {
    this.#timer = setTimeout(async () => {
      await this.sweep()
      if (!this.#over) this.#arm(INTERVAL)
    }, delay).unref()
  }
}

/** Days that traffic is kept. @param setting `auditDays` */
export function auditDaysOf(setting: Json | undefined): number {
  const fits = typeof setting === 'number' && Number.isInteger(setting) && setting >= 1 && setting <= MOST_DAYS
  return fits ? setting : DAYS
}
