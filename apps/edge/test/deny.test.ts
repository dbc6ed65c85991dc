import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dial, parseAnswer, readAll } from './visitor.ts'
import { header, startWorld, textOf, type World } from './world.ts'

let world: World
let other: { id: string; secret: string }
let expired: { id: string; secret: string }
let revoked: { id: string; secret: string }

beforeAll(async () => {
  world = await startWorld()
  const { administration } = world.edge
  other = await administration.call('service-token.create', { body: { name: 'of another application' } })
  await administration.call('application.create', {
    body: {
      hostname: 'other.localhost',
      tunnel: 'home',
      rules: [{ name: 'other', action: 'allow', include: [{ serviceToken: other.id }] }],
    },
  })
  expired = await administration.call('service-token.create', { body: { name: 'expired', expiresInSeconds: 1 } })
  await new Promise(resolve => setTimeout(resolve, 1001))
  revoked = await administration.call('service-token.create', { body: { name: 'revoked' } })
  const include = [world.token, expired, revoked].map(({ id }) => ({ serviceToken: id }))
  await administration.call('policy.put', {
    params: { hostname: 'db.localhost' },
    body: { rules: [{ name: 'db', action: 'allow', include }] },
  })
  await administration.call('service-token.revoke', { params: { token: revoked.id } })
})
afterAll(() => world[Symbol.asyncDispose]())

const lines = (headers: Record<string, string>) =>
  Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
const upgrade = (more = '') =>
  `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n${more}`

type Form = (credential: string, host?: string) => string
const forms: [string, Form][] = [
  ['GET', (credential, host = 'db.localhost') => `GET / HTTP/1.1\r\nHost: ${host}\r\n${credential}\r\n`],
  ['OPTIONS', (credential, host = 'db.localhost') => `OPTIONS / HTTP/1.1\r\nHost: ${host}\r\n${credential}\r\n`],
  [
    'POST',
    (credential, host = 'db.localhost') =>
      `POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1\r\n${credential}\r\nx`,
  ],
  [
    'an upgrade',
    (credential, host = 'db.localhost') => `GET / HTTP/1.1\r\nHost: ${host}\r\n${upgrade()}${credential}\r\n`,
  ],
  [
    'a session',
    (credential, host = 'db.localhost') =>
      `GET / HTTP/1.1\r\nHost: ${host}\r\n${upgrade('Sec-WebSocket-Protocol: postern-session-1\r\n')}${credential}\r\n`,
  ],
  [
    'a lower-case upgrade',
    (credential, host = 'db.localhost') =>
      `GET / HTTP/1.1\r\nhost: ${host}\r\n${upgrade()
        .toLowerCase()
        .replace(/key: .*/, `key: ${randomBytes(16).toString('base64')}`)}${credential}\r\n`,
  ],
]

/** Not requests that are decided: the front refuses them as they are, whoever sends them. */
const unread: [string, Form][] = [
  ['CONNECT', (credential, host = 'db.localhost') => `CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n${credential}\r\n`],
  [
    'an upgrade said twice',
    (credential, host = 'db.localhost') =>
      `GET / HTTP/1.1\r\nHost: ${host}\r\n${upgrade('Upgrade: websocket\r\n')}${credential}\r\n`,
  ],
  [
    'an upgrade to something else',
    (credential, host = 'db.localhost') =>
      `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: upgrade\r\nUpgrade: h2c\r\n${credential}\r\n`,
  ],
]

test.each(unread)(
  'row 66: %s is refused before anybody is asked, and the daemon hears nothing',
  async (_name, form) => {
    for (const credential of ['', lines(world.headers()), lines(world.headers(other))]) {
      for (const host of ['db.localhost', 'nobody.localhost', 'edge.localhost']) {
        const { status, code } = await world.ask(form(credential, host))
        expect([400, 405]).toContain(status)
        expect(code).toBe('BAD_USAGE')
      }
    }
    expect(world.opened()).toBe(0)
  },
)

