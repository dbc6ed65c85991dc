import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ClientHttp2Stream, constants } from 'node:http2'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type HttpWorld, startHttpWorld } from './http-world.ts'
import { dial } from './visitor.ts'

/** What the origin does, by path. */
const PLACES: Readonly<Record<string, (request: IncomingMessage, response: ServerResponse) => void>> = {
  '/echo': (request, response) => {
    response.writeHead(200, { 'content-type': 'application/octet-stream' })
    request.pipe(response)
  },
  '/headers': (request, response) => {
    response.setHeader('x-seen-at', 'origin')
    request.resume().once('end', () => response.end(JSON.stringify(request.rawHeaders)))
  },
  '/odd-names': (_request, response) => {
    response.writeHead(299, 'Fine Indeed', [
      ...['X-Mixed-CASE', 'One', 'Set-Cookie', 'a=1', 'x-other', 'two', 'Set-Cookie', 'b=2; Path=/'],
      ...['Content-Length', '2'],
    ])
    response.end('ok')
  },
  '/trailers': (request, response) => {
    response.writeHead(200, { trailer: 'x-sum, postern-x' })
    request.resume().once('end', () => {
      response.write('body')
      response.addTrailers({ 'x-sum': String(request.trailers['x-given']), 'postern-x': 'no' })
      response.end()
    })
  },
  '/hints': (_request, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' })
    response.end('late')
  },
  '/events': (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
    setTimeout(() => response.write('data: one\n\n'), 50)
  },
  '/head': (_request, response) => {
    response.writeHead(200, { 'content-length': '12345' })
    response.end()
  },
  '/range': (request, response) => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const whole = 'abcdefghij'
    response.writeHead(206, { 'content-range': `bytes ${from}-${to}/10` })
    response.end(whole.slice(Number(from), Number(to) + 1))
  },
  '/empty': (_request, response) => {
    response.writeHead(204)
    response.end()
  },
  '/no-body-please': (_request, response) => {
    response.writeHead(413, { 'content-length': '7' })
    response.end('too big')
  },
  '/half': (_request, response) => {
    response.writeHead(200)
    response.write('half of it')
    setTimeout(() => response.destroy(), 50)
  },
}

let app: HttpWorld
const expected: string[] = []
beforeAll(async () => {
  app = await startHttpWorld({
    listener: (request, response) => {
      const place = PLACES[request.url?.split('?')[0] ?? '']
      if (place !== undefined) place(request, response)
      else response.writeHead(404).end('no such place')
    },
  })
  app.origin.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    expected.push(request.url ?? '')
    if (request.url === '/unwanted') response.writeHead(417).end('no')
    else {
      response.writeContinue()
      PLACES['/echo']?.(request, response)
    }
  })
})
afterAll(() => app[Symbol.asyncDispose]())

interface Got2 {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly trailers: Readonly<Record<string, unknown>>
  readonly body: string
  readonly rst: number
}

/** One request over HTTP/2. */
async function ask2(
  headers: Record<string, string>,
  body?: string | ((stream: ClientHttp2Stream) => void),
): Promise<Got2> {
  const session = app.http2()
  const stream = session.request({ ...app.credential, ...headers }, { endStream: body === undefined })
  let status = 0
  let got: Record<string, unknown> = {}
  let trailers: Record<string, unknown> = {}
  stream.on('response', head => {
    status = Number(head[':status'])
    got = head
  })
  stream.on('trailers', told => {
    trailers = told
  })
  stream.on('error', () => {})
  if (typeof body === 'string') stream.end(body)
  else body?.(stream)
  let text = ''
  stream.on('data', chunk => {
    text += chunk
  })
  await once(stream, 'close').catch(() => {})
  const rst = stream.rstCode ?? 0
  session.close()
  return { status, headers: got, trailers, body: text, rst }
}

