// The service of a crowd. The first byte says what it does: E sends back what comes, D sends without end, S sends 2 MiB.
import { fork } from 'node:child_process'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { givesWay, work } from './crowd.ts'
import { type Origin, startOrigin } from './origin.ts'

/** More than the programs hold for a reader that stopped. What they do not take, the kernel has to, and hundreds of such make it slow. */
const SOME = 2 * 1024 * 1024

/** Bytes, by the first byte; -1 is without end. */
const DOWNLOADS: ReadonlyMap<number | undefined, number> = new Map([
  ['D'.charCodeAt(0), -1],
  ['S'.charCodeAt(0), SOME],
])

const sender = fork(join(import.meta.dirname, 'crowd-sender.ts'))
if (sender.pid !== undefined) givesWay(sender.pid)

let origin: Promise<Origin> | undefined

function serve(socket: Socket): void {
  socket.setNoDelay(true)
  socket.once('data', (first: Buffer) => {
    const bytes = DOWNLOADS.get(first[0])
    if (bytes !== undefined) {
      // Whoever waits for an echo waits for Postern, and not for a service that is busy with somebody else's download.
      sender.send(bytes, socket.pause())
      return
    }
    socket.write(first)
    socket.pipe(socket)
  })
}

work(async () => {
  origin ??= startOrigin(serve)
  const { port, open } = await origin
  return { port, open: open.size }
})
