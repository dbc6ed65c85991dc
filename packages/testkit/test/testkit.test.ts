import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import { type Incoming, problem } from '@postern/interface'
import { describe, it } from 'vitest'
import { authority, fakeClock, leftOpen, memoryPair, memoryTransport, openOrigin, resources } from '../src/index.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const call = (): { signal: AbortSignal; log: typeof log } => ({ signal: AbortSignal.timeout(10_000), log })

describe('authority', () => {
  it('issues certificates that TLS verifies, for the names asked for', async () => {
    const ca = await authority()
    assert.equal(ca, await authority(), 'made once a process')
    const { cert, key, der } = await ca.issue({
      commonName: 'a.test',
      dnsNames: ['a.test'],
      ipAddresses: ['127.0.0.1'],
    })
    const leaf = new X509Certificate(der)
    assert.equal(leaf.checkHost('a.test'), 'a.test')
    assert.equal(leaf.checkIP('127.0.0.1'), '127.0.0.1')
    const client = await ca.issue({ commonName: 'device', usage: 'client' })
    await using owned = new AsyncDisposableStack()
    const server = tls.createServer({ cert, key, ca: ca.ca, requestCert: true, rejectUnauthorized: true })
    owned.defer(() => void server.close())
    const seen = once(server, 'secureConnection')
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    const socket = tls.connect({
      port,
      host: '127.0.0.1',
      servername: 'a.test',
      ca: ca.ca,
      cert: client.cert,
      key: client.key,
    })
    owned.defer(() => void socket.destroy())
    await once(socket, 'secureConnect')
    const [atServer] = (await seen) as [tls.TLSSocket]
    assert.deepEqual(new Uint8Array(atServer.getPeerX509Certificate()?.raw ?? []), client.der)
  })

  it('another authority’s certificate is not trusted', async () => {
    const [one, other] = await Promise.all([authority(), authority('another')])
    const { cert } = await other.issue({ commonName: 'a.test', dnsNames: ['a.test'] })
    assert.equal(new X509Certificate(cert).verify(new X509Certificate(other.ca).publicKey), true)
    assert.equal(new X509Certificate(cert).verify(new X509Certificate(one.ca).publicKey), false)
  })
})

describe('fakeClock', () => {
  it('lets timers happen in their order, and only when told', async () => {
    const clock = fakeClock(1000)
    const order: string[] = []
    clock.setTimeout(() => order.push('late'), 200)
    clock.setTimeout(() => {
      order.push('early')
      clock.setTimeout(() => order.push('made by early'), 50)
    }, 100)
    const dropped = clock.setTimeout(() => order.push('never'), 150)
    clock.clearTimeout(dropped)
    await clock.advance(99)
    assert.deepEqual(order, [])
    await clock.advance(101)
    assert.deepEqual(order, ['early', 'made by early', 'late'])
    assert.deepEqual([clock.now(), clock.pending], [1200, 0])
  })
})

describe('memoryPair', () => {
  it('half-closes both ways, in small pieces', async () => {
    const [one, other] = memoryPair({ chunk: 7, highWaterMark: 16 })
    other.on('data', () => {}).on('end', () => other.end('b'.repeat(1000)))
    one.end('a'.repeat(1000))
    let text = ''
    for await (const chunk of one) text += String(chunk)
    assert.equal(text, 'b'.repeat(1000))
  })

  it('makes the writer wait for the reader', async () => {
    const [one, other] = memoryPair({ highWaterMark: 1000 })
    let written = 0
    while (written < 100_000 && one.write(Buffer.alloc(100))) written += 100
    assert.ok(written <= 3000, `${written} bytes were taken`)
    other.resume()
    await once(one, 'drain')
    one.resume().end()
    other.end()
    await once(other, 'close')
  })

  it('a cut is an error at the other end, a clean end is not', async () => {
    const [one, other] = memoryPair()
    const failed = once(other, 'error')
    one.destroy()
    assert.equal(((await failed) as [NodeJS.ErrnoException])[0].code, 'STREAM_CUT')
    const [left, right] = memoryPair()
    right.resume().end()
    left.resume().end()
    await Promise.all([once(left, 'close'), once(right, 'close')])
    assert.deepEqual([left.errored, right.errored], [null, null])
  })
})

describe('memoryTransport', () => {
  const request = {
    edge: new URL('https://edge.test'),
    host: 'app.test',
    purpose: 'session' as const,
    headers: { 'X-One': ['a', 'b'] },
    credential: { headers: { secret: 's' } },
    connect: () => Promise.reject(new Error('nothing to connect to')),
    ca: [],
  }

  it('carries a dial to the edge, and its answer back', async () => {
    const { client, edge, kill } = memoryTransport()
    const arrived: Incoming[] = []
    const pipes: NodeJS.ReadWriteStream[] = []
    const accept = async (incoming: Incoming): Promise<void> => {
      arrived.push(incoming)
      if (arrived.length > 1) return incoming.reject(problem('ACCESS_DENIED', 'r-2'), { 'X-Why': 'because' })
      pipes.push((await incoming.accept({ 'X-Answer': 'yes' })).on('error', () => {}))
    }
    await edge.mount(undefined as never, accept, call())
    const { pipe, answer } = await client.dial(request, call())
    assert.deepEqual(answer, { 'x-answer': ['yes'] })
    assert.deepEqual(arrived[0]?.presented.headers, { 'x-one': ['a', 'b'], secret: ['s'] })
    pipe.write('hello')
    assert.equal(String((await once(pipes[0]!, 'data'))[0]), 'hello')
    const cut = once(pipe, 'error')
    kill()
    await cut
    await assert.rejects(client.dial(request, call()), {
      code: 'ACCESS_DENIED',
      refusal: { status: 403, headers: { 'x-why': ['because'] } },
    })
  })

  it('aborts with the reason, and reaches nobody where nobody is', async () => {
    const { client, edge } = memoryTransport()
    await assert.rejects(client.dial(request, call()), { code: 'EDGE_UNREACHABLE' })
    await edge.mount(undefined as never, async () => {}, call())
    const reason = new Error('over')
    const own = new AbortController()
    const dialling = client.dial(request, { signal: own.signal, log })
    own.abort(reason)
    await assert.rejects(dialling, error => error === reason)
  })
})

describe('openOrigin', () => {
  const visit = async (port: number, text: string): Promise<string> => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.end(text)
    let back = ''
    for await (const chunk of socket) back += String(chunk)
    return back
  }

  it('counts connections and bytes, and plays its script', async () => {
    const before = resources()
    {
      await using origin = await openOrigin()
      assert.equal(await visit(origin.port, 'hello'), 'hello')
      origin.script = { afterEnd: 1000 }
      assert.equal((await visit(origin.port, 'bye')).length, 1000)
      assert.deepEqual([origin.connections, origin.received], [2, 8])
      origin.script = 'reset'
      await assert.rejects(visit(origin.port, 'x'), { code: 'ECONNRESET' })
      await origin.refuse()
      await assert.rejects(visit(origin.port, 'x'), { code: 'ECONNREFUSED' })
      assert.equal(origin.connections, 3)
    }
    assert.deepEqual(await leftOpen(before), [])
  })

  it('leftOpen names what was forgotten', async () => {
    const before = resources()
    const server = net.createServer().listen(0)
    await once(server, 'listening')
    assert.deepEqual(await leftOpen(before, 50), ['TCPServerWrap ×1'])
    server.close()
    assert.deepEqual(await leftOpen(before), [])
  })
})
