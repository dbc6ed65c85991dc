import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE } from '../src/frame.ts'
import { YamuxError, YamuxSession, type YamuxStream } from '../src/index.ts'
import { type PipeEnd, pipePair } from './pipe.ts'
import { RawPeer, turns } from './raw-peer.ts'

function pair(onStream?: (stream: YamuxStream) => void): {
  client: YamuxSession
  server: YamuxSession
  pipes: PipeEnd[]
} {
  const pipes = pipePair()
  const server = new YamuxSession(pipes[0], { role: 'server', ...(onStream && { onStream }) })
  return { client: new YamuxSession(pipes[1], { role: 'client' }), server, pipes }
}

function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    return (error as YamuxError).code
  }
  return 'no error'
}

const never: AbortSignal = new AbortController().signal

describe('opening', () => {
  test('past `wideStreams`, a stream gets the smallest window; the next after one has gone gets the whole again', async () => {
    const peer = new RawPeer({ role: 'client', window: 300_000, wideStreams: 2 })
    const streams = [peer.session.open(), peer.session.open(), peer.session.open()]
    await turns(5)
    expect(peer.seen.map(({ length }) => length)).toEqual([300_000 - 262_144, 300_000 - 262_144, 0])
    for (const stream of streams.slice(0, 2)) stream.destroy()
    await turns(5)
    peer.session.open()
    await turns(5)
    expect(peer.seen.at(-1)?.length).toBe(300_000 - 262_144)
  })

  test('client ids are odd, server ids even; SYN carries the rest of the window', async () => {
    const peer = new RawPeer({ role: 'client', window: 300_000 })
    expect([peer.session.open().id, peer.session.open().id]).toEqual([1, 3])
    await turns()
    expect(peer.seen[0]).toEqual({ type: WINDOW_UPDATE, flags: SYN, id: 1, length: 300_000 - 262_144 })
    expect(new RawPeer().session.open().id).toBe(2)
  })

  test('a stream can be written before the peer accepts', async () => {
    const { client } = pair(stream => stream.pipe(stream))
    const stream = client.open()
    stream.end('hello')
    const chunks: Buffer[] = []
    for await (const chunk of stream) chunks.push(chunk as Buffer)
    expect(Buffer.concat(chunks).toString()).toBe('hello')
    client.destroy()
  })

  test('past maxUnacknowledged open() throws until the peer accepts or refuses', async () => {
    const peer = new RawPeer({ maxUnacknowledged: 2 })
    peer.session.open()
    peer.session.open()
    expect(codeOf(() => peer.session.open())).toBe('TOO_MANY_UNACKNOWLEDGED')
    peer.frame(WINDOW_UPDATE, ACK, 2, 0)
    peer.session.open()
    expect(codeOf(() => peer.session.open())).toBe('TOO_MANY_UNACKNOWLEDGED')
    peer.frame(WINDOW_UPDATE, RST, 4, 0)
    expect(codeOf(() => peer.session.open())).toBe('no error')
  })

  test('past maxStreams open() throws, and the peer gets RST', async () => {
    const peer = new RawPeer({ maxStreams: 2, onStream: stream => stream.accept() })
    peer.session.open()
    peer.open(1)
    expect(codeOf(() => peer.session.open())).toBe('TOO_MANY_STREAMS')
    peer.open(3)
    await turns()
    expect(peer.sent(RST, 3)).toHaveLength(1)
    peer.frame(WINDOW_UPDATE, RST, 1, 0)
    await turns()
    peer.open(5)
    await turns()
    expect(peer.sent(RST, 5)).toHaveLength(0)
    expect(peer.session.streams).toBe(2)
  })

  test('past acceptBacklog the peer gets RST; accepting or destroying makes room', async () => {
    const streams: YamuxStream[] = []
    const peer = new RawPeer({ acceptBacklog: 2, onStream: stream => void streams.push(stream) })
    for (const id of [1, 3, 5]) peer.open(id)
    await turns()
    expect(peer.sent(RST, 5)).toHaveLength(1)
    streams[0]!.accept()
    streams[0]!.accept()
    peer.open(7)
    streams[1]!.destroy()
    peer.open(9)
    peer.open(11)
    await turns()
    expect(streams.map(stream => stream.id)).toEqual([1, 3, 7, 9])
    expect(peer.sent(ACK, 1)).toHaveLength(1)
    expect(peer.sent(RST, 11)).toHaveLength(1)
  })

  test.each([
    ['absent', undefined],
    [
      'throwing',
      () => {
        throw new Error('no')
      },
    ],
  ])('with onStream %s the peer gets RST', async (_name, onStream) => {
    const peer = new RawPeer(onStream === undefined ? {} : { onStream })
    peer.open(1)
    await turns()
    expect(peer.seen).toEqual([{ type: WINDOW_UPDATE, flags: RST, id: 1, length: 0 }])
    expect(peer.session.streams).toBe(0)
  })

  test('options out of range are refused', () => {
    const [pipe] = pipePair()
    expect(codeOf(() => new YamuxSession(pipe, { role: 'client', window: 262_143 }))).toBe('OPTION')
    expect(codeOf(() => new YamuxSession(pipe, { role: 'client', maxStreams: 0 }))).toBe('OPTION')
    expect(pipe.listenerCount('data')).toBe(0)
  })
})

