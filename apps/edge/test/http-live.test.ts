import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { IdentityTokens } from '../src/http/identity-tokens.ts'
import { carryTo, type HttpWorld, person, startHttpWorld } from './http-world.ts'
import { dial } from './visitor.ts'
import { quiet } from './world.ts'

let app: HttpWorld
/** How each request for `/wait` or `/flow` ended at the origin. */
let ends: string[] = []
beforeAll(async () => {
  app = await startHttpWorld({ listener: serve })
})
afterAll(() => app[Symbol.asyncDispose]())

function serve(request: IncomingMessage, response: ServerResponse): void {
  response.once('close', () => {
    if (!response.writableFinished) ends.push(request.url ?? '')
  })
  if (request.url === '/wait') return
  if (request.url === '/flow') {
    const chunk = Buffer.alloc(65_536)
    const more = () => {
      while (response.write(chunk));
    }
    response.on('drain', more)
    more()
    return
  }
  if (request.url === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    return void response.write('data: here\n\n')
  }
  if (request.url === '/grpc') {
    response.writeHead(200, { 'content-type': 'application/grpc', trailer: 'grpc-status' })
    return void response.write('part')
  }
  response.end('fine')
}

describe('row 67: when a person’s access ends', () => {
  const keepAlive = async (headers: Record<string, string>) => {
    const socket = await dial(app.world.edge.port, app.caFile, app.host)
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    let text = ''
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
    })
    const closed = new Promise(resolve => socket.once('close', resolve))
    return {
      get: (path: string) => socket.write(`GET ${path} HTTP/1.1\r\nHost: app.localhost\r\n${lines.join('')}\r\n`),
      text: () => text,
      closed,
      until: async (part: string) => {
        while (!text.includes(part)) await sleep(5)
      },
      end: () => socket.destroy(),
    }
  }

  test.each([
    ['/events', 'data: here'],
    ['/flow', '200 OK'],
  ])('%s is cut', async (path, part) => {
    ends = []
    const since = new Date().toISOString()
    const who = await person(app)
    const visitor = await keepAlive(who.headers)
    visitor.get(path)
    await visitor.until(part)
    await who.leave()
    await visitor.closed
    while (!ends.includes(path)) await sleep(5)
    expect(visitor.text()).not.toMatch(/\r\n0\r\n\r\n$/)
    const said = async () => {
      const query = { action: 'stream.end', since }
      const { rows } = await app.world.edge.administration.call('audit.list', { query })
      return rows.map(({ code, detail }) => ({ code, why: (detail as { why?: string }).why }))
    }
    const why = { code: 'ACCESS_ENDED', why: 'the credential was revoked' }
    await expect.poll(said, { timeout: 10_000 }).toEqual([why])
  })

  test('what waits for its answer is told so', async () => {
    ends = []
    const who = await person(app)
    const visitor = await keepAlive(who.headers)
    visitor.get('/wait')
    while (app.world.edge.counts().admitted < 2) await sleep(5)
    await sleep(50)
    await who.leave()
    await visitor.until('ACCESS_ENDED')
    expect(visitor.text()).toMatch(/^HTTP\/1.1 403 /)
    while (!ends.includes('/wait')) await sleep(5)
    visitor.end()
  })

  test('the next request of a connection kept open is refused, and its twin is not', async () => {
    const who = await person(app)
    const [visitor, other] = [await keepAlive(who.headers), await keepAlive(app.credential)]
    visitor.get('/')
    other.get('/')
    await visitor.until('fine')
    await other.until('fine')
    await who.leave()
    const opened = app.world.opened()
    visitor.get('/')
    await visitor.until('401 ')
    expect(app.world.opened()).toBe(opened)
    other.get('/')
    while ((other.text().match(/fine/g) ?? []).length < 2) await sleep(5)
    visitor.end()
    other.end()
  })

  test('over HTTP/2 a stream is reset, and the connection decides anew', async () => {
    const who = await person(app)
    const session = app.http2()
    const stream = session.request({ ...who.headers, ':path': '/events' })
    stream.on('error', () => {})
    stream.resume()
    await once(stream, 'response')
    const closed = new Promise(resolve => stream.once('close', resolve))
    await who.leave()
    await closed
    expect(stream.rstCode).not.toBe(0)
    const next = session.request({ ...who.headers, ':path': '/' })
    const [head] = await once(next, 'response')
    expect(head[':status']).toBe(401)
    next.resume()
  })

  test('row 79: gRPC hears UNAUTHENTICATED in its trailers', async () => {
    const who = await person(app)
    const stream = app.http2().request({
      ...who.headers,
      ':method': 'POST',
      ':path': '/grpc',
      'content-type': 'application/grpc',
      te: 'trailers',
    })
    stream.on('error', () => {})
    stream.resume()
    await once(stream, 'response')
    const trailers = once(stream, 'trailers')
    await who.leave()
    expect((await trailers)[0]).toMatchObject({ 'grpc-status': '16' })
  })

  test('row 68: an expiry counts as much', async () => {
    const { administration } = app.world.edge
    const token = await administration.call('service-token.create', { body: { name: 'short', expiresInSeconds: 2 } })
    await administration.call('policy.put', {
      params: { hostname: app.host },
      body: { rules: [{ name: 'app', action: 'allow', include: [{ anyServiceToken: true }] }] },
    })
    const visitor = await keepAlive({ 'postern-client-id': token.id, 'postern-client-secret': token.secret })
    visitor.get('/events')
    await visitor.until('data: here')
    await visitor.closed
  })

  test('a rule that names a path keeps who asked for another', async () => {
    const { administration } = app.world.edge
    const put = (paths: string[]) =>
      administration.call('policy.put', {
        params: { hostname: app.host },
        body: {
          rules: [
            { name: 'not these', action: 'deny', include: [{ path: paths }] },
            { name: 'app', action: 'allow', include: [{ anyServiceToken: true }] },
          ],
        },
      })
    await put(['/secret'])
    const visitor = await keepAlive(app.credential)
    visitor.get('/events')
    await visitor.until('data: here')
    await put(['/secret', '/other'])
    await sleep(100)
    // The daemon, and this visitor.
    expect(app.world.edge.counts().admitted).toBe(2)
    await put(['/events'])
    await visitor.closed
  })
})

