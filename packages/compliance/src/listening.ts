import { once } from 'node:events'
import type { AddressInfo, Server, Socket } from 'node:net'

/** Listens on a free loopback port. @returns the port */
export async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** The connections a server has open, kept up to date. */
export function track(server: Server): Set<Socket> {
  const sockets = new Set<Socket>()
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  return sockets
}

/** Stops listening and destroys what is connected. */
export async function shut(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  for (const socket of sockets) socket.destroy()
  await closed
}

/** A port of this machine where nothing listens. */
export async function deadPort(): Promise<number> {
  const { createServer } = await import('node:net')
  const server = createServer()
  const port = await listen(server)
  await shut(server, new Set())
  return port
}