describe('pings', () => {
  test('measure the round trip; are answered with the same value', async () => {
    const { client, server } = pair()
    expect(await client.ping(never)).toBeGreaterThan(0)
    expect(await server.ping(never)).toBeGreaterThan(0)
    client.destroy()
    const peer = new RawPeer()
    peer.frame(PING, SYN, 0, 0xfedcba98)
    await turns()
    expect(peer.seen).toEqual([{ type: PING, flags: ACK, id: 0, length: 0xfedcba98 }])
  })

  test('reject with the reason of the signal, and when the session ends', async () => {
    const peer = new RawPeer()
    const abort = new AbortController()
    const aborted = peer.session.ping(abort.signal)
    const ended = peer.session.ping(never)
    const reason = new Error('enough')
    abort.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    await expect(peer.session.ping(abort.signal)).rejects.toBe(reason)
    peer.frame(PING, ACK, 0, 0) // late: ignored
    peer.session.destroy()
    await expect(ended).rejects.toMatchObject({ code: 'SESSION_CLOSED' })
    await expect(peer.session.ping(never)).rejects.toMatchObject({ code: 'SESSION_CLOSED' })
  })

  test('a flood of them from a peer that reads is answered; from one that does not it ends the session', async () => {
    const peer = new RawPeer()
    for (let n = 0; n < 20_000; n++) peer.frame(PING, SYN, 0, n)
    await turns()
    // More than the room for control frames within one turn: nothing can be written meanwhile.
    expect((await peer.session.closed).error).toMatchObject({ code: 'PEER_NOT_READING' })

    const reader = new RawPeer()
    for (let n = 0; n < 20_000; n++) {
      reader.frame(PING, SYN, 0, n)
      if (n % 1000 === 0) await turns(1)
    }
    await turns()
    expect(reader.seen).toHaveLength(20_000)
  })
})

describe('go-away', () => {
  test("after ours the peer's new streams are reset, old ones and our own go on", async () => {
    const { client, server } = pair(stream => stream.pipe(stream))
    const old = client.open()
    old.write('x')
    await turns(5)
    server.goAway()
    await turns(5)
    expect([client.remoteGoneAway, server.remoteGoneAway]).toEqual([true, false])
    expect(codeOf(() => client.open())).toBe('GONE_AWAY')
    old.end('yz')
    const chunks: Buffer[] = []
    for await (const chunk of old) chunks.push(chunk as Buffer)
    expect(Buffer.concat(chunks).toString()).toBe('xyz')
    expect(codeOf(() => server.open())).toBe('no error')
    client.destroy()
  })

  test('a SYN that crossed it is refused, its late frames are dropped', async () => {
    let offered = 0
    const peer = new RawPeer({ onStream: () => void offered++ })
    peer.session.goAway()
    peer.frame(DATA, SYN, 1, 3, Buffer.from('abc'))
    peer.frame(DATA, FIN, 1, 3, Buffer.from('abc'))
    await turns()
    expect(offered).toBe(0)
    expect(peer.seen.at(-1)).toEqual({ type: WINDOW_UPDATE, flags: RST, id: 1, length: 0 })
    expect(peer.pipe.destroyed).toBe(false)
  })
})

