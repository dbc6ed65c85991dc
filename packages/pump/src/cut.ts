import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'

/**
 * Ends a stream by force, so that its peer cannot take it for a clean end: RST on TCP, the stream's own destroy elsewhere.
 * Node's `destroy()` alone would send FIN on TCP, and no close_notify on TLS, which a Node peer reports as 'end'.
 */
export function cut(stream: Duplex, error?: Error): void {
  if (stream.destroyed) return
  if (stream instanceof TLSSocket) cutTls(stream, error)
  else {
    if (stream instanceof Socket && !stream.connecting) cutTcp(stream)
    if (!stream.destroyed && !awaitsShutdown(stream)) stream.destroy(error)
  }
}

// Node 26 and before: resetAndDestroy() while shutdown(2) is on its way fails with EINVAL, leaks the handle and never emits 'close'.
// The FIN is out by then, so there is nothing to lose by waiting for it: a turn of the loop.
function awaitsShutdown(stream: Duplex): boolean {
  return stream instanceof Socket && stream.writableEnded && !stream.writableFinished && stream.writableLength === 0
}

function cutTcp(socket: Socket): void {
  if (awaitsShutdown(socket)) {
    socket.once('finish', () => {
      if (!socket.destroyed) reset(socket)
    })
  } else reset(socket)
}

function reset(socket: Socket): void {
  try {
    socket.resetAndDestroy()
  } catch {
    socket.destroy() // not TCP: a Unix socket has no reset
  }
}

interface TlsInsides {
  /** The socket TLS was put on, if it was given one. */
  readonly _parent?: unknown
}

/**
 * TLS goes first, and takes its socket with it: Node 26 dies of a segmentation fault where TLS is destroyed between the destroying of its
 * socket and that one's 'close'. So whoever destroyed the socket has TLS destroyed by Node, at that 'close'.
 */
function cutTls(socket: TLSSocket, error: Error | undefined): void {
  const under = (socket as TlsInsides)._parent
  if (under instanceof Socket) {
    if (under.destroyed) return
    // Behind our close_notify there is nothing to reset for, and what waits for its shutdown cannot be.
    if (!awaitsShutdown(socket) && under.remoteFamily !== undefined) resetWhenDestroyed(under)
  }
  socket.destroy(error)
}

function resetWhenDestroyed(socket: Socket): void {
  const { destroy } = socket
  socket.destroy = () => {
    socket.destroy = destroy
    return socket.resetAndDestroy()
  }
}
