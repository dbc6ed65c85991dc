import { getEventListeners } from 'node:events'
import { pause } from './expect.ts'

/** What keeps this process alive, by kind: sockets, servers, timers, files, counted. */
export type Resources = Readonly<Record<string, number>>

export function resources(): Resources {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

/**
 * What is open now and was not open then. Handles close in their own time, so it looks again until nothing is left over or
 * `patience` milliseconds are gone.
 *
 * @returns one word for each kind, for example `TCPSocketWrap ×2`; empty when nothing is left
 */
export async function leftOpen(before: Resources, patience = 3_000): Promise<readonly string[]> {
  const until = performance.now() + patience
  for (;;) {
    const left = Object.entries(resources())
      // Work in the thread pool ends by itself and belongs to nobody.
      .filter(([kind, count]) => !kind.endsWith('Request') && !kind.endsWith('ReqWrap') && count > (before[kind] ?? 0))
      .map(([kind, count]) => `${kind} ×${count - (before[kind] ?? 0)}`)
    if (left.length === 0 || performance.now() > until) return left
    await pause(20)
  }
}

/** How many listeners wait for this signal: each is a leak when the call it was for is over. */
export function abortListeners(signal: AbortSignal): number {
  return getEventListeners(signal, 'abort').length
}
