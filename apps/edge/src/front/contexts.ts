import type { SecureContext } from 'node:tls'

export interface Made {
  readonly context: SecureContext
  /** Milliseconds since the epoch: when it is made anew. */
  readonly until: number
}

interface Kept {
  readonly context: Promise<SecureContext>
  until: number
}

/** Each has its key and its CAs parsed: some hundred kilobytes. */
const MOST = 256

/** Contexts that were made, because making one takes milliseconds. Those that were asked for last are kept. */
export class Contexts {
  readonly #kept = new Map<string, Kept>()

  get(key: string, make: () => Promise<Made>): Promise<SecureContext> {
    const known = this.#kept.get(key)
    this.#kept.delete(key)
    const kept = known !== undefined && known.until > Date.now() ? known : this.#make(key, make)
    this.#kept.set(key, kept)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MOST) break
      this.#kept.delete(oldest)
    }
    return kept.context
  }

  #make(key: string, make: () => Promise<Made>): Kept {
    const context = make().then(made => {
      kept.until = made.until
      return made.context
    })
    const kept: Kept = { context, until: Number.POSITIVE_INFINITY }
    // Whoever waits for it is told; the next one tries again.
    context.catch(() => {
      if (this.#kept.get(key) === kept) this.#kept.delete(key)
    })
    return kept
  }
}
