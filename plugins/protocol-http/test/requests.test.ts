// What comes in. Numbers are rows of docs/security.md: the edge has checked all of it, and it is checked again.
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ask, at, problemIn, Rig, readAll, rule } from './rig.ts'

let server: Server
let seen: { url: string | undefined; headers: readonly string[] }[] = []
beforeAll(async () => {
  server = createServer((request, response) => {
    seen.push({ url: request.url, headers: request.rawHeaders })
    request.resume().on('end', () => response.end(request.url))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
})
beforeEach(() => {
  seen = []
})
afterAll(() => void server.close())

function valuesOf(name: string): readonly string[] {
  const { headers } = seen[0] ?? { headers: [] }
  return headers.filter((_, index) => index % 2 === 1 && headers[index - 1]?.toLowerCase() === name)
}

describe('row 49: what Connection names is not passed on', () => {
  it.each(['postern-identity', 'Host', 'Content-Length', 'X-Other, POSTERN-IDENTITY'])(
    'Connection: %s takes neither the identity nor the framing away',
    async named => {
      await using rig = new Rig(rule(at(server)))
      const head = `POST / HTTP/1.1\r\nPostern-Identity: a.b.c\r\nX-Other: 1\r\nContent-Length: 2\r\nConnection: ${named}`
      expect((await ask(rig, head, 'hi')).text).toContain('200 OK')
      expect(valuesOf('postern-identity')).toEqual(['a.b.c'])
      expect(valuesOf('host')).toEqual(['app.example.com'])
      expect(valuesOf('content-length')).toEqual(['2'])
      expect(valuesOf('x-other')).toEqual(named.includes('X-Other') ? [] : ['1'])
    },
  )

  it('neither is what is about one connection by its name', async () => {
    await using rig = new Rig(rule(at(server)))
    const hops = 'Keep-Alive: 1\r\nProxy-Authorization: x\r\nProxy-Connection: x\r\nHTTP2-Settings: x\r\nTE: gzip'
    await ask(rig, `GET / HTTP/1.1\r\n${hops}\r\nAuthorization: own`)
    expect(seen[0]?.headers.filter((_, index) => index % 2 === 0)).toEqual(['Authorization', 'Host', 'Connection'])
  })
})

describe('row 48: the identity is the edge’s, and there once', () => {
  it.each([
    ['twice', 'postern-identity: a.b.c\r\nPostern-Identity: d.e.f'],
    ['with an underscore as well', 'postern-identity: a.b.c\r\nPostern_Identity: d.e.f'],
    ['with a dot', 'postern.identity: a.b.c'],
  ])('%s: refused, and the service sees nothing', async (_what, headers) => {
    await using rig = new Rig(rule(at(server)))
    const { text } = await ask(rig, `GET / HTTP/1.1\r\n${headers}`)
    expect(problemIn(text)).toMatchObject({ code: 'PROTOCOL_VIOLATION', status: 400 })
    expect(seen).toEqual([])
  })

  it('of the edge’s other headers the service gets the request id', async () => {
    await using rig = new Rig(rule(at(server)))
    await ask(
      rig,
      'GET / HTTP/1.1\r\npostern-identity: a.b.c\r\npostern-request-id: r-1\r\npostern-client-secret: hunter2',
    )
    expect(seen).toHaveLength(1)
    expect([valuesOf('postern-identity'), valuesOf('postern-request-id')]).toEqual([['a.b.c'], ['r-1']])
    expect(JSON.stringify(seen)).not.toContain('hunter2')
  })
})

describe('row 56: what two parsers could read in two ways is refused, and nothing behind it is a request', () => {
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'
  it.each([
    [
      'a length and chunks',
      `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    ],
    [
      'chunks that are called otherwise',
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`,
    ],
    [
      'two codings',
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${smuggled}`,
    ],
    ['two lengths', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n${smuggled}`],
    ['a length with a sign', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n${smuggled}`],
    ['a length in hex', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n${smuggled}`],
    ['a space before the colon', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n${smuggled}`],
    ['a bare line feed', `GET / HTTP/1.1\nHost: a\n\n${smuggled}`],
    ['a bare carriage return', `GET / HTTP/1.1\r\nHost: a\r\nX: 1\rX-Y: 2\r\n\r\n${smuggled}`],
    ['a NUL', `GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n${smuggled}`],
    ['no Host', `GET / HTTP/1.1\r\n\r\n${smuggled}`],
    ['a folded header', `GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n Transfer-Encoding: chunked\r\n\r\n${smuggled}`],
  ])('%s', async (_what, bytes) => {
    await using rig = new Rig(rule(at(server)))
    const { stream } = await rig.open()
    const got = readAll(stream)
    stream.write(bytes, 'latin1')
    const { text } = await got
    expect(text).toMatch(/^(HTTP\/1\.1 400 |$)/) // or the end of the stream, where the body is what is wrong
    expect(seen.map(one => one.url)).not.toContain('/smuggled')
  })

  it('the allow twin: a body of its length, and a request behind it', async () => {
    await using rig = new Rig(rule(at(server)))
    const { stream } = await rig.open()
    stream.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello')
    stream.write('GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    expect((await readAll(stream)).text).toMatch(/^HTTP\/1.1 200[\s\S]*HTTP\/1.1 200[\s\S]*\/second$/)
    expect(seen.map(one => one.url)).toEqual(['/', '/second'])
  })
})

it('a target that is no path is answered by no rule', async () => {
  await using rig = new Rig(rule(at(server)))
  for (const target of ['http://other.example.com/', '*'])
    expect(problemIn((await ask(rig, `OPTIONS ${target} HTTP/1.1`)).text)).toMatchObject({ code: 'INGRESS_NOT_FOUND' })
  expect(seen).toEqual([])
})

it('bytes are not served: they would pass by the rules', async () => {
  const { default: origin } = await import('../src/origin.ts')
  const protocol = await origin.create({}, {} as never)
  await expect(protocol.serve({} as never, {} as never, {} as never)).rejects.toMatchObject({
    code: 'DESTINATION_FORBIDDEN',
  })
})
