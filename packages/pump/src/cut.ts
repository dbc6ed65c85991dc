import type { Duplex } from 'node:stream'

/**
 * Ends a stream so that its other end cannot take it for a clean end: a TCP socket by RST, everything else by
 * `destroy(error)`. What was written and not yet sent is lost, as a cut means.
 *
 * A Unix socket knows no reset: its other end sees an end. TLS directly on a socket is closed without close_notify.
 */
export function cut(stream: Duplex, error: Error): void {
  if (stream.destroyed) return
  if ('resetAndDestroy' in stream && typeof stream.resetAndDestroy === 'function') {
    try {
      stream.resetAndDestroy()
      return
    } catch {
      // Not TCP underneath (a Unix socket, TLS): there is nothing to reset.
    }
  }
  stream.destroy(error)
}
