// One request after another over HTTP/1.1, to services that are Node’s own. Numbers are rows of docs/security.md.
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { ask, at, problemIn, Rig, readAll, readUntil, rule } from './rig.ts'

const open: (() => void)[] = []
afterEach(() => {
  for (const close of open.splice(0)) close()
})

async function service(listener: RequestListener): Promise<Server> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  server.requestTimeout = 0
  open.push(() => void server.close().closeAllConnections())
  await once(server, 'listening')
  return server
}

describe('a request and its answer', () => {
  it('go through with the order, the case and the repetition of their headers', async () => {
    let seen: readonly string[] = []
    const server = await service((request, response) => {
      seen = request.rawHeaders
      response.sendDate = false
      response.writeHead(201, 'Made', ['X-One', '1', 'Set-Cookie', 'a=1', 'x-two', '2', 'Set-Cookie', 'b=2'])
      response.end('hello')
    })
    await using rig = new Rig(rule(at(server)))
    const { text, cut } = await ask(rig, 'GET /a?b=%20c HTTP/1.1\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\nCookie: z=1')
    expect(cut).toBe(false)
    expect(text).toBe(
      'HTTP/1.1 201 Made\r\nX-One: 1\r\nSet-Cookie: a=1\r\nx-two: 2\r\nSet-Cookie: b=2\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    )
    expect(seen).toEqual([
      'X-B',
      '1',
      'x-a',
      '2',
      'X-B',
      '3',
      'Cookie',
      'z=1',
      'Host',
      'app.example.com',
      'Connection',
      'keep-alive',
    ]) // prettier-ignore
    expect(rig.answers).toMatchObject([{ status: 201 }])
    expect(rig.answers[0]?.error).toBeUndefined()
  })

  it('one after the other share a connection to the service', async () => {
    const server = await service((request, response) => void response.end(request.url))
    const to = rule(at(server))
    await using rig = new Rig(to)
    const { stream } = await rig.open()
    for (const path of ['/1', '/2', '/3']) {
      stream.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      expect(await readUntil(stream, /\r\n\r\n\/\d$/)).toContain(path)
    }
    expect(to.dialled).toHaveLength(1)
    const { over } = await rig.open()
    stream.end()
    await readAll(stream)
    expect(rig.answers.map(one => one.status)).toEqual([200, 200, 200])
    void over
  })

  it('HEAD, 204 and 304 have no body, and keep what they say of one', async () => {
    const server = await service((request, response) => {
      if (request.url === '/head') response.writeHead(200, { 'content-length': '12345' }).end()
      else response.writeHead(Number(request.url?.slice(1)), { etag: '"x"' }).end()
    })
    await using rig = new Rig(rule(at(server)))
    expect((await ask(rig, 'HEAD /head HTTP/1.1')).text).toMatch(/content-length: 12345\r\n[\s\S]*\r\n\r\n$/)
    for (const status of [204, 304]) {
      const { text } = await ask(rig, `GET /${status} HTTP/1.1`)
      expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} [\\s\\S]*etag: "x"[\\s\\S]*\r\n\r\n$`))
      expect(text).not.toMatch(/chunked/i)
    }
  })

  it('range answers go through as they are', async () => {
    const server = await service((request, response) => {
      response
        .writeHead(206, { 'content-range': 'bytes 0-1/9', 'content-length': 2 })
        .end(request.headers.range?.slice(-2))
    })
    await using rig = new Rig(rule(at(server)))
    const { text } = await ask(rig, 'GET / HTTP/1.1\r\nRange: bytes=0-1')
    expect(text).toMatch(/206 Partial[\s\S]*content-range: bytes 0-1\/9[\s\S]*\r\n\r\n-1$/)
  })

  it('a chunked body with trailers goes there, and one comes back', async () => {
    const server = await service((request, response) => {
      let body = ''
      request.on('data', chunk => (body += chunk))
      request.on('end', () => {
        response.writeHead(200, { trailer: 'X-Sum' })
        response.write(`${body}|${request.rawTrailers.join()}`)
        response.addTrailers({ 'X-Sum': '7', 'Postern-Problem': 'x', 'Set-Cookie': 'a=1' })
        response.end()
      })
    })
    await using rig = new Rig(rule(at(server)))
    const head = 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-T'
    const { text } = await ask(rig, head, '3\r\nabc\r\n0\r\nX-T: 1\r\npostern-identity: forged\r\nHost: x\r\n\r\n')
    expect(text).toMatch(/abc\|X-T,1\r\n0\r\nX-Sum: 7\r\n\r\n$/)
    expect(text).toContain('trailer: X-Sum')
  })

  it('Expect: 100-continue is the service’s to answer: with 100, or without reading a body', async () => {
    const server = await service(() => {})
    server.on('checkContinue', (request, response) => {
      if (request.url === '/no') return void response.writeHead(417).end('no')
      response.writeContinue()
      request.pipe(response)
    })
    await using rig = new Rig(rule(at(server)))
    const { stream } = await rig.open()
    stream.write('POST /yes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n')
    expect(await readUntil(stream, /\r\n\r\n$/)).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    stream.write('body')
    expect(await readUntil(stream, /0\r\n\r\n$/)).toMatch(/^HTTP\/1.1 200 OK[\s\S]*body/)
    const no = await ask(rig, 'POST /no HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4')
    expect(no.text).toMatch(/^HTTP\/1.1 417 /)
    expect(no.text).toContain('Connection: close') // the body that may still come is no request
  })

  it('103 Early Hints goes on at once, with all its headers', async () => {
    const server = await service((_request, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload', 'x-trace': '1' })
      setTimeout(() => response.end('x'), 20)
    })
    await using rig = new Rig(rule(at(server)))
    const { text } = await ask(rig, 'GET / HTTP/1.1')
    expect(text).toMatch(
      /^HTTP\/1.1 103 Early Hints\r\nLink: <\/a.css>; rel=preload\r\nx-trace: 1\r\n\r\nHTTP\/1.1 200 OK/i,
    )
  })

  it('events of a stream come as they are sent (SSE)', async () => {
    const go = Promise.withResolvers<void>()
    const server = await service(async (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n')
      await go.promise
      response.end('data: 2\n\n')
    })
    await using rig = new Rig(rule(at(server)))
    const { stream } = await rig.open()
    stream.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    expect(await readUntil(stream, /data: 1\n\n/)).not.toContain('data: 2')
    go.resolve()
    await readUntil(stream, /data: 2\n\n/)
  })

  it('the Host is the application’s, or what hostHeader says', async () => {
    const server = await service((request, response) => void response.end(request.headers.host))
    await using rig = new Rig(path =>
      path === '/own' ? rule(at(server), { hostHeader: 'inner:8080' }) : rule(at(server)),
    )
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toMatch(/\r\n\r\napp.example.com$/)
    expect((await ask(rig, 'GET /own HTTP/1.1')).text).toMatch(/\r\n\r\ninner:8080$/)
  })

  it('a rule may be a status, which reaches nothing', async () => {
    await using rig = new Rig(rule(404))
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toBe(
      'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
    )
    await using none = new Rig(rule(204))
    expect((await ask(none, 'GET / HTTP/1.1')).text).toBe('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n')
  })
})

describe('each request is answered by the rules of now', () => {
  it('other rules hold for the next request of the same stream; a path of no rule is told so', async () => {
    const [one, two] = [await service((_, r) => void r.end('one')), await service((_, r) => void r.end('two'))]
    const [first, second] = [rule(at(one)), rule(at(two))]
    await using rig = new Rig(first)
    const { stream } = await rig.open()
    const next = async (path = '/') => {
      stream.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      return readUntil(stream, /\r\n\r\n(one|two)$|Content-Length: 0[\s\S]*\r\n\r\n$/)
    }
    expect(await next()).toContain('one')
    rig.rules = path => (path === '/x' ? first : path === '/y' ? undefined : second)
    expect(await next()).toContain('two')
    expect(await next('/x?/y')).toContain('one')
    expect(problemIn(await next('/y'))).toMatchObject({ code: 'INGRESS_NOT_FOUND', status: 502, speaker: 'daemon' })
    expect(await next()).toContain('two')
  })

  it('a rule that is removed cuts what it carries, and answers with why where nothing was answered yet', async () => {
    const server = await service((request, response) => {
      if (request.url === '/begun') response.writeHead(200, { 'content-length': 10 }).write('half')
    })
    const to = rule(at(server))
    await using rig = new Rig(to)
    const begun = ask(rig, 'GET /begun HTTP/1.1')
    const waiting = ask(rig, 'GET /waiting HTTP/1.1')
    await expect.poll(() => to.dialled.length).toBe(2)
    await new Promise(resolve => setTimeout(resolve, 100))
    to.remove()
    expect(await begun).toMatchObject({ cut: true })
    expect(problemIn((await waiting).text)).toMatchObject({ code: 'INGRESS_NOT_FOUND' })
    await expect.poll(() => to.dialled.every(socket => socket.destroyed)).toBe(true)
  })
})
