import type { Duplex } from 'node:stream'
import { cut } from './cut.ts'
import { type Pumped, pump } from './pump.ts'

/**
 * Opens a stream for a local connection, then pumps. While it is opened the local side waits unread; if it breaks
 * meanwhile, the opening is aborted.
 *
 * @throws what `open` throws, or the signal's reason; the local side is cut then
 * @returns as {@link pump} does, with the local side as `a`
 */
export async function bridge(
  local: Duplex,
  open: (signal: AbortSignal) => Promise<Duplex>,
  signal: AbortSignal,
): Promise<Pumped> {
  const gone = new AbortController()
  const onError = (error: Error): void => gone.abort(error)
  const onClose = (): void => gone.abort(new Error('the local connection was closed'))
  const onAbort = (): void => gone.abort(signal.reason) // by hand: `AbortSignal.any` takes kilobytes for as long as this goes on
  // The first stays: between its 'error' and its 'close' a cut connection must not be without a listener.
  local.on('error', onError)
  local.once('close', () => local.off('error', onError)).once('close', onClose)
  try {
    signal.throwIfAborted()
    signal.addEventListener('abort', onAbort)
    const stream = await open(gone.signal).finally(() => signal.removeEventListener('abort', onAbort))
    local.off('close', onClose)
    return await pump(local, stream, { signal })
  } catch (error) {
    cut(local, error instanceof Error ? error : new Error('refused', { cause: error }))
    throw error
  }
}
