// The load, a process of its own: connects, asks, waits for the first byte, as often as there is time for.
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { connect, createSecureContext } from 'node:tls'
import type { Work, Worked } from './load.ts'

/** Milliseconds for each connection, then the measurement has failed. */
const DEADLINE = 20_000

process.on('message', (work: Work) => {
  visits(work).then(tell, (error: Error) => tell({ failed: error.message }))
})
process.on('disconnect', () => process.exit())

function tell(message: Worked): void {
  process.send?.(message)
}

/** As many visits as go in the time, `parallel` at once. No session is used again: each is a whole handshake. */
async function visits({ visit, seconds, parallel }: Work): Promise<Worked> {
  const { port, servername, ca, pair, request, answer } = visit
  const secureContext = createSecureContext({ ca, ...pair })
  const times: number[] = []
  const began = performance.now()
  const until = began + seconds * 1000
  const one = async () => {
    while (performance.now() < until) {
      const start = performance.now()
      const socket = connect({ port, host: '127.0.0.1', servername, secureContext, ALPNProtocols: ['http/1.1'] })
      socket.setNoDelay(true).write(request)
      const signal = AbortSignal.timeout(DEADLINE)
      const [bytes] = await once(socket, 'data', { signal })
      times.push(performance.now() - start)
      if (!String(bytes).startsWith(answer)) throw new Error(`answered with ${String(bytes).split('\r\n')[0]}`)
      const closed = once(socket, 'close', { signal })
      socket.on('error', () => {}).destroy()
      await closed
    }
  }
  await Promise.all(Array.from({ length: parallel }, one))
  return { times, seconds: (performance.now() - began) / 1000 }
}
