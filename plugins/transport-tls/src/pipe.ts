import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { Pipe } from '@postern/interface'
import { cut } from '@postern/pump'

/**
 * A connection as a pipe: what is destroyed before both of its directions ended is reset, so that nobody takes that for an end.
 * Each direction ends alone.
 */
export function pipeOf(connection: Duplex): Pipe {
  const { destroy } = connection
  connection.allowHalfOpen = true
  connection.destroy = error => {
    // Called again by what resets it.
    connection.destroy = () => destroy.call(connection, error)
    const isOver = connection.readableEnded && connection.writableFinished
    const under = underOf(connection)
    if (!isOver && under !== undefined && !awaitsShutdown(connection)) resetWhenDestroyed(under)
    if (isOver || under !== undefined) connection.destroy()
    else cut(connection, error)
    return connection
  }
  if (connection instanceof Socket) connection.setNoDelay(true)
  return connection
}

/** What TLS was put on, where that can be reset. */
function underOf(connection: Duplex): Socket | undefined {
  const { _parent: under } = connection as { readonly _parent?: unknown }
  const isTcp = connection instanceof TLSSocket && under instanceof Socket && !under.destroyed
  return isTcp && under.remoteFamily !== undefined ? under : undefined
}

/** The FIN is out, or about to be: to reset TCP then, Node 26 has no way that does not lose the handle. */
function awaitsShutdown({ writableEnded, writableFinished, writableLength }: Duplex): boolean {
  return writableEnded && !writableFinished && writableLength === 0
}

/** TLS goes first, and its socket with it: Node 26 dies where it is the other way round. */
function resetWhenDestroyed(socket: Socket): void {
  const { destroy } = socket
  socket.destroy = () => {
    socket.destroy = destroy
    return socket.resetAndDestroy()
  }
}