describe('an answer', () => {
  test('keeps names, order, duplicates and its reason', async () => {
    const { status, message, rawHeaders, body } = await app.request({ path: '/odd-names' })
    expect([status, message, body]).toEqual([299, 'Fine Indeed', 'ok'])
    expect(rawHeaders.slice(0, 10)).toEqual([
      ...['X-Mixed-CASE', 'One', 'Set-Cookie', 'a=1', 'x-other', 'two', 'Set-Cookie', 'b=2; Path=/'],
      ...['Content-Length', '2'],
    ])
  })

  test('keeps duplicates over HTTP/2', async () => {
    const { status, headers, body } = await ask2({ ':path': '/odd-names' })
    expect([status, headers['set-cookie'], headers['x-mixed-case'], body]).toEqual([
      299,
      ['a=1', 'b=2; Path=/'],
      'One',
      'ok',
    ])
  })

  test('to HEAD has the length and no body', async () => {
    const got = await app.request({ method: 'HEAD', path: '/head' })
    expect([got.status, got.headers['content-length'], got.body]).toEqual([200, '12345', ''])
    const got2 = await ask2({ ':method': 'HEAD', ':path': '/head' })
    expect([got2.status, got2.headers['content-length'], got2.body]).toEqual([200, '12345', ''])
  })

  test('of a part, and of nothing', async () => {
    const part = await app.request({ path: '/range', headers: { range: 'bytes=2-4' } })
    expect([part.status, part.headers['content-range'], part.body]).toEqual([206, 'bytes 2-4/10', 'cde'])
    expect(await app.request({ path: '/empty' })).toMatchObject({ status: 204, body: '' })
    expect(await ask2({ ':path': '/empty' })).toMatchObject({ status: 204, body: '', rst: 0 })
  })

  test('comes after early hints', async () => {
    const { information, body } = await app.request({ path: '/hints' })
    expect(information).toMatchObject([{ statusCode: 103, headers: { link: '</style.css>; rel=preload; as=style' } }])
    expect(body).toBe('late')
  })

  test('of events comes as they come', async () => {
    const socket = await dial(app.world.edge.port, app.caFile, app.host)
    const lines = Object.entries(app.credential).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(`GET /events HTTP/1.1\r\nHost: ${app.host}\r\n${lines.join('')}\r\n`)
    let text = ''
    socket.on('data', chunk => {
      text += chunk
    })
    while (!text.includes('data: one')) await sleep(10)
    expect(text).toContain('text/event-stream')
    socket.destroy()
  })

  test('that breaks off is never whole', async () => {
    await expect(app.request({ path: '/half' })).rejects.toThrow(/aborted/)
    const { status, body, rst } = await ask2({ ':path': '/half' })
    expect([status, body]).toEqual([200, 'half of it'])
    expect(rst).not.toBe(0)
  })
})

describe('a body', () => {
  const big = Buffer.alloc(3 * 1024 * 1024, 'postern ')
  const sum = (data: string | Buffer) => createHash('sha256').update(data).digest('hex')

  test('with a length and in chunks, both ways', async () => {
    const framed = await app.request({ method: 'POST', path: '/echo', body: big })
    expect(sum(framed.body)).toBe(sum(big))
    const chunked = await app.request({
      method: 'PUT',
      path: '/echo',
      headers: { 'transfer-encoding': 'chunked' },
      body: big,
    })
    expect(sum(chunked.body)).toBe(sum(big))
  })

  test('over HTTP/2, with and without a length', async () => {
    const length = String(big.length)
    const framed = await ask2({ ':method': 'POST', ':path': '/echo', 'content-length': length }, stream =>
      stream.end(big),
    )
    expect([framed.status, sum(framed.body)]).toEqual([200, sum(big)])
    const streamed = await ask2({ ':method': 'POST', ':path': '/echo' }, stream =>
      Readable.from([big, big]).pipe(stream),
    )
    expect(sum(streamed.body)).toBe(sum(Buffer.concat([big, big])))
  })

  test('of GET goes along, and an absent one is none', async () => {
    const got = await app.request({ method: 'GET', path: '/echo', headers: { 'content-length': '3' }, body: 'abc' })
    expect(got.body).toBe('abc')
    const seen = async (method: string) => {
      const { body } = await app.request({ method, path: '/headers' })
      return JSON.parse(body) as string[]
    }
    expect(await seen('GET')).not.toContain('Transfer-Encoding')
    expect(await seen('DELETE')).not.toContain('Transfer-Encoding')
    const { body } = await ask2({ ':method': 'POST', ':path': '/headers' })
    expect(JSON.parse(body)).toEqual(expect.arrayContaining(['Content-Length', '0']))
  })

  test('with trailers, both ways', async () => {
    const socket = await dial(app.world.edge.port, app.caFile, app.host)
    const lines = Object.entries(app.credential).map(([name, value]) => `${name}: ${value}\r\n`)
    const head = `POST /trailers HTTP/1.1\r\nHost: ${app.host}\r\n${lines.join('')}Transfer-Encoding: chunked\r\n`
    socket.write(`${head}Trailer: X-Given\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nX-Given: 42\r\n\r\n`)
    let text = ''
    for await (const chunk of socket) text += chunk
    expect(text).toMatch(/4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n$/)
    const over2 = await ask2({ ':method': 'POST', ':path': '/trailers' }, stream => {
      stream.end('abc')
    })
    expect([over2.body, over2.trailers['x-sum'], over2.trailers['postern-x']]).toEqual(['body', 'undefined', undefined])
  })

  test('that waits for 100 waits for the origin’s', async () => {
    const went = await app.request({
      method: 'POST',
      path: '/wanted',
      headers: { expect: '100-continue', 'content-length': '4' },
      body: 'this',
    })
    expect([went.status, went.body, went.information.map(({ statusCode }) => statusCode)]).toEqual([200, 'this', [100]])
    const socket = await dial(app.world.edge.port, app.caFile, app.host)
    const lines = Object.entries(app.credential).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(
      `POST /unwanted HTTP/1.1\r\nHost: ${app.host}\r\n${lines.join('')}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n`,
    )
    let text = ''
    for await (const chunk of socket) text += chunk
    expect(text).toMatch(/^HTTP\/1.1 417 /)
    expect(text).not.toContain(' 100 ')
    expect(expected).toEqual(['/wanted', '/unwanted'])
    const over2 = await ask2(
      { ':method': 'POST', ':path': '/wanted', expect: '100-continue', 'content-length': '4' },
      stream => stream.once('continue', () => stream.end('this')),
    )
    expect([over2.status, over2.body]).toEqual([200, 'this'])
  })

  test('that nobody wants does not hold up its answer', async () => {
    const got = await ask2({ ':method': 'POST', ':path': '/no-body-please' }, stream => stream.write('some of it'))
    expect([got.status, got.body]).toEqual([413, 'too big'])
    const socket = await dial(app.world.edge.port, app.caFile, app.host)
    const lines = Object.entries(app.credential).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(
      `POST /no-body-please HTTP/1.1\r\nHost: ${app.host}\r\n${lines.join('')}Content-Length: 99999999\r\n\r\nabc`,
    )
    let text = ''
    for await (const chunk of socket) text += chunk
    expect(text).toMatch(/^HTTP\/1.1 413 [\s\S]*too big$/)
  })

  test('that is cut over HTTP/2 is never whole at the origin', async () => {
    const ends: string[] = []
    app.origin.server.once('request', request => {
      request.once('end', () => ends.push('end'))
      request.once('error', () => ends.push('cut'))
    })
    await ask2({ ':method': 'POST', ':path': '/headers' }, stream => {
      stream.write('part')
      setTimeout(() => stream.destroy(new Error('left')), 100)
    })
    while (ends.length === 0) await sleep(10)
    expect(ends).toEqual(['cut'])
  })
})

