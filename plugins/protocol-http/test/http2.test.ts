// Services that speak HTTP/2, gRPC among them, over the edge’s streams of HTTP/1.1. Numbers are rows of docs/security.md.
import { once } from 'node:events'
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2'
import { afterEach, describe, expect, it } from 'vitest'
import { ask, at, problemIn, Rig, readUntil, rule } from './rig.ts'

const open: (() => void)[] = []
afterEach(() => {
  for (const close of open.splice(0)) close()
})

type Handler = (stream: ServerHttp2Stream, headers: Record<string, unknown>) => void

async function service(handler: Handler): Promise<{ server: Http2Server; sessions: () => number }> {
  let sessions = 0
  const server = createServer()
  server.on('session', session => {
    sessions++
    open.push(() => session.destroy())
  })
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => {})
    handler(stream, headers)
  })
  server.listen(0, '127.0.0.1')
  open.push(() => void server.close())
  await once(server, 'listening')
  return { server, sessions: () => sessions }
}

const GRPC =
  'POST /echo.Echo/Talk HTTP/1.1\r\nContent-Type: application/grpc\r\nTE: trailers\r\nTransfer-Encoding: chunked'

describe('row 79: gRPC', () => {
  it('both directions at once, with trailers both ways', async () => {
    let seen: Record<string, unknown> = {}
    let sent: Record<string, unknown> = {}
    const { server, sessions } = await service((stream, headers) => {
      seen = headers
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('trailers', trailers => {
        sent = trailers
      })
      stream.on('data', chunk => stream.write(`<${chunk}>`))
      stream.on('end', () => stream.end())
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': 'fine' }))
    })
    await using rig = new Rig(rule(at(server), { http2: true }))
    const { stream } = await rig.open()
    stream.write(`${GRPC}\r\nHost: app.example.com\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n`)
    for (const word of ['one', 'two', 'three']) {
      stream.write(`${word.length.toString(16)}\r\n${word}\r\n`)
      await readUntil(stream, new RegExp(`<${word}>`)) // the answer comes while the request goes on
    }
    const end = readUntil(stream, /grpc-message: fine\r\n\r\n$/)
    stream.write('0\r\nx-sum: 7\r\n\r\n')
    expect(await end).toContain('grpc-status: 0')
    expect(seen).toMatchObject({
      ':method': 'POST',
      ':path': '/echo.Echo/Talk',
      ':scheme': 'http',
      ':authority': 'app.example.com',
      te: 'trailers',
      'x-two': '1, 2',
    })
    expect(seen).not.toHaveProperty('transfer-encoding')
    expect(sent).toMatchObject({ 'x-sum': '7' })
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toContain('200')
    expect(sessions()).toBe(1)
  })

  it('trailers that say twice what HTTP/2 has once go on', async () => {
    let sent: Record<string, unknown> = {}
    const { server } = await service(stream => {
      stream.on('trailers', trailers => {
        sent = trailers
      })
      stream.resume().on('end', () => {
        stream.respond({ ':status': 200 })
        stream.end('fine')
      })
    })
    await using rig = new Rig(rule(at(server), { http2: true }))
    const { stream } = await rig.open()
    const end = readUntil(stream, /fine/)
    stream.write(`${GRPC}\r\nHost: app.example.com\r\n\r\n1\r\nx\r\n0\r\nETag: a\r\nETag: b\r\nX-Sum: 7\r\n\r\n`)
    expect(await end).toContain('200')
    expect(sent).toMatchObject({ 'x-sum': '7' })
  })

  it('an answer of trailers alone arrives as one', async () => {
    const { server } = await service(stream =>
      stream.respond({ ':status': 200, 'grpc-status': '7', 'grpc-message': 'no' }, { endStream: true }),
    )
    await using rig = new Rig(rule(at(server), { http2: true }))
    const { text, cut } = await ask(rig, GRPC, '0\r\n\r\n')
    expect([cut, /grpc-status: 7/.test(text)]).toEqual([false, true])
  })

  it('a visitor who leaves is a cancel, not the end of the request', async () => {
    const codes: number[] = []
    let isEnd = false
    const { server } = await service(stream => {
      stream.respond({ ':status': 200 })
      stream.write('x')
      stream.on('end', () => {
        isEnd = stream.rstCode === 0
      })
      stream.on('close', () => codes.push(stream.rstCode))
      stream.resume()
    })
    await using rig = new Rig(rule(at(server), { http2: true }))
    const { stream } = await rig.open()
    stream.write(`${GRPC}\r\nHost: a\r\n\r\n1\r\nx\r\n`)
    await readUntil(stream, /x\r\n$/)
    stream.destroy(new Error('gone'))
    await expect.poll(() => codes).toEqual([8])
    expect(isEnd).toBe(false)
  })
})

