// The service behind both peers, a process of its own. It greets whoever comes, reads one letter, then sends (D) or reads (U).
// Tells its parent its port, and the bytes it has read whenever it is asked.
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'

const GREETING = 'SSH-2.0-bench\r\n'
/** Written again and again: nothing is allocated while it runs. */
const BYTES = Buffer.alloc(256 * 1024, 'postern ')
let read = 0

const server = createServer({ noDelay: true, allowHalfOpen: false }, socket => {
  socket.on('error', () => {})
  socket.write(GREETING)
  socket.once('data', first => {
    if (first[0] === 'D'.charCodeAt(0)) send(socket)
    else
      socket.on('data', chunk => {
        read += chunk.length
      })
  })
})
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))
process.on('message', () => process.send?.({ read, at: performance.now() }))
process.on('disconnect', () => process.exit())

function send(socket: Socket): void {
  const fill = () => {
    while (!socket.destroyed && socket.write(BYTES));
  }
  socket.on('drain', fill)
  fill()
}
