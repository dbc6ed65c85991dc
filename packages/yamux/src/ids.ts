/** Skipped ids remembered at most. Go's Open() may send ids out of order by as many as its callers race (256 by default). */
const MAX_SKIPPED = 1024

/**
 * Which ids the peer has used. Ids grow by two, but a peer that opens streams from several threads (Go) may send them out of order, so the
 * highest id seen is not enough to tell "not opened yet" from "gone": the ids it jumped over are kept, the oldest forgotten first.
 * A forgotten one counts as used.
 */
export class PeerIds {
  readonly #skipped: Set<number> = new Set()
  #next: number

  /** `first` is 1 when the peer is the client, 2 when it is the server. */
  constructor(first: number) {
    this.#next = first
  }

  /** True if a stream of this id (of the peer's parity) was opened before. */
  used(id: number): boolean {
    return id < this.#next && !this.#skipped.has(id)
  }

  /** Takes the id of a new stream. */
  use(id: number): void {
    if (id < this.#next) {
      this.#skipped.delete(id)
      return
    }
    for (let skipped = Math.max(this.#next, id - 2 * MAX_SKIPPED); skipped < id; skipped += 2)
      this.#skipped.add(skipped)
    this.#next = id + 2
    for (const oldest of this.#skipped) {
      if (this.#skipped.size <= MAX_SKIPPED) break
      this.#skipped.delete(oldest)
    }
  }
}