describe('streams that wait for the next request', () => {
  test('are ended after a while, and when the application moves or goes away', async () => {
    await using other = await startHttpWorld({ config: { http: { idleTime: 100 } } })
    await other.request({ path: '/' })
    while (!isClosed(other)) await sleep(10)
    await using third = await startHttpWorld()
    await third.request({ path: '/' })
    expect(isClosed(third)).toBe(false)
    await third.world.edge.administration.call('application.delete', { params: { hostname: third.host } })
    while (!isClosed(third)) await sleep(10)
    expect((await third.request({ path: '/' })).code).toBe('NOT_FOUND')
  })

  test('row 138: hold up nobody: an edge with nothing to do stops at once', async () => {
    const other = await startHttpWorld({ config: { grace: 60_000 } })
    await other.request({ path: '/' })
    const began = performance.now()
    await other.world.edge.close()
    expect(performance.now() - began).toBeLessThan(30_000)
    await other[Symbol.asyncDispose]()
  })

  test('row 138: a daemon that leaves takes them along', async () => {
    await using other = await startHttpWorld()
    const { port } = other.origin
    const second = await other.world.daemon(carryTo(port))
    while (other.world.edge.routes.all().length < 2) await sleep(5)
    await Promise.all([other.request({ path: '/' }), other.request({ path: '/' })])
    expect(isClosed(other)).toBe(false)
    await second.drain({ signal: AbortSignal.timeout(20_000), log: quiet })
    expect((await other.request({ path: '/' })).status).toBe(200)
  })
})

test('row 138: what runs when the edge stops is finished, what comes then is refused', async () => {
  let answer = () => {}
  const other = await startHttpWorld({
    config: { grace: 20_000 },
    listener: (_request, response) => {
      answer = () => response.end('whole')
    },
  })
  const running = other.request({ path: '/' })
  while (other.world.opened() === 0) await sleep(5)
  await sleep(50)
  const closing = other.world.edge.close()
  await sleep(50)
  answer()
  expect((await running).body).toBe('whole')
  await closing
  await other[Symbol.asyncDispose]()
})

function isClosed({ origin }: HttpWorld): boolean {
  return origin.tap.closed === origin.tap.connections
}

describe('identity tokens', () => {
  const ann = { kind: 'user', issuer: 'i', subject: 'ann', claims: {}, revokeKeys: [] } as const
  const robot = { kind: 'service', issuer: 's', subject: 'r', claims: {}, revokeKeys: [] } as const

  test('are signed once a minute for each visitor and hostname, and never for nobody', async () => {
    let now = 0
    let signed = 0
    const signer = { sign: async (claims: object) => `${JSON.stringify(claims)} ${++signed}` }
    const tokens = new IdentityTokens(signer, () => now)
    const first = await tokens.of([robot, ann], 'a')
    expect(first).toContain('"ann"')
    expect(await tokens.of([ann], 'a')).toBe(first)
    expect(await tokens.of([ann], 'b')).not.toBe(first)
    expect(await tokens.of([], 'a')).toBeUndefined()
    now = 60_000
    expect(await tokens.of([ann], 'a')).not.toBe(first)
    expect(signed).toBe(3)
  })

  test('are remembered within bounds, and a failure is not', async () => {
    let fails = true
    const signer = {
      sign: async () => {
        if (fails) throw new Error('sealed')
        return 'token'
      },
    }
    const tokens = new IdentityTokens(signer)
    await expect(tokens.of([ann], 'a')).rejects.toThrow('sealed')
    fails = false
    expect(await tokens.of([ann], 'a')).toBe('token')
    for (let n = 0; n < 10_100; n += 1) await tokens.of([ann], `h${n}`)
    expect(tokens.size).toBe(10_000)
  })
})
