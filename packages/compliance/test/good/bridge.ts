import type { Duplex } from 'node:stream'

/** Ends a stream so that nobody takes it for a clean end: TCP by a reset. */
export function cut(stream: Duplex, error: Error): void {
  if (stream.destroyed) return
  stream.on('error', () => {})
  if ('resetAndDestroy' in stream) (stream as Duplex & { resetAndDestroy(): void }).resetAndDestroy()
  else stream.destroy(error)
}

/** Both directions until both are done. Rejects with what cut either, after cutting the other. */
export function bridge(one: Duplex, other: Duplex, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let open = 2
    const fail = (error: Error): void => {
      signal.removeEventListener('abort', aborted)
      cut(one, error)
      cut(other, error)
      reject(error)
    }
    const aborted = (): void => fail(signal.reason)
    const done = (): void => {
      if (--open > 0) return
      signal.removeEventListener('abort', aborted)
      resolve()
    }
    if (signal.aborted) return fail(signal.reason)
    signal.addEventListener('abort', aborted, { once: true })
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const) {
      if (from.errored) return fail(from.errored)
      from.on('error', fail)
      from.on('close', () => {
        if (!from.readableEnded) fail(from.errored ?? new Error('closed early'))
      })
      from.on('end', () => to.end(done))
      from.pipe(to, { end: false })
    }
  })
}
