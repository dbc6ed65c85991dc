import { DATA, GO_AWAY, HEADER_BYTES, VERSION } from './frame.ts'

/** Where the parser's findings go. Each member may call `parser.stop()`. */
export interface FrameSink {
  /** A whole header. The payload of a DATA frame (`length` bytes) follows by `payload`, then `payloadEnd`, if `length > 0`. */
  frame(type: number, flags: number, id: number, length: number): void
  /** A part of the payload, in order: a view of the incoming chunk, not a copy. */
  payload(slice: Buffer): void
  payloadEnd(): void
  /** Not yamux version 0. Nothing after it is parsed. */
  violation(message: string): void
}

/** Cuts a byte stream into frames as it arrives; buffers at most one header (12 bytes). */
export class FrameParser {
  readonly #sink: FrameSink
  readonly #partial: Buffer = Buffer.alloc(HEADER_BYTES)
  #partialBytes = 0
  #payloadLeft = 0
  #stopped = false

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** True between frames: a pipe that ends here was not cut inside one. */
  get atBoundary(): boolean {
    return this.#partialBytes === 0 && this.#payloadLeft === 0
  }

  /** Nothing is parsed or handed on from here, not even the rest of the chunk in work. */
  stop(): void {
    this.#stopped = true
  }

  push(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length && !this.#stopped) {
      if (this.#payloadLeft > 0) at = this.#takePayload(chunk, at)
      else if (this.#partialBytes === 0 && chunk.length - at >= HEADER_BYTES) {
        this.#parseHeader(chunk, at)
        at += HEADER_BYTES
      } else at = this.#takePartial(chunk, at)
    }
  }

  #takePayload(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#payloadLeft)
    this.#payloadLeft -= end - at
    this.#sink.payload(end - at === chunk.length ? chunk : chunk.subarray(at, end))
    if (this.#payloadLeft === 0 && !this.#stopped) this.#sink.payloadEnd()
    return end
  }

  #takePartial(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + HEADER_BYTES - this.#partialBytes)
    this.#partialBytes += chunk.copy(this.#partial, this.#partialBytes, at, end)
    if (this.#partialBytes === HEADER_BYTES) {
      this.#partialBytes = 0
      this.#parseHeader(this.#partial, 0)
    }
    return end
  }

  #parseHeader(bytes: Buffer, at: number): void {
    const version = bytes[at]!
    const type = bytes[at + 1]!
    if (version !== VERSION || type > GO_AWAY) {
      this.#stopped = true
      this.#sink.violation(version !== VERSION ? `unknown version ${version}` : `unknown frame type ${type}`)
      return
    }
    const length = bytes.readUInt32BE(at + 8)
    if (type === DATA) this.#payloadLeft = length
    this.#sink.frame(type, bytes.readUInt16BE(at + 2), bytes.readUInt32BE(at + 4), length)
  }
}
