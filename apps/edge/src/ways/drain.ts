import { PosternError } from '@postern/interface'
import type { Tunnel } from '@postern/tunnel'
import type { WayContext } from './context.ts'

/** Milliseconds for peers to hear why they are cut. */
const LAST_WORD = 500

/**
 * Lets everybody finish, then cuts who is left. Clients first: while they finish, their streams need the daemons.
 *
 * @param grace milliseconds; the context's signal ends them sooner
 * @param finished resolves when every request over HTTP is over
 * @param idle ends the streams to daemons that nobody uses, which would hold up the daemons
 */
export async function drain(
  { tunnels, joins, routes, carried, log, signal }: WayContext,
  grace: number,
  finished: Promise<void>,
  idle: () => void,
): Promise<void> {
  const call = { log, signal: AbortSignal.any([AbortSignal.timeout(grace), signal]) }
  joins.refuse(stopping())
  const drained = (tunnels: Iterable<Tunnel>) => Promise.allSettled([...tunnels].map(tunnel => tunnel.drain(call)))
  await drained(tunnels)
  await untilAborted(Promise.allSettled([...carried, finished]), call.signal)
  // While their daemons are there, who tell them.
  await untilAborted(joins.cut(stopping()), AbortSignal.any([AbortSignal.timeout(LAST_WORD), signal]))
  idle()
  await drained(routes.all().map(({ tunnel }) => tunnel))
  const cut = stopping()
  const left = [...tunnels, ...routes.all().map(({ tunnel }) => tunnel)]
  for (const tunnel of left) tunnel.cut(cut)
  // The reason is on its way; a peer that does not read it must not hold us up.
  await untilAborted(Promise.all(left.map(tunnel => tunnel.closed)), AbortSignal.timeout(LAST_WORD))
}

function stopping(): PosternError {
  return new PosternError('DRAINING', 'the edge was stopped', { speaker: 'edge' })
}

/** Resolves when the work is done or nobody waits for it any more. */
async function untilAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const aborted = Promise.withResolvers<void>()
  const listener = () => aborted.resolve()
  signal.addEventListener('abort', listener)
  await Promise.race([work, aborted.promise])
  signal.removeEventListener('abort', listener)
}
