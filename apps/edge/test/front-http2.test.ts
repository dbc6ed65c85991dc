import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2'
import type { Writable } from 'node:stream'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Exchange } from '../src/front/exchange.ts'
import { ask2, echo, type FrontWorld, refuse, startFront, tell } from './front-world.ts'

/** RFC 9113 §4.1: length, type, flags, stream. */
function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}
const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0)])
const AUTHORITY = Buffer.concat([Buffer.from([0x41, 0x0c]), Buffer.from('db.localhost')])
/** HPACK (RFC 7541 appendix A): method GET, scheme https, path /, authority. */
const GET = Buffer.concat([Buffer.from([0x82, 0x87, 0x84]), AUTHORITY])
const CANCEL = Buffer.from([0, 0, 0, 8])

/** HTTP/2 by hand. */
async function connectRaw(): Promise<TLSSocket> {
  const ca = readFileSync(world.caFile)
  const socket = connect({ port: world.port, host: '127.0.0.1', servername: 'db.localhost', ca, ALPNProtocols: ['h2'] })
  socket.on('error', () => {}).resume()
  await once(socket, 'secureConnect')
  return socket
}

function until(socket: TLSSocket, isThere: (data: Buffer) => boolean): Promise<void> {
  let data = Buffer.alloc(0)
  return new Promise(resolve => {
    socket.on('data', (chunk: Buffer) => {
      data = Buffer.concat([data, chunk])
      if (isThere(data)) resolve()
    })
  })
}

let world: FrontWorld
let session: ClientHttp2Session
const open: Exchange[] = []
const uncaught = vi.fn()

