import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type HttpWorld, startHttpWorld } from './http-world.ts'
import { parseAnswer } from './visitor.ts'

let app: HttpWorld
const wrong = { 'postern-client-id': 'x', 'postern-client-secret': 'y' }
let revoked: { id: string; secret: string }
let other: { id: string; secret: string }

beforeAll(async () => {
  app = await startHttpWorld()
  const { administration } = app.world.edge
  other = await administration.call('service-token.create', { body: { name: 'of nobody' } })
  revoked = await administration.call('service-token.create', { body: { name: 'revoked' } })
  await administration.call('policy.put', {
    params: { hostname: app.host },
    body: {
      rules: [
        { name: 'no admin', action: 'deny', include: [{ path: ['/admin', '/admin/*'] }] },
        { name: 'app', action: 'allow', include: [app.world.token, revoked].map(({ id }) => ({ serviceToken: id })) },
      ],
    },
  })
  await administration.call('service-token.revoke', { params: { token: revoked.id } })
})
afterAll(() => app[Symbol.asyncDispose]())

const lines = (headers: Record<string, string>) =>
  Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')

const upgrade = () =>
  `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n`

type Form = (credential: string, path?: string) => string
const forms: [string, Form][] = [
  [
    'GET',
    (credential, path = '/') => `GET ${path} HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n${credential}\r\n`,
  ],
  [
    'POST',
    (credential, path = '/') =>
      `POST ${path} HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\nContent-Length: 1\r\n${credential}\r\nx`,
  ],
  [
    'OPTIONS',
    (credential, path = '/') =>
      `OPTIONS ${path} HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n${credential}\r\n`,
  ],
  [
    'a WebSocket',
    (credential, path = '/') => `GET ${path} HTTP/1.1\r\nHost: app.localhost\r\n${upgrade()}${credential}\r\n`,
  ],
]

describe.each(forms)('row 66: %s', (name, form) => {
  test.each([
    ['without a credential', () => form(''), 401, 'LOGIN_REQUIRED'],
    ['with a wrong one', () => form(lines(wrong)), 401, 'AUTH_REJECTED'],
    [
      'with a revoked one',
      () => form(lines({ 'postern-client-id': revoked.id, 'postern-client-secret': revoked.secret })),
      401,
      'TOKEN_REVOKED',
    ],
    [
      'with another’s',
      () => form(lines({ 'postern-client-id': other.id, 'postern-client-secret': other.secret })),
      403,
      'ACCESS_DENIED',
    ],
    ['for a path that is denied', () => form(lines(app.credential), '/admin/x'), 403, 'ACCESS_DENIED'],
  ])('%s: refused, and the origin hears nothing', async (_how, request, status, code) => {
    const opened = app.world.opened()
    const before = { ...app.origin.tap }
    const answer = parseAnswer(await app.raw(request()))
    expect([answer.status, answer.code]).toEqual([status, code])
    expect(app.world.opened()).toBe(opened)
    expect(app.origin.tap).toEqual(before)
    const { port } = app.world.edge
    const metadata = `Bearer resource_metadata="https://app.localhost:${port}/.well-known/oauth-protected-resource"`
    if (status === 401) expect(answer.headers['www-authenticate']).toBe(metadata)
  })

  test('with the right one: the origin answers', async () => {
    const answer = await app.raw(form(lines(app.credential), '/fine'))
    if (name === 'a WebSocket') expect(parseAnswer(answer).code).toBe('ORIGIN_FAILED')
    else expect(answer).toMatch(/^HTTP\/1.1 200 [\s\S]*\/fine/)
    expect(app.world.opened()).toBeGreaterThan(0)
  })
})

test('row 63: who is not let in is told so before the body', async () => {
  const opened = app.world.opened()
  for (const more of ['', 'Expect: 100-continue\r\n']) {
    const text = await app.raw(`POST / HTTP/1.1\r\nHost: app.localhost\r\n${more}Content-Length: 1073741824\r\n\r\n`)
    expect(parseAnswer(text)).toMatchObject({ status: 401, code: 'LOGIN_REQUIRED' })
  }
  expect(app.world.opened()).toBe(opened)
})

test('row 61: an application that is not there is refused as ever', async () => {
  const answer = parseAnswer(
    await app.raw('GET / HTTP/1.1\r\nHost: none.localhost\r\nConnection: close\r\n\r\n', 'none.localhost'),
  )
  expect([answer.status, answer.code]).toEqual([404, 'NOT_FOUND'])
})

test('row 62: no path and no user agent is special', async () => {
  for (const path of ['/healthz', '/ready', '/metrics', '/ping']) {
    const answer = parseAnswer(
      await app.raw(
        `GET ${path} HTTP/1.1\r\nHost: app.localhost\r\nUser-Agent: kube-probe/1.30\r\nConnection: close\r\n\r\n`,
      ),
    )
    expect(answer.code).toBe('LOGIN_REQUIRED')
  }
})

