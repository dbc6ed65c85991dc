import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'

/** Whose tickets somebody takes who sees them: how often each, and what they were told for it. */
export interface Onlooker extends AsyncDisposable {
  readonly port: number
  /** Tickets of this kind that it will still use before their owner does. */
  take: { client: number; daemon: number }
  /** What the edge, or whoever is behind it, said to a ticket that it took. */
  readonly told: Buffer[]
  /** Addresses, as the edge sees them. */
  readonly address: string
}

const CLIENTS = /([a-z2-7]{26})\.edge\.localhost/
const DAEMONS = /^POSTERN-JOIN\/1 [a-z2-7]{26}\n/

/** Between everybody and an edge: it reads what is in the clear, and is quicker with it. */
export async function startOnlooker(edge: number): Promise<Onlooker> {
  const sockets = new Set<Socket>()
  const told: Buffer[] = []
  const take = { client: 0, daemon: 0 }
  const address = '127.0.0.9'
  const keep = (socket: Socket): Socket => {
    sockets.add(socket.on('error', () => {}))
    socket.once('close', () => sockets.delete(socket))
    return socket
  }
  const open = (localAddress = '127.0.0.1') =>
    keep(connect({ port: edge, host: '127.0.0.1', localAddress, allowHalfOpen: true }))
  const server = createServer({ allowHalfOpen: true }, near => void carry(keep(near)))
  async function carry(near: Socket): Promise<void> {
    const first: Buffer = await new Promise(resolve => near.once('data', resolve))
    near.pause()
    const text = first.toString('latin1')
    const whose = DAEMONS.test(text) ? 'daemon' : CLIENTS.test(text) ? 'client' : undefined
    if (whose !== undefined && take[whose] > 0) {
      take[whose] -= 1
      const own = open(address)
      own.write(first)
      own.on('data', chunk => told.push(Buffer.from(chunk)))
      await Promise.race([once(own, 'data'), once(own, 'close')])
    }
    const far = open()
    far.write(first)
    near.pipe(far).pipe(near)
    near.once('close', () => far.destroy())
    far.once('close', () => near.destroy())
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    take,
    told,
    address,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