describe('the end of a session', () => {
  test('end() on both idle sides is clean for both', async () => {
    const { client, server } = pair()
    await client.end()
    expect(await client.closed).toEqual({ clean: true })
    expect(await server.closed).toEqual({ clean: true })
    await client.end()
    expect(codeOf(() => client.open())).toBe('SESSION_CLOSED')
  })

  const dirty: [string, (peer: RawPeer) => void, string][] = [
    ['without a go-away', peer => peer.pipe.push(null), 'PIPE_LOST'],
    [
      'inside a header',
      peer => {
        peer.frame(GO_AWAY, 0, 0, 0)
        peer.pipe.emit('data', Buffer.alloc(5))
        peer.pipe.push(null)
      },
      'PIPE_LOST',
    ],
    [
      'with a stream open',
      peer => {
        peer.open(1)
        peer.frame(GO_AWAY, 0, 0, 0)
        peer.pipe.push(null)
      },
      'PIPE_LOST',
    ],
    [
      'by a failure of the pipe after the go-away',
      peer => {
        peer.frame(GO_AWAY, 0, 0, 0)
        peer.pipe.destroy(new Error('ECONNRESET'))
      },
      'PIPE_LOST',
    ],
  ]

  test.each(dirty)('%s is not clean', async (_name, act, code) => {
    const peer = new RawPeer({ onStream: stream => stream.accept() })
    act(peer)
    const { clean, error } = await peer.session.closed
    expect(clean).toBe(false)
    expect(error).toMatchObject({ code })
  })

  test('its twin: a go-away, the stream finished, then the end', async () => {
    const peer = new RawPeer({ onStream: stream => stream.resume().end() })
    peer.open(1, SYN | FIN)
    peer.frame(GO_AWAY, 0, 0, 0)
    await turns()
    peer.pipe.push(null)
    expect(await peer.session.closed).toEqual({ clean: true })
  })

  test('end() with a stream open resets it, and is not clean', async () => {
    const peer = new RawPeer()
    peer.session.open()
    await peer.session.end()
    expect(peer.seen.map(({ type, flags }) => [type, flags])).toEqual([
      [WINDOW_UPDATE, SYN],
      [WINDOW_UPDATE, RST],
      [GO_AWAY, 0],
    ])
    peer.pipe.push(null)
    expect(await peer.session.closed).toMatchObject({ clean: false, error: { code: 'SESSION_CLOSED' } })
  })

  test('destroy() gives its error to every stream and to closed', async () => {
    const { client } = pair(() => {})
    const errors: Error[] = []
    for (let n = 0; n < 3; n++) client.open().on('error', error => errors.push(error))
    const reason = new Error('grant expired')
    client.destroy(reason)
    expect(await client.closed).toEqual({ clean: false, error: reason })
    expect(errors).toEqual([reason, reason, reason])
  })

  test('a pipe that is dead already gives a session that is over', async () => {
    for (const wait of [0, 2]) {
      const [pipe, other] = pipePair()
      other.on('error', () => {})
      pipe.destroy()
      await turns(wait)
      const session = new YamuxSession(pipe, { role: 'client' })
      expect((await session.closed).error).toMatchObject({ code: 'PIPE_LOST' })
    }
  })

  test('a pipe that says close while it is being destroyed, before its error, ends the session', async () => {
    // As a TLSSocket does whose TCP socket was destroyed first.
    const pipe = new Duplex({
      emitClose: false,
      read() {},
      write: (_chunk, _encoding, done) => done(),
      destroy(error, done) {
        this.emit('close')
        done(error)
      },
    })
    const session = new YamuxSession(pipe, { role: 'client' })
    const stream = session.open()
    pipe.destroy(new Error('reset'))
    expect(await session.closed).toMatchObject({ clean: false, error: { code: 'PIPE_LOST' } })
    await turns()
    expect(stream.closed).toBe(true)
  })

  test('no listener is left on the pipe', async () => {
    for (const how of ['end', 'destroy'] as const) {
      const { client, server, pipes } = pair(stream => stream.resume().end())
      client.open().resume().end()
      await turns(5)
      void client[how]()
      await Promise.all([client.closed, server.closed])
      for (const pipe of pipes) {
        for (const event of ['data', 'drain', 'error', 'close'])
          expect([event, pipe.listenerCount(event)]).toEqual([event, 0])
      }
    }
  })

  test("an exception of a reader's listener ends the session instead of putting frames out of step", async () => {
    const peer = new RawPeer({
      onStream: stream =>
        stream.on('data', () => {
          throw new Error('a bug of the application')
        }),
    })
    peer.open(1)
    await turns()
    expect(() => peer.frame(DATA, 0, 1, 1, Buffer.from('x'))).toThrow('a bug of the application')
    expect((await peer.session.closed).error).toMatchObject({ code: 'SESSION_CLOSED' })
  })
})

