// The load, a process of its own: does what its parent says to a port, and says how it went.
import { connect, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import type { Work, Worked } from './load.ts'

/** Every connection waits this long for what must come, then the measurement has failed. */
const DEADLINE = 20_000
/** A stream is under way this long before what it carries is counted. */
const SETTLE = 300
const BYTES = Buffer.alloc(256 * 1024, 'postern ')

process.on('message', (work: Work) => {
  const done = work.kind === 'connect' ? connections(work) : bulk(work)
  done.then(tell, (error: Error) => tell({ failed: error.message }))
})
process.on('disconnect', () => process.exit())

function tell(message: Worked): void {
  process.send?.(message)
}

/** Connects and waits for the service's first byte. @returns the milliseconds both took */
function greeted(port: number): Promise<{ readonly socket: Socket; readonly took: number }> {
  return new Promise((resolve, reject) => {
    const began = performance.now()
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const late = setTimeout(() => socket.destroy(new Error('no first byte')), DEADLINE)
    socket.once('data', () => {
      clearTimeout(late)
      resolve({ socket, took: performance.now() - began })
    })
    socket.on('error', reject).once('close', () => {
      clearTimeout(late)
      reject(new Error('closed before the first byte'))
    })
  })
}

/** As many connections as go in the time, `parallel` at once: each is made, greeted and closed. */
async function connections({ port, seconds, parallel }: Work): Promise<Worked> {
  const times: number[] = []
  const began = performance.now()
  const until = began + seconds * 1000
  const one = async () => {
    while (performance.now() < until) {
      const { socket, took } = await greeted(port)
      times.push(took)
      const closed = new Promise(resolve => socket.once('close', resolve))
      socket.end().resume()
      await closed
    }
  }
  await Promise.all(Array.from({ length: parallel }, one))
  return { times, seconds: (performance.now() - began) / 1000 }
}

/** One stream, as fast as it goes. Says when the counted time begins and ends; what it reads is counted here. */
async function bulk({ kind, port, seconds }: Work): Promise<Worked> {
  let count = 0
  const socket = connect({
    port,
    host: '127.0.0.1',
    noDelay: true,
    // One buffer for everything that is read.
    onread: {
      buffer: Buffer.alloc(256 * 1024),
      callback: bytes => {
        count += bytes
        return true
      },
    },
  })
  const broken = new Promise<never>((_resolve, reject) => {
    socket.once('error', reject).once('close', () => reject(new Error('the stream ended')))
  })
  broken.catch(() => {})
  socket.once('connect', () => {
    socket.write(kind === 'down' ? 'D' : 'U')
    if (kind === 'up') fill(socket)
  })
  const pause = (ms: number) => Promise.race([broken, new Promise(resolve => setTimeout(resolve, ms))])
  try {
    await pause(SETTLE)
    const first = { count, at: performance.now() }
    tell({ begins: true })
    await pause(seconds * 1000)
    const took = (performance.now() - first.at) / 1000
    return { bytes: count - first.count, seconds: took }
  } finally {
    socket.removeAllListeners('close').on('error', () => {})
    socket.destroy()
  }
}

function fill(socket: Socket): void {
  const more = () => {
    while (!socket.destroyed && socket.write(BYTES));
  }
  socket.on('drain', more)
  more()
}
