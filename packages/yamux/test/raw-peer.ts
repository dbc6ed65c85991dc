import { Duplex } from 'node:stream'
import { ACK, encodeHeader, PING, SYN, WINDOW_UPDATE } from '../src/frame.ts'
import { YamuxSession } from '../src/index.ts'
import type { YamuxOptions } from '../src/options.ts'
import { FrameParser } from '../src/parser.ts'

export interface SeenFrame {
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly length: number
}

/** A peer made of bare frames, which may break any rule, and the session it talks to. Frames go over at once. */
export class RawPeer {
  readonly session: YamuxSession
  /** What the session sent, in order. */
  readonly seen: SeenFrame[] = []
  readonly pipe: Duplex
  /** Payload bytes the session sent. */
  payloadBytes = 0
  /** While false, what the session writes stays queued: the peer does not read. */
  reading = true
  /** While false, pings stay without an answer. */
  answering = true
  readonly #held: (() => void)[] = []

  constructor(options: Partial<YamuxOptions> = {}) {
    const parser = new FrameParser({
      frame: (type, flags, id, length) => {
        this.seen.push({ type, flags, id, length })
        if (type === PING && flags === SYN && this.answering) this.#answer(length)
      },
      payload: slice => {
        this.payloadBytes += slice.length
      },
      payloadEnd: () => {},
      violation: message => {
        throw new Error(`the session sent a bad frame: ${message}`)
      },
    })
    this.pipe = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        parser.push(chunk)
        if (this.reading) done()
        else this.#held.push(done)
      },
    })
    this.session = new YamuxSession(this.pipe, { role: 'server', ...options })
  }

  frame(type: number, flags: number, id: number, length: number, payload: Buffer = Buffer.alloc(0)): void {
    this.pipe.emit('data', Buffer.concat([encodeHeader(type, flags, id, length), payload]))
  }

  #answer(id: number): void {
    const answer = (): void => void (this.pipe.destroyed || this.frame(PING, ACK, 0, id))
    if (this.reading) setImmediate(answer)
    else this.#held.push(answer)
  }

  /** Opens a stream by a window update of 0. */
  open(id: number, flags = 1): void {
    this.frame(WINDOW_UPDATE, flags, id, 0)
  }

  /** Reads what was held back. */
  read(): void {
    this.reading = true
    for (const done of this.#held.splice(0)) done()
  }

  /** What the session sent with all of these flags for this stream. */
  sent(flags: number, id: number): SeenFrame[] {
    return this.seen.filter(frame => frame.id === id && (frame.flags & flags) === flags)
  }
}

/** Some turns of the event loop: enough for ticks and immediates that are queued to run. */
export async function turns(count = 3): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>(resolve => setImmediate(resolve))
}
