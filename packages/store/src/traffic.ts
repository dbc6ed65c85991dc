import type { Logger } from '@postern/interface'
import type { AuditEntry } from './chain.ts'

/** Rows that wait or are being written, at most. About 4 MB. */
const MOST_ROWS = 8192
/** Refusals may fill half of it only: a stranger must not close the door for others. */
const MOST_REFUSALS = MOST_ROWS / 2
/** Milliseconds a row waits for others before they are committed together; with the commit itself well below 50. */
const GATHER = 20
const BATCH = 512
/** Milliseconds between tries while the disk fails. */
const RETRY = 1000

/** The bounded queue of traffic rows in front of the writer: group commit, never on the deciding path. */
export class TrafficQueue {
  readonly #write: (entries: readonly AuditEntry[]) => Promise<unknown>
  readonly #log: Logger
  #rows: AuditEntry[] = []
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #failing = false
  #closed = false
  #dropped = 0
  /** Rows on disk, in all. */
  #written = 0

  constructor(write: (entries: readonly AuditEntry[]) => Promise<unknown>, log: Logger) {
    this.#write = write
    this.#log = log
  }

  /** False while the disk fails or the queue is full: nobody new may be let in. */
  get usable(): boolean {
    return !this.#failing && this.#rows.length < MOST_ROWS
  }

  /** @returns false when the row was dropped */
  add(entry: AuditEntry): boolean {
    if (this.#closed) {
      this.#log.error('an audit row was lost: it came after the end', { action: entry.action })
      return false
    }
    const most = entry.allowed === false ? MOST_REFUSALS : MOST_ROWS
    if (this.#rows.length >= most) {
      this.#dropped += 1
      return false
    }
    this.#rows.push(entry)
    this.#arm(GATHER)
    return true
  }

  /** Writes what waits now, once; resolves when the disk has it or has failed. */
  async flush(): Promise<void> {
    // What comes meanwhile may never end.
    const until = this.#written + this.#rows.length
    while (this.#written < until) {
      await (this.#writing ?? this.#run())
      if (this.#failing) return
    }
  }

  /** Takes no more rows, and tries no more. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    if (this.#rows.length > 0) this.#log.error('audit rows were lost', { rows: this.#rows.length })
  }

  #arm(delay: number): void {
    if (this.#closed || this.#timer !== undefined || this.#writing !== undefined) return
    this.#timer = setTimeout(() => void this.#run(), delay)
  }

  #run(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#writing ??= this.#writeBatch().finally(() => {
      this.#writing = undefined
      if (this.#rows.length > 0) this.#arm(this.#failing ? RETRY : 0)
    })
    return this.#writing
  }

  async #writeBatch(): Promise<void> {
    const batch = this.#rows.slice(0, BATCH)
    try {
      await this.#write(batch)
      this.#rows.splice(0, batch.length)
      this.#written += batch.length
      if (this.#failing) this.#log.info('the audit log can be written again')
      this.#failing = false
      this.#reportDropped()
    } catch (error) {
      if (!this.#failing) this.#log.error('the audit log cannot be written: nobody is let in', { error: String(error) })
      this.#failing = true
    }
  }

  #reportDropped(): void {
    if (this.#dropped === 0) return
    this.#log.warn('audit rows of refusals were dropped: too many at once', { rows: this.#dropped })
    this.#dropped = 0
  }
}
