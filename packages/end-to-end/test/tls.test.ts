import { once } from 'node:events'
import { finished } from 'node:stream/promises'
import { connect } from 'node:tls'
import { createAuthority } from '@postern/pki'
import { leftOpen, memoryPair as pair, resources } from '@postern/testkit'
import fc from 'fast-check'
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { setupUri } from '../src/index.ts'
import { makeSessionKey } from '../src/session-key.ts'
import { daemonContext, secureAsClient, secureAsDaemon } from '../src/tls.ts'
import { authorityBy, call, join, log, setupTunnel, type TestTunnel, testTunnel } from './world.ts'

let tunnel: TestTunnel
beforeAll(async () => {
  tunnel = await testTunnel()
})

/** Whatever is between two ends dies with them, and that is no news. */
function memoryPair() {
  const both = pair()
  for (const end of both) end.on('error', () => {})
  return both
}

let before = resources()
beforeEach(() => {
  before = resources()
})
afterEach(async () => {
  expect(await leftOpen(before)).toEqual([])
})

async function endOf(stream: import('node:stream').Readable): Promise<string> {
  stream.resume()
  return finished(stream, { writable: false }).then(
    () => 'end',
    error => error.code,
  )
}

async function all(stream: import('node:stream').Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', chunk => chunks.push(chunk))
  await finished(stream, { writable: false })
  return Buffer.concat(chunks)
}

