import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { answerHeaders, requestHeaders, trailersOf } from '../src/http/headers.ts'
import { type HttpWorld, startHttpWorld } from './http-world.ts'
import { parseAnswer } from './visitor.ts'

interface Seen {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly raw: string[]
  readonly trailers: string[]
  readonly body: string
}

const seen: Seen[] = []
let app: HttpWorld
let answer: (request: IncomingMessage) => string[] = () => []
beforeAll(async () => {
  app = await startHttpWorld({
    listener: (request, response) => {
      let body = ''
      request.on('data', chunk => {
        body += chunk
      })
      request.once('end', () => {
        const { method, url, rawHeaders: raw, rawTrailers: trailers } = request
        seen.push({ method, url, raw, trailers, body })
        response.writeHead(200, answer(request))
        response.end(`${request.url}`)
      })
    },
  })
})
afterAll(() => app[Symbol.asyncDispose]())
beforeEach(() => {
  seen.length = 0
  answer = () => []
})

const credential = () =>
  Object.entries(app.credential)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
const get = (more: string, path = '/') =>
  app.raw(`GET ${path} HTTP/1.1\r\nHost: app.localhost\r\n${credential()}${more}Connection: close\r\n\r\n`)
const valuesOf = (name: string, one: Seen | undefined = seen[0]) => {
  const raw = one?.raw ?? []
  return raw.filter((_value, at) => at % 2 === 1 && raw[at - 1]?.toLowerCase() === name)
}

test('row 31: our cookies and credentials stay at the edge, the application’s own pass untouched', async () => {
  const own = 'a=1; b="x y";c==;  d'
  await get(`Cookie: ${own}\r\nAuthorization: Basic own\r\n`)
  expect(valuesOf('cookie')).toEqual([own])
  expect(valuesOf('authorization')).toEqual(['Basic own'])
  expect(seen[0]?.raw.filter(text => /postern-(?:client|access|admin)/i.test(text))).toEqual([])
  seen.length = 0
  await get('Cookie: a=1; __Host-postern-login=s3cret; b=2; __HOST-Postern-team=s3cret; c\r\n')
  expect(valuesOf('cookie')).toEqual(['a=1; b=2; c'])
  expect(JSON.stringify(seen)).not.toContain('s3cret')
})

test('row 31: cookies in several lines of HTTP/2 become one', async () => {
  const stream = app.http2().request({
    ...app.credential,
    ':path': '/',
    cookie: ['a=1', '__Host-postern-login=s3cret', 'b=2'],
  } as never)
  stream.resume()
  await once(stream, 'end')
  expect(valuesOf('cookie')).toEqual(['a=1; b=2'])
})

describe('row 48: an identity from outside', () => {
  test.each([
    ['as it is', 'postern-identity: forged\r\n'],
    ['in capitals', 'POSTERN-IDENTITY: forged\r\n'],
    ['twice', 'postern-identity: forged\r\nPostern-Identity: forged\r\n'],
    ['named by Connection', 'postern-identity: forged\r\nConnection: postern-identity\r\n'],
    ['of the request', 'Postern-Request-Id: forged\r\n'],
    ['as Forwarded', 'Forwarded: for=forged\r\n'],
  ])('%s never arrives', async (_how, lines) => {
    await get(lines)
    expect(seen.length).toBeLessThan(2)
    expect(JSON.stringify(seen)).not.toContain('forged')
  })

  test.each([['postern_identity: forged\r\n'], ['postern.identity: forged\r\n'], ['x_forwarded_for: forged\r\n']])(
    'that only looks like it is refused: %s',
    async line => {
      expect(parseAnswer(await get(line)).status).toBe(400)
      expect(seen).toEqual([])
    },
  )

  test('in a trailer never arrives; the application’s own trailer does', async () => {
    await app.raw(
      `POST / HTTP/1.1\r\nHost: app.localhost\r\n${credential()}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nPostern-Identity: forged\r\nX-Forwarded-For: forged\r\nAuthorization: forged\r\nX-Own: kept\r\n\r\n`,
    )
    expect(seen[0]?.trailers).toEqual(['X-Own', 'kept'])
  })

  test('is the edge’s own, once, signed for this hostname', async () => {
    await get('')
    const [token = '', ...more] = valuesOf('postern-identity')
    expect(more).toEqual([])
    const [, claims = ''] = token.split('.')
    const read = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, unknown>
    const { port } = app.world.edge
    expect(read).toMatchObject({ iss: `https://edge.localhost:${port}`, aud: app.host, sub: app.world.token.id })
    expect(Number(read.exp) - Number(read.iat)).toBe(300)
    await get('')
    expect(valuesOf('postern-identity', seen[1])).toEqual([token])
  })
})

