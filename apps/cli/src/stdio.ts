import { createReadStream, createWriteStream, fstatSync } from 'node:fs'
import { Socket } from 'node:net'
import { Duplex, type Readable, type Writable } from 'node:stream'
import { unwritten } from '@postern/program'

/**
 * This process's stdin and stdout as one duplex that half-closes: `end()` closes stdout for real, so that the program behind
 * it sees the end while it may still be sending. (`process.stdout` can never be closed.)
 */
export function openStdio(input: () => Readable = openInput, output: () => Writable = openOutput): Duplex {
  return new Stdio(input, output)
}

class Stdio extends Duplex {
  readonly #open: { readonly input: () => Readable; readonly output: () => Writable }
  #input: Readable | undefined
  #output: Writable | undefined

  constructor(input: () => Readable, output: () => Writable) {
    super({ allowHalfOpen: true })
    this.#open = { input, output }
  }

  #in(): Readable {
    if (!this.#input) {
      this.#input = this.#open.input()
      this.#input.on('data', chunk => this.push(chunk) || this.#input?.pause())
      this.#input.on('end', () => this.push(null)).on('error', error => this.destroy(error))
    }
    return this.#input
  }

  #out(): Writable {
    this.#output ??= this.#open.output().on('error', error => this.destroy(unwritten(error) ?? error))
    return this.#output
  }

  override _read(): void {
    this.#in().resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#out().write(chunk)) done()
    else this.#out().once('drain', done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#out().end(done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#input?.destroy()
    this.#output?.destroy()
    done(error)
  }
}

function openInput(): Readable {
  const kind = fstatSync(0)
  if (kind.isFIFO() || kind.isSocket()) return new Socket({ fd: 0, readable: true, writable: false })
  return kind.isFile() ? createReadStream('', { fd: 0 }) : process.stdin
}

function openOutput(): Writable {
  const kind = fstatSync(1)
  if (kind.isFIFO() || kind.isSocket()) return new Socket({ fd: 1, readable: false, writable: true })
  return kind.isFile() ? createWriteStream('', { fd: 1 }) : process.stdout
}
