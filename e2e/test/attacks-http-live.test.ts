import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Transport } from '@postern/interface'
import client from '@postern/transport-websocket/client'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { WebSocketServer } from 'ws'
import { DATA, dialTls, HELLO, lines, RawSession, upgrade, webSocketFrame, yamux } from '../world/attacker.ts'
import * as frames from '../world/h2frames.ts'
import { quiet } from '../world/lab.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { type Site, type SiteApplication, startSite } from '../world/site.ts'
import { startTap, type Tap } from '../world/tap.ts'
import { ask2, dialLine, http2, plain, say, signedIn, statusOf } from '../world/web.ts'

// HTTP applications while something goes on: upgrades, other ways in, answers that are none, many visitors on shared streams.

const PASSWORD = 'correct horse battery staple'
const uncaught = vi.fn()

const web = createServer((request, response) => {
  const tag = String(request.headers['x-tag'] ?? '')
  const chunks: Buffer[] = []
  request.on('error', () => {}).on('data', chunk => chunks.push(chunk))
  const { pathname } = new URL(request.url ?? '', 'http://x')
  if (pathname === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: hello\n\n')
    return
  }
  if (pathname === '/early') return void response.writeHead(413, { 'x-tag': tag }).end(`no ${tag}`)
  if (pathname === '/cut') {
    response.writeHead(200, { 'x-tag': tag, 'content-length': '1000' }).write(`half ${tag}`)
    return void setTimeout(() => response.destroy(), 5)
  }
  request.once('end', () => {
    const answer = () =>
      response.writeHead(200, { 'x-tag': tag }).end(`${request.method} ${tag} ${Buffer.concat(chunks).length}`)
    if (pathname === '/slow') setTimeout(answer, 5)
    else answer()
  })
})
const echo = new WebSocketServer({ server: web })
echo.on('connection', socket => socket.on('error', () => {}).on('message', data => socket.send(`you said ${data}`)))

/** What an origin of bytes answers, by path; anything else is left open without a word. */
const CROOKED: Record<string, string> = {
  '/good': 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood',
  '/two-etags': 'HTTP/1.1 200 OK\r\nETag: a\r\nETag: b\r\nDate: x\r\nDate: y\r\nContent-Length: 4\r\n\r\ngood',
  '/two-in-trailers':
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\nETag: a\r\nETag: b\r\n\r\n',
  '/many': `HTTP/1.1 200 OK\r\n${Array.from({ length: 2000 }, (_, at) => `X-${at}: 1\r\n`).join('')}Content-Length: 4\r\n\r\ngood`,
  '/304': 'HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
  '/204': 'HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison',
  '/head': 'HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
  '/twice': 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
  '/chunk-cut': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n5\r\nno',
  '/length-cut': 'HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nhalf',
  '/1xx': 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(5000),
  '/101': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nPRI',
  '/garbage': '\x00\x01\x02 no HTTP at all\r\n\r\n',
  '/ours': `HTTP/1.1 503 No\r\npostern-problem: {"code":"ACCESS_DENIED","status":403,"title":"x","speaker":"edge"}\r\npostern-request-id: forged\r\nSet-Cookie: __Host-postern-session=stolen\r\nSet-Cookie: =__host-postern-team=stolen\r\nSet-Cookie: own=1\r\nClear-Site-Data: "*"\r\nContent-Length: 4\r\n\r\ngood`,
}
const CUT = ['/chunk-cut', '/length-cut']

function crooked(socket: Socket): void {
  socket.on('end', () => socket.end())
  socket.on('data', chunk => {
    for (const [, path = ''] of chunk.toString('latin1').matchAll(/^[A-Z]+ (\/\S*) HTTP/gm)) {
      const answer = CROOKED[path]
      if (answer !== undefined) socket.write(Buffer.from(answer, 'latin1'))
      if (CUT.includes(path)) setTimeout(() => socket.destroy(), 20)
      if (path === '/hundreds') {
        const again = setInterval(() => socket.write('HTTP/1.1 100 Continue\r\n\r\n'), 5)
        socket.once('close', () => clearInterval(again))
      }
    }
  })
}

