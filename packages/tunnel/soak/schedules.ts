import type { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import { cut } from '../src/index.ts'
import { turns, until } from '../test/pipe.ts'
import { Random } from '../test/random.ts'
import { type Chain, call, chain, headerOf, origin } from '../test/rig.ts'

export interface Size {
  readonly seed: number
  /** Chains made and torn down, one after another. */
  readonly runs: number
  /** Connections of each. */
  readonly streams: number
  /** Most bytes a side of a connection sends. */
  readonly maxBytes: number
}

export const stated: Size & Record<string, number> = { seed: 1, runs: 500, streams: 300, maxBytes: 400_000 }

/**
 * Random interleavings over client ⇄ edge ⇄ daemon ⇄ TCP origin: each side of each connection writes a known sequence of random length in
 * random pieces, stalls, ends or is cut; edges cut streams with reasons; in some runs a pipe is killed. Whatever happens:
 * bytes are the sent ones in order; 'end' comes only after all of them, and only from a side that ended; nothing is left in the process.
 */
export default async function schedules(size: Size): Promise<Record<string, number | string>> {
  const sum = { clean: 0, cut: 0, killed: 0, bytes: 0 }
  const before = resources()
  for (let run = 0; run < size.runs; run++) {
    await once(new Random(size.seed + run), size, sum)
    if (run % 20 === 19) process.stderr.write(`${run + 1} of ${size.runs}: ${JSON.stringify(sum)}\n`)
  }
  await gone(before)
  return { seed: size.seed, runs: size.runs, connections: size.runs * size.streams, ...sum }
}

interface Sum {
  clean: number
  cut: number
  killed: number
  bytes: number
}

async function once(random: Random, { streams, maxBytes }: Size, sum: Sum): Promise<void> {
  const far: Side[] = []
  await using server = await origin(socket => {
    // The first four bytes say which connection this is.
    socket.once('readable', () => {
      const id = (socket.read(4) as Buffer | null)?.readUInt32BE(0)
      if (id !== undefined) far[id] = new Side(socket, id * 2 + 1, random, maxBytes)
    })
  })
  await using joined = await chain(server.port, random.chance(0.5) ? 'memory' : 'tcp')
  const near: Side[] = []
  const connect = async (id: number): Promise<void> => {
    await turns(random.between(0, 200))
    try {
      const stream = await joined.client.open(headerOf(`r${id}`), call)
      stream.write(be32(id))
      near[id] = new Side(stream, id * 2, random, maxBytes)
    } catch (error) {
      if (!PosternError.is(error)) throw error // a pipe was killed
    }
  }
  const connecting = Array.from({ length: streams }, (_, id) => connect(id))
  const killed = random.chance(0.2)
  if (killed) kill(joined, random)
  else meddle(joined, random)
  await Promise.all(connecting)
  await until('every connection to be over', () => near.every(side => side.closed) && far.every(side => side.closed))
  for (let id = 0; id < streams; id++) judge(near[id], far[id], sum)
  sum.killed += Number(killed)
}

/** Cuts some streams at the edge, with reasons. */
function meddle({ joined }: Chain, random: Random): void {
  void (async () => {
    for (let round = 0; round < 5; round++) {
      await turns(random.between(1, 150))
      const pair = random.pick([...joined.values(), undefined])
      pair?.[random.pick(['down', 'up'] as const)].destroy(new PosternError('ACCESS_ENDED', 'at random'))
    }
  })()
}

function kill({ pipes }: Chain, random: Random): void {
  void (async () => {
    await turns(random.between(1, 400))
    random.pick([...pipes.client, ...pipes.daemon]).destroy()
  })()
}

/** What must hold of a connection, however it went. */
function judge(near: Side | undefined, far: Side | undefined, sum: Sum): void {
  for (const [one, other] of [
    [near, far],
    [far, near],
  ]) {
    if (one === undefined) continue
    one.check()
    if (one.ended && !other?.finishing) throw new Error('An end that nobody sent')
    if (one.ended && one.received !== other?.sent)
      throw new Error(`An end after ${one.received} of ${other?.sent} bytes`)
    if (!one.ended && one.error === undefined && !one.left) throw new Error('Neither an end nor an error')
    sum.bytes += one.received
  }
  if (near?.ended && far?.ended) sum.clean += 1
  else sum.cut += 1
}

/** One side of a connection: sends its own sequence, checks the other's. */
class Side {
  sent = 0
  received = 0
  ended = false
  closed = false
  /** It has said its end. */
  finishing = false
  /** It cut the connection itself. */
  left = false
  error: Error | undefined
  readonly #stream: Duplex
  readonly #id: number
  readonly #random: Random
  #wrong: number | undefined

  constructor(stream: Duplex, id: number, random: Random, maxBytes: number) {
    this.#stream = stream
    this.#id = id
    this.#random = random
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
    void this.#live(random.between(0, maxBytes))
  }

  check(): void {
    if (this.#wrong !== undefined) throw new Error(`Side ${this.#id}: a wrong byte at ${this.#wrong}`)
  }

  async #live(length: number): Promise<void> {
    const random = this.#random
    const breakAt = random.chance(0.15) ? random.between(0, length) : undefined
    while (this.sent < length && !this.#stream.destroyed) {
      const piece = sequence(this.#id ^ 1, this.sent, Math.min(length - this.sent, random.between(1, 50_000)))
      this.sent += piece.length
      const more = this.#stream.write(piece)
      if (breakAt !== undefined && this.sent >= breakAt) {
        this.#leave()
        return
      }
      if (random.chance(0.1)) this.#stream.pause()
      if (!more || random.chance(0.3)) await turns(random.between(1, 20))
      this.#stream.resume()
    }
    if (this.#stream.destroyed) return
    this.finishing = true
    this.#stream.end()
    // Some leave between the halves.
    if (!random.chance(0.05)) return
    await turns(random.between(1, 30))
    if (!this.#stream.destroyed) this.#leave()
  }

  #leave(): void {
    this.left = true
    cut(this.#stream)
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!chunk.equals(sequence(this.#id, this.received, chunk.length))) this.#wrong ??= this.received
    this.received += chunk.length
  }
}

const NOISE = Buffer.from(Array.from({ length: 131_101 }, (_, at) => (at * 97 + (at >> 7)) & 0xff))

/** Bytes of a side's own sequence. */
function sequence(id: number, at: number, length: number): Buffer {
  const parts: Buffer[] = []
  for (let from = (id * 7919 + at) % NOISE.length, left = length; left > 0; from = 0) {
    const part = NOISE.subarray(from, from + left)
    parts.push(part)
    left -= part.length
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

function be32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function resources(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter(name => name !== 'Timeout' && name !== 'Immediate')
    .sort()
}

/** Waits until nothing is open that was not before. */
export async function gone(before: readonly string[]): Promise<void> {
  await until('all handles to be closed', () => resources().join() === before.join())
}
