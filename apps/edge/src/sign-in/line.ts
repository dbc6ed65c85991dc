import { PosternError } from '@postern/interface'

interface Waiting {
  readonly go: () => void
  readonly refuse: (reason: unknown) => void
}

export interface LineOptions {
  readonly mostAtOnce: number
  /** Of those who wait, in all. */
  readonly mostWaiting: number
}

/**
 * Turns at what only a few may do at once. Whoever waits is served by turns of who asks, not of each time they ask: who asks a
 * thousand times waits behind themselves, and makes room for whoever asks once.
 */
export class Line {
  readonly #options: LineOptions
  /** By who asks, in the order in which they are served next. */
  readonly #waiting = new Map<string, Waiting[]>()
  #working = 0
  #count = 0

  constructor(options: LineOptions) {
    this.#options = options
  }

  /**
   * @returns ends the turn
   * @throws PosternError EDGE_UNAVAILABLE: too many wait; `signal.reason`
   */
  async turn(who: string, signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted()
    if (this.#working < this.#options.mostAtOnce) this.#working += 1
    else await this.#wait(who, signal)
    return {
      [Symbol.dispose]: () => {
        const [next] = this.#waiting
        // Whoever is next takes this place over.
        if (next === undefined) this.#working -= 1
        else this.#call(...next)
      },
    }
  }

  #call(who: string, [first, ...others]: readonly Waiting[]): void {
    this.#waiting.delete(who)
    if (others.length > 0) this.#waiting.set(who, others)
    this.#count -= 1
    first?.go()
  }

  #wait(who: string, signal: AbortSignal): Promise<void> {
    if (this.#count >= this.#options.mostWaiting) this.#makeRoom(who)
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#remove(who, waiting)
        reject(signal.reason)
      }
      const waiting: Waiting = {
        go: () => {
          signal.removeEventListener('abort', leave)
          resolve()
        },
        refuse: reason => {
          signal.removeEventListener('abort', leave)
          reject(reason)
        },
      }
      this.#waiting.set(who, [...(this.#waiting.get(who) ?? []), waiting])
      this.#count += 1
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  /** The last of whoever waits most often goes, unless that is who asks. @throws PosternError EDGE_UNAVAILABLE */
  #makeRoom(who: string): void {
    const own = this.#waiting.get(who)?.length ?? 0
    const [most, all] = [...this.#waiting].reduce((one, other) => (other[1].length > one[1].length ? other : one))
    const last = all.at(-1)
    if (last === undefined || all.length <= own + 1) throw full()
    this.#remove(most, last)
    last.refuse(full())
  }

  #remove(who: string, waiting: Waiting): void {
    const others = this.#waiting.get(who)?.filter(one => one !== waiting) ?? []
    if (others.length > 0) this.#waiting.set(who, others)
    else this.#waiting.delete(who)
    this.#count -= 1
  }
}

function full(): PosternError {
  return new PosternError('EDGE_UNAVAILABLE', 'too many people sign in at this moment', { speaker: 'edge' })
}
