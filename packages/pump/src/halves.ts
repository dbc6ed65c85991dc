import { Duplex, type Readable, type Writable } from 'node:stream'

/**
 * One half-closing duplex of a readable and a writable, for `process.stdin` and `process.stdout`: their ends are
 * independent, an error of either is an error of the whole, and destroying the whole destroys both.
 */
export function joinHalves(readable: Readable, writable: Writable): Duplex {
  const joined = new Duplex({
    read() {
      readable.resume()
    },
    write(chunk, _encoding, done) {
      if (writable.write(chunk)) done()
      else waiting = done
    },
    final(done) {
      writable.end(() => done())
    },
    destroy(error, done) {
      readable.off('data', data).off('end', end)
      writable.off('drain', drain)
      waiting?.(error)
      // Whatever these two still say after this is nobody's business, and must not end the process.
      readable.on('error', ignore).destroy()
      writable.on('error', ignore).destroy()
      done(error)
    },
  })
  let waiting: ((error?: Error | null) => void) | undefined
  function data(chunk: Buffer): void {
    if (!joined.push(chunk)) readable.pause()
  }
  function end(): void {
    joined.push(null)
  }
  function drain(): void {
    const done = waiting
    waiting = undefined
    done?.()
  }
  function fail(error: Error): void {
    joined.destroy(error)
  }
  function ignore(): void {}
  readable.on('data', data).on('end', end).on('error', fail).pause()
  writable.on('drain', drain).on('error', fail)
  writable.once('close', () => {
    if (!writable.writableFinished) fail(Object.assign(new Error('the reader is gone'), { code: 'EPIPE' }))
  })
  return joined
}
