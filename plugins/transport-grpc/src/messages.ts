import { DATA, END, STATUS } from './wire.ts'

/** Bytes of one message that is taken. Ours are far smaller; nobody's waits in memory to be whole. */
export const LONGEST_MESSAGE = 1024 * 1024

/** A message that nobody may send. */
export class Violation extends Error {
  override readonly name = 'Violation'
  /** Of gRPC. */
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Length-Prefixed-Message of gRPC with nothing in it but `end`. */
export const LAST_MESSAGE: Buffer = Buffer.from([0, 0, 0, 0, 2, END << 3, 1])

/** A message with nothing in it. */
export const FIRST_MESSAGE: Buffer = Buffer.from([0, 0, 0, 0, 0])

/** What goes in front of so many bytes of data, to make them a message. They follow as they are: nothing is copied. */
export function headOf(length: number): Buffer {
  const digits = length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : 4
  const head = Buffer.allocUnsafe(6 + digits)
  head[0] = 0
  head.writeUInt32BE(1 + digits + length, 1)
  head[5] = (DATA << 3) | 2
  let rest = length
  for (let at = 6; at < head.length; at++) {
    head[at] = (rest & 0x7f) | (at + 1 < head.length ? 0x80 : 0)
    rest >>>= 7
  }
  return head
}

/** Bytes in front of a message's own: its compressed-flag and its length. */
const PREFIX = 5

/** What the next byte is. */
type Expects = 'prefix' | 'key' | 'value' | 'length' | 'data' | 'skip'

/**
 * Reads messages as their bytes come, and passes data on as it was read: no message is put together, and none but a whole one ends
 * anything. Fields that are not known are skipped, as proto3 has it.
 */
export class MessageReader {
  readonly #onData: (bytes: Buffer) => void
  readonly #prefix = Buffer.alloc(PREFIX)
  #filled = 0
  #expects: Expects = 'prefix'
  /** Bytes of the message, and of the field, that are still to come. */
  #left = 0
  #fieldLeft = 0
  #field = 0
  /** The number that is being read, and how many of its bytes were. */
  #number = 0
  #digits = 0
  #ends = false

  constructor(onData: (bytes: Buffer) => void) {
    this.#onData = onData
  }

  /** Whether a last message was read. */
  get ended(): boolean {
    return this.#ends && this.isBetween
  }

  /** Whether nothing of a message was begun. */
  get isBetween(): boolean {
    return this.#expects === 'prefix' && this.#filled === 0
  }

  /** @throws Violation */
  read(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) at = this.#step(chunk, at)
  }

  #step(chunk: Buffer, at: number): number {
    if (this.#expects === 'prefix') return this.#readPrefix(chunk, at)
    if (this.#expects === 'data' || this.#expects === 'skip') return this.#readField(chunk, at)
    this.#take(1)
    this.#readDigit(chunk[at]!)
    this.#endMessage()
    return at + 1
  }

  #readPrefix(chunk: Buffer, at: number): number {
    if (this.#ends) throw new Violation(STATUS.INVALID_ARGUMENT, 'there is more behind the last message')
    const taken = chunk.copy(this.#prefix, this.#filled, at, at + PREFIX - this.#filled)
    this.#filled += taken
    // Nothing is decompressed here; who is told so by the first byte need not send the rest.
    if (this.#prefix[0]! > 1) throw new Violation(STATUS.INTERNAL, 'a message’s compressed-flag is neither 0 nor 1')
    if (this.#prefix[0] === 1) throw new Violation(STATUS.UNIMPLEMENTED, 'compressed messages are not taken')
    if (this.#filled < PREFIX) return at + taken
    this.#left = this.#prefix.readUInt32BE(1)
    if (this.#left > LONGEST_MESSAGE)
      throw new Violation(STATUS.RESOURCE_EXHAUSTED, `a message is longer than ${LONGEST_MESSAGE} bytes`)
    this.#filled = 0
    this.#expects = 'key'
    this.#endMessage()
    return at + taken
  }

  #readField(chunk: Buffer, at: number): number {
    const bytes = chunk.subarray(at, at + this.#fieldLeft)
    this.#fieldLeft -= bytes.length
    const isData = this.#expects === 'data'
    if (this.#fieldLeft === 0) this.#expects = 'key'
    this.#endMessage()
    if (isData) this.#onData(bytes)
    return at + bytes.length
  }

  #readDigit(byte: number): void {
    this.#number += (byte & 0x7f) * 2 ** (7 * this.#digits)
    this.#digits += 1
    if (byte >= 0x80 && this.#digits < 10) return
    if (byte >= 0x80) throw broken()
    const number = this.#number
    this.#number = this.#digits = 0
    if (this.#expects === 'key') this.#beginField(number)
    else if (this.#expects === 'length') this.#beginBytes(number, this.#field === DATA)
    else {
      if (this.#field === END) this.#ends = number !== 0
      this.#expects = 'key'
    }
  }

  /** https://protobuf.dev/programming-guides/encoding/#structure */
  #beginField(key: number): void {
    this.#field = Math.floor(key / 8)
    const type = key % 8
    const isWrong = (this.#field === DATA && type !== 2) || (this.#field === END && type !== 0)
    if (this.#field < 1 || isWrong) throw broken()
    if (type === 0) this.#expects = 'value'
    else if (type === 1) this.#beginBytes(8, false)
    else if (type === 2) this.#expects = 'length'
    else if (type === 5) this.#beginBytes(4, false)
    else throw broken()
  }

  #beginBytes(length: number, isData: boolean): void {
    this.#take(length)
    this.#fieldLeft = length
    this.#expects = length === 0 ? 'key' : isData ? 'data' : 'skip'
  }

  #take(length: number): void {
    if (length > this.#left) throw broken()
    this.#left -= length
  }

  #endMessage(): void {
    if (this.#left > 0 || this.#fieldLeft > 0) return
    if (this.#expects !== 'key' || this.#digits > 0) throw broken()
    this.#expects = 'prefix'
  }
}

function broken(): Violation {
  return new Violation(STATUS.INTERNAL, 'a message is not one of pipe.proto')
}