test.each(['Postern-Identity', 'Cookie', 'X-Forwarded-For', 'Host', 'Content-Length', 'Forwarded'])(
  'row 49: Connection that names %s takes nothing of ours away',
  async name => {
    await get(`Connection: close, ${name}\r\nCookie: a=b\r\n`)
    expect(valuesOf('postern-identity')).toHaveLength(1)
    expect(valuesOf('x-forwarded-for')).toEqual(['127.0.0.1'])
    expect(valuesOf('forwarded')).toHaveLength(1)
    expect(valuesOf('host')).toEqual([`app.localhost:${app.world.edge.port}`])
    expect(valuesOf('connection')).toEqual(['keep-alive'])
  },
)

test('row 52, row 53: what only a proxy can say is said by the edge, of the peer', async () => {
  const claims = [
    ...['X-Forwarded-For: 10.0.0.1', 'X-Forwarded-For: 10.0.0.2', 'X-Forwarded-Proto: http', 'X-Forwarded-Prefix: /x'],
    ...[
      'X-Forwarded-Uri: /claimed',
      'X-Forwarded-Method: DELETE',
      'X-Original-URL: /claimed',
      'X-Rewrite-URL: /claimed',
    ],
    ...['X-HTTP-Method-Override: DELETE', 'X-Real-IP: 10.0.0.1', 'Forwarded: for=10.0.0.1'],
    ...['X-Forwarded: for=10.0.0.1', 'Proxy: http://10.0.0.1/'],
  ]
  await get(`${claims.join('\r\n')}\r\n`)
  const said = JSON.stringify(seen[0]?.raw)
  expect(said).not.toMatch(/10\.0\.0|claimed|DELETE|prefix/i)
  expect(valuesOf('x-forwarded-for')).toEqual(['127.0.0.1'])
  expect(valuesOf('x-forwarded-proto')).toEqual(['https'])
  expect(valuesOf('x-forwarded-host')).toEqual([`app.localhost:${app.world.edge.port}`])
  expect(valuesOf('forwarded')).toEqual([`for=127.0.0.1;host="app.localhost:${app.world.edge.port}";proto=https`])
})

