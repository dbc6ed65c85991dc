import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import type { ClientHttp2Stream } from 'node:http2'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { Frames } from '../src/http/frames.ts'
import { type HttpWorld, person, startHttpWorld } from './http-world.ts'
import { dial, parseAnswer } from './visitor.ts'

let app: HttpWorld
let handshakes: IncomingMessage[] = []
let head = Buffer.alloc(0)
let odd: string | undefined
const sockets = new WebSocketServer({ noServer: true, handleProtocols: protocols => [...protocols][0] ?? false })
beforeAll(async () => {
  app = await startHttpWorld({ options: { upgradeOrigins: ['https://friend.example'] } })
  app.origin.server.on('upgrade', (request, socket: Duplex, first: Buffer) => {
    handshakes.push(request)
    head = Buffer.from(first)
    socket.on('error', () => {})
    if (odd !== undefined) return void socket.end(odd)
    sockets.handleUpgrade(request, socket, first, ws => {
      ws.on('message', (data, binary) => ws.send(data, { binary }))
      ws.send('welcome')
    })
  })
})
afterAll(() => app[Symbol.asyncDispose]())

const open = async (headers: Record<string, string> = {}, credential: Record<string, string> = app.credential) => {
  handshakes = []
  const { port } = app.world.edge
  const ws = new WebSocket(`wss://${app.host}:${port}/ws`, ['mine'], {
    ca: [readFileSync(app.caFile)],
    headers: { ...credential, ...headers },
    lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }] as never, 4),
  })
  const said: string[] = []
  ws.on('message', data => said.push(String(data)))
  const how = await new Promise<{ status: number }>(resolve => {
    ws.once('open', () => resolve({ status: 101 }))
    ws.once('unexpected-response', (_request, answer) => {
      resolve({ status: answer.statusCode ?? 0 })
      answer.resume()
    })
    ws.on('error', () => {})
  })
  return { ws, said, status: how.status }
}

const heard = async (said: string[], count: number) => {
  while (said.length < count) await sleep(5)
  return said
}

