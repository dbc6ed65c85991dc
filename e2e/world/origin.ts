import { type AddressInfo, createServer, type Socket } from 'node:net'

/** A TCP service that counts who came: a deny is proved by nobody having come. */
export interface Origin extends AsyncDisposable {
  readonly port: number
  readonly connections: number
  readonly bytes: number
  readonly open: ReadonlySet<Socket>
}

export async function startOrigin(serve: (socket: Socket) => void, port = 0): Promise<Origin> {
  const open = new Set<Socket>()
  const counted = { connections: 0, bytes: 0 }
  const server = createServer({ allowHalfOpen: true }, socket => {
    counted.connections++
    open.add(socket)
    socket.on('data', chunk => (counted.bytes += chunk.length))
    socket.on('error', () => {}).on('close', () => open.delete(socket))
    serve(socket)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve())
  })
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return counted.connections
    },
    get bytes() {
      return counted.bytes
    },
    open,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}

/** Sends back what comes; after the other side's FIN it sends a thousand bytes more, then ends: half-close one can count. */
export function echoThenTail(socket: Socket): void {
  socket.write('HELLO\n')
  socket.on('data', chunk => {
    if (!socket.write(chunk)) socket.pause()
  })
  socket.on('drain', () => socket.resume())
  socket.on('end', () => socket.end(Buffer.alloc(1000, 't')))
}
