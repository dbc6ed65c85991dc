import { once } from 'node:events'
import type { Transport } from '@postern/interface'
import client from '@postern/transport-websocket/client'
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { DATA, dialTls, HELLO, lines, RawSession, upgrade, webSocketFrame, yamux } from '../world/attacker.ts'
import { quiet } from '../world/lab.ts'
import { startLiveSite } from '../world/live-site.ts'
import { ask2, dialLine, plain, say, statusOf } from '../world/web.ts'

// HTTP applications while something goes on: upgrades, other ways in, and access that ends.

const uncaught = vi.fn()
process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught)
const live = await startLiveSite()
const { site, token, cookie, heard, credential, own, theirs, ask, over2 } = live
beforeEach(() => live.begin())
afterAll(async () => {
  await live[Symbol.asyncDispose]()
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

const close = 'Connection: close\r\n'
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
    const bytesBefore = live.bytes()
    expect(statusOf(await ask('/plain', own(), 'both.localhost'))).toBe(200)
    expect(statusOf(await ask('/plain', own(), 'bytes.localhost'))).toBe(426)
    expect(statusOf(await ask('/plain', '', 'bytes.localhost'))).toBe(401)
    expect(live.bytes()).toBe(bytesBefore)
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
