import type { Socket } from 'node:net'
import { type Pipe, PosternError } from '@postern/interface'
import { WELCOME } from './wire.ts'

/** A daemon's bare connection, answered once: with a word, or with nothing at all. */
export class TicketLeg {
  answered = false
  readonly #socket: Socket

  constructor(socket: Socket) {
    this.#socket = socket
  }

  reject(): void {
    this.#answer()
    this.#socket.resetAndDestroy()
  }

  accept(): Pipe {
    this.#answer()
    if (!this.#socket.writable) throw new PosternError('STREAM_CUT', 'the daemon left before it was answered')
    this.#socket.write(WELCOME, 'latin1')
    return this.#socket
  }

  #answer(): void {
    if (this.answered) throw new PosternError('INTERNAL', 'a connection can be answered once')
    this.answered = true
  }
}
