import { FIRST_MARK } from './flight.ts'
import { ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE } from './frame.ts'
import type { StreamLink } from './link.ts'
import type { Limits } from './options.ts'
import type { FrameSink } from './parser.ts'
import type { Pings } from './pings.ts'
import type { YamuxStream } from './stream.ts'
import type { StreamTable } from './table.ts'
import type { PipeWriter } from './writer.ts'

/** What the peer's frames may ask of the session. */
export interface InboundHost {
  /** False once we said go-away: new streams are refused. */
  readonly accepting: boolean
  offerStream(stream: YamuxStream): void
  peerGoesAway(code: number): void
  violation(message: string): void
}

/**
 * The rules for what the peer sends. Breaking one ends the session; frames for a stream that is gone are drained and dropped, because the
 * peer may have sent them before it learned that. Flags yamux does not define are ignored, as Go's does.
 */
export class Inbound implements FrameSink {
  readonly #table: StreamTable
  readonly #writer: PipeWriter
  readonly #pings: Pings
  readonly #limits: Limits
  readonly #host: InboundHost
  /** The stream whose payload is arriving; undefined while a gone one's is drained. */
  #target: StreamLink | undefined
  #finBehindPayload = false

  constructor(table: StreamTable, writer: PipeWriter, pings: Pings, limits: Limits, host: InboundHost) {
    this.#table = table
    this.#writer = writer
    this.#pings = pings
    this.#limits = limits
    this.#host = host
  }

  frame(type: number, flags: number, id: number, length: number): void {
    if (type === DATA || type === WINDOW_UPDATE) {
      const broken = this.#streamFrame(type, flags, id, length)
      if (broken !== undefined) this.violation(broken)
    } else if (id !== 0) this.violation(`frame type ${type} on stream ${id}, it belongs to the session (0)`)
    else if (type === GO_AWAY) this.#host.peerGoesAway(length)
    else if (type === PING && (flags & SYN) !== 0) this.#writer.control(PING, ACK, 0, length)
    else if (length >= FIRST_MARK) this.#writer.marked(length)
    else this.#pings.answer(length)
  }

  payload(slice: Buffer): void {
    this.#target?.receive(slice)
  }

  payloadEnd(): void {
    const target = this.#target
    this.#target = undefined
    if (this.#finBehindPayload) target?.receiveEnd()
  }

  violation(message: string): void {
    this.#host.violation(message)
  }

  /** Returns the rule that was broken. */
  #streamFrame(type: number, flags: number, id: number, length: number): string | undefined {
    this.#target = undefined
    this.#finBehindPayload = false
    if ((flags & SYN) !== 0) {
      const broken = this.#synchronize(id, flags)
      if (broken !== undefined) return broken
    }
    if (!this.#table.used(id)) return `frame for stream ${id}, which nobody opened`
    if ((flags & ACK) !== 0 && !this.#table.isOurs(id)) return `ACK for stream ${id}, which the peer itself opened`
    const dataBytes = type === DATA ? length : 0
    const link = this.#table.get(id)
    if (link === undefined) {
      return dataBytes > Math.max(this.#limits.window, this.#limits.maxWindow)
        ? `${dataBytes} bytes for stream ${id}, more than any window`
        : undefined
    }
    if ((flags & ACK) !== 0) this.#table.acknowledge(link)
    if (type === WINDOW_UPDATE && !link.grow(length)) return `window of stream ${id} past 2^32-1`
    if (dataBytes > 0 && link.peerFinished) return `data on stream ${id} after its FIN`
    if (dataBytes > 0 && !link.charge(dataBytes)) return `${dataBytes} bytes on stream ${id}, more than its window`
    return this.#payloadAndEnd(link, flags, dataBytes > 0)
  }

  /** A SYN. One that is refused leaves an id that is used and not in the table. */
  #synchronize(id: number, flags: number): string | undefined {
    if (id === 0 || this.#table.isOurs(id)) return `SYN with id ${id}, which is not the peer's to give`
    if (this.#table.used(id)) return `SYN with id ${id}, which was used before`
    const stream = this.#host.accepting && (flags & RST) === 0 ? this.#table.admit(id) : this.#table.refuse(id)
    if (stream !== undefined) this.#host.offerStream(stream)
    return undefined
  }

  #payloadAndEnd(link: StreamLink, flags: number, payload: boolean): string | undefined {
    if ((flags & RST) !== 0) {
      this.#table.reset(link)
      return undefined
    }
    if (payload) this.#target = link
    if ((flags & FIN) === 0) return undefined
    if (link.peerFinished) return `second FIN on stream ${link.id}`
    if (payload) this.#finBehindPayload = true
    else link.receiveEnd()
    return undefined
  }
}
