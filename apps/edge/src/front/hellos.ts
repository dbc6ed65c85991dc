import type { Socket } from 'node:net'
import type { Preface } from '@postern/interface'
import { type ClientHello, readClientHello } from './client-hello.ts'

/** What a connection begins with that is no TLS and that somebody claims: it is taken out, and not in the socket any more. */
export interface Prefaced {
  readonly preface: Preface
  /** All of it, as latin1. */
  readonly sent: string
}

/** Whatever was held is back in the socket, which is paused. `undefined`: what came is no hello that anybody could read. */
type Then = (beginning: ClientHello | Prefaced | undefined) => void

/** The connections whose beginning is not all there, TLS hello or preface: how long they have, and how much is held of each. */
export class Hellos {
  /** What may come instead of a hello. */
  readonly prefaces: Set<Preface> = new Set()
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
      const prefaced = this.#prefaceIn(held)
      if (prefaced === 'more') return
      if (prefaced !== undefined) {
        over()
        return hand(socket, held.subarray(prefaced.preface.length), () => then(prefaced))
      }
      const hello = readClientHello(held)
      if (hello === 'more') return
      over()
      if (hello === 'too long') return void socket.destroy()
      hand(socket, held, () => then('malformed' in hello ? undefined : hello))
    }
    this.#waiting.add(socket)
    socket.on('data', take).on('close', over)
  }

  /** @returns undefined: it is none, and never will be */
  #prefaceIn(held: Buffer): Prefaced | 'more' | undefined {
    for (const preface of this.prefaces) {
      const { start, length } = preface
      const sent = held.toString('latin1', 0, length)
      if (!start.startsWith(sent) && !sent.startsWith(start)) continue
      return sent.length < length ? 'more' : { preface, sent }
    }
    return undefined
  }

  /** Ends those that wait. */
  close(): void {
    for (const socket of this.#waiting) socket.destroy()
  }
}

function hand(socket: Socket, held: Buffer, on: () => void): void {
  socket.pause()
  if (held.length > 0) socket.unshift(held)
  on()
}
