// A service that says what a test says, byte for byte.
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'

export interface RawService extends AsyncDisposable {
  readonly server: Server
  /** What each connection received. */
  readonly received: string[]
  readonly sockets: Socket[]
}

/** @param onData called with everything that a connection has received so far */
export async function rawService(
  onData: (socket: Socket, soFar: string, connection: number) => void,
  onConnection: (socket: Socket) => void = () => {},
): Promise<RawService> {
  const received: string[] = []
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, socket => {
    const connection = sockets.push(socket) - 1
    received.push('')
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    socket.on('data', chunk => {
      received[connection] += chunk.toString('latin1')
      onData(socket, received[connection] ?? '', connection)
    })
    onConnection(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    server,
    received,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

/** Answers each request that has come whole and has no body. */
export function perRequest(answer: (head: string, socket: Socket, connection: number) => void) {
  const seen = new Map<Socket, number>()
  return (socket: Socket, soFar: string, connection: number): void => {
    const heads = soFar.split('\r\n\r\n').slice(0, -1)
    const before = seen.get(socket) ?? 0
    seen.set(socket, heads.length)
    for (const head of heads.slice(before)) answer(head, socket, connection)
  }
}