/** A frame of HTTP/2 (RFC 9113 §4.1) of stream 1, or of the connection. */
function frame(type: number, flags: number, payload: Buffer, stream = 1): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** A head in HPACK's plainest form (RFC 7541 §6.2.2). */
function plainHead(headers: Record<string, string>): Buffer {
  const text = (word: string) => [word.length, ...Buffer.from(word)]
  return Buffer.from(Object.entries(headers).flatMap(([name, value]) => [0, ...text(name), ...text(value)]))
}

test('an upload that is reset without an error is never whole at the origin', async () => {
  const ends: string[] = []
  app.origin.server.once('request', request => {
    request.once('end', () => ends.push('end'))
    request.once('error', () => ends.push('cut'))
  })
  const { port } = app.world.edge
  const ca = readFileSync(app.caFile)
  const socket = connect({ port, host: '127.0.0.1', servername: app.host, ca, ALPNProtocols: ['h2'] })
  socket.on('error', () => {}).resume()
  const head = { ':method': 'POST', ':scheme': 'https', ':path': '/headers', ':authority': `${app.host}:${port}` }
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  socket.write(frame(4, 0, Buffer.alloc(0), 0))
  socket.write(frame(1, 4, plainHead({ ...head, ...app.credential })))
  socket.write(frame(0, 0, Buffer.from('part')))
  await sleep(200)
  socket.write(frame(3, 0, Buffer.alloc(4)))
  while (ends.length === 0) await sleep(10)
  expect(ends).toEqual(['cut'])
  socket.destroy()
})

test('row 63: an answer nobody reads is not read from the origin either', async () => {
  let sent = 0
  let left = false
  await using endless = await startHttpWorld({
    listener: (_request, response) => {
      const chunk = Buffer.alloc(256 * 1024)
      const more = () => {
        while (sent < 512 * 2 ** 20) {
          sent += chunk.length
          if (!response.write(chunk)) return
        }
      }
      response.on('drain', more).once('close', () => {
        left = true
      })
      more()
    },
  })
  const stream = endless.http2().request({ ...endless.credential, ':path': '/endless' })
  await once(stream, 'response')
  let before = -1
  while (before !== sent) {
    before = sent
    await sleep(500)
  }
  expect(sent).toBeLessThan(32 * 2 ** 20)
  stream.close(constants.NGHTTP2_CANCEL)
  while (!left) await sleep(10)
})

test('streams carry one request after the other, and none is left when the edge stops', async () => {
  await using other = await startHttpWorld()
  for (let n = 0; n < 5; n += 1) expect((await other.request({ path: `/${n}` })).body).toBe(`GET /${n}`)
  expect(other.world.opened()).toBe(1)
  expect(other.origin.tap.connections).toBe(1)
  const both = await Promise.all([other.request({ path: '/a' }), other.request({ path: '/b' })])
  expect(both.map(({ body }) => body)).toEqual(['GET /a', 'GET /b'])
  expect(other.world.opened()).toBeLessThanOrEqual(2)
})
