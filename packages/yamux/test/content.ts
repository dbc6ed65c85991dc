import { Random } from './random.ts'

// A prime length: no chunk, frame or window size is a multiple of it, so bytes out of place are seen.
const PERIOD = 65521
const TABLE: Buffer = Buffer.alloc(PERIOD * 3)
const random = new Random(1)
for (let i = 0; i < PERIOD; i++) TABLE[i] = random.below(256)
TABLE.copy(TABLE, PERIOD, 0, PERIOD)
TABLE.copy(TABLE, PERIOD * 2, 0, PERIOD)

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
