import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Writable } from 'node:stream'

/** Bytes that are written before they have come back, where nobody says otherwise. */
const MOST_OUT = 16 * 1024
const BLOCK = 32

/**
 * Somebody whose bytes go to a service that sends them back, one after the other, for as long as others do what they do. What comes
 * back is compared to the byte.
 */
export class Steady implements Disposable {
  readonly #out: Writable
  readonly #most: number
  #sent = 0
  #back = 0
  #fault: Error | undefined
  #stopped = false

  /** @param input what the service sends back. @param most bytes that may be on their way: on a thin line few */
  constructor(out: Writable, input: NodeJS.ReadableStream, most = MOST_OUT) {
    this.#out = out
    this.#most = most
    const gone = (why: string) => () => void (this.#fault ??= new Error(`${why} after ${this.#back} bytes`))
    out.on('error', error => gone(String(error))()).on('close', gone('it was closed'))
    input.on('end', gone('it ended'))
    input.on('data', chunk => this.#compare(chunk as Buffer))
    this.#write()
  }

  /** At a port of this machine. */
  static async at(port: number): Promise<Steady> {
    const socket: Socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    return new Steady(socket, socket)
  }

  get back(): number {
    return this.#back
  }

  /** What went wrong, if anything did: a wrong byte, a cut, an end. */
  get fault(): Error | undefined {
    return this.#fault
  }

  /** Waits for so many bytes more, each the right one. @throws what went wrong; when they have not come in time */
  async goesOn(bytes = 16 * MOST_OUT, seconds = 30): Promise<void> {
    const [until, late] = [this.#back + bytes, Date.now() + seconds * 1000]
    while (this.#back < until) {
      if (this.#fault) throw this.#fault
      if (Date.now() > late) throw new Error(`only ${this.#back} of ${until} bytes came back`)
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    if (this.#fault) throw this.#fault
  }

  [Symbol.dispose](): void {
    this.#stopped = true
    this.#out.destroy()
  }

  #write(): void {
    while (!this.#stopped && !this.#fault && this.#sent - this.#back < this.#most) {
      const size = 1 + (this.#sent % Math.min(8000, this.#most))
      this.#out.write(this.#expected(this.#sent, size))
      this.#sent += size
    }
  }

  #compare(chunk: Buffer): void {
    if (!chunk.equals(this.#expected(this.#back, chunk.length)))
      this.#fault ??= new Error(`other bytes came back between ${this.#back} and ${this.#back + chunk.length}`)
    this.#back += chunk.length
    this.#write()
  }

  /** The stream's bytes from there on: hashes of where they are, so that nothing can pass for anything else. */
  #expected(from: number, length: number): Buffer {
    const first = Math.floor(from / BLOCK)
    const count = Math.ceil((from + length) / BLOCK) - first
    const blocks = Array.from({ length: count }, (_, at) =>
      createHash('sha256')
        .update(`steady${first + at}`)
        .digest(),
    )
    return Buffer.concat(blocks).subarray(from - first * BLOCK, from - first * BLOCK + length)
  }
}
