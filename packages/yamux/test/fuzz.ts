// Mutated transcripts against the parser and the session. The same code runs in the tests and, longer, in soak/fuzz.ts.
import { Duplex } from 'node:stream'
import { Random } from '@postern/compliance/random'
import { encodeHeader } from '../src/frame.ts'
import { YamuxSession, type YamuxStream } from '../src/index.ts'
import { FrameParser } from '../src/parser.ts'

export interface FuzzReport {
  executions: number
  bytes: number
  /** Sessions that the bytes ended, and those that stood them. */
  ended: number
  stood: number
  /** Streams offered to the application. */
  streams: number
}

const WINDOW = 262_144
const MAX_STREAMS = 8
const PAYLOAD: Buffer = Buffer.alloc(WINDOW + 10, 'payload ')
const LENGTHS = [0, 1, 11, 12, 13, 255, 4096, WINDOW - 1, WINDOW, WINDOW + 1, 0x7fffffff, 0x80000000, 0xffffffff]
/** Executions between two turns of the loop, so that ticks and 'close' events run as in life. */
const BATCH = 200

/** A pipe that swallows what is written. */
class Hole extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done()
  }
}

/** Writes frames that a peer of the given role might send: valid ones mostly, for streams it has opened. */
class Author {
  readonly #random: Random
  readonly #open: number[] = []
  #next: number

  constructor(random: Random, peerIsClient: boolean) {
    this.#random = random
    this.#next = peerIsClient ? 1 : 2
  }

  transcript(): Buffer[] {
    const frames: Buffer[] = []
    for (let n = this.#random.between(2, 12); n > 0; n--) frames.push(...this.#frame())
    return frames
  }

  #frame(): Buffer[] {
    const random = this.#random
    const kind = random.below(24)
    if (kind === 0) return [encodeHeader(2, random.pick([1, 2, 0]), 0, random.pick(LENGTHS))]
    if (kind === 1) return [encodeHeader(3, 0, 0, random.chance(0.1) ? random.below(4) : 0)]
    if (kind < 8 || this.#open.length === 0) return this.#syn()
    const at = random.below(this.#open.length)
    const stray = random.chance(0.04) ? random.pick([0, 1, 2, 3, 4, 5, 99, 0xfffffffe, 0xffffffff]) : undefined
    const id = stray ?? this.#open[at]!
    const flags = random.chance(0.03) ? random.below(16) : random.pick([0, 0, 0, 0, 4, 8])
    if (flags !== 0) this.#open.splice(at, 1)
    if (kind < 12)
      return [encodeHeader(1, flags, id, random.chance(0.1) ? random.pick(LENGTHS) : random.below(100_000))]
    return this.#data(id, flags)
  }

  #syn(): Buffer[] {
    const id = this.#next
    this.#next += this.#random.pick([2, 2, 2, 2, 4, 10])
    this.#open.push(id)
    return this.#random.chance(0.5) ? [encodeHeader(1, 1, id, this.#random.below(2_000_000))] : this.#data(id, 1)
  }

  #data(id: number, flags: number): Buffer[] {
    const random = this.#random
    const kind = random.below(100)
    if (kind > 1) return data(id, flags, random.below(200))
    // A length at a limit: rarely with all its bytes, they take time.
    const length = random.pick(LENGTHS)
    return kind === 0 && random.chance(0.2)
      ? data(id, flags, length)
      : [encodeHeader(0, flags, id, length), PAYLOAD.subarray(0, 100)]
  }
}

function data(id: number, flags: number, length: number): Buffer[] {
  return [encodeHeader(0, flags, id, length), PAYLOAD.subarray(0, Math.min(length, PAYLOAD.length))]
}

/** Breaks a transcript: bits, headers, lengths, order, cuts. Half stay as they are. */
function mutate(random: Random, frames: Buffer[]): Buffer {
  const kind = random.below(16)
  if (kind === 0) frames.splice(random.below(frames.length), 1)
  if (kind === 1) frames.splice(random.below(frames.length), 0, random.pick(frames))
  if (kind === 2) frames.reverse()
  const bytes = Buffer.concat(frames)
  if (bytes.length === 0) return bytes
  if (kind === 3 || kind === 4)
    for (let n = random.between(1, 8); n > 0; n--) bytes[random.below(bytes.length)] = random.below(256)
  if (kind === 5) bytes[random.below(Math.min(bytes.length, 48))]! ^= 1 << random.below(8)
  if (kind === 6) return bytes.subarray(random.below(bytes.length))
  if (kind === 7) return bytes.subarray(0, random.below(bytes.length))
  return bytes
}

