import type { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import { type Pumped, pump, withOwnBuffers } from '@postern/pump'
import type { WayContext } from './context.ts'
import { highWaterOf } from './stream.ts'

/** Milliseconds. Both ends of a session ask after five seconds of silence: where not a byte comes for that long, neither is there. */
const SILENCE = 60_000

/** Copies what the edge cannot read, until both directions are done; counted among what the edge carries. */
export async function copy(
  client: Duplex,
  daemon: Duplex,
  context: Pick<WayContext, 'carried'>,
  signal: AbortSignal,
  silence: number = SILENCE,
): Promise<Pumped> {
  const silent = new AbortController()
  let heard = false
  const onData = () => {
    heard = true
  }
  const pipes = withOwnBuffers(client, daemon)
  const work = pump(...pipes, {
    highWater: highWaterOf(context),
    signal: AbortSignal.any([signal, silent.signal]),
  })
  context.carried.add(work)
  // After the pump: who listens first makes the bytes flow.
  for (const pipe of pipes) pipe.on('data', onData)
  const timer = setInterval(() => {
    if (!heard)
      silent.abort(new PosternError('PEER_SILENT', `nothing came for ${silence / 1000} s`, { speaker: 'edge' }))
    heard = false
  }, silence)
  const pumped = await work
  clearInterval(timer)
  context.carried.delete(work)
  for (const pipe of pipes) pipe.off('data', onData)
  return pumped
}
