import type { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import { type Pumped, pump, withOwnBuffers } from '@postern/pump'
import type { WayContext } from './context.ts'
import { highWaterOf } from './stream.ts'

/** Milliseconds. Both ends of a session ask after five seconds of silence and give up after fifteen: later, neither is there. */
const SILENCE = 20_000
/** How often in that time it is looked at. */
const LOOKS = 4

/** Copies what the edge cannot read, until both directions are done; counted among what the edge carries. */
export async function copy(
  client: Duplex,
  daemon: Duplex,
  context: Pick<WayContext, 'carried'>,
  signal: AbortSignal,
  silence: number = SILENCE,
): Promise<Pumped> {
  const silent = new AbortController()
  let looks = 0
  const onBytes = () => {
    looks = 0
  }
  const pipes = withOwnBuffers(client, daemon)
  const work = pump(...pipes, {
    highWater: highWaterOf(context),
    signal: AbortSignal.any([signal, silent.signal]),
  })
  context.carried.add(work)
  // After the pump: who listens first makes the bytes flow.
  for (const pipe of pipes) pipe.on('data', onBytes).on('progress', onBytes)
  const timer = setInterval(() => {
    looks += 1
    if (looks > LOOKS)
      silent.abort(new PosternError('PEER_SILENT', `nothing came for ${silence / 1000} s`, { speaker: 'edge' }))
  }, silence / LOOKS)
  const pumped = await work
  clearInterval(timer)
  context.carried.delete(work)
  for (const pipe of pipes) pipe.off('data', onBytes).off('progress', onBytes)
  return pumped
}
