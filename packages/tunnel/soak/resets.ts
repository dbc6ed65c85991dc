import net from 'node:net'
import type { Duplex } from 'node:stream'
import { leftOpen, resources } from '@postern/compliance'
import { Random } from '@postern/compliance/random'
import { PosternError, problem } from '@postern/interface'
import { cut, pump, startTunnel, type Tunnel } from '../src/index.ts'
import { pipePair, tcpPair, turns, until } from '../test/pipe.ts'
import { call, headerOf, origin, quiet } from '../test/rig.ts'

export interface Size {
  readonly seed: number
  /** Destroys in all, of streams, sockets and pipes. */
  readonly resets: number
}

/** security.md row 132. */
export const stated: Size & Record<string, number> = { seed: 1, resets: 100_000 }

/**
 * Destroys what takes part in a connection (the client's stream, either tunnel's stream of the edge, the origin's socket, a pipe) after a
 * random number of turns, so that over many connections every await of opening, answering, pumping and closing is hit. No exception may
 * escape, no rejection stay unhandled, nothing stay open.
 */
export default async function resets(size: Size): Promise<Record<string, number | string>> {
  const escaped: unknown[] = []
  const note = (error: unknown): void => void escaped.push(error)
  process.on('uncaughtException', note).on('unhandledRejection', note)
  const before = resources()
  const random = new Random(size.seed)
  const sum = { resets: 0, sessions: 0, opened: 0, refused: 0 }
  try {
    while (sum.resets < size.resets && escaped.length === 0) {
      await session(random, sum)
      if (sum.sessions % 200 === 0) process.stderr.write(`${JSON.stringify(sum)}\n`)
    }
    const left = await leftOpen(before, 10_000)
    if (left.length > 0) throw new Error(`Left open: ${left.join(', ')}`)
    await turns()
  } finally {
    process.off('uncaughtException', note).off('unhandledRejection', note)
  }
  if (escaped.length > 0) throw new AggregateError(escaped, 'Exceptions escaped')
  return { seed: size.seed, ...sum }
}

interface Sum {
  resets: number
  sessions: number
  opened: number
  refused: number
}

/** One session, a few dozen connections through it, and its end, at times in the middle of its beginning. */
async function session(random: Random, sum: Sum): Promise<void> {
  sum.sessions += 1
  await using server = await origin(socket => {
    socket.on('data', chunk => socket.writable && socket.write(chunk))
    socket.on('end', () => socket.end())
    maybe(random, sum, 0.4, () => cut(socket))
  })
  const pipes: [Duplex, Duplex] = random.chance(0.5) ? pipePair() : await tcpPair()
  for (const pipe of pipes) pipe.on('error', () => {})
  const early = random.chance(0.1)
  if (early) maybe(random, sum, 1, () => random.pick(pipes).destroy(), 12)
  const far = startTunnel(
    pipes[1],
    {
      role: 'server',
      log: quiet,
      onStream: offered => {
        if (random.chance(0.05)) throw new Error('a host that throws')
        if (random.chance(0.1)) offered.reject(problem('NOT_FOUND', 'r'))
        else void serve(server.port, () => offered.accept(), random, sum)
      },
    },
    call,
  )
  const near = startTunnel(pipes[0], { role: 'client', log: quiet }, call)
  const [client, other] = await Promise.allSettled([near, far])
  if (client.status === 'fulfilled') await visits(client.value, random, sum)
  if (random.chance(0.1)) maybe(random, sum, 1, () => random.pick(pipes).destroy(), 10)
  const ends = [client, other].map(started =>
    started.status === 'fulfilled' ? finish(started.value, random) : undefined,
  )
  await Promise.all(ends)
  for (const pipe of pipes) pipe.destroy()
  await until('the pipes to be closed', () => pipes.every(pipe => pipe.closed))
}

async function serve(port: number, accept: () => Duplex, random: Random, sum: Sum): Promise<void> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const stream = accept()
  maybe(random, sum, 0.4, () => stream.destroy(random.chance(0.5) ? new PosternError('ACCESS_ENDED', 'x') : undefined))
  maybe(random, sum, 0.4, () => cut(socket))
  await pump(stream, socket)
}

async function visits(client: Tunnel, random: Random, sum: Sum): Promise<void> {
  const visit = async (id: number): Promise<void> => {
    const abort = new AbortController()
    maybe(random, sum, 0.3, () => abort.abort('enough'), 30)
    try {
      const stream = await client.open(headerOf(`v${id}`), { signal: abort.signal, log: quiet })
      sum.opened += 1
      stream.resume()
      stream.write(Buffer.alloc(random.between(1, 100_000)))
      if (random.chance(0.5)) stream.end()
      maybe(random, sum, 1, () =>
        stream.destroy(random.chance(0.5) ? new PosternError('ACCESS_ENDED', 'x') : undefined),
      )
      await new Promise(resolve => (stream.closed ? resolve(0) : stream.once('close', resolve)))
    } catch (error) {
      if (error !== 'enough' && !PosternError.is(error)) throw error
      sum.refused += 1
    }
  }
  await Promise.all(Array.from({ length: random.between(1, 60) }, (_, id) => visit(id)))
}

async function finish(tunnel: Tunnel, random: Random): Promise<void> {
  if (random.chance(0.3)) tunnel.cut(new PosternError('DRAINING', 'at random'))
  else if (random.chance(0.2)) await tunnel.drain(call)
  await tunnel.close()
}

/** Does it, with some probability, after some turns of the loop. */
function maybe(random: Random, sum: Sum, probability: number, act: () => void, most = 60): void {
  if (!random.chance(probability)) return
  sum.resets += 1
  void turns(random.between(0, most)).then(act)
}