test('the edge’s own paths never reach the origin', async () => {
  const opened = app.world.opened()
  for (const path of ['/.postern/x', '/.postern', '/.well-known/oauth-protected-resource/x', '/.%70ostern/x']) {
    const got = await app.request({ path })
    expect([path, got.status]).toEqual([path, 404])
  }
  const asked = `GET /.postern/x HTTP/1.1\r\nHost: app.localhost\r\n${upgrade()}${lines(app.credential)}\r\n`
  expect(parseAnswer(await app.raw(asked)).status).toBe(404)
  expect(app.world.opened()).toBe(opened)
  expect((await app.request({ path: '/.posternish' })).body).toBe('GET /.posternish')
})

describe('gRPC', () => {
  const call = (headers: Record<string, string>) =>
    new Promise<Record<string, unknown>>((resolve, reject) => {
      const stream = app.http2().request({
        ':method': 'POST',
        ':path': '/service/Method',
        'content-type': 'application/grpc',
        te: 'trailers',
        ...headers,
      })
      stream.on('response', resolve).on('error', reject).resume().end()
    })

  test('row 79: is refused in its own words', async () => {
    const { connections } = app.origin.tap
    expect(await call({})).toMatchObject({ ':status': 200, 'grpc-status': '16', 'content-type': 'application/grpc' })
    expect(await call({ 'postern-client-id': other.id, 'postern-client-secret': other.secret })).toMatchObject({
      ':status': 200,
      'grpc-status': '7',
    })
    expect(app.origin.tap.connections).toBe(connections)
    expect(await call(app.credential)).not.toHaveProperty('grpc-status')
  })
})

describe('row 54: OPTIONS without a credential', () => {
  const preflight = 'Origin: https://elsewhere.example\r\nAccess-Control-Request-Method: PUT\r\n'
  const options = (more: string) => `OPTIONS /api HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n${more}\r\n`

  test('is refused, a true preflight too', async () => {
    const opened = app.world.opened()
    expect(parseAnswer(await app.raw(options(preflight))).code).toBe('LOGIN_REQUIRED')
    expect(app.world.opened()).toBe(opened)
  })

  test('goes on where the application wants it, without what says who asks', async () => {
    await using open = await startHttpWorld({
      options: { preflight: true },
      listener: (request, response) => response.end(JSON.stringify(request.headers)),
    })
    const got = await open.raw(options(`${preflight}Cookie: a=b\r\nAuthorization: Basic x\r\n`))
    expect(got).toMatch(/^HTTP\/1.1 200 /)
    expect(got).toContain('elsewhere.example')
    expect(got).not.toMatch(/"(?:cookie|authorization|postern-identity)"/)
    const opened = open.world.opened()
    for (const more of ['', 'Origin: https://elsewhere.example\r\n', `${preflight}Content-Length: 3\r\n`]) {
      expect(parseAnswer(await open.raw(`${options(more)}abc`)).code).toBe('LOGIN_REQUIRED')
    }
    expect(open.world.opened()).toBe(opened)
    // Over HTTP/2 no head need speak of a body.
    const stream = open.http2().request({
      ':method': 'OPTIONS',
      ':path': '/api',
      origin: 'https://elsewhere.example',
      'access-control-request-method': 'PUT',
    })
    stream.on('error', () => {}).end('abc')
    const [head] = await once(stream, 'response')
    expect(head[':status']).toBe(401)
    expect(open.world.opened()).toBe(opened)
  })
})

test('a session of bytes for an application with HTTP only is refused with the way to go', async () => {
  await using only = await startHttpWorld()
  await expect(only.world.session(only.credential, only.host)).rejects.toMatchObject({
    code: 'BAD_USAGE',
    next: 'Open it in a browser, or run: postern access http --hostname app.localhost',
  })
  expect(only.world.opened()).toBe(0)
  const both = await startHttpWorld({ protocols: ['http', 'ssh'] })
  await using _both = both
  await (await both.world.session(both.credential, both.host)).close()
  expect((await both.request({ path: '/both' })).body).toBe('GET /both')
})

test('HTTP for an application without it is told how to reach it', async () => {
  const credential = lines(app.credential)
  const got = parseAnswer(
    await app.raw(`GET / HTTP/1.1\r\nHost: db.localhost\r\nConnection: close\r\n${credential}\r\n`, 'db.localhost'),
  )
  expect([got.status, got.code]).toEqual([426, 'VERSION_UNSUPPORTED'])
})

test('row 133: what was allowed leaves one row for a visit, every refusal one of its own', async () => {
  await using world = await startHttpWorld()
  for (let n = 0; n < 4; n += 1) await world.request({ path: `/${n}` })
  await world.raw('GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n')
  await world.raw('GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n')
  const { rows } = await world.world.edge.administration.call('audit.list', { query: { action: 'access.decide' } })
  expect(rows.map(({ allowed }) => allowed).toSorted()).toEqual([false, false, true])
})