describe.each(forms)('row 66, row 96: %s', (name, form) => {
  const wrong = { 'postern-client-id': 'x', 'postern-client-secret': 'y' }
  const cases: [string, () => string, number, string][] = [
    ['without a credential', () => '', 401, 'LOGIN_REQUIRED'],
    ['with an unknown id', () => lines(wrong), 401, 'AUTH_REJECTED'],
    [
      'with a wrong secret',
      () => lines({ ...world.headers(), 'postern-client-secret': 'psts_no' }),
      401,
      'AUTH_REJECTED',
    ],
    ['with a secret alone', () => lines({ 'postern-client-secret': world.token.secret }), 401, 'AUTH_REJECTED'],
    ['with another application’s token', () => lines(world.headers(other)), 403, 'ACCESS_DENIED'],
    ['with an expired token', () => lines(world.headers(expired)), 401, 'TOKEN_EXPIRED'],
    ['with a revoked token', () => lines(world.headers(revoked)), 401, 'TOKEN_REVOKED'],
    ['with a header twice', () => lines(world.headers()) + lines(world.headers()), 400, 'BAD_USAGE'],
    [
      'with both spellings',
      () => `${lines(world.headers())}Cf-Access-Client-Id: ${world.token.id}\r\n`,
      400,
      'BAD_USAGE',
    ],
    ['with the tunnel’s token', () => lines({ 'postern-tunnel-token': world.tunnelToken }), 401, 'LOGIN_REQUIRED'],
    [
      'with the token in a cookie',
      () => lines({ cookie: `postern-client-id=${world.token.id}; postern-client-secret=${world.token.secret}` }),
      401,
      'LOGIN_REQUIRED',
    ],
  ]

  test.each(cases)(
    '%s: refused before anything is accepted, and the daemon hears nothing',
    async (_, credential, status, code) => {
      const answer = await world.ask(form(credential()))
      expect(answer).toMatchObject({ status, code })
      const id = answer.headers['postern-request-id']
      expect(answer.headers['cache-control']).toBe('no-store')
      expect(answer.body).not.toContain('home')
      expect(await world.edge.store.readAudit({ most: 1, requestId: id })).toMatchObject([
        { allowed: false, code, hostname: 'db.localhost' },
      ])
      expect(world.opened()).toBe(0)
    },
  )

  test('of a hostname that nobody has: 404, whatever is presented', async () => {
    expect(await world.ask(form('', 'nobody.localhost'))).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await world.ask(form(lines(world.headers()), 'nobody.localhost'))).toMatchObject({ status: 404 })
    // The team domain has pages of its own, for which this credential says nothing.
    const { status } = await world.ask(form(lines(world.headers()), 'edge.localhost'))
    expect([303, 404, 405]).toContain(status)
    expect(world.opened()).toBe(0)
  })

  if (name.endsWith('upgrade') || name === 'a session') return
  test('the allow twin: a plain request that may, is told what to use instead', async () => {
    const answer = await world.ask(form(lines(world.headers())))
    expect(answer).toMatchObject({ status: 426, code: 'VERSION_UNSUPPORTED' })
    expect(answer.body).toContain('postern access')
    const aliased = lines({ 'Cf-Access-Client-Id': world.token.id, 'Cf-Access-Client-Secret': world.token.secret })
    expect(await world.ask(form(aliased))).toMatchObject({ status: 426 })
  })
})

test('the token in the query is nothing', async () => {
  const query = `?postern-client-id=${world.token.id}&postern-client-secret=${world.token.secret}`
  expect(await world.ask(`GET /${query} HTTP/1.1\r\nHost: db.localhost\r\n\r\n`)).toMatchObject({ status: 401 })
})

describe('row 81: a hostname that is none', () => {
  test.each([
    '-oProxyCommand=calc',
    '$(id)',
    '`id`',
    'db.localhost.',
    'a@db.localhost',
    'db.localhost,x',
    'd\xe9.localhost',
    '',
  ])('%j', async host => {
    for (const [, form] of forms) {
      if (form('', host).startsWith('CONNECT')) continue
      expect(await world.ask(form(lines(world.headers()), host))).toMatchObject({ status: 400 })
    }
    expect(world.opened()).toBe(0)
  })

  test('two Hosts, none, or a target of another host', async () => {
    const credential = lines(world.headers())
    for (const start of [
      'GET / HTTP/1.1\r\nHost: db.localhost\r\nHost: db.localhost\r\n',
      'GET / HTTP/1.1\r\n',
      'GET https://other.localhost/ HTTP/1.1\r\nHost: db.localhost\r\n',
    ]) {
      expect(await world.ask(`${start}${credential}\r\n`)).toMatchObject({ status: 400, code: 'HOSTNAME_INVALID' })
      expect((await world.ask(`${start}${upgrade()}${credential}\r\n`)).status).toBe(400)
    }
    expect(
      await world.ask(`GET https://db.localhost/ HTTP/1.1\r\nHost: db.localhost\r\n${credential}\r\n`),
    ).toMatchObject({ status: 426 })
  })
})

