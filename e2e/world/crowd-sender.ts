// The part of a crowd's service that sends: a process of its own, as a service's download has that does not make its others wait.
import type { Socket } from 'node:net'

const BYTES = Buffer.alloc(64 * 1024, 'postern ')

process.on('message', (bytes: number, socket: Socket) => send(socket, bytes < 0 ? Number.POSITIVE_INFINITY : bytes))
process.on('disconnect', () => process.exit())

function send(socket: Socket, bytes: number): void {
  let left = bytes
  const more = () => {
    while (!socket.destroyed && left > 0) {
      left -= BYTES.length
      if (!socket.write(BYTES)) return
    }
  }
  socket.on('error', () => {}).on('drain', more)
  socket.resume()
  more()
}
