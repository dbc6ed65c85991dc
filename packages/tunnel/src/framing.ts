import type { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import type { Clock } from './clock.ts'
import { MAX_HEADER } from './limits.ts'

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A value as it travels at the start of a stream: its length as an unsigned 16-bit number, big-endian, then JSON in UTF-8. */
export function encodeFrame(value: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(value))
  if (text.length > MAX_HEADER) {
    throw new PosternError('REQUEST_TOO_LARGE', `A stream header of ${text.length} bytes; the most is ${MAX_HEADER}`)
  }
  const frame = Buffer.allocUnsafe(2 + text.length)
  frame.writeUInt16BE(text.length, 0)
  text.copy(frame, 2)
  return frame
}

/** JSON from bytes of a stranger. @throws PosternError PROTOCOL_VIOLATION */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(UTF8.decode(bytes))
  } catch (cause) {
    throw new PosternError('PROTOCOL_VIOLATION', `${what} is not JSON in UTF-8`, { cause })
  }
}

export interface FrameWait {
  readonly what: string
  readonly ms: number
  readonly clock: Clock
  /** Ends the wait with its reason. */
  readonly signal?: AbortSignal
}

/**
 * Reads the one frame at the start of a stream and not a byte more: what follows waits in the stream for its reader, its end included.
 * (Exact reads never let Node emit 'end', which would be lost before somebody listens.)
 *
 * @throws PosternError TIMED_OUT · PROTOCOL_VIOLATION · the stream's own error; `signal.reason`
 */
export function readFrame(stream: Duplex, wait: FrameWait): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const reader = new FrameReader(stream, wait, resolve, reject)
  reader.start()
  return promise
}

class FrameReader {
  readonly #stream: Duplex
  readonly #wait: FrameWait
  readonly #resolve: (value: unknown) => void
  readonly #reject: (error: unknown) => void
  #cancel: (() => void) | undefined
  #length: number | undefined

  constructor(stream: Duplex, wait: FrameWait, resolve: (value: unknown) => void, reject: (error: unknown) => void) {
    this.#stream = stream
    this.#wait = wait
    this.#resolve = resolve
    this.#reject = reject
  }

  start(): void {
    const { ms, what, clock, signal } = this.#wait
    if (signal?.aborted) {
      this.#reject(signal.reason)
      return
    }
    if (this.#stream.destroyed) {
      this.#onClose()
      return
    }
    this.#cancel = clock.after(ms, () => this.#fail(new PosternError('TIMED_OUT', `${what} did not come in ${ms} ms`)))
    signal?.addEventListener('abort', this.#onAbort)
    this.#stream.on('end', this.#onEnd)
    this.#stream.on('close', this.#onClose)
    this.#stream.on('readable', this.#onReadable)
  }

  readonly #onReadable = (): void => {
    if (this.#length === undefined) {
      const head = this.#take(2)
      if (head === undefined) return
      this.#length = head.readUInt16BE(0)
      if (this.#length === 0 || this.#length > MAX_HEADER) {
        this.#fail(new PosternError('PROTOCOL_VIOLATION', `${this.#wait.what} of ${this.#length} bytes`))
        return
      }
    }
    const text = this.#take(this.#length)
    if (text === undefined) return
    this.#stop()
    try {
      this.#resolve(parseJson(text, this.#wait.what))
    } catch (error) {
      this.#reject(error)
    }
  }

  #take(bytes: number): Buffer | undefined {
    const taken = this.#stream.read(bytes) as Buffer | null
    if (taken === null) return undefined
    if (taken.length === bytes) return taken
    this.#onEnd() // Node gives the rest, if shorter, only after the end
    return undefined
  }

  readonly #onEnd = (): void => {
    this.#fail(new PosternError('PROTOCOL_VIOLATION', `The stream ended inside ${this.#wait.what}`))
  }

  readonly #onClose = (): void => {
    const { errored } = this.#stream
    this.#fail(errored ?? new PosternError('STREAM_CUT', `The stream was cut before ${this.#wait.what}`))
  }

  readonly #onAbort = (): void => {
    this.#fail(this.#wait.signal?.reason)
  }

  #fail(error: unknown): void {
    this.#stop()
    this.#reject(error)
  }

  #stop(): void {
    this.#cancel?.()
    this.#wait.signal?.removeEventListener('abort', this.#onAbort)
    this.#stream.off('end', this.#onEnd)
    this.#stream.off('close', this.#onClose)
    this.#stream.off('readable', this.#onReadable)
  }
}