describe('over HTTP/1.1', () => {
  test('text, bytes, sub-protocol, and a clean end', async () => {
    const { ws, said, status } = await open()
    expect([status, ws.protocol]).toEqual([101, 'mine'])
    ws.send('hello')
    const big = randomBytes(300_000).toString('hex')
    ws.send(big)
    expect(await heard(said, 3)).toEqual(['welcome', 'hello', big])
    ws.close(1000, 'done')
    const [code, reason] = await once(ws, 'close')
    expect([code, String(reason)]).toEqual([1000, 'done'])
    expect(handshakes[0]?.headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1', upgrade: 'websocket' })
    expect(handshakes[0]?.headers).toHaveProperty('postern-identity')
    expect(handshakes[0]?.headers).not.toHaveProperty('postern-client-secret')
  })

  test('row 71: compression is the two ends’ own: its bytes pass as they are', async () => {
    const { ws } = await open({ 'sec-websocket-extensions': 'permessage-deflate' })
    expect(handshakes[0]?.headers['sec-websocket-extensions']).toContain('permessage-deflate')
    ws.terminate()
  })

  test('row 73: bytes behind the request come first', async () => {
    const socket = await dial(app.world.edge.port, app.caFile, app.host)
    const frame = Buffer.from([0x81, 0x85, 0, 0, 0, 0, ...Buffer.from('early')])
    socket.write(Buffer.concat([Buffer.from(handshake()), frame]))
    let text = ''
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
    })
    while (!text.includes('early')) await sleep(5)
    expect(text).toMatch(/^HTTP\/1.1 101 [\s\S]*welcome[\s\S]*early$/)
    socket.destroy()
  })

  test.each([
    ['200', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', 502],
    ['403', 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n', 403],
    ['101 for something else', 'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n', 502],
    [
      '101 to another key',
      'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n',
      502,
    ],
  ])('row 73: after %s nothing that follows reaches the origin', async (_what, answer, status) => {
    odd = answer
    const before = handshakes.length
    const text = await app.raw(`${handshake()}GET /smuggled HTTP/1.1\r\nHost: app.localhost\r\n\r\n`)
    odd = undefined
    expect(parseAnswer(text)).toMatchObject({ status, code: 'ORIGIN_FAILED' })
    expect(text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    expect(handshakes).toHaveLength(before + 1)
    expect(head.length).toBe(0)
  })
})

const handshake = (more = '', credential: Record<string, string> = app.credential) =>
  [
    'GET /ws HTTP/1.1',
    'Host: app.localhost',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
    ...Object.entries(credential).map(([name, value]) => `${name}: ${value}`),
    more,
  ]
    .filter(line => line !== '')
    .join('\r\n')
    .concat('\r\n\r\n')

describe('row 38: a page of another origin', () => {
  let who: Awaited<ReturnType<typeof person>>
  beforeAll(async () => {
    who = await person(app)
  })

  test.each([
    ['evil', 'Origin: https://evil.example'],
    ['null', 'Origin: null'],
    ['a sibling', 'Origin: https://db.localhost'],
    ['another port', 'Origin: https://app.localhost:1'],
    ['two', 'Origin: https://friend.example\r\nOrigin: https://evil.example'],
    ['none', ''],
  ])('%s opens none with a person’s cookie', async (_who, more) => {
    const [opened, before] = [app.world.opened(), handshakes.length]
    const answer = parseAnswer(await app.raw(handshake(more, who.headers)))
    expect([answer.status, answer.code]).toEqual([403, 'ACCESS_DENIED'])
    expect([app.world.opened(), handshakes.length]).toEqual([opened, before])
  })

  test('the application’s own does, and one it names', async () => {
    const { port } = app.world.edge
    for (const origin of [`https://app.localhost:${port}`, 'https://friend.example']) {
      const { ws, status } = await open({ origin, ...who.headers }, {})
      expect(status).toBe(101)
      ws.terminate()
    }
  })

  test('a person who leaves is cut', async () => {
    const leaving = await person(app)
    const { ws, said } = await open({ origin: `https://app.localhost:${app.world.edge.port}`, ...leaving.headers }, {})
    await heard(said, 1)
    const closed = once(ws, 'close')
    await leaving.leave()
    expect((await closed)[0]).toBe(1008)
  })
})

describe('over HTTP/2', () => {
  const connect = async (headers: Record<string, string> = app.credential) => {
    const session = app.http2()
    await once(session, 'remoteSettings')
    const stream: ClientHttp2Stream = session.request(
      { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws', 'sec-websocket-version': '13', ...headers },
      { endStream: false },
    )
    stream.on('error', () => {})
    const [head] = (await once(stream, 'response')) as [Record<string, unknown>]
    return { stream, head }
  }

  test('extended CONNECT becomes an upgrade of HTTP/1.1, and bytes pass', async () => {
    handshakes = []
    const { stream, head } = await connect()
    expect(head[':status']).toBe(200)
    expect(head).not.toHaveProperty('sec-websocket-accept')
    stream.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]))
    let text = ''
    stream.on('data', chunk => {
      text += chunk.toString('latin1')
    })
    while (!text.includes('hi')) await sleep(5)
    expect(text).toBe('\x81\x07welcome\x81\x02hi')
    expect(handshakes[0]).toMatchObject({ method: 'GET', url: '/ws', httpVersion: '1.1' })
    expect(handshakes[0]?.headers['sec-websocket-key']).toMatch(/^[+/0-9A-Za-z]{22}==$/)
    stream.close()
  })

  test('row 66: without a credential it is refused before anything is opened', async () => {
    const opened = app.world.opened()
    const { stream, head } = await connect({})
    expect(head[':status']).toBe(401)
    expect(app.world.opened()).toBe(opened)
    stream.close()
  })
})

