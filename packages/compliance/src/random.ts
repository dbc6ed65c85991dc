/** Seeded random numbers (mulberry32): the same seed gives the same run. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 up to 1, not included. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  /** A whole number from 0 up to `limit`, not included. */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  /** A whole number from `low` to `high`. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }

  /** Numbers of its own, so that who draws them changes nobody else's. */
  fork(): Random {
    return new Random(this.next() * 4294967296)
  }
}

// A prime length: no chunk, frame or window size is a multiple of it, so bytes out of place are seen.
const PERIOD = 65521
const TABLE: Buffer = Buffer.alloc(PERIOD * 4)
const numbers = new Random(1)
for (let i = 0; i < PERIOD; i++) TABLE[i] = numbers.below(256)
TABLE.copy(TABLE, PERIOD, 0, PERIOD)
TABLE.copy(TABLE, PERIOD * 2, 0, PERIOD * 2)

/** The bytes [at, at + length) of the content named `key`; length up to 128 KiB. A view: do not write to it. */
export function content(key: number, at: number, length: number): Buffer {
  const start = (key * 7919 + at) % PERIOD
  return TABLE.subarray(start, start + length)
}

/** True if `chunk` is what stands at `at` in the content named `key`. */
export function matches(key: number, at: number, chunk: Buffer): boolean {
  for (let done = 0; done < chunk.length; done += PERIOD) {
    const part = chunk.subarray(done, done + PERIOD)
    if (!content(key, at + done, part.length).equals(part)) return false
  }
  return true
}