describe('two ends that are who they say', () => {
  it('speak TLS 1.3 with AES-128-GCM, and the daemon sees the client’s key proved', async () => {
    const { client, daemon, proved, key } = await join(tunnel)
    expect(proved).toBe(key.fingerprint)
    const socket = client as import('node:tls').TLSSocket
    expect([socket.getProtocol(), socket.getCipher().name]).toEqual(['TLSv1.3', 'TLS_AES_128_GCM_SHA256'])
    client.end('hello')
    expect((await all(daemon)).toString()).toBe('hello')
  })

  it('a part of what the pipe has yet to hand over is heard inside, too', async () => {
    const { client, clientEnd } = await join(tunnel)
    const heard = once(client, 'progress')
    clientEnd.emit('progress')
    await heard
    client.destroy()
  })

  it('an end of either is a clean end at the other', async () => {
    for (const who of ['client', 'daemon'] as const) {
      const both = await join(tunnel)
      const other = who === 'client' ? both.daemon : both.client
      both[who].resume()
      both[who].end('the last words')
      expect((await all(other)).toString()).toBe('the last words')
      await Promise.all([both.client, both.daemon].map(end => end.closed || once(end, 'close')))
    }
  })

  it('a cut of either is a cut at the other', async () => {
    for (const who of ['client', 'daemon'] as const) {
      const both = await join(tunnel)
      const ended = endOf(who === 'client' ? both.daemon : both.client)
      both[who].on('error', () => {}).destroy(new Error('enough'))
      expect(await ended).toBe('STREAM_CUT')
    }
  })

  it('whoever is between cannot end what is inside: an end of the pipe alone is a cut', async () => {
    for (const who of ['client', 'daemon'] as const) {
      const [clientEnd, edgeOfClient] = memoryPair()
      const [edgeOfDaemon, daemonEnd] = memoryPair()
      edgeOfClient.pipe(edgeOfDaemon, { end: false })
      edgeOfDaemon.pipe(edgeOfClient, { end: false })
      const [client, { pipe: daemon }] = await Promise.all([
        secureAsClient(clientEnd, tunnel.wanted, await makeSessionKey(), call),
        secureAsDaemon(daemonEnd, daemonContext(tunnel), call),
      ])
      const both = { client, daemon }
      both.client.write('half of a')
      both.daemon.write('half of a')
      const ended = endOf(both[who])
      ;(who === 'client' ? edgeOfClient : edgeOfDaemon).end()
      expect(await ended).toBe('STREAM_CUT')
      both.client.destroy()
      both.daemon.destroy()
    }
  })

  it('bytes that were changed between are a cut, and not one of them is read', async () => {
    const [clientEnd, edgeOfClient] = memoryPair()
    const [edgeOfDaemon, daemonEnd] = memoryPair()
    let tamper = false
    edgeOfClient.on('data', (chunk: Buffer) => {
      if (tamper) chunk[chunk.length - 1]! ^= 1
      edgeOfDaemon.write(chunk)
    })
    edgeOfDaemon.pipe(edgeOfClient, { end: false })
    const [client, { pipe: daemon }] = await Promise.all([
      secureAsClient(clientEnd, tunnel.wanted, await makeSessionKey(), call),
      secureAsDaemon(daemonEnd, daemonContext(tunnel), call),
    ])
    tamper = true
    let read = 0
    daemon.on('data', chunk => (read += chunk.length))
    const ended = endOf(daemon)
    client.on('error', () => {}).write('pay 10')
    expect([await ended, read]).toEqual(['PROTOCOL_VIOLATION', 0])
    client.destroy()
    edgeOfClient.on('error', () => {}).destroy()
    edgeOfDaemon.on('error', () => {}).destroy()
  })

  it('every byte arrives, in order, whatever the chunks, and then the end or the cut', async () => {
    const piece = fc.record({ size: fc.nat(70_000), pause: fc.boolean() })
    const schedule = fc.record({
      up: fc.array(piece, { maxLength: 12 }),
      down: fc.array(piece, { maxLength: 12 }),
      chunk: fc.constantFrom(1500, 4096, 65_536, Number.MAX_SAFE_INTEGER),
      highWaterMark: fc.constantFrom(1024, 65_536),
      cut: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(schedule, async ({ up, down, chunk, highWaterMark, cut }) => {
        const both = await join(tunnel, tunnel.wanted, { chunk, highWaterMark })
        const send = async (to: typeof both.client, pieces: typeof up, from: number) => {
          const sent: Buffer[] = []
          for (const { size, pause } of pieces) {
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
        if (cut) both.clientEnd.kill()
        else both.client.end()
        expect(await Promise.all(ends)).toEqual(cut ? ['SESSION_LOST', 'SESSION_LOST'] : ['end', 'end'])
      }),
      { numRuns: 40 },
    )
  }, 120_000)

  it('a reader that stands still makes the writer wait, and its end is told when it reads on', async () => {
    const { client, daemon } = await join(tunnel)
    let written = 0
    while (client.write(Buffer.alloc(65_536)) && written < 1e8) {
      written += 65_536
      await new Promise(resolve => setImmediate(resolve))
    }
    expect(written).toBeLessThan(4e6)
    client.end()
    expect((await all(daemon)).length).toBe(written + 65_536)
  })
})

describe('whoever is not who it says', () => {
  const refused = async (
    other: TestTunnel,
    wanted: Partial<TestTunnel['wanted']> = {},
  ): Promise<{ client: string; message: string; daemon: string }> => {
    const [clientEnd, daemonEnd] = memoryPair()
    const key = await makeSessionKey()
    const [client, daemon] = await Promise.allSettled([
      secureAsClient(clientEnd, { ...tunnel.wanted, ...wanted }, key, call),
      secureAsDaemon(daemonEnd, daemonContext(other), call).then(({ pipe }) => endOf(pipe)),
    ])
    const told = client.status === 'rejected' ? client.reason : { code: 'in', message: '' }
    return {
      client: told.code,
      message: told.message,
      daemon: daemon.status === 'rejected' ? daemon.reason.code : daemon.value,
    }
  }

  it('the allow twin: the daemon itself is let in', async () => {
    const { client, daemon } = await join(tunnel)
    client.end()
    expect(await endOf(daemon)).toBe('end')
    await endOf(client)
  })

  it('a tunnel with another identity is told by both fingerprints', async () => {
    const other = await testTunnel()
    const { client, message } = await refused(other, { identity: other.wanted.identity })
    expect(client).toBe('TUNNEL_KEY_CHANGED')
    expect(message).toContain(other.wanted.pin)
    expect(message).toContain(tunnel.wanted.pin)
  })

  it('an edge that swaps the daemon’s key, with the right identity beside it', async () => {
    const other = await testTunnel()
    expect(await refused({ ...tunnel, certificate: other.certificate, key: other.key })).toMatchObject({
      client: 'DAEMON_UNTRUSTED',
    })
  })

  it('an edge that signs a certificate for its key with the identity’s name', async () => {
    const forged = await testTunnel('home')
    expect(forged.wanted.pin).not.toBe(tunnel.wanted.pin)
    expect(await refused({ ...forged, connector: tunnel.connector })).toMatchObject({ client: 'DAEMON_UNTRUSTED' })
  })

  it('a connector of another tunnel, though one identity vouches for both', async () => {
    const other = await testTunnel('other', { identity: tunnel.identity })
    expect(await refused(other)).toMatchObject({ client: 'DAEMON_UNTRUSTED' })
  })

  it('another connector of the same tunnel than the edge named', async () => {
    const sibling = await testTunnel('home', { identity: tunnel.identity })
    expect(await refused(sibling)).toMatchObject({ client: 'DAEMON_UNTRUSTED' })
    const twin = await join(sibling)
    twin.client.end()
    expect(await endOf(twin.daemon)).toBe('end')
    await endOf(twin.client)
  })

  it('a certificate of the daemon that has expired', async () => {
    // Made an hour ago, for a minute.
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3600_000 })
    const ended = await testTunnel('home', { identity: tunnel.identity, seconds: 60 }).finally(() => vi.useRealTimers())
    const found = await refused(ended, { connector: ended.connector })
    expect(found.client).toBe('DAEMON_UNTRUSTED')
    expect(found.message).toContain('expired')
  })

  it('a daemon of a setup token: let in by its authority, and refused by every other', async () => {
    const { identity } = tunnel
    const own = await setupTunnel(identity)
    const twin = await join(own)
    twin.client.end()
    expect(await endOf(twin.daemon)).toBe('end')
    await endOf(twin.client)
    const untrusted = async (shown: TestTunnel, wanted = shown.wanted) =>
      expect(await refused(shown, wanted)).toMatchObject({ client: 'DAEMON_UNTRUSTED' })
    const { authority: _, ...alone } = own
    await untrusted(alone)
    await untrusted({ ...own, authority: (await setupTunnel(identity)).authority ?? '' })
    // An authority for one connector that signed another, for another tunnel, or for none.
    await untrusted(await setupTunnel(identity, { uri: setupUri('home', crypto.randomUUID()) }))
    await untrusted(await setupTunnel(identity, { uri: setupUri('far', crypto.randomUUID()) }))
    await untrusted(await setupTunnel(identity, { uri: 'postern:setup:home' }))
    // Another tunnel's, whose identity has the same name.
    const other = await testTunnel()
    await untrusted(await setupTunnel(identity, { by: other.identity }))
    // What one is granted for, another with its own good chain is not.
    await untrusted(await setupTunnel(identity), own.wanted)
  })

  it('a longer chain than one authority below the identity', async () => {
    const { identity } = tunnel
    // One that may sign for this very connector, of an authority that has the right name, key and signature of the identity.
    const between = await createAuthority({ commonName: 'postern setup home', days: 30, pathLength: 1 })
    const above = await authorityBy(identity, setupUri('home', crypto.randomUUID()), undefined, between.key)
    const long = await setupTunnel(identity, { by: between })
    for (const authority of [long.authority + above.cert, above.cert + long.authority, long.authority ?? ''])
      expect(await refused({ ...long, authority }, long.wanted)).toMatchObject({ client: 'DAEMON_UNTRUSTED' })
  })

  it('a setup token’s authority that has ended', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3600_000 })
    const ended = await setupTunnel(tunnel.identity, { seconds: 60 }).finally(() => vi.useRealTimers())
    const found = await refused(ended, ended.wanted)
    expect(found.client).toBe('DAEMON_UNTRUSTED')
    expect(found.message).toContain('expired')
  })

  it('an edge that joins the client to itself', async () => {
    const [one, other] = memoryPair()
    const results = await Promise.allSettled([
      secureAsClient(one, tunnel.wanted, await makeSessionKey(), call),
      secureAsClient(other, tunnel.wanted, await makeSessionKey(), call),
    ])
    expect(results.map(result => result.status === 'rejected' && result.reason.code)).toContain('PROTOCOL_VIOLATION')
    expect(results.map(result => result.status)).toEqual(['rejected', 'rejected'])
  })

  it('something that speaks no TLS, or nothing at all', async () => {
    const [clientEnd, edge] = memoryPair()
    edge.on('error', () => {}).write('HTTP/1.1 200 OK\r\n\r\n')
    const key = await makeSessionKey()
    await expect(secureAsClient(clientEnd, tunnel.wanted, key, call)).rejects.toMatchObject({
      code: 'PROTOCOL_VIOLATION',
    })
    const [silent, other] = memoryPair()
    const stop = new AbortController()
    const waiting = secureAsClient(silent, tunnel.wanted, key, { signal: stop.signal, log })
    stop.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    expect(await endOf(other)).toBe('STREAM_CUT')
    const [ended, ending] = memoryPair()
    ending.end()
    await expect(secureAsClient(ended, tunnel.wanted, key, call)).rejects.toMatchObject({ code: 'STREAM_CUT' })
    ending.on('error', () => {}).destroy()
  })

  it('a client without a certificate, or without the protocol’s name', async () => {
    for (const more of [{ ALPNProtocols: ['postern/1'] }, { ALPNProtocols: ['h2'] }, {}]) {
      const [clientEnd, daemonEnd] = memoryPair()
      const stranger = connect({ socket: clientEnd, rejectUnauthorized: false, ...more })
      stranger.on('error', () => {})
      await expect(secureAsDaemon(daemonEnd, daemonContext(tunnel), call)).rejects.toMatchObject({
        code: 'PROTOCOL_VIOLATION',
      })
      stranger.destroy()
    }
  })

  it('a session is never taken up again: each has its key proved anew', async () => {
    const dial = async (session?: Buffer) => {
      const [clientEnd, daemonEnd] = memoryPair()
      const { certificateOf } = await import('../src/session-key.ts')
      const key = await makeSessionKey()
      const own = { cert: certificateOf(key), key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }) }
      const socket = connect({
        ...{ socket: clientEnd, rejectUnauthorized: false, ALPNProtocols: ['postern/1'], ...own },
        ...(session && { session }),
      })
      let ticket: Buffer | undefined
      socket.on('session', given => (ticket = given))
      socket.resume()
      const { pipe, client } = await secureAsDaemon(daemonEnd, context, call)
      pipe.end('x')
      await once(socket, 'end')
      return { ticket, reused: socket.isSessionReused(), proved: client === key.fingerprint }
    }
    const context = daemonContext(tunnel)
    const { ticket, proved } = await dial()
    expect(proved).toBe(true)
    expect(await dial(ticket)).toMatchObject({ reused: false, proved: true })
  })
})
