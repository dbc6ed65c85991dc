// The service of a crowd. The first byte says what it does: E sends back what comes, D sends without end, S sends 2 MiB.
import type { Socket } from 'node:net'
import { work } from './crowd.ts'
import { type Origin, startOrigin } from './origin.ts'

const BYTES = Buffer.alloc(64 * 1024, 'postern ')

/** More than the programs hold for a reader that stopped. What they do not take, the kernel has to, and hundreds of such make it slow. */
const SOME = 2 * 1024 * 1024

function send(socket: Socket, bytes = Number.POSITIVE_INFINITY): void {
  let left = bytes
  const more = () => {
    while (!socket.destroyed && left > 0) {
      left -= BYTES.length
      if (!socket.write(BYTES)) return
    }
  }
  socket.on('drain', more)
  more()
}

let origin: Promise<Origin> | undefined

function serve(socket: Socket): void {
  socket.setNoDelay(true)
  socket.once('data', first => {
    if (first[0] === 'D'.charCodeAt(0)) return send(socket)
    if (first[0] === 'S'.charCodeAt(0)) return send(socket, SOME)
    socket.write(first)
    socket.pipe(socket)
  })
}

work(async () => {
  origin ??= startOrigin(serve)
  const { port, open } = await origin
  return { port, open: open.size }
})
