import type { Duplex } from 'node:stream'
import { pause } from './expect.ts'
import { content, matches, type Random } from './random.ts'

/** Longest piece that a party writes at once, in bytes. */
const LARGEST = 131_072

export interface PartyOptions {
  /** Of the two contents `key * 2` and `key * 2 + 1` the first sends the even one; both ends of a connection have one key. */
  readonly key: number
  readonly first: boolean
  /** Its own: what it does is then the same with the same seed, whatever else goes on. */
  readonly random: Random
  /** Most bytes that it sends. Most parties send far fewer. */
  readonly maxBytes: number
  /** How likely it is to cut the connection, 0 to 1. */
  readonly rudeness: number
  /** Milliseconds, the longest that it stops reading. 0: some turns of the loop. */
  readonly longestStop: number
  /** Ends a stream so that nobody takes it for an end. */
  readonly cut: (stream: Duplex) => void
}

/**
 * One end of a connection: sends a known content of random length in random pieces, checks the other's, stops reading at random,
 * ends, or cuts. Both ends together are {@link judge}d.
 */
export class Party {
  sent = 0
  received = 0
  /** It read the other's end. */
  ended = false
  closed = false
  /** It has said its end. */
  finishing = false
  /** It cut the connection itself. */
  left = false
  error: Error | undefined
  readonly options: PartyOptions
  readonly #stream: Duplex
  #wrong: number | undefined

  constructor(stream: Duplex, options: PartyOptions) {
    this.options = options
    this.#stream = stream
    stream.on('data', this.#onData)
    stream.on('end', () => {
      this.ended = true
    })
    stream.on('error', (error: Error) => {
      this.error = error
    })
    stream.on('close', () => {
      this.closed = true
    })
    const { random, maxBytes } = options
    const scale = random.next()
    void this.#live(random.fork(), random.below(scale < 0.6 ? 2000 : scale < 0.95 ? 60_000 : maxBytes + 1))
  }

  /** Where a byte was another than was sent. */
  get wrong(): number | undefined {
    return this.#wrong
  }

  async #live(random: Random, length: number): Promise<void> {
    const { key, first, rudeness } = this.options
    const leaveAt = random.chance(rudeness) ? random.between(0, length) : undefined
    const largest = random.pick([10, 1000, 16_384, LARGEST])
    const isPatient = random.chance(0.8)
    while (this.sent < length && !this.#stream.destroyed) {
      const most = Math.min(length - this.sent, LARGEST, Math.max(largest, length >> 5))
      const piece = content(key * 2 + Number(!first), this.sent, random.between(1, most))
      this.sent += piece.length
      const isFull = !this.#stream.write(piece)
      if (leaveAt !== undefined && this.sent >= leaveAt) return this.#leave()
      if (isFull && isPatient) await this.#drained()
      else if (isFull || random.chance(0.2)) await turns(random.between(1, 20))
    }
    // Some end late.
    if (random.chance(0.3)) await turns(random.between(1, 40))
    if (this.#stream.destroyed) return
    this.finishing = true
    this.#stream.end()
    // And some leave between the halves.
    if (leaveAt === undefined) return
    await turns(random.between(1, 30))
    if (!this.#stream.destroyed) this.#leave()
  }

  #leave(): void {
    this.left = true
    this.options.cut(this.#stream)
  }

  #drained(): Promise<void> {
    const stream = this.#stream
    return new Promise(resolve => {
      const done = (): void => {
        stream.off('drain', done).off('close', done)
        resolve()
      }
      stream.on('drain', done).on('close', done)
      if (stream.closed) done()
    })
  }

  readonly #onData = (chunk: Buffer): void => {
    const { key, first, random } = this.options
    if (!matches(key * 2 + Number(first), this.received, chunk)) this.#wrong ??= this.received
    this.received += chunk.length
    if (random.chance(0.03)) void this.#stop(random)
  }

  async #stop(random: Random): Promise<void> {
    this.#stream.pause()
    const { longestStop } = this.options
    if (longestStop > 0 && random.chance(0.3)) await pause(random.between(1, longestStop))
    else await turns(random.between(1, 100))
    this.#stream.resume()
  }
}

/**
 * What must hold of a connection, however it went: the bytes that came are those that were sent, an end comes after all of them and
 * only from who said it, and what has no cause to be cut is not cut.
 *
 * @param near absent: it was not let in
 * @param far absent: nobody came
 * @param isExcused something other than its two ends may have cut it
 * @returns `clean`: both read the other's end
 * @throws Error that says what does not hold
 */
export function judge(near: Party | undefined, far: Party | undefined, isExcused: boolean): 'clean' | 'cut' {
  for (const [one, other] of [
    [near, far],
    [far, near],
  ]) {
    if (one === undefined) continue
    const name = `${one.options.first ? 'the first' : 'the second'} end of connection ${one.options.key}`
    if (one.wrong !== undefined) throw new Error(`${name} read a wrong byte at ${one.wrong}`)
    if (one.ended && !other?.finishing) throw new Error(`${name} read an end that nobody said`)
    if (one.ended && one.received !== other?.sent)
      throw new Error(`${name} read an end after ${one.received} of ${other?.sent} bytes`)
    if (!one.closed) throw new Error(`${name} is not over`)
    if (!one.ended && one.error === undefined && !one.left) throw new Error(`${name} saw neither an end nor an error`)
  }
  if (near?.ended && far?.ended) return 'clean'
  if (!isExcused && !near?.left && !far?.left)
    throw new Error(
      `connection ${(near ?? far)?.options.key} was cut without a cause: ${(near?.error ?? far?.error)?.message}`,
    )
  return 'cut'
}

/** Lets the event loop turn. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}
