import { once } from 'node:events'
import { Duplex, duplexPair } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Budget, pump, type Room, takeRoom } from '../src/index.ts'
import { ending, memoryPair, type Pair, pattern, readAll, tcpPair, unixPair } from './pairs.ts'

const open: Duplex[] = []
afterEach(async () => {
  for (const stream of open) {
    stream.on('error', () => {}).destroy()
    if (!stream.closed) await once(stream, 'close')
  }
  open.length = 0
})

async function two(make: () => Promise<Pair>): Promise<[Pair, Pair]> {
  const pairs: [Pair, Pair] = [await make(), await make()]
  for (const pair of pairs) {
    open.push(pair.near, pair.far)
    // A far end may be reset while no test looks.
    pair.far.on('error', () => {})
  }
  return pairs
}

describe.each([
  ['TCP', tcpPair],
  ['Unix sockets', unixPair],
  ['memory', memoryPair],
] as const)('pump over %s', (_name, make) => {
  test('carries both ways at once, then half-closes each way on its own', async () => {
    const [left, right] = await two(make)
    const done = pump(left.near, right.near)
    const bytes = pattern(3_000_000)
    left.far.end(bytes)
    expect((await readAll(right.far)).equals(bytes)).toBe(true)
    // The left has ended; the right still has all the time in the world.
    right.far.write(bytes.subarray(0, 1_000_000))
    right.far.end(bytes.subarray(1_000_000))
    expect((await readAll(left.far)).equals(bytes)).toBe(true)
    expect(await done).toEqual({ sent: bytes.length, received: bytes.length })
  })

  test('delivers bytes and an end that were there before it was called', async () => {
    const [left, right] = await two(make)
    left.far.end('early')
    await once(left.near, 'readable')
    await sleep(20)
    const done = pump(left.near, right.near)
    expect((await readAll(right.far)).toString()).toBe('early')
    right.far.end()
    await readAll(left.far)
    expect(await done).toEqual({ sent: 5, received: 0 })
  })

  test('takes over a stream that was paused', async () => {
    const [left, right] = await two(make)
    left.near.pause()
    void pump(left.near, right.near)
    left.far.end('x')
    expect((await readAll(right.far)).toString()).toBe('x')
  })

  test('goes on after a side that had already ended', async () => {
    const [left, right] = await two(make)
    left.near.allowHalfOpen = true
    left.far.end()
    left.near.resume()
    await once(left.near, 'end')
    const done = pump(left.near, right.near)
    await readAll(right.far)
    right.far.end('answer')
    expect((await readAll(left.far)).toString()).toBe('answer')
    expect(await done).toEqual({ sent: 0, received: 6 })
  })

  test('an error of one side cuts the other, and says whose it was', async () => {
    const [left, right] = await two(make)
    const done = pump(left.near, right.near)
    right.far.write('some')
    await once(left.far, 'data')
    const error = new Error('broken')
    right.near.destroy(error)
    expect(await done).toEqual({ sent: 0, received: 4, error, failed: 'b' })
    expect(left.near.destroyed).toBe(true)
  })

  test('a side that is closed before its end is a cut, not an end', async () => {
    const [left, right] = await two(make)
    const done = pump(left.near, right.near)
    left.near.destroy()
    expect(await done).toMatchObject({ failed: 'a', error: { code: 'ERR_STREAM_PREMATURE_CLOSE' } })
    expect(right.near.destroyed).toBe(true)
  })

  test('a side that was dead before the call cuts the other', async () => {
    const [left, right] = await two(make)
    left.near.destroy()
    await once(left.near, 'close')
    expect(await pump(left.near, right.near)).toMatchObject({ failed: 'a' })
    expect(right.near.destroyed).toBe(true)
  })

  test('an abort cuts both, with its reason', async () => {
    const [left, right] = await two(make)
    const controller = new AbortController()
    const done = pump(left.near, right.near, { signal: controller.signal })
    const reason = new Error('enough')
    controller.abort(reason)
    expect(await done).toEqual({ sent: 0, received: 0, error: reason })
    expect([left.near.destroyed, right.near.destroyed]).toEqual([true, true])
  })

  test('leaves no listener on streams that ended, nor on streams that were cut', async () => {
    for (const cutIt of [false, true]) {
      const [left, right] = await two(make)
      const before = listeners(left.near)
      const done = pump(left.near, right.near)
      const closed = [left.near, right.near].map(stream => new Promise(resolve => stream.once('close', resolve)))
      if (cutIt) left.near.destroy(new Error('x'))
      else {
        left.far.end('1')
        right.far.end('2')
        await Promise.all([readAll(left.far), readAll(right.far)])
      }
      await Promise.all([done, ...closed])
      expect(listeners(left.near)).toEqual(before)
      expect(listeners(right.near)).toEqual(before)
    }
  })

  test('a thousand small writes arrive in order', async () => {
    const [left, right] = await two(make)
    void pump(left.near, right.near)
    for (let i = 0; i < 1000; i++) left.far.write(`${i},`)
    left.far.end()
    const wanted = Array.from({ length: 1000 }, (_, i) => `${i},`).join('')
    expect((await readAll(right.far)).toString()).toBe(wanted)
  })
})

