import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { content, matches } from '@postern/compliance/random'
import { describe, expect, test } from 'vitest'
import { DATA, SYN, WINDOW_UPDATE } from '../src/frame.ts'
import { YamuxSession, type YamuxStream } from '../src/index.ts'
import { pipePair } from './pipe.ts'
import { RawPeer, turns } from './raw-peer.ts'

const MIB = 1024 * 1024

setFlagsFromString('--expose_gc')
const collect = runInNewContext('gc') as () => void

/** Bytes that are held: the resident set also counts what the allocator has not given back after a hundred megabytes went through. */
function held(): number {
  collect()
  const { heapUsed, external, arrayBuffers } = process.memoryUsage()
  return heapUsed + external + arrayBuffers
}

/** Freed buffers leave the count in their own time; what is really held stays in it. */
async function notGrown(before: number): Promise<void> {
  await expect.poll(() => held() - before, { timeout: 10_000, interval: 50 }).toBeLessThan(32 * MIB)
}

describe('a reader that stops', () => {
  test('256 MB pushed at it: the window is all that grows', { timeout: 60_000 }, async () => {
    const [a, b] = pipePair()
    const { promise, resolve } = Promise.withResolvers<YamuxStream>()
    // On a busy machine the path looks long, and a reader that keeps up would get more.
    const server = new YamuxSession(a, { role: 'server', maxWindow: MIB, onStream: resolve })
    const client = new YamuxSession(b, { role: 'client' })
    const writer = client.open()
    const reader = await promise
    reader.accept()
    await turns(10)
    const before = held()

    let written = 0
    const total = 256_000_000
    const go = (): void => {
      while (written < total) {
        const chunk = content(1, written, Math.min(65_536, total - written))
        written += chunk.length
        if (!writer.write(chunk)) {
          writer.once('drain', go)
          return
        }
      }
      writer.end()
    }
    go()
    await turns(500)
    expect(written).toBeLessThan(MIB + 4 * 65_536)
    await notGrown(before)

    // It reads a little, stops again: the writer gets on by about as much.
    let received = 0
    let stopped = false
    reader.on('data', (chunk: Buffer) => {
      if (!matches(1, received, chunk)) throw new Error(`wrong bytes at ${received}`)
      received += chunk.length
      if (stopped || received < 10_000_000) return
      stopped = true
      reader.pause()
    })
    await turns(2000)
    expect(reader.isPaused()).toBe(true)
    expect(written - received).toBeLessThan(MIB + 8 * 65_536)
    reader.resume()
    const { promise: ended, resolve: end } = Promise.withResolvers<void>()
    reader.on('end', end)
    await ended
    expect(received).toBe(total)
    await notGrown(before)
    server.destroy()
    client.destroy()
  })

  test('other streams go on at full speed', async () => {
    const [a, b] = pipePair()
    const server = new YamuxSession(a, { role: 'server', onStream: stream => stream.accept() })
    let echoes = 0
    const client = new YamuxSession(b, { role: 'client', onStream: stream => stream.pipe(stream) })
    client.open().write(Buffer.alloc(50_000_000))
    const small = server.open()
    small.on('data', () => {
      echoes += 1
      small.write('again')
    })
    small.write('first')
    await turns(300)
    expect(echoes).toBeGreaterThan(30)
    server.destroy()
  })

  test('frames of one byte cost bytes, not objects: a window of them, in chunks of 64 KiB, keeps the memory of a few windows', async () => {
    let stream: YamuxStream | undefined
    const peer = new RawPeer({
      onStream: offered => {
        stream = offered
        offered.accept()
      },
    })
    peer.frame(WINDOW_UPDATE, SYN, 1, 0)
    await turns()
    const before = held()
    const frame = Buffer.from('00000000000000010000000178', 'hex')
    const chunk = Buffer.concat(Array.from({ length: 5000 }, () => frame))
    let sent = 0
    for (; sent < MIB - 5000; sent += 5000) peer.pipe.emit('data', Buffer.from(chunk))
    await notGrown(before)
    let received = 0
    stream!.on('data', (bytes: Buffer) => {
      received += bytes.length
    })
    await turns()
    expect(received).toBe(sent)
    peer.session.destroy()
  })
})

