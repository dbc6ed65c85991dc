/** Slices shorter than this are copied together: a Buffer object of its own costs more than they hold. */
const SMALL = 1024
const MIN_BLOCK = 1024
const MAX_BLOCK = 16 * 1024

/**
 * Bytes received that the reader has not asked for yet. Slices of incoming chunks are kept as they are, unless they are small or a small part
 * of their chunk: those are copied into blocks, so that a peer cannot make one byte of window keep 64 KiB (or one object) alive.
 */
export class ReceiveQueue {
  #buffers: (Buffer | undefined)[] = []
  #head = 0
  #bytes = 0
  // The block being filled is always the last of #buffers' future items: [start, fill) of it is not in #buffers yet.
  #block: Buffer | undefined
  #start = 0
  #fill = 0

  get bytes(): number {
    return this.#bytes
  }

  add(slice: Buffer): void {
    this.#bytes += slice.length
    if (slice.length >= SMALL && slice.length * 2 > slice.buffer.byteLength) {
      this.#closeBlock()
      this.#buffers.push(slice)
    } else this.#copy(slice)
  }

  /** The next bytes in order; undefined when there are none. */
  take(): Buffer | undefined {
    if (this.#head === this.#buffers.length) this.#closeBlock()
    const buffer = this.#buffers[this.#head]
    if (buffer === undefined) return undefined
    this.#buffers[this.#head] = undefined // what was taken is not held until the list is cut
    this.#head += 1
    if (this.#head === this.#buffers.length) {
      this.#reset()
      // Nothing waits: an idle stream keeps no block.
      if (this.#fill === this.#start) this.#dropBlock()
    } else if (this.#head >= 256) {
      this.#buffers = this.#buffers.slice(this.#head)
      this.#head = 0
    }
    this.#bytes -= buffer.length
    return buffer
  }

  clear(): void {
    this.#reset()
    this.#dropBlock()
    this.#bytes = 0
  }

  #dropBlock(): void {
    this.#block = undefined
    this.#start = this.#fill = 0
  }

  #reset(): void {
    this.#buffers = []
    this.#head = 0
  }

  #copy(slice: Buffer): void {
    let at = 0
    while (at < slice.length) {
      if (this.#block === undefined) {
        this.#block = Buffer.allocUnsafeSlow(Math.min(MAX_BLOCK, Math.max(MIN_BLOCK, slice.length, this.#bytes)))
      }
      const copied = slice.copy(this.#block, this.#fill, at)
      this.#fill += copied
      at += copied
      if (this.#fill === this.#block.length) this.#closeBlock(true)
    }
  }

  /** Moves what the block holds among the buffers. Its free rest is filled next, unless it is full: bytes given out never change. */
  #closeBlock(full = false): void {
    if (this.#block === undefined) return
    if (this.#fill > this.#start) this.#buffers.push(this.#block.subarray(this.#start, this.#fill))
    this.#start = this.#fill
    if (!full && this.#block.length - this.#fill >= MIN_BLOCK / 2) return
    this.#dropBlock()
  }
}
