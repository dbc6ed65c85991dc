import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { cut, pump, withOwnBuffers } from '../src/index.ts'
import { ending, pattern, readAll, tcpPair, unixPair } from './pairs.ts'

const open: Socket[] = []
afterEach(async () => {
  for (const socket of open) {
    socket.destroy()
    if (!socket.closed) await once(socket, 'close')
  }
  open.length = 0
})

async function tcp() {
  const pair = await tcpPair()
  for (const socket of [pair.near, pair.far]) open.push(socket.on('error', () => {}))
  return pair
}

/** Two far ends with a pump between them. @returns the sockets that were taken over, too */
async function joined(signal?: AbortSignal) {
  const [left, right] = [await tcp(), await tcp()]
  const own = withOwnBuffers(left.near, right.near)
  for (const [at, given] of [left.near, right.near].entries()) expect(own[at]).not.toBe(given)
  return { left, right, own, done: pump(...own, { highWater: 200_000, ...(signal && { signal }) }) }
}

/** Pieces of any size, now and then a moment apart. */
async function send(far: Socket, bytes: Buffer, largest: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + randomInt(randomInt(2) === 0 ? 100 : largest)
    if (!far.write(bytes.subarray(at, at + size))) await once(far, 'drain')
    at += size
    if (randomInt(4) === 0) await turn()
  }
  far.end()
}

/** Reads, and stops again and again, sometimes until everything on the way is full. */
async function compare(far: Socket, wanted: Buffer): Promise<void> {
  let at = 0
  for await (const chunk of far.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    if (!chunk.equals(wanted.subarray(at, at + chunk.length)))
      throw new Error(`other bytes between ${at} and ${at + chunk.length}`)
    at += chunk.length
    if (randomInt(40) === 0) await sleep(randomInt(8))
  }
  expect(at).toBe(wanted.length)
}

test.each([1_000, 30_000, 300_000, 2_000_000])(
  'slow readers at both ends get every byte as it was sent, in pieces of up to %i bytes',
  async largest => {
    const { left, right, done } = await joined()
    const bytes = pattern(12_000_000)
    const [there, back] = [bytes.subarray(0, 9_000_001), bytes.subarray(3_000_007)]
    await Promise.all([
      send(left.far, there, largest),
      send(right.far, back, largest),
      compare(right.far, there),
      compare(left.far, back),
    ])
    expect(await done).toEqual({ sent: there.length, received: back.length })
  },
)

test('many at once do not get each other’s bytes', async () => {
  const bytes = pattern(1_000_000)
  const work = Array.from({ length: 20 }, async (_, index) => {
    const { left, right, done } = await joined()
    const own = bytes.subarray(index * 4001)
    await Promise.all([
      send(left.far, own, 200_000),
      compare(right.far, own),
      send(right.far, own, 5_000),
      compare(left.far, own),
    ])
    expect(await done).toEqual({ sent: own.length, received: own.length })
  })
  await Promise.all(work)
})

test('what waits in the socket for whoever reads it is not overwritten', async () => {
  const [left, right] = [await tcp(), await tcp()]
  const [own] = withOwnBuffers(left.near, right.near)
  expect(own).not.toBe(left.near)
  const bytes = pattern(3_000_000)
  await Promise.all([send(left.far, bytes, 30_000), compare(own as Socket, bytes)])
})

test('what a socket holds already goes first, an end behind it too', async () => {
  const [left, right] = [await tcp(), await tcp()]
  left.near.pause()
  left.near.unshift(Buffer.from('first, '))
  const own = withOwnBuffers(left.near, right.near)
  left.far.end('then')
  const done = pump(...own)
  expect((await readAll(right.far)).toString()).toBe('first, then')
  right.far.end('back')
  expect((await readAll(left.far)).toString()).toBe('back')
  expect(await done).toEqual({ sent: 11, received: 4 })
  for (const { near } of [left, right]) if (!near.closed) await once(near, 'close')
})

describe('ends', () => {
  test('one direction ends alone, the other goes on', async () => {
    const { left, right, done } = await joined()
    left.far.end('asked')
    expect((await readAll(right.far)).toString()).toBe('asked')
    await sleep(20)
    right.far.end('answered')
    expect((await readAll(left.far)).toString()).toBe('answered')
    expect(await done).toEqual({ sent: 5, received: 8 })
  })

  test('a reset is a reset at the other end', async () => {
    const { left, right, done } = await joined()
    left.far.write('some')
    await once(right.far, 'data')
    const seen = ending(right.far)
    left.far.resetAndDestroy()
    expect(await seen).toBe('cut')
    expect(await done).toMatchObject({ error: { code: 'ECONNRESET' }, failed: 'a' })
  })

  test.each(['the signal', 'cutting what was given', 'destroying what was given'])('%s cuts both', async how => {
    const stop = new AbortController()
    const { left, right, own, done } = await joined(stop.signal)
    left.far.write('some')
    await once(right.far, 'data')
    const seen = Promise.all([ending(right.far), ending(left.far)])
    if (how === 'the signal') stop.abort(new Error('enough'))
    else if (how.startsWith('cutting')) cut(left.near, new Error('enough'))
    else left.near.destroy()
    expect(await seen).toEqual(['cut', 'cut'])
    expect((await done).error).toBeDefined()
    for (const socket of [...own, left.near, right.near]) if (!socket.closed) await once(socket, 'close')
  })
})

describe('sockets stay as they are', () => {
  test('where one of the two is none', async () => {
    const { near } = await tcp()
    const other = new PassThrough()
    expect(withOwnBuffers(near, other)).toEqual([near, other])
    expect(withOwnBuffers(other, near)).toEqual([other, near])
  })

  test('over a Unix socket, which has no reset', async () => {
    const [{ near }, unix] = [await tcp(), await unixPair()]
    expect(withOwnBuffers(near, unix.near)).toEqual([near, unix.near])
    for (const socket of [unix.near, unix.far]) socket.destroy()
  })

  test('while one of them writes, has ended, or is gone', async () => {
    const { near } = await tcp()
    const [writing, ended, over, gone] = [await tcp(), await tcp(), await tcp(), await tcp()]
    writing.near.write(Buffer.alloc(50_000_000))
    ended.far.end()
    ended.near.resume()
    await once(ended.near, 'end')
    over.near.end()
    gone.near.destroy()
    for (const one of [writing, ended, over, gone]) expect(withOwnBuffers(near, one.near)).toEqual([near, one.near])
  })
})