describe('answers', () => {
  it('cookies, interim answers and bodies go through', async () => {
    const { server } = await service((stream, headers) => {
      stream.additionalHeaders({ ':status': 103, link: '</a>; rel=preload' })
      stream.respond({ ':status': 201, 'set-cookie': ['a=1', 'b=2'], 'postern-problem': 'x' })
      stream.end(String(headers[':path']))
    })
    await using rig = new Rig(rule(at(server), { http2: true }))
    const { text } = await ask(rig, 'GET /a?b HTTP/1.1')
    expect(text).toMatch(/^HTTP\/1.1 103 \r\nlink: <\/a>; rel=preload\r\n\r\nHTTP\/1.1 201/)
    expect(text).toMatch(/set-cookie: a=1\r\nset-cookie: b=2\r\n/)
    expect(text).toContain('/a?b')
    expect(text).not.toContain('postern-problem')
  })

  it.each([
    ['before its head', (stream: ServerHttp2Stream) => stream.destroy(new Error('x')), 'ORIGIN_FAILED'],
    [
      'in its middle',
      (stream: ServerHttp2Stream) => {
        stream.respond({ ':status': 200 })
        stream.write('half')
        setTimeout(() => stream.destroy(new Error('x')), 50)
      },
      'half',
    ],
    [
      'with its session',
      (stream: ServerHttp2Stream) => {
        stream.respond({ ':status': 200 })
        stream.write('half')
        setTimeout(() => stream.session?.destroy(), 50)
      },
      'half',
    ],
  ])('row 57: one that breaks off %s never looks whole', async (_what, handler, wanted) => {
    const { server } = await service(handler)
    await using rig = new Rig(rule(at(server), { http2: true }))
    const { text, cut } = await ask(rig, 'GET / HTTP/1.1')
    expect(text).toContain(wanted)
    expect(cut).toBe(wanted === 'half')
    expect(text).not.toMatch(/0\r\n\r\n$/)
    expect(rig.answers).toMatchObject([{ error: { code: 'ORIGIN_FAILED' } }])
  })

  it('no answer in time is ORIGIN_TIMEOUT; a service that speaks HTTP/1.1 is ORIGIN_FAILED', async () => {
    const { server } = await service(() => {})
    await using rig = new Rig(rule(at(server), { http2: true, responseTimeout: 100 }))
    expect(problemIn((await ask(rig, 'GET / HTTP/1.1')).text)).toMatchObject({ code: 'ORIGIN_TIMEOUT' })
    const old = (await import('node:http')).createServer((_, response) => void response.end('x')).listen(0, '127.0.0.1')
    await once(old, 'listening')
    await using other = new Rig(rule(at(old), { http2: true }))
    expect(problemIn((await ask(other, 'GET / HTTP/1.1')).text)).toMatchObject({ code: 'ORIGIN_FAILED' })
    old.close()
  })

  it('a session that ended is made anew', async () => {
    const { server, sessions } = await service(stream => {
      stream.respond({ ':status': 200 })
      stream.end('x')
    })
    await using rig = new Rig(rule(at(server), { http2: true }))
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toContain('200')
    open.splice(1).forEach(close => {
      close()
    })
    await new Promise(resolve => setTimeout(resolve, 50))
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toContain('200')
    expect(sessions()).toBe(2)
  })
})

it('64 MiB both ways arrive whole, byte for byte', async () => {
  const { server } = await service(stream => {
    stream.respond({ ':status': 200 })
    stream.pipe(stream)
  })
  await using rig = new Rig(rule(at(server), { http2: true }))
  const { stream } = await rig.open()
  const size = 64 * 1024 * 1024
  stream.write(`POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n`)
  const piece = Buffer.alloc(64 * 1024, 'abcdefgh')
  let received = 0
  let isSame = true
  let head = Buffer.alloc(0)
  const done = new Promise<void>(resolve => {
    stream.on('data', (chunk: Buffer) => {
      if (head.length < 300) head = Buffer.concat([head, chunk])
      received += chunk.length
      if (chunk.includes('\0')) isSame = false
    })
    stream.once('end', () => resolve())
  })
  for (let sent = 0; sent < size; sent += piece.length) if (!stream.write(piece)) await once(stream, 'drain')
  await done
  expect(isSame).toBe(true)
  expect(received).toBeGreaterThan(size)
  expect(rig.answers[0]?.error).toBeUndefined()
}, 60_000)
