import { describe, expect, test } from 'vitest'
import { ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE } from '../src/frame.ts'
import type { YamuxStream } from '../src/index.ts'
import { RawPeer, turns } from './raw-peer.ts'

const WINDOW = 1024 * 1024
const MAX_WINDOW = 8 * WINDOW

/** Runs frames against a fresh server that accepts and reads every stream (id 1 is open); returns how the session took it. */
async function outcome(frames: (peer: RawPeer) => void, reads = true): Promise<string> {
  const peer = new RawPeer({
    onStream: stream => {
      stream.accept()
      if (reads) stream.resume()
    },
  })
  peer.open(1)
  peer.session.open() // id 2
  await turns()
  frames(peer)
  await turns(6)
  if (!peer.pipe.destroyed) {
    const milliseconds = peer.session.ping(AbortSignal.timeout(5000)).then(
      () => 'goes on',
      () => 'dead',
    )
    await turns()
    peer.frame(PING, ACK, 0, peer.seen.at(-1)!.length)
    return await milliseconds
  }
  const { clean, error } = await peer.session.closed
  expect(clean).toBe(false)
  expect(peer.seen.at(-1)).toEqual({ type: GO_AWAY, flags: 0, id: 0, length: 1 })
  return (error as Error & { code: string }).code
}

const kb = Buffer.alloc(1000)

/** What breaks a rule, and its twin that differs little and does not. */
const twins: [name: string, bad: (peer: RawPeer) => void, good: (peer: RawPeer) => void][] = [
  ['data for an id never opened', p => p.frame(DATA, 0, 3, 1000, kb), p => p.frame(DATA, 0, 1, 1000, kb)],
  ['data for an id of ours never opened', p => p.frame(DATA, 0, 4, 1000, kb), p => p.frame(DATA, 0, 2, 1000, kb)],
  ['data for stream 0', p => p.frame(DATA, 0, 0, 1000, kb), p => p.frame(DATA, 0, 1, 0)],
  ['window update for an id never opened', p => p.frame(WINDOW_UPDATE, 0, 5, 1), p => p.frame(WINDOW_UPDATE, 0, 1, 1)],
  ['RST for an id never opened', p => p.frame(WINDOW_UPDATE, RST, 5, 0), p => p.frame(WINDOW_UPDATE, RST, 1, 0)],
  ['SYN with an id in use', p => p.open(1), p => p.open(3)],
  [
    'SYN with an id that is gone',
    p => {
      p.frame(WINDOW_UPDATE, RST, 1, 0)
      p.open(1)
    },
    p => {
      p.frame(WINDOW_UPDATE, RST, 1, 0)
      p.open(3)
    },
  ],
  ['SYN of our parity', p => p.open(4), p => p.open(7)],
  ['SYN of our parity in use', p => p.open(2), p => p.open(0x7fffffff)],
  ['SYN with id 0', p => p.open(0), p => p.open(0xffffffff)],
  ['ACK for an id we never opened', p => p.frame(WINDOW_UPDATE, ACK, 4, 0), p => p.frame(WINDOW_UPDATE, ACK, 2, 0)],
  ['ACK for its own stream', p => p.frame(WINDOW_UPDATE, ACK, 1, 0), p => p.frame(DATA, ACK, 2, 1000, kb)],
  [
    'a window past 2^32-1',
    p => p.frame(WINDOW_UPDATE, 0, 1, 0xffffffff),
    p => p.frame(WINDOW_UPDATE, 0, 1, 0xffffffff - 262_144),
  ],
  [
    'windows that sum past 2^32-1',
    p => {
      p.frame(WINDOW_UPDATE, 0, 1, 0x80000000)
      p.frame(WINDOW_UPDATE, 0, 1, 0x80000000)
    },
    p => {
      p.frame(WINDOW_UPDATE, 0, 1, 0x80000000)
      p.frame(WINDOW_UPDATE, 0, 1, 0x7ffbffff)
    },
  ],
  [
    'a length past the window',
    p => p.frame(DATA, 0, 1, WINDOW + 1),
    p => p.frame(DATA, 0, 1, WINDOW, Buffer.alloc(WINDOW)),
  ],
  ['a length of 4 GiB', p => p.frame(DATA, 0, 1, 0xffffffff), p => p.frame(DATA, 0, 1, 1, kb.subarray(0, 1))],
  [
    'data after FIN',
    p => {
      p.frame(DATA, FIN, 1, 1000, kb)
      p.frame(DATA, 0, 1, 1000, kb)
    },
    p => {
      p.frame(DATA, FIN, 1, 1000, kb)
      p.frame(WINDOW_UPDATE, 0, 1, 1000)
    },
  ],
  [
    'a second FIN',
    p => {
      p.frame(WINDOW_UPDATE, FIN, 1, 0)
      p.frame(WINDOW_UPDATE, FIN, 1, 0)
    },
    p => {
      p.frame(WINDOW_UPDATE, FIN, 1, 0)
      p.frame(WINDOW_UPDATE, RST, 1, 0)
    },
  ],
  [
    'a late frame longer than any window',
    p => {
      p.frame(WINDOW_UPDATE, RST, 1, 0)
      p.frame(DATA, 0, 1, MAX_WINDOW + 1)
    },
    p => {
      p.frame(WINDOW_UPDATE, RST, 1, 0)
      p.frame(DATA, FIN, 1, MAX_WINDOW, Buffer.alloc(MAX_WINDOW))
    },
  ],
  [
    'an unknown version',
    p => p.pipe.emit('data', Buffer.from('010000000000000100000000', 'hex')),
    p => p.frame(PING, SYN, 0, 1),
  ],
  ['an unknown type', p => p.frame(4, 0, 0, 0), p => p.frame(PING, ACK, 0, 99)],
  ['a ping on a stream', p => p.frame(PING, SYN, 1, 1), p => p.frame(PING, SYN, 0, 0xffffffff)],
  ['a go-away on a stream', p => p.frame(GO_AWAY, 0, 1, 0), p => p.frame(GO_AWAY, 0, 0, 0)],
]

