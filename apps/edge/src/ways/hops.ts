import type { AccessAdmission } from '../authorize/authorize.ts'

/** Milliseconds that notes about a stream still come after its end, and how many ended ones are remembered. */
const NOTED_TIME = 60_000
const MOST_ENDED = 1024

interface Hop {
  readonly admission: AccessAdmission
  streams: number
  /** Milliseconds since the epoch, once they have ended. */
  until?: number
}

/** Admissions whose streams the edge carries to a daemon now, or did a moment ago: what that daemon notes is about one of them. */
export class Hops {
  readonly #open = new Map<string, Hop>()
  readonly #ended = new Map<string, Hop>()
  readonly #now: () => number

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** A stream begins. @returns to be called once, at its end */
  begin(admission: AccessAdmission): () => void {
    const { requestId } = admission
    const hop = this.#open.get(requestId) ?? { admission, streams: 0 }
    hop.streams += 1
    this.#open.set(requestId, hop)
    return () => {
      hop.streams -= 1
      if (hop.streams > 0) return
      this.#open.delete(requestId)
      this.#ended.delete(requestId) // a session may end its streams many times
      this.#ended.set(requestId, { ...hop, until: this.#now() + NOTED_TIME })
      if (this.#ended.size > MOST_ENDED) this.#ended.delete(this.#ended.keys().next().value ?? '')
    }
  }

  /**
   * Whom a note is about. The id is known to nobody but the daemon that got the stream.
   *
   * @returns undefined: no stream of this tunnel, or it ended long ago
   */
  noted(requestId: string, tunnelId: string): AccessAdmission | undefined {
    const { admission, until } = this.#open.get(requestId) ?? this.#ended.get(requestId) ?? {}
    if (admission?.application.tunnelId !== tunnelId) return undefined
    return until === undefined || until > this.#now() ? admission : undefined
  }
}
