import { Duplex } from 'node:stream'
import type { Random } from '@postern/compliance/random'

export interface PipeOptions {
  /** Cuts what is written into random pieces and delays each by random turns of the loop. */
  readonly random?: Random
  /** Largest random piece, in bytes. */
  readonly maxPiece?: number
  readonly highWaterMark?: number
}

/** One end of an in-memory pipe: bytes in order, half-close, a destroy seen by the other end as a failure. */
export class PipeEnd extends Duplex {
  other!: PipeEnd
  readonly #options: PipeOptions
  #waiting: Buffer | undefined
  #done: ((error?: Error | null) => void) | undefined
  #wanted = false

  constructor(options: PipeOptions) {
    super({ allowHalfOpen: true, highWaterMark: options.highWaterMark ?? 64 * 1024 })
    this.#options = options
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#waiting = chunk
    this.#done = done
    this.#carry()
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'utf8', done)
  }

  override _final(done: (error?: Error | null) => void): void {
    setImmediate(() => {
      if (!this.other.destroyed) this.other.push(null)
      done()
    })
  }

  override _read(): void {
    this.#wanted = true
    this.other.#carry()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const clean = this.readableEnded && this.writableFinished
    const waiting = this.#done
    this.#done = undefined
    setImmediate(() => {
      if (!clean && !this.other.destroyed && !(this.other.readableEnded && this.other.writableFinished)) {
        this.other.destroy(new Error('pipe reset'))
      }
      waiting?.(new Error('pipe destroyed'))
      done(error)
    })
  }

  #carry(): void {
    const chunk = this.#waiting
    if (chunk === undefined || !this.other.#wanted || this.destroyed) return
    this.other.#wanted = false
    const { random, maxPiece = 100_000 } = this.#options
    const size = random === undefined ? chunk.length : Math.min(chunk.length, random.between(1, maxPiece))
    this.#waiting = chunk.subarray(size)
    const turns = random?.chance(0.2) ? random.between(1, 4) : 0
    const piece = random === undefined ? chunk : Buffer.from(chunk.subarray(0, size))
    later(turns, () => this.#deliver(piece))
  }

  #deliver(piece: Buffer): void {
    if (this.destroyed || this.other.destroyed) return
    const empty = this.#waiting!.length === 0
    if (empty) this.#waiting = undefined
    this.other.push(piece)
    if (!empty) {
      this.#carry()
      return
    }
    const done = this.#done
    this.#done = undefined
    done?.()
  }
}

function later(turns: number, then: () => void): void {
  setImmediate(turns === 0 ? then : () => later(turns - 1, then))
}

/** Two ends of one pipe. */
export function pipePair(options: PipeOptions = {}): [PipeEnd, PipeEnd] {
  const a = new PipeEnd(options)
  const b = new PipeEnd(options)
  a.other = b
  b.other = a
  return [a, b]
}