beforeAll(async () => {
  process.on('uncaughtException', uncaught)
  world = await startFront({
    exchange: exchange => {
      if (exchange.target.startsWith('/echo')) void echo(exchange).catch(() => {})
      else if (exchange.target.startsWith('/refuse')) refuse(exchange)
      else if (exchange.target.startsWith('/open')) open.push(exchange)
      else tell(exchange)
    },
    upgrade: upgrade => {
      if (upgrade.target === '/no') return refuse(upgrade as never)
      const stream = upgrade.accept(['Sec-WebSocket-Protocol', 'chat', 'Sec-WebSocket-Accept', 'x', 'Connection', 'y'])
      stream.pipe(stream)
    },
  })
  session = world.http2()
  await once(session, 'remoteSettings')
})
beforeEach(() => {
  world.seen.length = 0
  world.upgrades.length = 0
  open.length = 0
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  process.off('uncaughtException', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

describe('HTTP/2 on the same port', () => {
  test('requests are handed out with their host and their one spelling', async () => {
    const answer = await ask2(session, { ':path': '/%61%2bb?c', 'x-a': '1' })
    expect(answer).toMatchObject({ body: `GET db.localhost /a%2Bb?c`, rstCode: 0 })
    const [exchange] = world.seen
    expect(exchange).toMatchObject({ version: '2', hostname: 'db.localhost', method: 'GET' })
    expect(exchange?.presented.headers).toEqual({ host: [`db.localhost:${world.port}`], 'x-a': ['1'] })
    expect(exchange?.presented.remoteAddress).toBe('127.0.0.1')
  })

  test('bodies go both ways, many at once', async () => {
    const texts = Array.from({ length: 60 }, (_, n) => `${n} `.repeat(20_000))
    const answers = await Promise.all(texts.map(text => ask2(session, { ':path': '/echo', ':method': 'POST' }, text)))
    expect(answers.map(({ body }) => body)).toEqual(texts)
  })

  test('a refusal is a problem, without what HTTP/2 does not have; HEAD has no body', async () => {
    const refused = await ask2(session, { ':path': '/refuse' })
    expect(refused.headers).toMatchObject({ ':status': 401, 'content-type': 'application/problem+json' })
    expect(refused.headers.connection).toBeUndefined()
    expect(JSON.parse(refused.body)).toMatchObject({ code: 'LOGIN_REQUIRED' })
    const head = await ask2(session, { ':path': '/refuse', ':method': 'HEAD' })
    expect(head).toMatchObject({ body: '', headers: { ':status': 401 }, rstCode: 0 })
  })

  test('row 63: a refusal does not wait for the body, and the others on the connection go on', async () => {
    const stream = session.request({ ':path': '/refuse', ':method': 'POST' }, { endStream: false })
    stream.on('error', () => {})
    const pour = () => {
      while (!stream.destroyed && stream.write(Buffer.alloc(65_536)));
    }
    stream.on('drain', pour)
    pour()
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    const [answer] = await once(stream, 'response')
    expect(answer[':status']).toBe(401)
    await once(stream, 'close')
    expect(JSON.parse(Buffer.concat(chunks).toString())).toMatchObject({ code: 'LOGIN_REQUIRED' })
    expect(await ask2(session, { ':path': '/after' })).toMatchObject({ body: 'GET db.localhost /after' })
  })

  test('who leaves aborts the signal; a cut is no end', async () => {
    const gone = session.request({ ':path': '/open/1' })
    gone.on('error', () => {})
    await vi.waitFor(() => expect(open).toHaveLength(1))
    gone.close(constants.NGHTTP2_CANCEL)
    await vi.waitFor(() => expect(open[0]?.signal.aborted).toBe(true))
    const cut = ask2(session, { ':path': '/open/2' })
    await vi.waitFor(() => expect(open).toHaveLength(2))
    const half = open[1]?.response as Writable | undefined
    half?.write('half')
    open[1]?.cut()
    expect((await cut).rstCode).not.toBe(0)
    expect(open[1]?.signal.aborted).toBe(true)
  })

  test('who leaves a HEAD is noticed too, and an edge that stops does not wait for them', async () => {
    const gone = session.request({ ':path': '/open/1', ':method': 'HEAD' })
    gone.on('error', () => {})
    await vi.waitFor(() => expect(open).toHaveLength(1))
    gone.close(constants.NGHTTP2_CANCEL)
    await vi.waitFor(() => expect(open[0]?.signal.aborted).toBe(true))
    await world.front.finished()
  })

  test('an answer that was whole aborts nothing', async () => {
    await ask2(session, { ':path': '/whole' })
    expect(world.seen[0]?.signal.aborted).toBe(false)
  })

  test('many writes that end in an empty string send what was written, and no freed memory', async () => {
    const asked = Array.from({ length: 100 }, (_, n) => ask2(session, { ':path': `/open/${n}` }))
    await vi.waitFor(() => expect(open).toHaveLength(100), 10_000)
    for (const { response, target } of open) {
      if (!('stream' in response)) throw new Error('HTTP/2 is wanted')
      response.writeHead(200)
      response.stream.cork()
      response.stream.write(`${target} ${'x'.repeat(3000)}`)
      response.stream.write('')
      response.stream.uncork()
      response.end()
    }
    for (const [n, { body }] of (await Promise.all(asked)).entries())
      expect(body).toBe(`/open/${n} ${'x'.repeat(3000)}`)
  })
})

describe('heads over HTTP/2', () => {
  const refused = async (headers: Record<string, string>) => {
    const { headers: answer, rstCode } = await ask2(session, { ':path': '/', ...headers })
    expect(world.seen).toHaveLength(0)
    expect(session.destroyed).toBe(false)
    return answer[':status'] ?? `reset ${rstCode}`
  }

  test('row 44: a Host that says another than :authority', async () => {
    expect(await refused({ ':authority': 'db.localhost', host: 'other.localhost' })).toBe(400)
    expect(await refused({ ':authority': 'db.localhost.' })).toBe(400)
    expect(await refused({ ':authority': 'a@db.localhost' })).not.toBe(200)
    const { body } = await ask2(session, { ':path': '/', ':authority': 'OTHER.localhost', host: 'other.localhost' })
    expect(body).toBe('GET other.localhost /')
  })

  test('row 48: reserved names in other spellings', async () => {
    expect(await refused({ postern_identity: 'x' })).toBe(400)
    expect(await refused({ 'postern.identity': 'x' })).toBe(400)
    expect(await ask2(session, { ':path': '/', 'postern-client-id': 'x' })).toMatchObject({
      headers: { ':status': 200 },
    })
  })

  test('row 51: ambiguous paths', async () => {
    expect(await refused({ ':path': '/a/../b' })).toBe(400)
    expect(await refused({ ':path': '//a' })).toBe(400)
    expect(await refused({ ':path': 'a' })).not.toBe(200)
  })

  test('row 128: too long, too many', async () => {
    expect(await refused({ ':path': `/${'x'.repeat(9000)}` })).toBe(414)
    const many = Object.fromEntries(Array.from({ length: 110 }, (_, n) => [`x-${n}`, 'y']))
    expect(await refused(many)).toBe(431)
  })

  test('CONNECT and TRACE are not answered here', async () => {
    const stream = session.request({ ':method': 'CONNECT', ':authority': 'db.localhost:443' }, { endStream: false })
    stream.on('error', () => {})
    const [answer] = await once(stream, 'response')
    expect(answer[':status']).toBe(405)
    expect(await refused({ ':method': 'TRACE' })).toBe(405)
  })
})

describe('row 56: what HTTP/2 does not have', () => {
  const field = (name: string, value: string) =>
    Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)])
  test.each([
    ['a transfer coding', [GET, field('transfer-encoding', 'chunked')]],
    ['a Connection header', [GET, field('connection', 'x-a')]],
    ['an upgrade', [GET, field('upgrade', 'websocket')]],
    ['a line end in a path', [Buffer.from([0x82, 0x87]), field(':path', '/a\r\nX: y'), AUTHORITY]],
    ['a space in a path', [Buffer.from([0x82, 0x87]), field(':path', '/a HTTP/1.1'), AUTHORITY]],
    ['a name in upper case', [GET, field('Postern-Identity', 'x')]],
    ['a pseudo-header nobody knows', [Buffer.from([0x82, 0x87, 0x84]), field(':postern-identity', 'x'), AUTHORITY]],
    ['a path twice', [GET, Buffer.from([0x84])]],
    ['two Hosts', [Buffer.from([0x82, 0x87, 0x84]), field('host', 'db.localhost'), field('host', 'other.localhost')]],
    ['a length that is a list', [GET, field('content-length', '0, 0')]],
    ['two lengths', [GET, field('content-length', '0'), field('content-length', '1')]],
  ])('%s: nobody hears of it, and others are served', async (_, parts) => {
    const socket = await connectRaw()
    socket.write(Buffer.concat([PREFACE, frame(1, 5, 1, Buffer.concat(parts))]))
    // A ping behind it: when it is answered, or the connection ended, the head was looked at.
    socket.write(frame(6, 0, 0, Buffer.alloc(8)))
    await Promise.race([until(socket, data => data.includes(frame(6, 1, 0, Buffer.alloc(8)))), once(socket, 'close')])
    await new Promise(resolve => setImmediate(resolve))
    expect(world.seen).toHaveLength(0)
    expect(await ask2(session, { ':path': '/other' })).toMatchObject({ body: 'GET db.localhost /other' })
    socket.destroy()
  })

  test.each([
    ['a line end in a value', field('postern-identity', 'b\r\nX: y')],
    ['a NUL in a value', field('postern-identity', 'b\0')],
    ['a colon in a name', field('postern-identity: y', 'z')],
  ])('%s: nghttp2 leaves the header out, as a whole', async (_, part) => {
    const socket = await connectRaw()
    socket.write(Buffer.concat([PREFACE, frame(1, 5, 1, Buffer.concat([GET, part]))]))
    await vi.waitFor(() => expect(world.seen).toHaveLength(1))
    expect(world.seen[0]?.presented.headers).toEqual({ host: ['db.localhost'] })
    socket.destroy()
  })

  test('the twin: a head of the same making is handed out', async () => {
    const socket = await connectRaw()
    socket.write(Buffer.concat([PREFACE, frame(1, 5, 1, Buffer.concat([GET, field('x-a', 'b')]))]))
    await vi.waitFor(() => expect(world.seen[0]?.presented.headers['x-a']).toEqual(['b']))
    socket.destroy()
  })

  test('a body that is not as long as it says is no whole request', async () => {
    const own = world.http2()
    const answer = await ask2(own, { ':method': 'POST', ':path': '/echo', 'content-length': '3' }, 'hello').catch(
      () => ({ rstCode: 1 }),
    )
    expect(answer.rstCode).not.toBe(0)
  })
})

