import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
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
    if (connection.readableEnded && connection.writableFinished) connection.destroy()
    else cut(connection, error)
    return connection
  }
  if (connection instanceof Socket) connection.setNoDelay(true)
  return connection
}