/** What an application may do with a stream it is offered. */
function use(random: Random, session: YamuxSession, stream: YamuxStream): void {
  const kind = random.below(10)
  if (kind < 3) stream.on('data', () => {})
  else if (kind === 3) stream.end('bye')
  else if (kind === 4) stream.destroy()
  else if (kind === 5) stream.on('data', chunk => stream.write(chunk))
  else if (kind === 6) throw new Error('the application fails')
  else if (kind === 7 && random.chance(0.1)) session.destroy()
  else if (kind === 8) stream.accept()
}

/** One execution: the bytes, in random segments, into a fresh session. Returns true if the session stood them. */
function execute(random: Random, role: 'client' | 'server', bytes: Buffer, report: FuzzReport): boolean {
  const pipe = new Hole()
  const streams: YamuxStream[] = []
  const onStream = (stream: YamuxStream): void => {
    report.streams += 1
    streams.push(stream)
    use(random, session, stream)
  }
  const session: YamuxSession = new YamuxSession(pipe, {
    role,
    onStream,
    window: WINDOW,
    maxStreams: MAX_STREAMS,
    acceptBacklog: 4,
  })
  if (random.chance(0.3)) {
    const own = session.open()
    own.write('hello')
    streams.push(own)
  }
  feed(random, bytes, piece => pipe.emit('data', piece))
  if (session.streams > MAX_STREAMS) throw new Error(`${session.streams} streams, the limit is ${MAX_STREAMS}`)
  for (const stream of streams) {
    if (stream.readableLength > WINDOW) throw new Error(`stream ${stream.id} holds ${stream.readableLength} bytes`)
  }
  const stood = !pipe.destroyed && pipe.listenerCount('data') === 1
  session.destroy()
  for (const stream of streams) stream.destroy()
  if (session.streams !== 0) throw new Error(`${session.streams} streams are left`)
  return stood
}

function feed(random: Random, bytes: Buffer, push: (piece: Buffer) => void): void {
  const segment = random.pick([1, 7, 12, 13, 100, 1_000_000])
  // Single bytes only for short ones: speed.
  const size = bytes.length > 2000 && segment < 100 ? 5000 : segment
  for (let at = 0; at < bytes.length; at += size) push(bytes.subarray(at, at + size))
}

/** The parser alone: the frames and payload bytes must not depend on how the bytes are segmented. */
function digest(random: Random | undefined, bytes: Buffer): string {
  let seen = ''
  let payload = 0
  const parser = new FrameParser({
    frame: (type, flags, id, length) => {
      seen += `${payload}:${type},${flags},${id},${length};`
    },
    payload: slice => {
      payload += slice.length
    },
    payloadEnd: () => {
      seen += '.'
    },
    violation: message => {
      seen += message
    },
  })
  if (random === undefined) parser.push(bytes)
  else feed(random, bytes, piece => parser.push(piece))
  return `${seen}${payload}${parser.atBoundary}`
}

/**
 * Feeds `executions` mutated transcripts to fresh sessions. Throws, with the seed and number in the message, on an exception, a broken limit
 * or frames that depend on segmentation. `onProgress` is told the executions done so far, about every 100,000.
 */
export async function fuzzParser(
  seed: number,
  executions: number,
  onProgress?: (done: number) => void,
): Promise<FuzzReport> {
  const report: FuzzReport = { executions: 0, bytes: 0, ended: 0, stood: 0, streams: 0 }
  for (let n = 0; n < executions; n++) {
    const random = new Random(seed * 1_000_003 + n)
    const role = random.chance(0.7) ? 'server' : 'client'
    const bytes = mutate(random, new Author(random, role === 'server').transcript())
    try {
      if (execute(random, role, bytes, report)) report.stood += 1
      else report.ended += 1
      if (n % 8 === 0 && digest(undefined, bytes) !== digest(random, bytes))
        throw new Error('the frames depend on the segments')
    } catch (error) {
      throw new Error(
        `fuzz seed ${seed}, execution ${n}: ${String(error)}; bytes ${bytes.subarray(0, 400).toString('hex')}`,
        { cause: error },
      )
    }
    report.executions += 1
    report.bytes += bytes.length
    if (n % BATCH === BATCH - 1) await new Promise<void>(resolve => setImmediate(resolve))
    if (n % 100_000 === 99_999) onProgress?.(n + 1)
  }
  await new Promise<void>(resolve => setImmediate(resolve))
  return report
}