describe('WebSockets over HTTP/2 (RFC 8441)', () => {
  const websocket = (more: Record<string, string> = {}) => ({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':scheme': 'https',
    ':authority': 'db.localhost',
    ':path': '/%61',
    'sec-websocket-version': '13',
    ...more,
  })
  const upgrade = async (headers: Record<string, string>): Promise<[ClientHttp2Stream, number]> => {
    const stream = session.request(headers, { endStream: false })
    stream.on('error', () => {})
    const [answer] = await once(stream, 'response')
    return [stream, answer[':status']]
  }

  test('are decided as the GET that they are, and carry bytes both ways', async () => {
    expect(session.remoteSettings.enableConnectProtocol).toBe(true)
    const [stream, status] = await upgrade(websocket({ 'sec-websocket-protocol': 'chat' }))
    expect(status).toBe(200)
    expect(world.upgrades[0]).toMatchObject({ version: '2', method: 'GET', target: '/a', hostname: 'db.localhost' })
    expect(world.upgrades[0]?.headers.slice(0, 2)).toEqual(['host', 'db.localhost'])
    expect(stream.sentHeaders).toBeDefined()
    stream.write('ping')
    const [chunk] = await once(stream, 'data')
    expect(String(chunk)).toBe('ping')
    stream.destroy()
    await vi.waitFor(() => expect(world.upgrades[0]?.signal.aborted).toBe(true))
  })

  test('are refused with a problem', async () => {
    const [, refused] = await upgrade(websocket({ ':path': '/no' }))
    expect(refused).toBe(401)
  })

  test.each([
    ['a transport’s', { 'sec-websocket-protocol': 'postern-session-1' }, 426],
    ['another version', { 'sec-websocket-version': '8' }, 426],
    ['another protocol', { ':protocol': 'connect-udp' }, 405],
    ['a length', { 'content-length': '5' }, 400],
    ['an ambiguous path', { ':path': '/a//b' }, 400],
  ])('%s is not taken', async (_, more, status) => {
    const stream = session.request(websocket(more), { endStream: false })
    stream.on('error', () => {})
    const said = await Promise.race([
      once(stream, 'response').then(([answer]) => answer[':status']),
      once(stream, 'close').then(() => 'reset'),
    ])
    expect([status, 'reset']).toContain(said)
    expect(world.upgrades).toHaveLength(0)
    stream.destroy()
  })
})

