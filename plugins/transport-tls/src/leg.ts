import type { Socket } from 'node:net'
import { type Pipe, PosternError } from '@postern/interface'
import { endWith } from '@postern/interface/http1'
import { UNWANTED, WELCOME } from './wire.ts'

/** A daemon's bare connection, answered once. */
export class TicketLeg {
  answered = false
  readonly #socket: Socket

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** Says no. */
  reject(): void {
    this.#answer()
    void endWith(this.#socket, Buffer.from(UNWANTED, 'latin1'))
  }

  /** Says nothing: whoever comes by a way on which others see its tickets does better to come by another. */
  cut(): void {
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
