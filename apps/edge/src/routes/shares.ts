import { PosternError } from '@postern/interface'

/** Streams of one visitor that a daemon has not answered yet: a quarter of what one connection of a daemon takes. */
const OPENING = 64
/** Streams of one visitor that wait for their turn: as many as one session may have unanswered. */
const WAITING = 256
/** Streams of one visitor at once, for each connection of the daemons: half of what it takes… */
const PER_CONNECTION = 512
/** …and at most. A stopped reader may cost the edge 2 MiB a stream. */
const MOST = 1024

/** One stream's place. */
export interface Place {
  /** The daemon has answered. */
  answered(): void
  /** The stream is over. */
  release(): void
}

interface Share {
  opening: number
  streams: number
  readonly waiting: Set<() => void>
}

/**
 * What each visitor has of a tunnel. One that opens and never finishes leaves room for the others, however many sessions it
 * spreads that over; streams past its share in opening wait their turn, those past its share of streams are refused.
 */
export class Shares {
  readonly #shares = new Map<string, Share>()

  /** Visitors now. */
  get size(): number {
    return this.#shares.size
  }

  /**
   * @param visitor who, and of which tunnel
   * @param connections the tunnel's live connections
   * @throws PosternError LIMIT_EXCEEDED; `signal.reason`
   */
  async take(visitor: string, connections: number, signal: AbortSignal): Promise<Place> {
    signal.throwIfAborted()
    const share = this.#of(visitor)
    const most = Math.min(MOST, Math.max(1, connections) * PER_CONNECTION)
    if (share.streams >= most) throw tooMany(`you have ${share.streams} connections open here, which is all you may`)
    if (share.waiting.size >= WAITING) throw tooMany(`${WAITING} connections of yours wait to be opened`)
    share.streams += 1
    try {
      if (share.opening >= OPENING) await turn(share, signal)
      else share.opening += 1
    } catch (error) {
      this.#leave(visitor, share)
      throw error
    }
    return this.#place(visitor, share)
  }

  #of(visitor: string): Share {
    const found = this.#shares.get(visitor)
    if (found !== undefined) return found
    const share = { opening: 0, streams: 0, waiting: new Set<() => void>() }
    this.#shares.set(visitor, share)
    return share
  }

  #place(visitor: string, share: Share): Place {
    let state: 'opening' | 'open' | 'over' = 'opening'
    const answered = () => {
      if (state !== 'opening') return
      state = 'open'
      const [next] = share.waiting
      if (next === undefined) share.opening -= 1
      else next()
    }
    const release = () => {
      answered()
      if (state === 'over') return
      state = 'over'
      this.#leave(visitor, share)
    }
    return { answered, release }
  }

  #leave(visitor: string, share: Share): void {
    share.streams -= 1
    if (share.streams === 0) this.#shares.delete(visitor)
  }
}

/** Whoever is answered hands its turn to the longest waiting. */
function turn({ waiting }: Share, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      waiting.delete(mine)
      signal.removeEventListener('abort', aborted)
    }
    const mine = () => {
      settle()
      resolve()
    }
    const aborted = () => {
      settle()
      reject(signal.reason)
    }
    waiting.add(mine)
    signal.addEventListener('abort', aborted)
  })
}

function tooMany(message: string): PosternError {
  return new PosternError('LIMIT_EXCEEDED', message, { speaker: 'edge' })
}
