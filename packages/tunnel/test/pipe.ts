import net from 'node:net'
import { Duplex } from 'node:stream'

/** One end of an in-memory pipe: bytes in order, backpressure, a clean end and a cut that can be told apart. */
export class PipeEnd extends Duplex {
  other!: PipeEnd
  /** A peer that was stopped: nothing is taken any more, nothing fails. */
  frozen = false
  #waiting: Buffer | undefined
  #done: ((error?: Error | null) => void) | undefined
  #wanted = false

  constructor() {
    super({ allowHalfOpen: true, highWaterMark: 64 * 1024 })
    this.on('error', () => {}) // as a yamux stream: silent where nobody listens
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#take(chunk, done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#take(Buffer.concat(chunks.map(({ chunk }) => chunk)), done)
  }

  override _final(done: (error?: Error | null) => void): void {
    setImmediate(() => {
      if (!this.other.destroyed && !this.frozen) this.other.push(null)
      done()
    })
  }

  override _read(): void {
    this.#wanted = true
    this.other.#carry()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const clean = this.readableEnded && this.writableFinished
    const waiting = this.#done
    this.#done = undefined
    setImmediate(() => {
      const both = this.other.readableEnded && this.other.writableFinished
      if (!clean && !both && !this.other.destroyed && !this.frozen) this.other.destroy(new Error('pipe reset'))
      waiting?.(new Error('pipe destroyed'))
      done(error)
    })
  }

  #take(chunk: Buffer, done: (error?: Error | null) => void): void {
    this.#waiting = chunk
    this.#done = done
    this.#carry()
  }

  #carry(): void {
    const chunk = this.#waiting
    if (chunk === undefined || !this.other.#wanted || this.destroyed || this.frozen) return
    this.other.#wanted = false
    this.#waiting = undefined
    setImmediate(() => {
      if (this.destroyed || this.other.destroyed) return
      this.other.push(chunk)
      const done = this.#done
      this.#done = undefined
      done?.()
    })
  }
}

/** Two ends of one in-memory pipe. */
export function pipePair(): [PipeEnd, PipeEnd] {
  const a = new PipeEnd()
  const b = new PipeEnd()
  a.other = b
  b.other = a
  return [a, b]
}

/** Two ends of one loopback TCP connection; the first dialled. */
export async function tcpPair(): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer({ allowHalfOpen: true })
  const accepted = new Promise<net.Socket>(resolve => server.once('connection', resolve))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  const dialled = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await new Promise((resolve, reject) => dialled.once('connect', resolve).once('error', reject))
  const socket = await accepted
  server.close()
  dialled.setNoDelay()
  socket.setNoDelay()
  return [dialled, socket]
}

/** Lets the event loop turn. */
export async function turns(count = 10): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** Lets the event loop turn until it is so; fails after 10 s. */
export async function until(what: string, so: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!so()) {
    if (performance.now() > deadline) throw new Error(`Not within 10 s: ${what}`)
    await turns(1)
  }
}