describe('row 56: a second request hidden in a first', () => {
  const hidden = 'GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n'
  const post = (framing: string, body: string) =>
    app.raw(
      `POST /first HTTP/1.1\r\nHost: app.localhost\r\n${credential()}Connection: close\r\n${framing}\r\n\r\n${body}`,
    )
  test.each([
    ['CL.TE', 'Content-Length: 4\r\nTransfer-Encoding: chunked', `0\r\n\r\n${hidden}`],
    ['TE.CL', 'Transfer-Encoding: chunked\r\nContent-Length: 4', `0\r\n\r\n${hidden}`],
    ['TE.TE', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', `0\r\n\r\n${hidden}`],
    ['xchunked', 'Transfer-Encoding: xchunked', `0\r\n\r\n${hidden}`],
    ['vertical tab', 'Transfer-Encoding: \x0bchunked', `0\r\n\r\n${hidden}`],
    ['two lengths', `Content-Length: 0\r\nContent-Length: ${hidden.length}`, hidden],
    ['a signed length', 'Content-Length: +0', hidden],
    ['a hexadecimal length', 'Content-Length: 0x5', hidden],
    ['space before the colon', `Content-Length : ${hidden.length}`, hidden],
    ['a bare line feed', `X: y\nContent-Length: ${hidden.length}`, hidden],
    ['a NUL', `X: y\0z\r\nContent-Length: ${hidden.length}`, hidden],
    ['a folded line', 'X: y\r\n z', hidden],
  ])('%s', async (_how, framing, body) => {
    const text = await post(framing, body)
    expect(seen.filter(({ url }) => url === '/hidden')).toEqual([])
    expect(text.match(/HTTP\/1\.1 \d/g)?.length ?? 0).toBeLessThanOrEqual(1)
  })

  test('its twin goes through, and the next visitor gets their own answer', async () => {
    expect(await post('Content-Length: 3', 'abc')).toMatch(/200 [\s\S]*\/first\r\n0\r\n\r\n$/)
    expect(seen[0]).toMatchObject({ url: '/first', body: 'abc' })
    expect((await app.request({ path: '/mine' })).body).toBe('/mine')
  })

  test('a line break in what HTTP/2 calls a path or a value', async () => {
    const session = app.http2()
    for (const headers of [{ ':path': '/a HTTP/1.1\r\nX: y' }, { ':path': '/', 'x-a': 'b\r\nX: y' }]) {
      try {
        const stream = session.request({ ...app.credential, ...headers }).resume()
        stream.on('error', () => {})
        await once(stream, 'close')
      } catch {
        // Node does not even send some of these.
      }
    }
    // nghttp2 leaves out a value that cannot be one.
    expect(seen.map(({ url }) => url).filter(url => url !== '/')).toEqual([])
    expect(seen.flatMap(one => [...valuesOf('x', one), ...valuesOf('x-a', one)])).toEqual([])
  })
})

test('row 59: an upgrade to anything else is no upgrade', async () => {
  const { status } = parseAnswer(
    await app.raw(
      `GET / HTTP/1.1\r\nHost: app.localhost\r\n${credential()}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n`,
    ),
  )
  expect(status).toBe(400)
  expect(seen).toEqual([])
})

test('row 58: an origin cannot set what is the edge’s; its own cookies pass', async () => {
  answer = () => [
    ...['Set-Cookie', '__Host-postern-session=x; Path=/; Secure', 'Set-Cookie', 'mine=1; Path=/'],
    ...['set-cookie', ' =__host-POSTERN-team=x', 'Postern-Request-Id', 'forged', 'postern-x', 'y'],
    ...['Clear-Site-Data', '"cookies"', 'Alt-Svc', 'h3=":443"', 'Keep-Alive', 'timeout=5', 'Proxy-Authenticate', 'x'],
  ]
  const { headers } = await app.request({ path: '/' })
  expect(headers['set-cookie']).toEqual(['mine=1; Path=/'])
  expect(headers['postern-request-id']).toMatch(/^[0-9a-f-]{36}$/)
  for (const name of ['postern-x', 'clear-site-data', 'alt-svc', 'proxy-authenticate']) {
    expect(headers).not.toHaveProperty(name)
  }
})

describe('headers on their own', () => {
  const said = {
    authority: 'app.example.com',
    remoteAddress: '2001:db8::1',
    requestId: 'r',
    identityToken: undefined,
    certificate: undefined,
    framing: 'none',
    dropsAuthorization: true,
  } as const

  test('an IPv6 address is written as RFC 7239 wants', () => {
    expect(requestHeaders([], said)).toContain('for="[2001:db8::1]";host="app.example.com";proto=https')
  })

  test('Authorization that was the edge’s credential stays there', () => {
    expect(requestHeaders(['Authorization', 'Bearer x'], said)).not.toContain('Bearer x')
    expect(requestHeaders(['Authorization', 'x'], { ...said, dropsAuthorization: false })).toContain('x')
  })

  test('a length is the one that was judged', () => {
    const out = requestHeaders(['Content-Length', '9'], { ...said, framing: { length: '5' } })
    expect(out.filter((_v, at) => out[at - 1] === 'Content-Length')).toEqual(['5'])
  })

  test('gRPC hears that trailers are understood', () => {
    expect(requestHeaders(['te', 'trailers'], said).slice(-4)).toEqual([
      'TE',
      'trailers',
      'Connection',
      'keep-alive, TE',
    ])
  })

  test('an answer’s Connection takes away what it names', () => {
    expect(answerHeaders(['Connection', 'x-hop', 'X-Hop', '1', 'X-End', '2'])).toEqual({
      headers: ['X-End', '2'],
      dropped: [],
    })
  })

  test('no trailer says what only a head may', () => {
    expect(trailersOf(['Content-Length', '1', 'postern_identity', 'x', 'grpc-status', '0'])).toEqual([
      ['grpc-status', '0'],
    ])
  })
})