describe('rules of the peer', () => {
  test.each(twins)('%s ends the session, its twin does not', async (_name, bad, good) => {
    expect(await outcome(good)).toBe('goes on')
    expect(await outcome(bad)).toBe('PROTOCOL')
  })

  test('one byte more than the window, the reader standing still', async () => {
    const fill = (p: RawPeer): void => p.frame(DATA, 0, 1, WINDOW, Buffer.alloc(WINDOW))
    expect(await outcome(fill, false)).toBe('goes on')
    expect(
      await outcome(p => {
        fill(p)
        p.frame(DATA, 0, 1, 1)
      }, false),
    ).toBe('PROTOCOL')
  })

  test('before it is accepted a stream has the 256 KiB every stream starts with', async () => {
    for (const [bytes, alive] of [
      [262_144, true],
      [262_145, false],
    ] as const) {
      const peer = new RawPeer({ onStream: () => {} })
      peer.open(1)
      peer.frame(DATA, 0, 1, bytes, Buffer.alloc(bytes))
      await turns()
      expect(peer.pipe.destroyed).toBe(!alive)
      peer.session.destroy()
    }
  })

  test('the payload of a stream that is gone never reaches another', async () => {
    const got: Buffer[] = []
    const streams: YamuxStream[] = []
    const peer = new RawPeer({ onStream: stream => void streams.push(stream.on('data', chunk => got.push(chunk))) })
    peer.open(1)
    peer.open(3)
    await turns()
    streams[0]!.destroy()
    peer.frame(DATA, 0, 1, 5, Buffer.from('wrong'))
    peer.frame(DATA, 0, 3, 5, Buffer.from('right'))
    await turns()
    expect(Buffer.concat(got).toString()).toBe('right')
    peer.session.destroy()
  })

  test('a stream destroyed by its reader in the middle of a frame: the rest is dropped', async () => {
    const got: string[] = []
    const peer = new RawPeer({
      onStream: stream =>
        stream.on('data', chunk => {
          got.push(`${stream.id} ${chunk}`)
          if (stream.id === 1) stream.destroy()
        }),
    })
    peer.open(1)
    peer.open(3)
    await turns()
    peer.frame(DATA, 0, 1, 6, Buffer.from('abc'))
    peer.pipe.emit('data', Buffer.from('def'))
    peer.frame(DATA, 0, 3, 3, Buffer.from('ghi'))
    await turns()
    expect(got).toEqual(['1 abc', '3 ghi'])
    expect(peer.sent(RST, 1)).toHaveLength(1)
    peer.session.destroy()
  })

  test('ids sent out of order, as Go may, are new streams; each once', async () => {
    const ids: number[] = []
    const peer = new RawPeer({ onStream: stream => void ids.push(stream.id) })
    for (const id of [5, 1, 3, 9]) peer.open(id)
    expect(ids).toEqual([5, 1, 3, 9])
    peer.frame(DATA, 0, 7, 1, Buffer.from('x')) // jumped over, not opened yet
    expect((await peer.session.closed).error).toMatchObject({ code: 'PROTOCOL' })
  })

  test('SYN, data and FIN in one frame are one whole stream', async () => {
    const got: string[] = []
    const peer = new RawPeer({
      onStream: stream => stream.on('data', chunk => got.push(String(chunk))).on('end', () => got.push('end')),
    })
    peer.frame(DATA, SYN | FIN, 1, 5, Buffer.from('hello'))
    await turns()
    expect(got).toEqual(['hello', 'end'])
    expect(peer.sent(ACK, 1)).toHaveLength(1)
    peer.session.destroy()
  })

  test('flags that yamux does not define are ignored', async () => {
    expect(await outcome(p => p.pipe.emit('data', Buffer.from('000180f0000000010000000a', 'hex')))).toBe('goes on')
  })

  test('an error of the peer ends the session without an answer', async () => {
    for (const code of [1, 2, 77]) {
      const peer = new RawPeer({ onGoAway: seen => expect(seen).toBe(code) })
      peer.frame(GO_AWAY, 0, 0, code)
      expect((await peer.session.closed).error).toMatchObject({ code: 'PEER_FAILED' })
      expect(peer.seen).toEqual([])
    }
  })
})
