import { PosternError } from '@postern/interface'
import type { YamuxStream } from '@postern/yamux'
import { type About, type ControlMessage, ControlReader, encodeControl, WIRE_VERSION } from './control.ts'
import { MAX_CONTROL_QUEUE } from './limits.ts'

export interface ControlHost {
  message(message: ControlMessage): void
  /** The peer will say no more: it is closing. */
  ended(): void
  violation(error: PosternError): void
}

/** The session's first stream: says hello, reads lines as their frames arrive, tells what is to be told. */
export class ControlStream {
  readonly #stream: YamuxStream
  readonly #host: ControlHost
  readonly #reader: ControlReader

  constructor(stream: YamuxStream, host: ControlHost, about: About | undefined) {
    this.#stream = stream
    this.#host = host
    this.#reader = new ControlReader(message => host.message(message))
    stream.on('data', this.#onData)
    stream.on('end', () => host.ended())
    stream.on('close', this.#onClose)
    // Flowing and asked for from the first byte on: lines are then read inside the frame that brings them, before any reset behind it.
    stream.read(0)
    this.tell({ type: 'hello', v: WIRE_VERSION, ...(about && { about }) }, () => {})
  }

  get id(): number {
    return this.#stream.id
  }

  /** Calls `told` when the line is handed to the pipe, or at once if it cannot be told. @returns whether it could */
  tell(message: ControlMessage, told: () => void): boolean {
    const line = encodeControl(message)
    const { destroyed, writableEnded, writableLength } = this.#stream
    if (destroyed || writableEnded || writableLength + line.length > MAX_CONTROL_QUEUE) {
      told()
      return false
    }
    this.#stream.write(line, () => told())
    return true
  }

  /** Says no more. Resolves when neither side does. */
  end(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    if (this.#stream.closed) resolve()
    else this.#stream.once('close', () => resolve())
    this.#stream.end()
    return promise
  }

  readonly #onData = (chunk: Buffer): void => {
    try {
      this.#reader.feed(chunk)
    } catch (error) {
      this.#host.violation(PosternError.from(error, 'PROTOCOL_VIOLATION'))
    }
  }

  readonly #onClose = (): void => {
    if (this.#stream.readableEnded && this.#stream.writableFinished) return
    this.#host.violation(new PosternError('PROTOCOL_VIOLATION', 'The other end cut the control stream'))
  }
}