let odd: Origin
let tap: Tap
let bytes: Origin
let site: Site
let token: { id: string; secret: string }
let other: { id: string; secret: string }
let cookie: string
beforeAll(async () => {
  process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught)
  await new Promise<void>(resolve => web.listen(0, '127.0.0.1', () => resolve()))
  tap = await startTap((web.address() as AddressInfo).port)
  bytes = await startOrigin(socket => socket.pipe(socket))
  odd = await startOrigin(crooked)
  const closed: SiteApplication['rules'] = [{ name: 'nobody', action: 'deny', include: [{ everyone: true }] }]
  const application = (service: string, protocols = ['http']): SiteApplication => ({
    protocols,
    service,
    rules: closed,
  })
  const tcp = `tcp://127.0.0.1:${bytes.port}`
  site = await startSite(
    {
      'web.localhost': application(tap.service),
      'odd.localhost': application(`http://127.0.0.1:${odd.port}`),
      'bytes.localhost': application(tcp, ['tcp']),
      'both.localhost': { ...application(tcp, ['tcp', 'http']), others: [tap.service] },
      'mine.localhost': application(tap.service),
    },
    { http: { answerTime: 1500 } },
  )
  const { administration } = site.edge
  token = await administration.call('service-token.create', { body: { name: 'in' } })
  other = await administration.call('service-token.create', { body: { name: 'of another application' } })
  const rules = [
    { name: 'admin', action: 'deny' as const, include: [{ path: ['/admin'] }] },
    { name: 'in', action: 'allow' as const, include: [{ serviceToken: token.id }, { email: 'ann@example.com' }] },
  ]
  for (const hostname of ['web.localhost', 'odd.localhost'])
    await administration.call('policy.put', { params: { hostname }, body: { rules } })
  const byToken = [{ name: 'in', action: 'allow' as const, include: [{ serviceToken: token.id }] }]
  // A rule about paths denies bytes, which have none.
  for (const hostname of ['bytes.localhost', 'both.localhost'])
    await administration.call('policy.put', { params: { hostname }, body: { rules: byToken } })
  await site.person('ann@example.com', PASSWORD)
  cookie = await signedIn(site, 'web.localhost', 'ann@example.com', PASSWORD)
})
afterAll(async () => {
  await site?.[Symbol.asyncDispose]()
  for (const one of [tap, bytes, odd]) await one?.[Symbol.asyncDispose]()
  echo.close()
  web.closeAllConnections()
  web.close()
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

let before = { text: 0, bytes: 0 }
beforeEach(() => {
  before = { text: tap.text().length, bytes: bytes.bytes }
})
/** What the services heard since the test began. */
const heard = () => tap.text().slice(before.text) + (bytes.bytes > before.bytes ? 'bytes' : '')
const credential = () => ({ 'postern-client-id': token.id, 'postern-client-secret': token.secret })
const own = () => lines(credential())
const theirs = () => lines({ 'postern-client-id': other.id, 'postern-client-secret': other.secret })
const close = 'Connection: close\r\n'
const ask = (path: string, headers: string, hostname = 'web.localhost', method = 'GET') =>
  say(site, hostname, plain(`${method} ${path}`, hostname, headers + close))
const over2 = (hostname: string) => {
  const session = http2(site, hostname)
  return Object.assign(session, { [Symbol.dispose]: () => session.destroy() })
}
const codeOf = (answer: string) => /"code":"([A-Z_]+)"/.exec(answer)?.[1]
const itsPage = () => `Origin: ${site.at('web.localhost')}\r\n`

describe('row 38, row 66: a WebSocket is decided as a request is, before 101', () => {
  const handshake = (headers: string, path = '/') => upgrade('web.localhost', headers).replace('GET / ', `GET ${path} `)
  const open = (headers: string, path?: string) =>
    say(site, 'web.localhost', handshake(headers, path), /^HTTP\/1\.1 101 [\s\S]*\r\n\r\n/)
  it.each<[string, () => string, number, string?]>([
    ['nobody', () => '', 401],
    ['another application’s token', theirs, 403],
    ['a wrong secret', () => own().replace(token.secret, `psts_${'A'.repeat(43)}`), 401],
    ['a path that is denied', own, 403, '/admin/socket'],
    ['a path that reads in two ways', own, 400, '/x/../admin'],
    ['a path of the edge’s own', own, 404, '/.postern/x'],
    ['an altered cookie', () => `${itsPage()}Cookie: ${cookie.slice(0, -1)}\r\n`, 401],
    ['a page of another site', () => `Origin: https://evil.example\r\nCookie: ${cookie}\r\n`, 403],
    ['a page of a sibling', () => `Origin: ${site.at('both.localhost')}\r\nCookie: ${cookie}\r\n`, 403],
    ['a page of the team domain', () => `Origin: ${site.team}\r\nCookie: ${cookie}\r\n`, 403],
    ['a page of nowhere', () => `Origin: null\r\nCookie: ${cookie}\r\n`, 403],
    ['its own page over http', () => `${itsPage().replace('https', 'http')}Cookie: ${cookie}\r\n`, 403],
    ['its own hostname at another port', () => `Origin: https://web.localhost\r\nCookie: ${cookie}\r\n`, 403],
    ['no page, with a cookie', () => `Cookie: a=1; ${cookie}\r\n`, 403],
    ['two pages', () => `${itsPage()}Origin: https://evil.example\r\nCookie: ${cookie}\r\n`, 403],
    ['h2c besides', () => `${own()}Upgrade: h2c\r\n`, 400],
    ['a body', () => `${own()}Content-Length: 5\r\n`, 400],
  ])('%s', async (_, headers, status, path) => {
    const answer = await open(headers(), path)
    expect(statusOf(answer)).toBe(status)
    expect(heard()).toBe('')
  })

  it('its own page with its cookie, and a program with its token, are let in', async () => {
    for (const headers of [`${itsPage()}Cookie: ${cookie}\r\n`, own()]) {
      const line = await dialLine(site, 'web.localhost')
      // Row 73: what is behind the request comes first.
      line.write(Buffer.concat([Buffer.from(handshake(headers)), webSocketFrame(0x81, 'first')]))
      await line.read(/you said first/)
      line.write(webSocketFrame(0x81, 'second'))
      await line.read(/you said second/)
      line.socket.destroy()
    }
    expect(heard()).not.toContain(cookie)
    expect(heard()).not.toContain(token.secret)
  })

  it('over HTTP/2 extended CONNECT is the same', async () => {
    using session = over2('web.localhost')
    await once(session, 'remoteSettings')
    const connect = { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/', 'sec-websocket-version': '13' }
    expect((await ask2(session, connect)).status).toBe(401)
    expect((await ask2(session, { ...connect, ...credential(), ':path': '/admin' })).status).toBe(403)
    expect((await ask2(session, { ...connect, origin: 'https://evil.example', cookie })).status).toBe(403)
    expect((await ask2(session, { ...connect, ...credential(), ':protocol': 'connect-udp' })).status).not.toBe(200)
    expect((await ask2(session, { ...connect, ...credential(), 'sec-websocket-version': '8' })).status).toBe(426)
    expect(heard()).toBe('')
    const stream = session.request({ ...connect, ...credential() })
    const [head] = await once(stream, 'response')
    expect(head[':status']).toBe(200)
    stream.write(webSocketFrame(0x81, 'over two'))
    let text = ''
    stream.on('data', chunk => (text += chunk))
    await expect.poll(() => text).toContain('you said over two')
    stream.destroy()
  })

  it('row 59: any other upgrade is none', async () => {
    for (const word of ['h2c', 'TLS/1.0', 'websocket, h2c', 'postern', 'HTTP/3']) {
      const headers = `${own()}Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: ${word}\r\n`
      const answer = await say(site, 'web.localhost', plain('GET /', 'web.localhost', headers))
      expect([word, statusOf(answer)]).toEqual([word, 400])
    }
    expect(heard()).toBe('')
  })

  it('row 73: an origin that answers 200 gets nothing of what is behind the request', async () => {
    const behind = plain('GET /behind', 'odd.localhost', own())
    const answer = await say(site, 'odd.localhost', handshake(own(), '/good').replace('web.', 'odd.') + behind)
    expect([...answer.matchAll(/HTTP\/1\.1/g)]).toHaveLength(1)
    expect(statusOf(answer)).toBe(502)
    await new Promise(resolve => setTimeout(resolve, 50))
    expect(await ask('/good', own(), 'odd.localhost')).toMatch(/good$/)
  })
})

describe('other ways in lead past no rule', () => {
  it('row 77: a session of bytes reaches nothing of an application over HTTP', async () => {
    const headers = lines({ ...credential(), 'sec-websocket-protocol': 'postern-session.v1' })
    const answer = await say(site, 'web.localhost', upgrade('web.localhost', headers))
    expect([400, 403]).toContain(statusOf(answer))
    expect(heard()).toBe('')
  })

  it('row 77: of a hostname with both, a session of bytes reaches the service of bytes, whatever its streams call themselves', async () => {
    const transport = (await client.create({} as never, {} as never)) as Transport
    const connect = () => dialTls({ port: site.edge.port, caFile: site.caFile }, 'both.localhost')
    const { pipe } = await transport.dial(
      {
        edge: new URL(`https://127.0.0.1:${site.edge.port}`),
        host: 'both.localhost',
        purpose: 'session',
        headers: {},
        credential: { headers: credential() },
        connect,
        ca: [],
      },
      { signal: AbortSignal.timeout(10_000), log: quiet },
    )
    const session = new RawSession(pipe)
    session.send(HELLO)
    for (const [id, purpose] of [
      [3, 'tcp'],
      [5, 'http'],
    ] as const) {
      session.open(id, { v: 1, hostname: 'both.localhost', requestId: 'mine', purpose })
      await session.until(() => session.answer(id) !== undefined, 'an answer')
      if (session.answer(id)?.ok !== true) continue
      session.send(yamux(DATA, 0, id, plain('GET /admin', 'both.localhost')))
      await session.until(() => session.text(id).includes('GET /admin'), 'an echo')
    }
    expect(session.answer(3)?.ok).toBe(true)
    expect(heard()).toBe('bytes')
    pipe.destroy()
    // The other way round: requests reach the service of requests, and none that has bytes only.
    const bytesBefore = bytes.bytes
    expect(statusOf(await ask('/plain', own(), 'both.localhost'))).toBe(200)
    expect(statusOf(await ask('/plain', own(), 'bytes.localhost'))).toBe(426)
    expect(statusOf(await ask('/plain', '', 'bytes.localhost'))).toBe(401)
    expect(bytes.bytes).toBe(bytesBefore)
  })

  it('row 61: unknown hosts are all told the same, however they are spelt', async () => {
    const shape = (answer: string) => answer.replace(/[0-9a-f-]{36}/g, 'ID').replace(/^Date: .*\r\n/im, '')
    const unknown = await ask('/', '', 'nowhere.localhost')
    expect(statusOf(unknown)).toBe(404)
    const { administration } = site.edge
    const params = { hostname: 'mine.localhost' }
    await administration.call('application.delete', { params })
    for (const hostname of ['other-nowhere.localhost', 'mine.localhost', 'x.web.localhost'])
      for (const headers of ['', own(), `Cookie: ${cookie}\r\n`])
        expect([hostname, shape(await ask('/', headers, hostname))]).toEqual([hostname, shape(unknown)])
    for (const host of [
      '127.0.0.1',
      '[::1]',
      'web.localhost.',
      'web.localhost:x',
      'web.localhost, x',
      'wéb.localhost',
      '',
    ]) {
      const status = statusOf(await say(site, 'web.localhost', plain('GET /', host, own() + close)))
      expect([host, status === 404 || status === 400]).toEqual([host, true])
    }
    expect(heard()).toBe('')
    for (const host of ['WEB.localhost', `web.localhost:${site.edge.port}`, 'web.localhost:1'])
      expect([host, statusOf(await say(site, 'web.localhost', plain('GET /', host, own() + close)))]).toEqual([
        host,
        200,
      ])
  })

  it('row 44: one connection, other applications: each is decided for itself', async () => {
    using session = over2('web.localhost')
    expect((await ask2(session, { ':path': '/', ...credential() })).status).toBe(200)
    const seen = heard()
    expect((await ask2(session, { ':path': '/', ':authority': 'both.localhost', cookie })).status).toBe(401)
    expect((await ask2(session, { ':path': '/', ':authority': 'nowhere.localhost' })).status).toBe(404)
    const line = await dialLine(site, 'web.localhost')
    line.write(plain('GET /', 'both.localhost', `Cookie: ${cookie}\r\n${close}`))
    expect(statusOf(await line.read())).toBe(401)
    expect(heard()).toBe(seen)
  })

  it('row 54, row 62: no method, no path and no user agent is special', async () => {
    const preflight = 'Origin: https://elsewhere.example\r\nAccess-Control-Request-Method: PUT\r\n'
    for (const method of ['OPTIONS', 'HEAD', 'PROPFIND', 'PURGE', 'PRI'])
      expect([method, [400, 401].includes(statusOf(await ask('/', preflight, 'web.localhost', method)))]).toEqual([
        method,
        true,
      ])
    for (const path of [
      '/healthz',
      '/metrics',
      '/ping',
      '/favicon.ico',
      '/robots.txt',
      '/.well-known/acme-challenge/x',
    ])
      expect([path, statusOf(await ask(path, 'User-Agent: GoogleHC/1.0 kube-probe\r\n'))]).toEqual([path, 401])
    expect(heard()).toBe('')
    expect(statusOf(await ask('/', own() + preflight, 'web.localhost', 'OPTIONS'))).toBe(200)
  })
})

describe('row 57: answers that are none', () => {
  it.each(Object.keys(CROOKED).filter(path => !['/good', '/ours'].includes(path)))('%s', async path => {
    const poison = /poison/
    const line = await dialLine(site, 'odd.localhost')
    for (const method of path === '/head' ? ['HEAD'] : ['GET', 'HEAD']) {
      line.write(plain(`${method} ${path}`, 'odd.localhost', own()))
      await line.read(/\r\n\r\n/)
    }
    line.socket.destroy()
    using session = over2('odd.localhost')
    await ask2(session, { ':path': path, ...credential() })
    // Whatever that was: others are served, by their own answers.
    const answers = await Promise.all(Array.from({ length: 6 }, () => ask('/good', own(), 'odd.localhost')))
    for (const answer of answers) expect(answer).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\ngood$/)
    expect(line.text()).not.toMatch(poison)
    if (CUT.includes(path)) {
      expect(await ask(path, own(), 'odd.localhost')).not.toMatch(/\r\n0\r\n\r\n$/)
      const { status, reset } = await ask2(session, { ':path': path, ...credential() })
      expect(status === 502 || reset !== 0).toBe(true)
    }
  })

  it('row 132: a visitor over HTTP/2 who leaves while the origin says 100 takes nobody along', async () => {
    for (let turn = 0; turn < 20; turn++) {
      const socket = await dialTls({ port: site.edge.port, caFile: site.caFile }, 'odd.localhost', {
        ALPNProtocols: ['h2'],
      })
      const heads = Array.from({ length: 8 }, (_, at) =>
        frames.frame(
          frames.HEADERS,
          4,
          at * 2 + 1,
          frames.head('/hundreds', 'odd.localhost', Object.entries(credential()), at % 2 ? 'HEAD' : 'POST'),
        ),
      )
      socket.resume().write(Buffer.concat([frames.PREFACE, ...heads]))
      await new Promise(resolve => setTimeout(resolve, 40 + turn * 3))
      const resets = heads.map((_, at) =>
        frames.frame(frames.RST_STREAM, 0, at * 2 + 1, frames.word((turn + at) % 2 ? 8 : 0)),
      )
      if (turn % 3) socket.write(Buffer.concat(resets))
      else socket.destroy()
      await new Promise(resolve => setTimeout(resolve, 5))
      socket.destroy()
    }
    expect(uncaught).not.toHaveBeenCalled()
    expect(await ask('/good', own(), 'odd.localhost')).toMatch(/good$/)
  })

  it('row 58: what is the edge’s, an origin cannot say', async () => {
    const answer = await ask('/ours', own(), 'odd.localhost')
    expect([statusOf(answer), codeOf(answer)]).toEqual([503, undefined])
    expect(answer).not.toMatch(/stolen|forged|postern-problem|clear-site-data/i)
    expect(answer).toContain('Set-Cookie: own=1')
  })

  it('row 144: one that takes the request and says nothing is 504, without its address', async () => {
    const answer = await ask('/silence', own(), 'odd.localhost')
    expect([statusOf(answer), codeOf(answer)]).toEqual([504, 'ORIGIN_TIMEOUT'])
    expect(answer).not.toMatch(/127\.0\.0\.1|:\d{5}/)
    const socket = await say(site, 'odd.localhost', upgrade('odd.localhost', own()).replace('GET / ', 'GET /silence '))
    expect(statusOf(socket)).toBe(504)
  })
})

describe('row 56, row 57: many visitors on the same streams', () => {
  it('each gets their own answer, whatever the others do', { timeout: 60_000 }, async () => {
    const wrong: string[] = []
    let good = 0
    const one = async (session: ReturnType<typeof over2>, visitor: number, turn: number) => {
      const tag = `v${visitor}-${turn}-${'x'.repeat((visitor * 7 + turn) % 50)}`
      const kind = (visitor + turn * 3) % 7
      const path = ['/plain', '/slow', '/early', '/cut', '/plain', '/slow', '/plain'][kind] ?? '/'
      const body = kind === 2 ? Buffer.alloc(30_000) : kind === 5 ? Buffer.alloc(500) : undefined
      const headers = { ':path': path, ':method': body ? 'POST' : 'GET', 'x-tag': tag, ...credential() }
      if (kind === 6) {
        // Aborted: in its upload, or while it waits for its answer.
        const stream = session.request({ ...headers, ':method': 'POST', ':path': '/slow' }, { endStream: false })
        stream.on('error', () => {}).write('some')
        setTimeout(() => stream.close(turn % 2 ? 8 : 0), turn % 9)
        return void (await once(stream, 'close'))
      }
      const got = await ask2(session, headers, body)
      if (got.status === 0 || got.status >= 500) return
      if (got.headers['x-tag'] !== tag || !got.body.includes(tag))
        wrong.push(`${tag}: ${got.headers['x-tag']} ${got.body}`)
      else if (path !== '/cut') good++
      else if (got.reset === 0) wrong.push(`${tag}: half an answer passed for a whole one`)
    }
    const visit = async (visitor: number) => {
      using session = over2('web.localhost')
      for (let turn = 0; turn < 12; turn++)
        await Promise.all([
          one(session, visitor, turn * 3),
          one(session, visitor, turn * 3 + 1),
          one(session, visitor, turn * 3 + 2),
        ])
    }
    await Promise.all(Array.from({ length: 12 }, (_, visitor) => visit(visitor)))
    expect(wrong).toEqual([])
    expect(good).toBeGreaterThan(150)
  })
})

describe('row 126: floods, while somebody works', () => {
  const settled = async (flood: (socket: TLSSocket) => void) => {
    const socket = await dialTls({ port: site.edge.port, caFile: site.caFile }, 'web.localhost', {
      ALPNProtocols: ['h2'],
    })
    let over = false
    socket.on('close', () => (over = true)).resume()
    socket.write(frames.PREFACE)
    flood(socket)
    const steady = http2(site, 'web.localhost')
    for (let turn = 0; turn < 20; turn++)
      expect((await ask2(steady, { ':path': '/plain', 'x-tag': `t${turn}`, ...credential() })).body).toBe(
        `GET t${turn} 0`,
      )
    steady.destroy()
    return { socket, isOver: () => over }
  }
  const me = () => Object.entries(credential())
  it.each<[string, () => Buffer]>([
    [
      'resets',
      () =>
        Buffer.concat(
          Array.from({ length: 4000 }, (_, at) => [
            frames.frame(frames.HEADERS, 5, at * 2 + 1, frames.head('/plain', 'web.localhost', me())),
            frames.frame(frames.RST_STREAM, 0, at * 2 + 1, frames.word(8)),
          ]).flat(),
        ),
    ],
    [
      'resets that it provokes',
      () =>
        Buffer.concat(
          Array.from({ length: 4000 }, (_, at) => [
            frames.frame(frames.HEADERS, 5, at * 2 + 1, frames.head('/plain', 'web.localhost')),
            frames.frame(frames.WINDOW_UPDATE, 0, at * 2 + 1, frames.word(0)),
          ]).flat(),
        ),
    ],
    [
      'continuations',
      () =>
        Buffer.concat([
          frames.frame(frames.HEADERS, 0, 1, frames.head('/', 'web.localhost')),
          ...Array.from({ length: 20_000 }, () =>
            frames.frame(frames.CONTINUATION, 0, 1, frames.fields([['x', 'y'.repeat(100)]])),
          ),
        ]),
    ],
    ['settings', () => Buffer.concat(Array.from({ length: 50_000 }, () => frames.frame(frames.SETTINGS, 0, 0)))],
    [
      'pings',
      () => Buffer.concat(Array.from({ length: 100_000 }, () => frames.frame(frames.PING, 0, 0, Buffer.alloc(8)))),
    ],
    [
      'empty data',
      () =>
        Buffer.concat([
          frames.frame(frames.HEADERS, 4, 1, frames.head('/slow', 'web.localhost', me(), 'POST')),
          ...Array.from({ length: 100_000 }, () => frames.frame(frames.DATA, 0, 1)),
        ]),
    ],
  ])('%s: the connection is all that it costs', async (_, make) => {
    const { socket, isOver } = await settled(socket => void socket.write(make()))
    await expect.poll(isOver, { timeout: 15_000 }).toBe(true)
    socket.destroy()
  })
})

describe('when access ends, or cannot be noted', () => {
  it('row 111: while the audit log cannot be written nobody new is let in, over no connection', async () => {
    using session = over2('web.localhost')
    const line = await dialLine(site, 'web.localhost')
    line.write(plain('GET /plain', 'web.localhost', own()))
    await line.read(/GET {2}0\r\n/)
    expect((await ask2(session, { ':path': '/plain', ...credential() })).status).toBe(200)
    const seen = heard()
    Object.defineProperty(site.edge.store, 'auditable', { value: false, configurable: true })
    try {
      line.write(plain('GET /plain', 'web.localhost', own()))
      expect(statusOf(await line.read(/AUDIT_UNAVAILABLE/))).toBe(503)
      expect((await ask2(session, { ':path': '/plain', ...credential() })).status).toBe(503)
      expect(statusOf(await say(site, 'web.localhost', upgrade('web.localhost', own())))).toBe(503)
      expect(heard()).toBe(seen)
    } finally {
      Reflect.deleteProperty(site.edge.store, 'auditable')
    }
    expect((await ask2(session, { ':path': '/plain', ...credential() })).status).toBe(200)
  })

  it('row 67: a revoked token ends events, a WebSocket and what a connection that stays open may ask', async () => {
    const { administration } = site.edge
    const mine = await administration.call('service-token.create', { body: { name: 'to be revoked' } })
    const before = site.edge.store.snapshot.applications.get('web.localhost')?.rules ?? []
    const rule = { name: 'soon gone', action: 'allow' as const, include: [{ serviceToken: mine.id }] }
    const put = (rules: object[]) =>
      administration.call('policy.put', { params: { hostname: 'web.localhost' }, body: { rules } } as never)
    await put([...before, rule])
    const headers = lines({ 'postern-client-id': mine.id, 'postern-client-secret': mine.secret })
    const [events, socket, kept, twin] = await Promise.all([1, 2, 3, 4].map(() => dialLine(site, 'web.localhost')))
    events?.write(plain('GET /events', 'web.localhost', headers))
    twin?.write(plain('GET /events', 'web.localhost', own()))
    socket?.write(upgrade('web.localhost', headers))
    kept?.write(plain('GET /plain', 'web.localhost', headers))
    await Promise.all([
      events?.read(/data: hello/),
      twin?.read(/data: hello/),
      socket?.read(/101[\s\S]*\r\n\r\n/),
      kept?.read(/GET {2}0\r\n/),
    ])
    await administration.call('service-token.revoke', { params: { token: mine.id } })
    await Promise.all([events?.read(), socket?.read()])
    expect(events?.text()).not.toMatch(/\r\n0\r\n\r\n$/)
    // A close frame with 1008.
    expect(socket?.text()).toContain('\x03\xf0')
    const seen = heard()
    kept?.write(plain('GET /plain', 'web.localhost', headers))
    expect(statusOf((await kept?.read(/\}$/)) ?? '')).toBe(401)
    expect(heard()).toBe(seen)
    expect(twin?.closed).toBe(false)
    for (const one of [twin, kept]) one?.socket.destroy()
    await put([...before])
  })
})
