import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { PosternError, problem } from '@postern/interface'
import { afterEach, describe, expect, test } from 'vitest'
import { carryTo, type HttpWorld, type HttpWorldOptions, startHttpWorld } from './http-world.ts'
import { refuse } from './world.ts'

let app: HttpWorld
let server: Server | undefined
/** Heads of requests that the origin read, each on its connection. */
let heads: { connection: number; head: string }[] = []
let connections = 0

/** An origin of bytes: what it answers to each head is said here, at once or later. */
async function start(
  answer: (socket: Socket, head: string) => void,
  options: HttpWorldOptions = {},
  greet?: (socket: Socket) => void,
): Promise<void> {
  heads = []
  connections = 0
  server = createServer(socket => {
    connections += 1
    const connection = connections
    socket.on('error', () => {})
    greet?.(socket)
    let text = ''
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const head = text.slice(0, end)
        text = text.slice(end + 4)
        heads.push({ connection, head })
        answer(socket, head)
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = addressOf()
  app = await startHttpWorld({ onStream: carryTo(port), ...options })
}

afterEach(async () => {
  await app[Symbol.asyncDispose]()
  server?.close()
})

function addressOf(): { port: number } {
  if (server === undefined) throw new Error('there is no origin')
  return server.address() as { port: number }
}

const good = (text = 'good') => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`
/** The answer, or how it broke. */
const outcome = (path: string, method = 'GET') =>
  app.request({ path, method }).then(
    ({ status, code, body }) => code ?? `${status} ${body}`,
    (error: NodeJS.ErrnoException) => String(error.code),
  )

describe('row 57: an origin’s nonsense', () => {
  test.each([
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab', 'ORIGIN_FAILED'],
    [
      'a length and chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'ORIGIN_FAILED',
    ],
    [
      '101 that nobody asked for',
      'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n',
      'ORIGIN_FAILED',
    ],
    ['101 without an upgrade', 'HTTP/1.1 101 Switching\r\n\r\n', 'ORIGIN_FAILED'],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n', 'ORIGIN_FAILED'],
    ['a flood of 1xx', 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(1000), 'ORIGIN_FAILED'],
    ['a status of none', 'HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n', 'ORIGIN_FAILED'],
    ['a close mid-chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort', 'ECONNRESET'],
    ['a close mid-length', 'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort', 'ECONNRESET'],
  ])('%s: refused or cut, and the next gets an answer of its own', async (_what, nonsense, expected) => {
    await start((socket, head) => {
      if (!head.includes('/odd')) return void socket.write(good())
      socket.write(nonsense)
      if (expected === 'ECONNRESET') socket.end()
    })
    expect(await outcome('/odd')).toBe(expected)
    expect(await outcome('/next')).toBe('200 good')
    expect(connections).toBe(2)
  })

  test.each([
    ['a second answer', good('poison')],
    ['garbage', 'garbage'],
  ])('%s behind an answer is nobody’s', async (_what, behind) => {
    await start((socket, head) => {
      socket.write(good(head.includes('/odd') ? 'first' : 'own!'))
      if (head.includes('/odd')) setTimeout(() => socket.write(behind), 20)
    })
    expect(await outcome('/odd')).toBe('200 first')
    await sleep(200)
    expect(await outcome('/next')).toBe('200 own!')
    expect(connections).toBe(2)
  })

  test.each([
    ['a second answer', good('poison')],
    ['garbage', 'garbage'],
  ])('%s right behind an answer is nobody’s either', async (_what, behind) => {
    await start((socket, head) => void socket.write(head.includes('/odd') ? good('first') + behind : good('own!')))
    expect(['200 first', 'ECONNRESET', 'ORIGIN_FAILED']).toContain(await outcome('/odd'))
    expect(await outcome('/next')).toBe('200 own!')
  })

  test('a field twice that HTTP/2 has once goes on, in the head and in the trailers', async () => {
    const twice = 'ETag: a\r\nETag: b\r\n'
    const chunks = `HTTP/1.1 200 OK\r\n${twice}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nLast-Modified: a\r\nLast-Modified: b\r\n\r\n`
    await start(socket => void socket.write(chunks))
    const stream = app.http2().request({ ':path': '/', ...app.credential })
    const trailers = once(stream, 'trailers')
    const [head] = await once(stream, 'response')
    stream.resume()
    expect([head[':status'], head.etag]).toEqual([200, 'a'])
    expect((await trailers)[0]).toMatchObject({ 'last-modified': 'a' })
  })

  test('trailers are announced only where there can be some', async () => {
    const head = 'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n'
    await start((socket, asked) => {
      socket.write(asked.startsWith('HEAD') ? head : `${head}2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n`)
    })
    const answer = await app.request({ path: '/' })
    expect([answer.headers.trailer, answer.trailers['x-sum']]).toEqual(['X-Sum', '1'])
    expect(await outcome('/', 'HEAD')).toBe('200 ')
    const credential = Object.entries(app.credential).map(([name, value]) => `${name}: ${value}\r\n`)
    expect(await app.raw(`GET / HTTP/1.0\r\nHost: ${app.host}\r\n${credential.join('')}\r\n`)).toMatch(
      /^HTTP\/1\.1 200 OK[\s\S]*\r\n\r\nok$/,
    )
  })

  test('an answer before a request is never given to one', async () => {
    await start(
      socket => void socket.write(good('own!')),
      {},
      socket => connections === 1 && socket.write(good('poison')),
    )
    const first = await outcome('/first')
    expect(await outcome('/next')).toMatch(/own!|ORIGIN_FAILED/)
    expect(first).not.toBe('200 own!')
  })

  test('an early answer ends its stream', async () => {
    await start((socket, head) => {
      if (head.startsWith('POST')) socket.write(good('enough'))
      else if (head.startsWith('GET')) socket.write(good())
    })
    const session = app.http2()
    const stream = session.request({ ...app.credential, ':method': 'POST', ':path': '/up' })
    stream.write('x')
    let text = ''
    stream.on('data', chunk => {
      text += chunk
    })
    stream.on('error', () => {})
    await once(stream, 'end')
    expect(text).toBe('enough')
    expect(await outcome('/next')).toBe('200 good')
    expect(connections).toBe(2)
  })
})

describe('row 144: an origin that does not answer', () => {
  const hang = { config: { http: { answerTime: 300 } } }

  test('in time', async () => {
    await start(() => {}, hang)
    const { status, code, body } = await app.request({ path: '/' })
    expect([status, code]).toEqual([504, 'ORIGIN_TIMEOUT'])
    expect(body).not.toContain('127.0.0.1')
  })

  test('by a body that never comes, which is the visitor’s fault', async () => {
    await start(() => {}, hang)
    const lines = Object.entries(app.credential).map(([name, value]) => `${name}: ${value}\r\n`)
    const text = await app.raw(
      `POST / HTTP/1.1\r\nHost: app.localhost\r\n${lines.join('')}Content-Length: 9\r\n\r\nabc`,
    )
    expect(text).toContain('TIMED_OUT')
  })

  test('by closing', async () => {
    await start(socket => socket.destroy())
    expect(await app.request({ path: '/' })).toMatchObject({ status: 502, code: 'ORIGIN_FAILED' })
  })

  test('a WebSocket', async () => {
    await start(() => {}, hang)
    const lines = Object.entries(app.credential).map(([name, value]) => `${name}: ${value}\r\n`)
    const text = await app.raw(
      `GET / HTTP/1.1\r\nHost: app.localhost\r\n${lines.join('')}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    )
    expect(text).toMatch(/^HTTP\/1.1 504 [\s\S]*ORIGIN_TIMEOUT/)
  })

  test.each([
    ['INGRESS_NOT_FOUND', 502],
    ['ORIGIN_REFUSED', 502],
    ['ORIGIN_NOT_RESOLVED', 502],
    ['ORIGIN_TIMEOUT', 504],
    ['PROTOCOL_VIOLATION', 502],
  ] as const)('refused by the daemon: %s', async (code, status) => {
    await start(() => {}, { onStream: refuse(code) })
    const got = await app.request({ path: '/' })
    expect([got.status, got.code]).toEqual([status, code])
  })

  test.each([
    ['ORIGIN_UNTRUSTED', 502],
    ['ORIGIN_REFUSED', 502],
    ['ACCESS_DENIED', 403],
  ] as const)('said by the daemon in an answer of its own: %s', async (code, status) => {
    const told = JSON.stringify(problem(code, 'r', { speaker: 'edge' })).replaceAll('’', '\\u2019')
    await start(
      socket => void socket.write(`HTTP/1.1 ${status} x\r\npostern-problem: ${told}\r\nContent-Length: 0\r\n\r\n`),
    )
    const got = await app.request({ path: '/' })
    expect(JSON.parse(got.body)).toMatchObject({ code, status, speaker: 'daemon' })
    expect(got.headers).not.toHaveProperty('postern-problem')
    await app.request({ path: '/again' })
    expect(connections).toBe(1)
  })

  test('no daemon at all: 503', async () => {
    await start(() => {})
    for (const { tunnel } of app.world.edge.routes.all()) await tunnel.close()
    expect(await app.request({ path: '/' })).toMatchObject({ status: 503, code: 'TUNNEL_OFFLINE' })
  })

  test('it is not told to who was not let in', async () => {
    await start(() => {}, { onStream: refuse('ORIGIN_REFUSED') })
    const got = await app.raw('GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n')
    expect(got).toContain('LOGIN_REQUIRED')
  })
})

