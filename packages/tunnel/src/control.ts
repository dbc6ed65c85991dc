import { type Json, PosternError, type Problem, readProblem } from '@postern/interface'
import { parseJson } from './framing.ts'
import { MAX_ABOUT, MAX_CONTROL_LINE } from './limits.ts'
import { type HostMessage, readMessage } from './messages.ts'

/** The version of everything a tunnel says: control lines, stream headers, answers. */
export const WIRE_VERSION = 1

/** What an end says of itself. Its own word: nothing is proved by it. */
export type About = { readonly [key: string]: Json }

/** What travels on the control stream, one JSON object a line. */
export type ControlMessage =
  | { readonly type: 'hello'; readonly v: number; readonly about?: About }
  /** The reset that follows on this stream, or without one the end of the session, has this reason. */
  | { readonly type: 'cut'; readonly stream?: number; readonly problem: Problem }
  | { readonly type: 'drain' }
  | HostMessage

/** @throws PosternError OPTION_INVALID: no object, or longer than 12 KiB of JSON */
export function checkAbout(about: About): void {
  if (!isAbout(about))
    throw new PosternError('OPTION_INVALID', `about is no object of at most ${MAX_ABOUT} bytes of JSON`)
}

function isAbout(value: unknown): value is About {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  try {
    return Buffer.byteLength(JSON.stringify(value)) <= MAX_ABOUT
  } catch {
    return false // nested deeper than this Node can follow
  }
}

export function encodeControl(message: ControlMessage): Buffer {
  return Buffer.from(`${JSON.stringify(message)}\n`)
}

/** Refuses a version that is not ours, naming both. */
export function checkVersion(found: unknown, what: string): void {
  if (found === WIRE_VERSION) return
  if (!Number.isInteger(found)) throw new PosternError('PROTOCOL_VIOLATION', `${what} has no version`)
  throw new PosternError(
    'VERSION_UNSUPPORTED',
    `${what} is of version ${found}; this end speaks version ${WIRE_VERSION}`,
  )
}

/**
 * The lines of a control stream, as they arrive: the first is the hello, unknown types are skipped.
 * `feed` calls back before it returns, so that a reason is known when the reset behind it is read.
 */
export class ControlReader {
  readonly #onMessage: (message: ControlMessage) => void
  #parts: Buffer[] = []
  #bytes = 0
  #greeted = false

  constructor(onMessage: (message: ControlMessage) => void) {
    this.#onMessage = onMessage
  }

  /** @throws PosternError PROTOCOL_VIOLATION, VERSION_UNSUPPORTED */
  feed(chunk: Buffer): void {
    let from = 0
    for (let at = chunk.indexOf(0x0a); at !== -1; at = chunk.indexOf(0x0a, from)) {
      this.#add(chunk.subarray(from, at))
      const line = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts)
      this.#parts = []
      this.#bytes = 0
      from = at + 1
      this.#line(line)
    }
    if (from < chunk.length) this.#add(Buffer.from(chunk.subarray(from)))
  }

  #add(part: Buffer): void {
    this.#bytes += part.length
    if (this.#bytes > MAX_CONTROL_LINE) {
      throw new PosternError('PROTOCOL_VIOLATION', `A control line of more than ${MAX_CONTROL_LINE} bytes`)
    }
    this.#parts.push(part)
  }

  #line(line: Buffer): void {
    const value = parseJson(line, 'A control line')
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new PosternError('PROTOCOL_VIOLATION', 'A control line is not an object')
    }
    const message = readControl(value as Record<string, unknown>, this.#greeted)
    this.#greeted = true
    if (message !== undefined) this.#onMessage(message)
  }
}

function readControl(value: Record<string, unknown>, greeted: boolean): ControlMessage | undefined {
  if (typeof value.type !== 'string') throw new PosternError('PROTOCOL_VIOLATION', 'A control line has no type')
  if (!greeted) {
    if (value.type !== 'hello') {
      throw new PosternError('PROTOCOL_VIOLATION', 'The control stream does not start with a hello')
    }
    checkVersion(value.v, 'The other end’s hello')
    if (value.about === undefined) return { type: 'hello', v: WIRE_VERSION }
    if (!isAbout(value.about)) {
      throw new PosternError('PROTOCOL_VIOLATION', `The other end’s about is no object of at most ${MAX_ABOUT} bytes`)
    }
    return { type: 'hello', v: WIRE_VERSION, about: value.about }
  }
  if (value.type === 'hello') throw new PosternError('PROTOCOL_VIOLATION', 'A second hello')
  if (value.type === 'drain') return { type: 'drain' }
  if (value.type === 'cut') return readCut(value)
  return readMessage(value)
}

function readCut({ stream, problem: told }: Record<string, unknown>): ControlMessage {
  const problem = readProblem(told)
  if (problem === undefined) throw new PosternError('PROTOCOL_VIOLATION', 'A cut without a problem')
  if (stream === undefined) return { type: 'cut', problem }
  if (!Number.isSafeInteger(stream) || (stream as number) < 1) {
    throw new PosternError('PROTOCOL_VIOLATION', 'A cut of no stream')
  }
  return { type: 'cut', stream: stream as number, problem }
}
