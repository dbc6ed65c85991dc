import { PosternError } from '@postern/interface'

/** A string of RFC 4251 §5: its length as 32 bits, then its bytes. */
export function sshString(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint32(bytes.length), bytes])
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}

/** Reads what RFC 4251 §5 writes, front to back. What is not there, or too long for what is there, is a mistake. */
export class SshReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  string(): Buffer {
    return this.take(this.uint32())
  }

  /** A string of printable ASCII. */
  text(): string {
    const bytes = this.string()
    if (!bytes.every(byte => byte >= 0x20 && byte <= 0x7e)) throw malformed('has text in it that is not printable')
    return bytes.toString('latin1')
  }

  /** A positive number in its one shortest form, most significant byte first. */
  mpint(): Buffer {
    const bytes = this.string()
    const [first = 0x80, second = 0] = bytes
    if (first >= 0x80 || (first === 0 && second < 0x80)) throw malformed('has a number that is not in its one form')
    return first === 0 ? bytes.subarray(1) : bytes
  }

  uint32(): number {
    return this.take(4).readUInt32BE()
  }

  uint64(): bigint {
    return this.take(8).readBigUInt64BE()
  }

  take(count: number): Buffer {
    if (count > this.#bytes.length - this.#at) throw malformed('ends too early')
    this.#at += count
    return this.#bytes.subarray(this.#at - count, this.#at)
  }

  /** How many bytes were read. */
  get at(): number {
    return this.#at
  }

  /** What was read from there on. */
  since(at: number): Buffer {
    return this.#bytes.subarray(at, this.#at)
  }

  get isDone(): boolean {
    return this.#at === this.#bytes.length
  }

  /** Nothing may come behind what was read. */
  end(): void {
    if (!this.isDone) throw malformed('has something behind its end')
  }
}

/** @param why the end of a sentence that begins with “the public key” */
export function malformed(why: string, next?: string): PosternError {
  return new PosternError('BAD_USAGE', `the public key ${why}`, next === undefined ? {} : { next })
}