describe('row 136: a stream that was left', () => {
  const leave = async () => {
    let asked = 0
    await start(socket => {
      asked += 1
      if (asked === 2) socket.destroy()
      else socket.write(good())
    })
    expect(await outcome('/first')).toBe('200 good')
  }

  test('a GET is asked once more', async () => {
    await leave()
    expect(await outcome('/second')).toBe('200 good')
    expect(heads.map(({ connection, head }) => `${connection} ${head.split(' ')[1]}`)).toEqual([
      '1 /first',
      '1 /second',
      '2 /second',
    ])
  })

  test.each(['POST', 'PUT', 'DELETE'])('a %s never is', async method => {
    await leave()
    expect(await outcome('/second', method)).toBe('ORIGIN_FAILED')
    expect(heads).toHaveLength(2)
  })

  test('neither is a GET that an origin has answered in part', async () => {
    await start((socket, head) => {
      if (head.includes('/first')) return void socket.write(good())
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')
      setTimeout(() => socket.destroy(), 20)
    })
    await outcome('/first')
    expect(await outcome('/second')).toBe('ECONNRESET')
    expect(heads).toHaveLength(2)
  })

  test('when a daemon dies its requests fail, and new ones go to another', async () => {
    await start((socket, head) => {
      if (head.includes('/slow')) return
      socket.write(good())
    })
    const slow = outcome('/slow', 'POST')
    while (heads.length === 0) await sleep(5)
    const { port } = addressOf()
    await app.world.daemon(carryTo(port))
    const [first] = app.world.edge.routes.all()
    first?.tunnel.cut(new PosternError('SESSION_LOST', 'killed'))
    expect(await slow).toMatch(/SESSION_LOST|STREAM_CUT/)
    expect(await outcome('/next')).toBe('200 good')
  })
})
