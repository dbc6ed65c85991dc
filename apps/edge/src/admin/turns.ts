import { PosternError } from '@postern/interface'

/** Pieces of work that wait, at most. */
const MOST_WAITING = 1000

/** One piece of work at a time, in the order they came. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  /** @throws PosternError EDGE_UNAVAILABLE when too many wait; whatever the work throws */
  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MOST_WAITING)
      throw new PosternError('EDGE_UNAVAILABLE', `${MOST_WAITING} changes wait already`)
    this.#waiting += 1
    const mine = this.#last.then(work).finally(() => {
      this.#waiting -= 1
    })
    this.#last = mine.catch(() => {})
    return mine
  }

  /** Resolves when nobody has a turn or waits for one. */
  async over(): Promise<void> {
    while (this.#waiting > 0) await this.#last
  }
}
