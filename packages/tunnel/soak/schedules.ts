import type { Duplex } from 'node:stream'
import { leftOpen, resources } from '@postern/compliance'
import { Random } from '@postern/compliance/random'
import { judge, Party } from '@postern/compliance/schedules'
import { PosternError } from '@postern/interface'
import { cut } from '../src/index.ts'
import { turns, until } from '../test/pipe.ts'
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
  const left = await leftOpen(before, 10_000)
  if (left.length > 0) throw new Error(`Left open: ${left.join(', ')}`)
  return { seed: size.seed, runs: size.runs, connections: size.runs * size.streams, ...sum }
}

interface Sum {
  clean: number
  cut: number
  killed: number
  bytes: number
}

async function once(random: Random, { streams, maxBytes }: Size, sum: Sum): Promise<void> {
  const far: Party[] = []
  const excused = new Set<number>()
  const seeds = random.between(0, 2 ** 31)
  const party = (stream: Duplex, id: number, first: boolean): Party => {
    const own = new Random(seeds + id * 2 + Number(first))
    return new Party(stream, { key: id, first, random: own, maxBytes, rudeness: 0.15, longestStop: 0, cut })
  }
  await using server = await origin(socket => {
    // The first four bytes say which connection this is.
    socket.once('readable', () => {
      const id = (socket.read(4) as Buffer | null)?.readUInt32BE(0)
      if (id !== undefined) far[id] = party(socket, id, false)
    })
  })
  await using joined = await chain(server.port, random.chance(0.5) ? 'memory' : 'tcp')
  const near: Party[] = []
  const connect = async (id: number): Promise<void> => {
    await turns(random.between(0, 200))
    try {
      const stream = await joined.client.open(headerOf(`r${id}`), call)
      stream.write(be32(id))
      near[id] = party(stream, id, true)
    } catch (error) {
      if (!PosternError.is(error)) throw error // a pipe was killed
    }
  }
  const connecting = Array.from({ length: streams }, (_, id) => connect(id))
  const killed = random.chance(0.2)
  if (killed) kill(joined, random)
  else meddle(joined, random, excused)
  await Promise.all(connecting)
  await until('every connection to be over', () => near.every(side => side.closed) && far.every(side => side.closed))
  for (let id = 0; id < streams; id++) {
    sum[judge(near[id], far[id], killed || excused.has(id))] += 1
    sum.bytes += (near[id]?.received ?? 0) + (far[id]?.received ?? 0)
  }
  sum.killed += Number(killed)
}

/** Cuts some streams at the edge, with reasons. */
function meddle({ joined }: Chain, random: Random, excused: Set<number>): void {
  void (async () => {
    for (let round = 0; round < 5; round++) {
      await turns(random.between(1, 150))
      const [name, pair] = random.pick([...joined, []])
      if (pair === undefined) continue
      excused.add(Number(name?.slice(1)))
      pair[random.pick(['down', 'up'] as const)].destroy(new PosternError('ACCESS_ENDED', 'at random'))
    }
  })()
}

function kill({ pipes }: Chain, random: Random): void {
  void (async () => {
    await turns(random.between(1, 400))
    random.pick([...pipes.client, ...pipes.daemon]).destroy()
  })()
}

function be32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