describe('cuts over TCP', () => {
  test('the other side sees a reset, never an end', async () => {
    const [left, right] = await two(tcpPair)
    void pump(left.near, right.near)
    const seen = ending(right.far)
    ;(left.far as Awaited<ReturnType<typeof tcpPair>>['far']).resetAndDestroy()
    expect(await seen).toBe('cut')
  })

  test('also after one direction had ended cleanly', async () => {
    const [left, right] = await two(tcpPair)
    const done = pump(left.near, right.near)
    right.far.end('last')
    expect((await readAll(left.far)).toString()).toBe('last')
    const error = once(right.far, 'error')
    left.near.destroy(new Error('x'))
    expect(await done).toMatchObject({ failed: 'a', received: 4 })
    right.far.resume()
    expect((await error)[0]).toMatchObject({ code: 'ECONNRESET' })
  })
})

describe('backpressure', () => {
  test('a reader that stops stops the writer, within the limit; then every byte arrives', async () => {
    const [left, right] = await two(tcpPair)
    const done = pump(left.near, right.near, { highWater: 256 * 1024 })
    const total = 64 * 1024 * 1024
    const piece = pattern(65_536)
    let written = 0
    let most = 0
    const feed = (): void => {
      while (written < total && left.far.write(piece)) written += piece.length
      // The write that said no was taken all the same.
      if (written < total) {
        written += piece.length
        left.far.once('drain', feed)
      } else left.far.end()
    }
    feed()
    let still = 0
    for (let last = -1; still < 5; still = last === written ? still + 1 : 0) {
      last = written
      await sleep(20)
      most = Math.max(most, right.near.writableLength)
    }
    expect(written).toBeLessThan(total)
    expect(most).toBeLessThanOrEqual(256 * 1024 + 65_536)
    let read = 0
    right.far.on('data', (chunk: Buffer) => {
      read += chunk.length
    })
    await once(right.far, 'end')
    expect(read).toBe(written)
    right.far.end()
    left.far.resume()
    expect(await done).toEqual({ sent: read, received: 0 })
  })

  test('many readers that stop hold little each; once they are gone the next holds as much as ever', async () => {
    const stop = new AbortController()
    const many = Array.from({ length: 512 }, () => stall(stop.signal))
    await sleep(200)
    const MIB = 2 ** 20
    const held = many.map(({ to }) => to.writableLength)
    expect(Math.min(...held)).toBeGreaterThan(0)
    expect(held.reduce((sum, bytes) => sum + bytes)).toBeLessThan(
      32 * MIB * (1 + Math.log(512 / 32)) + 512 * 2 * 65_536,
    )
    stop.abort(new Error('enough'))
    await Promise.all(many.map(({ done }) => done))
    const one = stall(new AbortController().signal)
    await expect.poll(() => one.to.writableLength).toBeGreaterThan(MIB)
  })

  test('row 134: what one visitor’s stopped readers hold is no other’s loss; an application has a budget of its own', async () => {
    const stop = new AbortController()
    const application = new Budget(256 * 2 ** 20)
    const [ann, bob] = [new Budget(32 * 2 ** 20), new Budget(32 * 2 ** 20)]
    const many = Array.from({ length: 512 }, () => stall(stop.signal, [ann, application]))
    await expect.poll(() => ann.behind).toBe(512)
    expect([ann.each, bob.each, application.each]).toEqual([65_536, 2 ** 20, 2 ** 19])
    const others = [stall(stop.signal, [bob, application]), stall(stop.signal, [bob]), stall(stop.signal)] as const
    const [same, another, nobodys] = others.map(({ to }) => to) as [Duplex, Duplex, Duplex]
    await expect.poll(() => another.writableLength).toBeGreaterThan(2 ** 20)
    await expect.poll(() => nobodys.writableLength).toBeGreaterThan(2 ** 20)
    await expect.poll(() => same.writableLength).toBeGreaterThan(2 ** 19 - 1)
    expect(same.writableLength).toBeLessThan(2 ** 19 + 2 * 65_536)
    expect(bob.behind).toBe(2)
    stop.abort(new Error('enough'))
    await Promise.all([...many, ...others].map(({ done }) => done))
    expect([ann.behind, bob.behind, application.behind]).toEqual([0, 0, 0])
  })

  test('row 134: hundreds that have much to send are read from by turns, and who sends a little goes between', async () => {
    const stop = new AbortController()
    const many = Array.from({ length: 200 }, () => stall(stop.signal, [new Budget(32 * 2 ** 20)]))
    const held = () => many.reduce((sum, { to }) => sum + to.writableLength, 0)
    const [left, right] = await two(memoryPair)
    void pump(left.near, right.near)
    let most = 0
    for (let n = 0; n < 20; n++) {
      const before = held()
      left.far.write('x')
      await once(right.far, 'readable')
      expect(right.far.read()?.toString()).toBe('x')
      most = Math.max(most, held() - before)
    }
    // At first each is read from once; not a MiB each, as it was.
    expect(most).toBeLessThan(200 * 2 * 65_536 + 2 ** 21)
    expect(held()).toBeLessThan(200 * 2 ** 20)
    await expect.poll(held, { timeout: 15_000 }).toBeGreaterThan(200 * 2 ** 20)
    stop.abort(new Error('enough'))
    await Promise.all(many.map(({ done }) => done))
  })

  test('a writer with a larger buffer of its own than the limit does not stall', async () => {
    const [near, far] = duplexPair({ highWaterMark: 4 * 1024 * 1024 })
    const left = await memoryPair()
    open.push(near, far, left.near, left.far)
    void pump(left.near, near, { highWater: 1024 })
    const bytes = pattern(10_000_000)
    left.far.end(bytes)
    expect((await readAll(far)).equals(bytes)).toBe(true)
  })
})
/** One side sends without end, and nobody reads the other. */
function stall(signal: AbortSignal, room?: Room) {
  const [[near, far], [to, unread]] = [duplexPair(), duplexPair()]
  open.push(near, far, to, unread)
  if (room !== undefined) takeRoom(near, room)
  const done = pump(near, to, { signal })
  const feed = (): void => {
    while (!far.destroyed && far.write(pattern(65_536)));
  }
  far.on('drain', feed)
  feed()
  return { to, done }
}

function listeners(stream: Duplex): Record<string, number> {
  return Object.fromEntries(
    ['data', 'drain', 'finish', 'error', 'close', 'abort'].map(name => [name, stream.listenerCount(name)]),
  )
}

test('two that close one after the other, the last one before it finished, leave no timer', async () => {
  const made = (final: (done: () => void) => void) =>
    new Duplex({ read() {}, write: (_chunk, _encoding, done) => done(), final, autoDestroy: false })
  const one = made(done => done())
  const other = made(() => {}) // whose end is never handed over
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    const done = pump(one, other)
    one.push(null)
    await once(one, 'end')
    one.destroy()
    await once(one, 'close')
    other.push(null)
    await once(other, 'end')
    other.destroy()
    await done
    expect(vi.getTimerCount()).toBe(0)
  } finally {
    vi.useRealTimers()
  }
})