describe('row 126: floods', () => {
  const flood = async (chunkOf: (n: number) => Buffer, most: number) => {
    const socket = await connectRaw()
    const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
    socket.write(PREFACE)
    for (let n = 0; n < most && !socket.destroyed; n += 1) {
      if (!socket.write(chunkOf(n))) await Promise.race([new Promise(resolve => socket.once('drain', resolve)), closed])
    }
    return { closed, socket }
  }
  const id = (n: number) => n * 2 + 1

  test.each([
    [
      'rapid reset',
      (n: number) =>
        Buffer.concat(
          Array.from({ length: 10 }, (_, k) => [
            frame(1, 5, id(n * 10 + k), GET),
            frame(3, 0, id(n * 10 + k), CANCEL),
          ]).flat(),
        ),
    ],
    ['settings', () => frame(4, 0, 0)],
    ['pings', () => frame(6, 0, 0, Buffer.alloc(8))],
    ['a head that goes on and on', (n: number) => (n === 0 ? frame(1, 1, 1, GET) : frame(9, 0, 1, Buffer.alloc(1000)))],
    [
      'heads larger than they may be',
      (n: number) =>
        frame(
          1,
          5,
          id(n),
          Buffer.concat([GET, Buffer.from([0x40, 0x01, 0x61, 0x7f, 0x81, 0x7c]), Buffer.alloc(16_000, 0x62)]),
        ),
    ],
  ])('%s: the connection ends, and another is served', { timeout: 60_000 }, async (_, chunkOf) => {
    const { closed, socket } = await flood(chunkOf, 20_000)
    const other = ask2(session, { ':path': '/other' })
    await Promise.race([closed, once(socket, 'end').then(() => socket.destroy())])
    expect(await other).toMatchObject({ body: 'GET db.localhost /other' })
    await vi.waitFor(() => expect(world.front.connections).toBeLessThanOrEqual(3), 10_000)
  })

  test('more streams at once than there may be are refused, and no more is begun', async () => {
    const limited = await startFront({ limits: { streams: 5 }, exchange: exchange => void open.push(exchange) })
    const client = limited.http2()
    await once(client, 'remoteSettings')
    expect(client.remoteSettings.maxConcurrentStreams).toBe(5)
    for (let n = 0; n < 20; n += 1) client.request({ ':path': '/open' }).on('error', () => {})
    await vi.waitFor(() => expect(open).toHaveLength(5))
    await limited[Symbol.asyncDispose]()
  })
})
