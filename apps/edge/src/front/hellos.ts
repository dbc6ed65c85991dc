import type { Socket } from 'node:net'
import { type ClientHello, readClientHello } from './client-hello.ts'

/** Whatever was held is back in the socket, which is paused. `undefined`: what came is no hello that anybody could read. */
type Then = (hello: ClientHello | undefined) => void

/** The connections whose TLS hello is not all there: how long they have, and how much is held of each. */
export class Hellos {
  readonly #time: number
  readonly #waiting = new Set<Socket>()

  /** @param time milliseconds that a hello may take */
  constructor(time: number) {
    this.#time = time
  }

  /** Connections that wait now. */
  get size(): number {
    return this.#waiting.size
  }

  /** Waits for the hello. Whoever takes too long or too much for it is gone, and so is who leaves: nobody is told then. */
  read(socket: Socket, then: Then): void {
    let held: Buffer | undefined
    const timer = setTimeout(() => socket.destroy(), this.#time)
    const over = () => {
      clearTimeout(timer)
      this.#waiting.delete(socket)
      socket.off('data', take).off('close', over)
    }
    const take = (chunk: Buffer) => {
      // Copied with every chunk: of 16 KiB at most, and whoever sends them one by one pays more for it than we do.
      held = held === undefined ? chunk : Buffer.concat([held, chunk])
      const hello = readClientHello(held)
      if (hello === 'more') return
      over()
      if (hello === 'too long') return void socket.destroy()
      socket.pause()
      socket.unshift(held)
      then('malformed' in hello ? undefined : hello)
    }
    this.#waiting.add(socket)
    socket.on('data', take).on('close', over)
  }

  /** Ends those that wait. */
  close(): void {
    for (const socket of this.#waiting) socket.destroy()
  }
}
