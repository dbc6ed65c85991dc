import { createHash, type Hash } from 'node:crypto'
import type { Readable, Writable } from 'node:stream'
import { pause } from './expect.ts'

export const KIB = 1024
export const MIB: number = 1024 * KIB

const BLOCK = 64 * KIB

/** How a readable side ended. `closed`: neither `end` nor an error, which nobody can take for either. */
export type End = 'clean' | 'cut' | 'closed'

export interface Received {
  readonly length: number
  readonly hash: string
  readonly end: End
  readonly error: Error | undefined
}

export interface Reading {
  /** Bytes so far. */
  readonly length: number
  /** How it ended, once it did. */
  readonly end: End | undefined
  /** Of the bytes so far. */
  hash(): string
  /** The first 1 MiB so far, as text. */
  head(): string
  readonly done: Promise<Received>
}

/** Reads to the end, whatever end comes. Never rejects: the end is part of the answer. */
export function reading(source: Readable): Reading {
  const hash = createHash('sha256')
  const head: Buffer[] = []
  const { promise: done, resolve } = Promise.withResolvers<Received>()
  let length = 0
  let end: End | undefined
  const finish = (how: End, error?: Error): void => {
    if (end) return
    end = how
    resolve({ length, hash: hash.copy().digest('hex'), end: how, error })
  }
  source.on('data', (chunk: Buffer) => {
    if (end) return
    if (length < MIB) head.push(chunk)
    length += chunk.length
    hash.update(chunk)
  })
  source.on('end', () => finish('clean'))
  source.on('error', error => finish('cut', error))
  source.on('close', () => finish('closed'))
  source.resume()
  if (source.errored) finish('cut', source.errored)
  else if (source.destroyed) finish('closed')
  return {
    done,
    head: () => Buffer.concat(head).subarray(0, MIB).toString('latin1'),
    hash: () => hash.copy().digest('hex'),
    get length() {
      return length
    },
    get end() {
      return end
    },
  }
}

/** Silence that is taken for loss, in milliseconds: long, for a slow and busy machine. */
const SILENCE = 6_000

/** Waits until so many bytes were read. Fails when they stop coming, not when they are slow. */
export async function arrived(received: Reading, total: number): Promise<void> {
  let last = -1
  for (let since = performance.now(); received.length < total && received.end === undefined; await pause(5)) {
    if (last !== received.length) since = performance.now()
    last = received.length
    if (performance.now() - since > SILENCE) throw new Error(`${last} of ${total} bytes arrived, and then no more`)
  }
  if (received.length === total) return
  throw new Error(`${received.length} bytes arrived, of ${total}; then came ${received.end ?? 'more'}`)
}

/** Bytes that differ at every place, so that anything lost, doubled or out of order changes the hash. */
export class Flow {
  sent = 0
  readonly #hash: Hash = createHash('sha256')
  readonly #sink: Writable
  readonly #pattern: Buffer
  #stopped: Error | undefined

  constructor(sink: Writable, seed = 1) {
    this.#sink = sink
    this.#pattern = Buffer.from(
      Uint8Array.from({ length: BLOCK }, (_, at) => (at * 31 + (at >> 8) * seed + seed) & 255),
    )
    sink.on('error', error => {
      this.#stopped = error
    })
    sink.on('close', () => {
      this.#stopped ??= new Error('closed')
    })
  }

  /** Of everything that was written. */
  hash(): string {
    return this.#hash.copy().digest('hex')
  }

  /** Writes as a polite writer does: after `write()` said false, not before `drain`. Returns early when the sink dies. */
  async send(total: number): Promise<void> {
    for (let left = total; left > 0 && !this.#dead(); ) {
      const block = Buffer.from(this.#pattern.subarray(0, Math.min(BLOCK, left)))
      if (block.length >= 8) block.writeDoubleBE(this.sent)
      this.#hash.update(block)
      this.sent += block.length
      left -= block.length
      if (!this.#sink.write(block)) await this.#drained()
    }
  }

  #dead(): boolean {
    return this.#stopped !== undefined || this.#sink.destroyed
  }

  #drained(): Promise<void> {
    return new Promise(resolve => {
      const done = (): void => {
        for (const event of ['drain', 'close', 'error']) this.#sink.off(event, done)
        resolve()
      }
      if (this.#dead() || !this.#sink.writableNeedDrain) return resolve()
      for (const event of ['drain', 'close', 'error']) this.#sink.on(event, done)
    })
  }
}

/** Sends `total` bytes and ends. @returns their hash */
export async function sendAll(sink: Writable, total: number, seed = 1): Promise<string> {
  const flow = new Flow(sink, seed)
  await flow.send(total)
  sink.end()
  return flow.hash()
}