describe('a daemon’s way in', () => {
  const connector = (host: string, credential: string) =>
    `GET / HTTP/1.1\r\nHost: ${host}\r\n${upgrade('Sec-WebSocket-Protocol: postern-connector-1\r\n')}${credential}\r\n`

  test.each([
    ['without a token', 'edge.localhost', () => '', 401, 'LOGIN_REQUIRED'],
    ['with a service token', 'edge.localhost', () => lines(world.headers()), 401, 'LOGIN_REQUIRED'],
    [
      'with a token that is none',
      'edge.localhost',
      () => lines({ 'postern-tunnel-token': 'ptt_x' }),
      401,
      'AUTH_REJECTED',
    ],
    [
      'with a token of nobody’s tunnel',
      'edge.localhost',
      () =>
        lines({
          'postern-tunnel-token': `ptt_${Buffer.from(JSON.stringify({ t: 'away', s: 'a'.repeat(43) })).toString('base64url')}`,
        }),
      401,
      'AUTH_REJECTED',
    ],
    ['at an application', 'db.localhost', () => lines({ 'postern-tunnel-token': world.tunnelToken }), 404, 'NOT_FOUND'],
  ])('row 102: %s: refused', async (_, host, credential, status, code) => {
    const before = world.edge.counts().connectors
    expect(await world.ask(connector(host, credential()))).toMatchObject({ status, code })
    expect(world.edge.counts().connectors).toBe(before)
  })

  test('its token twin is let in (the daemon of these tests), and may not open streams', async () => {
    const daemon = await world.daemon()
    expect(world.edge.counts().connectors).toBe(2)
    await expect(daemon.open(header(), { signal: AbortSignal.timeout(10_000), log: console })).rejects.toMatchObject({
      code: 'DESTINATION_FORBIDDEN',
    })
    await daemon.close()
    await expect.poll(() => world.edge.counts().connectors).toBe(1)
  })
})

describe('unknown ways', () => {
  test.each([
    ['postern-session-2', 426, 'VERSION_UNSUPPORTED'],
    ['mqtt', 400, 'BAD_USAGE'],
  ])('sub-protocol %s', async (name, status, code) => {
    const request = `GET / HTTP/1.1\r\nHost: db.localhost\r\n${upgrade(`Sec-WebSocket-Protocol: ${name}\r\n`)}${lines(world.headers())}\r\n`
    expect(await world.ask(request)).toMatchObject({ status, code })
  })

  test('row 72: an extension called constructor does no harm', async () => {
    const socket = await dial(world.edge.port, world.edge.caFile ?? '', 'db.localhost')
    const all = readAll(socket)
    socket.write(
      `GET / HTTP/1.1\r\nHost: db.localhost\r\n${upgrade('Sec-WebSocket-Extensions: constructor\r\n')}${lines(world.headers())}\r\n`,
    )
    setTimeout(() => socket.destroy(), 300)
    expect([101, 400]).toContain(parseAnswer(await all).status)
  })
})

test('row 73: bytes that come with the upgrade are delivered first and in order', async () => {
  const socket = await dial(world.edge.port, world.edge.caFile ?? '', 'db.localhost')
  const frame = (text: string) =>
    Buffer.concat([Buffer.from([0x82, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)])
  const request = Buffer.from(`GET / HTTP/1.1\r\nHost: db.localhost\r\n${upgrade()}${lines(world.headers())}\r\n`)
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.write(Buffer.concat([request, frame('one,'), frame('two,')]))
  socket.write(frame('three'))
  await expect.poll(() => Buffer.concat(chunks).toString('latin1'), { timeout: 10_000 }).toMatch(/one,.*two,.*three/s)
  expect(parseAnswer(Buffer.concat(chunks).toString('latin1')).status).toBe(101)
  socket.destroy()
})

test('the allow twins: a session and a raw upgrade carry bytes both ways', async () => {
  const before = world.opened()
  const session = await world.session()
  const stream = await session.open(header(), { signal: AbortSignal.timeout(10_000), log: console })
  stream.end('hello')
  expect(await textOf(stream)).toBe('hello')
  expect(world.opened()).toBe(before + 1)
  const { identities, hostname, requestId } = world.streams.at(-1)?.header ?? {}
  expect(hostname).toBe('db.localhost')
  expect(identities).toMatchObject([{ issuer: 'postern:service-token', subject: world.token.id }])
  expect(requestId).not.toBe('mine')
  await session.close()
  await expect
    .poll(async () => (await world.edge.store.readAudit({ most: 10, requestId })).map(row => row.action), {
      timeout: 10_000,
    })
    .toEqual(['session.end', 'stream.end', 'access.decide'])
})

test('a session is for its hostname alone', async () => {
  const before = world.opened()
  const session = await world.session()
  const patience = { signal: AbortSignal.timeout(10_000), log: console }
  await expect(session.open(header('other.localhost'), patience)).rejects.toMatchObject({
    code: 'DESTINATION_FORBIDDEN',
  })
  expect(world.opened()).toBe(before)
  const stream = await session.open(header(), patience)
  stream.end()
  expect(await textOf(stream)).toBe('')
  await session.close()
})

test('row 97: guessing is slowed, and who knows the secret is not locked out', async () => {
  const bad = `GET / HTTP/1.1\r\nHost: db.localhost\r\n${lines({ ...world.headers(), 'postern-client-secret': 'psts_no' })}\r\n`
  let answer = await world.ask(bad)
  for (let n = 0; n < 70 && answer.status === 401; n += 1) answer = await world.ask(bad)
  expect(answer).toMatchObject({ status: 429, code: 'RATE_LIMITED' })
  expect(await world.ask(`GET / HTTP/1.1\r\nHost: db.localhost\r\n${lines(world.headers())}\r\n`)).toMatchObject({
    status: 426,
  })
})