describe('windows', () => {
  async function flowing(): Promise<{ peer: RawPeer; stream: YamuxStream }> {
    let stream: YamuxStream | undefined
    const peer = new RawPeer({
      onStream: offered => {
        stream = offered
        offered.accept()
      },
    })
    peer.frame(WINDOW_UPDATE, SYN, 1, 0)
    await turns()
    return { peer, stream: stream! }
  }

  test('are given back as the reader reads, not as bytes arrive, half a window at a time', async () => {
    const { peer, stream } = await flowing()
    peer.frame(DATA, 0, 1, 900_000, Buffer.alloc(900_000))
    await turns()
    const updates = () => peer.seen.filter(frame => frame.type === WINDOW_UPDATE)
    expect(updates()).toHaveLength(1) // the ACK
    stream.read(400_000)
    await turns()
    expect(updates()).toHaveLength(1)
    stream.read(400_000)
    await turns()
    expect(updates()[1]).toEqual({ type: WINDOW_UPDATE, flags: 0, id: 1, length: 800_000 })
    peer.session.destroy()
  })

  test('go on being given back after our own FIN', async () => {
    const { peer, stream } = await flowing()
    stream.end()
    stream.resume()
    await turns()
    for (let n = 0; n < 40; n++) {
      peer.frame(DATA, 0, 1, 262_144, Buffer.alloc(262_144))
      await turns(1)
    }
    expect(peer.pipe.destroyed).toBe(false)
    peer.session.destroy()
  })

  test('hold back our writer to the byte', async () => {
    const peer = new RawPeer()
    const stream = peer.session.open()
    stream.write(Buffer.alloc(300_000))
    await turns()
    expect(peer.payloadBytes).toBe(262_144)
    peer.frame(WINDOW_UPDATE, 0, stream.id, 1)
    await turns()
    expect(peer.payloadBytes).toBe(262_145)
    peer.frame(WINDOW_UPDATE, 0, stream.id, 1_000_000)
    await turns()
    expect(peer.payloadBytes).toBe(300_000)
    peer.session.destroy()
  })
})

describe('the queue into the pipe', () => {
  test('is bounded, and every waiting stream gets its turn', async () => {
    const peer = new RawPeer({ maxWriteQueue: 200_000, maxFrame: 50_000 })
    const [bulk, small] = [peer.session.open(), peer.session.open()]
    for (const stream of [bulk, small]) peer.frame(WINDOW_UPDATE, 0, stream.id, 100_000_000)
    await turns()
    peer.reading = false
    const start = peer.seen.length
    bulk.write(Buffer.alloc(5_000_000))
    small.write('hello')
    await turns()
    expect(peer.pipe.writableLength).toBeLessThanOrEqual(250_000 + 100)
    for (let n = 0; n < 20; n++) {
      peer.read()
      peer.reading = false
      await turns(1)
    }
    const order = peer.seen.slice(start).filter(frame => frame.type === DATA)
    const turnOfSmall = order.findIndex(frame => frame.id === small.id)
    // One queue of the pipe may be ahead of it, never the other stream's 5 MB.
    expect(turnOfSmall).toBeGreaterThanOrEqual(0)
    expect(turnOfSmall).toBeLessThan(8)
    peer.session.destroy()
  })

  test('a drain that comes when nothing or something else waits does no harm', async () => {
    const peer = new RawPeer({ maxWriteQueue: 1000 })
    const stream = peer.session.open()
    peer.reading = false
    for (let n = 0; n < 20; n++) {
      stream.write(content(3, n * 5000, 5000))
      peer.pipe.emit('drain')
      await turns(1)
    }
    for (let n = 0; n < 300; n++) {
      peer.pipe.emit('drain')
      peer.read()
      peer.reading = false
      await turns(1)
    }
    expect(peer.payloadBytes).toBe(100_000)
    peer.session.destroy()
  })
})
