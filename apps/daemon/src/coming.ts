import { type Call, PosternError } from '@postern/interface'

/** Clients who come to this daemon at once: for whom it dials, agrees on TLS, or waits for the first word. */
const MOST = 64
/** The same for clients of one visitor, who may let every one of them stand. */
const MOST_OF_ONE = MOST / 4
/** Milliseconds from the edge's word on: the client waits no longer either. */
const TIME = 15_000

/** Clients whose sessions have not begun, which is as long as nobody knows who they are: how many, and for how long. */
export class Coming {
  #all = 0
  /** By visitor, as the edge tells them apart. */
  readonly #of = new Map<string, number>()

  /** @param visitor undefined: an older edge does not say */
  hasRoom(visitor: string | undefined): boolean {
    return this.#all < MOST && (visitor === undefined || (this.#of.get(visitor) ?? 0) < MOST_OF_ONE)
  }

  /**
   * Counts one more until its session has begun.
   *
   * @throws what `begin` throws, which is told by its signal that it took too long (TIMED_OUT)
   */
  async during<T>(visitor: string, begin: (call: Call) => Promise<T>, { log, signal }: Call): Promise<T> {
    const late = new AbortController()
    const why = new PosternError('TIMED_OUT', `no client came within ${TIME / 1000} s`, { speaker: 'daemon' })
    const timer = setTimeout(() => late.abort(why), TIME)
    this.#count(visitor, 1)
    try {
      return await begin({ log, signal: AbortSignal.any([signal, late.signal]) })
    } finally {
      clearTimeout(timer)
      this.#count(visitor, -1)
    }
  }

  #count(visitor: string, change: 1 | -1): void {
    this.#all += change
    const left = (this.#of.get(visitor) ?? 0) + change
    if (left > 0) this.#of.set(visitor, left)
    else this.#of.delete(visitor)
  }
}
