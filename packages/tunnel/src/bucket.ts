/** So many at once, and so many a second after that. */
export class Bucket {
  readonly #perSecond: number
  readonly #most: number
  #level: number
  #at = Number.NEGATIVE_INFINITY

  /** Full at first. */
  constructor(perSecond: number, most: number) {
    this.#perSecond = perSecond
    this.#most = most
    this.#level = most
  }

  isFull(now: number): boolean {
    return this.#filled(now) >= this.#most
  }

  has(now: number): boolean {
    return this.#filled(now) >= 1
  }

  /** Takes one. @returns whether there was one */
  take(now: number): boolean {
    if (this.#filled(now) < 1) return false
    this.#level -= 1
    return true
  }

  /** Takes one where there is one. */
  drain(now: number): void {
    this.#level = Math.max(0, this.#filled(now) - 1)
  }

  /** Takes one, on credit where there is none: as much as it holds at most. @returns milliseconds until that is paid */
  owe(now: number): number {
    this.#level = Math.max(-this.#most, this.#filled(now) - 1)
    return Math.max(0, (-this.#level / this.#perSecond) * 1000)
  }

  #filled(now: number): number {
    const since = Math.max(0, now - this.#at)
    this.#at = now
    this.#level = Math.min(this.#most, this.#level + (since / 1000) * this.#perSecond)
    return this.#level
  }
}
