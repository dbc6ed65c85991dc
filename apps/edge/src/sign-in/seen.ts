import type { Bookkeeping, Store } from '@postern/store'
import { SEEN } from './session-record.ts'

/** When sessions and cookies were last used: in memory, and written behind, so that using one costs no write. */
export class Seen {
  readonly #store: Store
  readonly #times = new Map<string, number>()
  readonly #unwritten = new Set<string>()

  constructor(store: Store) {
    this.#store = store
    for (const [id, time] of store.snapshot.records.get(SEEN) ?? [])
      if (typeof time === 'number') this.#times.set(id, time)
  }

  at(id: string): number | undefined {
    return this.#times.get(id)
  }

  touch(id: string, now: number): void {
    this.#times.set(id, now)
    this.#unwritten.add(id)
  }

  /** Writes what is new, and forgets ids that are no more. @throws PosternError STORE_UNUSABLE */
  async write(isThere: (id: string) => boolean): Promise<void> {
    const kept = this.#store.snapshot.records.get(SEEN)
    const rows: Bookkeeping[] = []
    for (const id of this.#unwritten)
      if (isThere(id)) rows.push({ put: 'record', namespace: SEEN, id, value: this.#times.get(id) ?? 0 })
    for (const id of this.#times.keys()) {
      if (isThere(id)) continue
      this.#times.delete(id)
      if (kept?.has(id)) rows.push({ delete: 'record', namespace: SEEN, id })
    }
    this.#unwritten.clear()
    if (rows.length > 0) await this.#store.keep(rows)
  }
}