describe('row 67: when access ends', () => {
  const revocable = async () => {
    const { administration } = app.world.edge
    const token = await administration.call('service-token.create', { body: { name: randomBytes(4).toString('hex') } })
    const include = [app.world.token, token].map(({ id }) => ({ serviceToken: id }))
    await administration.call('policy.put', {
      params: { hostname: app.host },
      body: { rules: [{ name: 'app', action: 'allow', include }] },
    })
    const revoke = () => administration.call('service-token.revoke', { params: { token: token.id } })
    return { headers: { 'postern-client-id': token.id, 'postern-client-secret': token.secret }, revoke }
  }

  test('an idle WebSocket hears 1008; another’s goes on', async () => {
    const { headers, revoke } = await revocable()
    const other = await open()
    const { ws, said } = await open(headers)
    await heard(said, 1)
    const closed = once(ws, 'close')
    await revoke()
    const [code, reason] = await closed
    expect([code, String(reason)]).toEqual([1008, 'the credential was revoked'])
    expect((await open(headers)).status).toBe(401)
    other.ws.send('still here')
    expect(await heard(other.said, 2)).toContain('still here')
    other.ws.terminate()
  })

  test('one in the middle of a frame is cut', async () => {
    const { headers, revoke } = await revocable()
    const socket: TLSSocket = await dial(app.world.edge.port, app.caFile, app.host)
    let text = ''
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
    })
    const half = (request: IncomingMessage, upgraded: Duplex) => {
      const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
      const accept = createHash('sha1').update(key).digest('base64')
      upgraded.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      )
      upgraded.write(Buffer.from([0x82, 100, 1, 2, 3]))
      upgraded.on('error', () => {})
    }
    const known = app.origin.server.listeners('upgrade')
    app.origin.server.removeAllListeners('upgrade')
    app.origin.server.once('upgrade', half)
    socket.write(handshake('', headers))
    while (!text.endsWith('\x01\x02\x03')) await sleep(5)
    for (const listener of known) app.origin.server.on('upgrade', listener as never)
    await revoke()
    await new Promise(resolve => socket.once('close', resolve))
    expect(text.endsWith('\x01\x02\x03')).toBe(true)
  })

  test('over HTTP/2 it hears 1008 too', async () => {
    const { headers, revoke } = await revocable()
    const session = app.http2()
    await once(session, 'remoteSettings')
    const stream = session.request(
      { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws', 'sec-websocket-version': '13', ...headers },
      { endStream: false },
    )
    let bytes = Buffer.alloc(0)
    stream.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
    })
    stream.on('error', () => {})
    while (!bytes.includes('welcome')) await sleep(5)
    await revoke()
    await once(stream, 'end')
    expect(bytes.subarray(9, 13)).toEqual(Buffer.from([0x88, 28, 0x03, 0xf0]))
    stream.close()
  })
})

test('frames are followed however they are cut into pieces', () => {
  const frame = fc
    .record({ masked: fc.boolean(), length: fc.oneof(fc.nat(130), fc.integer({ min: 65_530, max: 65_540 })) })
    .map(({ masked, length }) => {
      const mask = masked ? 0x80 : 0
      const size =
        length < 126
          ? Buffer.of(mask | length)
          : length < 65_536
            ? Buffer.of(mask | 126, length >> 8, length & 255)
            : Buffer.of(mask | 127, 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 255, length & 255)
      return Buffer.concat([Buffer.of(0x82), size, Buffer.alloc(masked ? 4 : 0, 7), Buffer.alloc(length, 0x55)])
    })
  fc.assert(
    fc.property(
      fc.array(frame, { minLength: 1, maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 9000 })),
      (all, cuts) => {
        const ends = new Set<number>()
        let end = 0
        for (const one of all) ends.add((end += one.length))
        const bytes = Buffer.concat(all)
        const frames = new Frames()
        for (let at = 0, n = 0; at < bytes.length; n += 1) {
          const step = cuts[n % Math.max(1, cuts.length)] ?? 1000
          const chunk = bytes.subarray(at, at + step)
          frames.take(chunk)
          at += chunk.length
          expect(frames.isBetween).toBe(ends.has(at))
        }
      },
    ),
    { numRuns: 60 },
  )
})
