import { once } from 'node:events'
import type { connect as netConnect } from 'node:net'
import type { Duplex, Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { connect, TLSSocket } from 'node:tls'
import { leftOpen, resources } from '@postern/testkit'
import fc from 'fast-check'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { makeSessionKey } from '../src/session-key.ts'
import { daemonContext, secureAsClient, secureAsDaemon } from '../src/tls.ts'
import { carried, carry, joinSockets, socketPair } from './socket-world.ts'
import { call, log, type TestTunnel, testTunnel } from './world.ts'

let tunnel: TestTunnel
beforeAll(async () => {
  tunnel = await testTunnel()
})

let before = resources()
beforeEach(() => {
  before = resources()
})
afterEach(async () => {
  expect(await leftOpen(before)).toEqual([])
})

async function direct() {
  const between = await carried()
  carry(between)
  const joined = await joinSockets(tunnel, between)
  // What TLS itself has to say behind the handshake has come: a reset would be told to its writing, which tells nobody.
  joined.daemon.write('.')
  await once(joined.client, 'readable')
  joined.client.read()
  return { ...between, ...joined }
}

function endOf(stream: Readable): Promise<string> {
  stream.resume()
  return finished(stream, { writable: false }).then(
    () => 'end',
    error => error.code,
  )
}

async function all(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', chunk => chunks.push(chunk))
  await finished(stream, { writable: false })
  return Buffer.concat(chunks)
}

async function gone(...streams: readonly Duplex[]): Promise<void> {
  const closing = (stream: Duplex) => new Promise(resolve => stream.once('close', resolve))
  await Promise.all(streams.map(stream => stream.closed || closing(stream)))
}

describe('TLS on a socket of the system’s', () => {
  it('is Node’s own, with nothing between, and each key is proved', async () => {
    const { client, daemon, proved, key, clientEnd } = await direct()
    expect(proved).toBe(key.fingerprint)
    expect(client).toBeInstanceOf(TLSSocket)
    // Node reads the socket itself: its JavaScript side never sees a byte of what came through it.
    expect([clientEnd.bytesRead > 0, clientEnd.listenerCount('data')]).toEqual([true, 0])
    client.end('hello')
    expect((await all(daemon)).toString()).toBe('hello')
    daemon.end()
    await gone(client.resume(), daemon)
  })

  it('what was read of the socket already, and put back, is read first', async () => {
    const { clientEnd, daemonEnd, ofClient, ofDaemon } = await carried()
    const secured = secureAsClient(clientEnd, tunnel.wanted, await makeSessionKey(), call)
    const [hello] = (await once(ofClient, 'data')) as [Buffer]
    ofClient.pause()
    const daemon = socketsDaemon()
    ofDaemon.write(hello)
    const [first] = (await once(daemonEnd, 'data')) as [Buffer]
    daemonEnd.pause()
    daemonEnd.unshift(first)
    ofClient.pipe(ofDaemon)
    ofDaemon.pipe(ofClient)
    const [client, { pipe }] = await Promise.all([secured, daemon.secure(daemonEnd)])
    client.end('hello')
    expect((await all(pipe)).toString()).toBe('hello')
    pipe.end()
    await gone(client.resume(), pipe)
  })

  it('says the name that was asked for, and nothing of the tunnel otherwise', async () => {
    for (const serverName of ['abcdefghijklmnopqrstuvwxyz.edge.example.com', undefined]) {
      const [clientEnd, other] = await socketPair()
      const want = { ...tunnel.wanted, ...(serverName && { serverName }) }
      const stop = new AbortController()
      const secured = secureAsClient(clientEnd, want, await makeSessionKey(), { signal: stop.signal, log })
      const [hello] = (await once(
        other.on('error', () => {}),
        'data',
      )) as [Buffer]
      expect(hello.includes(serverName ?? `${tunnel.connector}.home.postern.invalid`)).toBe(true)
      stop.abort(new Error('enough'))
      await expect(secured).rejects.toThrow('enough')
      await gone(other)
    }
  })

  it('half-closes: who ended still reads to the other’s end', async () => {
    for (const who of ['client', 'daemon'] as const) {
      const both = await direct()
      const [one, other] = who === 'client' ? [both.client, both.daemon] : [both.daemon, both.client]
      one.end('the question')
      expect((await all(other)).toString()).toBe('the question')
      other.end('the answer')
      expect((await all(one)).toString()).toBe('the answer')
      await gone(one, other)
    }
  })

  it('a cut of either is a cut at the other, as a reset, and so is one of the socket below', async () => {
    for (const who of ['client', 'daemon'] as const)
      for (const how of ['error', 'silently', 'below'] as const) {
        const both = await direct()
        const [one, other] = who === 'client' ? [both.client, both.daemon] : [both.daemon, both.client]
        const own = endOf(one)
        const ended = endOf(other)
        if (how === 'below') (who === 'client' ? both.clientEnd : both.daemonEnd).resetAndDestroy()
        else one.destroy(how === 'error' ? new Error('enough') : undefined)
        expect([how, await ended]).toEqual([how, 'STREAM_CUT'])
        expect(await own).toBe(how === 'silently' ? 'ERR_STREAM_PREMATURE_CLOSE' : 'STREAM_CUT')
        await gone(both.clientEnd, both.daemonEnd)
      }
  })

  it('an end that was said is heard whole, though who said it is destroyed behind it', async () => {
    const { client, daemon } = await direct()
    const heard = all(daemon)
    client.end(Buffer.alloc(3_000_000, 7), () => client.destroy())
    expect((await heard).equals(Buffer.alloc(3_000_000, 7))).toBe(true)
    daemon.destroy()
    await gone(client, daemon)
  })

  it('bytes that were changed between are a cut, and not one of them is read', async () => {
    const between = await carried()
    let tamper = false
    between.ofClient.on('data', (chunk: Buffer) => {
      if (tamper) chunk[chunk.length - 1]! ^= 1
      between.ofDaemon.write(chunk)
    })
    between.ofDaemon.pipe(between.ofClient)
    const { client, daemon } = await joinSockets(tunnel, between)
    tamper = true
    let read = 0
    daemon.on('data', chunk => (read += chunk.length))
    const ended = endOf(daemon)
    client.on('error', () => {}).write('pay 10')
    expect([await ended, read]).toEqual(['PROTOCOL_VIOLATION', 0])
    client.destroy()
    await gone(client, daemon)
  })

  it('every byte arrives, in order, whatever the chunks, and then the end or the cut', async () => {
    const piece = fc.record({ size: fc.nat(70_000), pause: fc.boolean() })
    const pieces = fc.array(piece, { maxLength: 12 })
    const schedule = fc.record({ up: pieces, down: pieces, end: fc.constantFrom('end', 'cut', 'carrier') })
    await fc.assert(
      fc.asyncProperty(schedule, async ({ up, down, end }) => {
        const both = await direct()
        const send = async (to: Duplex, those: typeof up, from: number) => {
          const sent: Buffer[] = []
          for (const { size, pause } of those) {
            const bytes = Buffer.alloc(size, from + sent.length)
            sent.push(bytes)
            if (!to.write(bytes)) await once(to, 'drain')
            if (pause) await new Promise(resolve => setImmediate(resolve))
          }
          return Buffer.concat(sent)
        }
        const got = { up: [] as Buffer[], down: [] as Buffer[] }
        both.daemon.on('data', bytes => got.up.push(bytes)).on('error', () => {})
        both.client.on('data', bytes => got.down.push(bytes)).on('error', () => {})
        const ends = [endOf(both.daemon), endOf(both.client)]
        const [sentUp, sentDown] = await Promise.all([send(both.client, up, 1), send(both.daemon, down, 100)])
        const arrived = () =>
          Buffer.concat(got.up).length === sentUp.length && Buffer.concat(got.down).length === sentDown.length
        while (!arrived()) await new Promise(resolve => setImmediate(resolve))
        expect(Buffer.concat(got.up).equals(sentUp) && Buffer.concat(got.down).equals(sentDown)).toBe(true)
        if (end === 'cut') both.client.destroy(new Error('enough'))
        else if (end === 'carrier') for (const one of [both.ofClient, both.ofDaemon]) one.resetAndDestroy()
        else for (const one of [both.client, both.daemon]) one.end()
        const expected = end === 'end' ? 'end' : 'STREAM_CUT'
        expect(await Promise.all(ends)).toEqual([expected, expected])
        await gone(both.client, both.daemon, both.clientEnd, both.daemonEnd)
      }),
      { numRuns: 40 },
    )
  }, 60_000)

  it('a reader that stands still makes the writer wait, and its end is told when it reads on', async () => {
    const { client, daemon } = await direct()
    let written = 0
    const bytes = Buffer.alloc(65_536)
    // Until nothing moves any more: the buffers of the system are of its own sizes.
    for (let moved = true; moved; ) {
      while (client.write(bytes)) written += bytes.length
      written += bytes.length
      moved = await Promise.race([
        once(client, 'drain').then(() => true),
        new Promise<boolean>(resolve => setTimeout(resolve, 500, false)),
      ])
    }
    expect(written).toBeLessThan(64e6)
    client.end()
    expect((await all(daemon)).length).toBe(written)
    daemon.end()
    await gone(client.resume(), daemon)
  })
})

describe('no TLS on a socket', () => {
  it('where the daemon is not who it has to be; its twin is above', async () => {
    const other = await testTunnel()
    const between = await carried()
    carry(between)
    const key = await makeSessionKey()
    const [client, daemon] = await Promise.allSettled([
      secureAsClient(between.clientEnd, tunnel.wanted, key, call),
      secureAsDaemon(between.daemonEnd, daemonContext(other), call).then(({ pipe }) => endOf(pipe)),
    ])
    expect(client).toMatchObject({ status: 'rejected', reason: { code: 'DAEMON_UNTRUSTED' } })
    expect(daemon.status === 'rejected' ? daemon.reason.code : daemon.value).not.toBe('end')
    await gone(between.clientEnd, between.daemonEnd)
  })

  it('where something else answers, nothing does, or it ends', async () => {
    const key = await makeSessionKey()
    const asking = async (answer: (other: import('node:net').Socket) => void, by = call) => {
      const [end, other] = await socketPair()
      other.on('error', () => {})
      const secured = secureAsClient(end, tunnel.wanted, key, by)
      secured.catch(() => {})
      answer(other)
      const error = await secured.then(
        () => undefined,
        thrown => thrown,
      )
      await gone(end, other.destroy())
      return error
    }
    expect(await asking(other => other.write('HTTP/1.1 200 OK\r\n\r\n'))).toMatchObject({ code: 'PROTOCOL_VIOLATION' })
    expect(await asking(other => other.resume().end())).toMatchObject({ code: 'STREAM_CUT' })
    expect(await asking(other => other.resetAndDestroy())).toMatchObject({ code: 'STREAM_CUT' })
    const stop = AbortSignal.timeout(100)
    expect(await asking(other => other.resume(), { signal: stop, log })).toBe(stop.reason)
    const [dead, other] = await socketPair()
    dead.destroy()
    await expect(secureAsClient(dead, tunnel.wanted, key, call)).rejects.toMatchObject({ code: 'STREAM_CUT' })
    await gone(other.resume().end())
  })

  it('where a client shows no certificate, has another protocol, or leaves', async () => {
    for (const options of [{ ALPNProtocols: ['postern/1'] }, { ALPNProtocols: ['h2'] }, 'resets', 'ends'] as const) {
      const [clientEnd, daemonEnd] = await socketPair()
      const secured = secureAsDaemon(daemonEnd, daemonContext(tunnel), call)
      secured.catch(() => {})
      if (options === 'resets') clientEnd.resetAndDestroy()
      else if (options === 'ends') clientEnd.resume().end()
      else connect({ ...options, socket: clientEnd, rejectUnauthorized: false }).on('error', () => {})
      const code = typeof options === 'string' ? 'STREAM_CUT' : 'PROTOCOL_VIOLATION'
      await expect(secured).rejects.toMatchObject({ code })
      await gone(daemonEnd, clientEnd.on('error', () => {}).destroy())
    }
  })
})

function socketsDaemon() {
  const context = daemonContext(tunnel)
  return { secure: (end: ReturnType<typeof netConnect>) => secureAsDaemon(end, context, call) }
}
