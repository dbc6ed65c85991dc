import { totalmem } from 'node:os'
import { constrainedMemory, memoryUsage } from 'node:process'

/** Bytes below which nothing is refused: rubbish that is not collected yet counts too. */
const LEAST = 256 * 2 ** 20
/** Past `most`, a quarter more is left to those of whose readers few are behind. */
const MORE = 1.25
const FEW = 8
/** Milliseconds that a look is good for. */
const GOOD_FOR = 250

/**
 * Whether all visitors together let this process hold too much: bytes that arrived and wait for slow readers. Each stream, session and
 * visitor has its own bounds; this one is for many of them at once. What is open goes on, and new streams are refused until there
 * is room again: first to those of whose readers many are behind, then to everybody.
 */
export class Memory {
  readonly #most: number
  readonly #used: () => number
  readonly #now: () => number
  #held = 0
  #looked = Number.NEGATIVE_INFINITY

  /** @param most bytes; default half of what this process may have */
  constructor(
    most: number = half(),
    used: () => number = () => memoryUsage().arrayBuffers,
    now: () => number = () => performance.now(),
  ) {
    this.#most = most
    this.#used = used
    this.#now = now
  }

  /** @param behind readers that are behind, of whoever wants one more stream */
  isFull(behind: number): boolean {
    const now = this.#now()
    if (now - this.#looked >= GOOD_FOR) {
      this.#looked = now
      this.#held = this.#used()
    }
    return this.#held > (behind > FEW ? this.#most : this.#most * MORE)
  }
}

/** Of the container's memory, where there is a limit, else of the machine's. */
function half(): number {
  const limit = constrainedMemory() || Number.POSITIVE_INFINITY
  return Math.max(LEAST, Math.min(limit, totalmem()) / 2)
}