describe('errors of streams', () => {
  test('nobody listening: a reset, a lost pipe and our own destroy(error) crash nothing', async () => {
    const peer = new RawPeer({ onStream: () => {} })
    for (const id of [1, 3, 5]) peer.open(id)
    const own = peer.session.open()
    peer.frame(WINDOW_UPDATE, RST, 1, 0)
    own.destroy(new Error('mine'))
    peer.pipe.destroy(new Error('lost'))
    await peer.session.closed
    await turns()
    expect(peer.session.streams).toBe(0)
  })

  test('the callback of a write that was not sent gets an error', async () => {
    const peer = new RawPeer()
    const stream = peer.session.open()
    const { promise, resolve } = Promise.withResolvers<unknown>()
    stream.write(Buffer.alloc(300_000), resolve)
    stream.destroy()
    expect(await promise).toBeInstanceOf(YamuxError)
  })

  test('a destroyed stream sends RST once, a finished one nothing', async () => {
    const peer = new RawPeer({ onStream: stream => stream.resume() })
    peer.open(1)
    peer.open(3)
    const [one, two] = [peer.session.open(), peer.session.open()]
    one.destroy()
    one.destroy()
    two.end()
    await turns()
    peer.frame(WINDOW_UPDATE, FIN, two.id, 0)
    two.destroy()
    await turns()
    expect(peer.sent(RST, one.id)).toHaveLength(1)
    expect(peer.sent(RST, two.id)).toHaveLength(0)
    expect(peer.sent(FIN, two.id)).toHaveLength(1)
  })

  test("one visitor's thousands of resets leave the other streams whole and nothing behind", async () => {
    const { client, server } = pair(stream => stream.pipe(stream))
    const quiet = client.open()
    const got: Buffer[] = []
    quiet.on('data', (chunk: Buffer) => got.push(chunk))
    for (let n = 0; n < 5000; n++) {
      const visitor = client.open()
      visitor.write('hello')
      if (n % 3 === 0) await turns(1)
      visitor.reset()
      if (n % 100 === 0) quiet.write(`${n};`)
    }
    await turns(20)
    expect(Buffer.concat(got).toString()).toBe(Array.from({ length: 50 }, (_, n) => `${n * 100};`).join(''))
    expect([client.streams, server.streams]).toEqual([1, 1])
    client.destroy()
  })

  test('thousands of streams opened and reset by the peer at once likewise', async () => {
    const streams: YamuxStream[] = []
    const peer = new RawPeer({ onStream: stream => void streams.push(stream) })
    peer.open(1)
    for (let id = 3; id < 20_000; id += 2) {
      peer.open(id)
      peer.frame(WINDOW_UPDATE, RST, id, 0)
    }
    await turns()
    expect(peer.session.streams).toBe(1)
    expect(streams[0]!.destroyed).toBe(false)
    peer.session.destroy()
  })

  test('our own opens and resets against a stalled pipe are refused before they can end the session', async () => {
    const peer = new RawPeer()
    peer.reading = false
    const bulk = peer.session.open()
    bulk.write(Buffer.alloc(5_000_000))
    peer.frame(WINDOW_UPDATE, ACK, bulk.id, 10_000_000)
    await turns()
    let refused = ''
    for (let n = 0; n < 50_000 && refused === ''; n++) {
      const code = codeOf(() => peer.session.open().destroy())
      if (code !== 'no error') refused = code
    }
    expect(refused).toBe('PIPE_FULL')
    expect(peer.pipe.destroyed).toBe(false)
    for (let n = 0; n < 200; n++) {
      peer.read()
      await turns(1)
    }
    expect(codeOf(() => peer.session.open())).toBe('no error')
    expect(peer.payloadBytes).toBe(5_000_000)
  })
})
