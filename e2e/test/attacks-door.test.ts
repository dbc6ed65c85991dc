import { connect } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { dialTls, lines, readAll, upgrade, webSocketFrame } from '../world/attacker.ts'
import { type Lab, startLab } from '../world/lab.ts'
import { type Origin, startOrigin } from '../world/origin.ts'

// The public port, with a real daemon and a service behind it that counts who comes.

const uncaught = vi.fn()
let origin: Origin
let lab: Lab
let other: { id: string; secret: string }
let expired: { id: string; secret: string }
let revoked: { id: string; secret: string }
beforeAll(async () => {
  process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught)
  origin = await startOrigin(socket => socket.pipe(socket))
  lab = await startLab(`tcp://127.0.0.1:${origin.port}`)
  const { administration } = lab.edge
  other = await administration.call('service-token.create', { body: { name: 'of another application' } })
  expired = await administration.call('service-token.create', { body: { name: 'expired', expiresInSeconds: 1 } })
  await new Promise(resolve => setTimeout(resolve, 1001))
  revoked = await administration.call('service-token.create', { body: { name: 'revoked' } })
  const rule = (...ids: string[]) => [
    { name: 'some', action: 'allow' as const, include: ids.map(serviceToken => ({ serviceToken })) },
  ]
  await administration.call('application.create', {
    body: { hostname: 'other.localhost', tunnel: 'home', rules: rule(other.id) },
  })
  await administration.call('policy.put', {
    params: { hostname: 'db.localhost' },
    body: { rules: rule(lab.token.id, expired.id, revoked.id) },
  })
  await administration.call('service-token.revoke', { params: { token: revoked.id } })
})
afterAll(async () => {
  await lab[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})
let before = 0
beforeEach(() => {
  before = origin.connections
})

const status = (answer: string) => Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0)
/** Writes these bytes, as they are, and reads to the end, or to `enough`. */
async function say(bytes: string | Buffer, enough?: RegExp, tls: ConnectionOptions = {}): Promise<string> {
  const socket = await dialTls(lab, 'db.localhost', tls)
  const answer = readAll(socket, enough)
  socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  const text = await answer
  socket.destroy()
  return text
}
const token = () => lines(lab.headers())
/** The twin of every refusal here: the same upgrade as it should be carries bytes to the service and back. */
async function letIn(credential = token()): Promise<void> {
  const request = upgrade('db.localhost', credential)
  const text = await say(Buffer.concat([Buffer.from(request), webSocketFrame(0x82, 'hello?')]), /hello\?/)
  expect(text).toMatch(/^HTTP\/1\.1 101 [\s\S]*hello\?/)
}

describe('row 66: before 101', () => {
  const twice = (headers: string) => headers + headers
  it.each<[string, (to: string) => string, number]>([
    ['no credential', () => '', 401],
    ['a wrong secret', () => lines({ ...lab.headers(), 'postern-client-secret': `psts_${'A'.repeat(43)}` }), 401],
    ['another application’s token', () => lines(lab.headers(other)), 403],
    ['an expired token', () => lines(lab.headers(expired)), 401],
    ['a revoked token', () => lines(lab.headers(revoked)), 401],
    ['the pair twice', () => twice(token()), 400],
    ['the id twice in two cases', () => `${token()}Postern-Client-ID: ${lab.token.id}\r\n`, 400],
    ['both spellings', () => token() + token().replaceAll('postern-client', 'cf-access-client'), 400],
    ['half of each spelling', () => token().replace('postern-client-id', 'cf-access-client-id'), 400],
    ['two ids in one header', () => token().replace(lab.token.id, `${lab.token.id}, ${other.id}`), 401],
    ['underscores', () => token().replaceAll('postern-client', 'postern_client'), 400],
    ['the tunnel’s token', () => lines({ 'postern-tunnel-token': lab.tunnelToken }), 401],
    ['a cookie', () => lines({ cookie: token().trim().replaceAll(': ', '=').replaceAll('\r\n', '; ') }), 401],
    ['an Authorization', () => lines({ authorization: `Bearer ${lab.token.secret}` }), 401],
    [
      'a client that calls itself local',
      () => lines({ 'x-forwarded-for': '127.0.0.1', forwarded: 'for=127.0.0.1' }),
      401,
    ],
  ])('%s: refused, raw and session, and the service sees nobody', async (_, credential, wanted) => {
    for (const subprotocol of [undefined, 'postern-session-1'])
      expect(status(await say(upgrade('db.localhost', credential('db.localhost'), subprotocol)))).toBe(wanted)
    expect(origin.connections - before).toBe(0)
  })

  it.each([
    ['in the query', () => upgrade('db.localhost', '').replace('GET /', `GET /?${new URLSearchParams(lab.headers())}`)],
    ['in the path', () => upgrade('db.localhost', '').replace('GET /', `GET /${lab.token.id}/${lab.token.secret}`)],
    [
      'as a user',
      () =>
        upgrade('db.localhost', '').replace('GET /', `GET https://${lab.token.id}:${lab.token.secret}@db.localhost/`),
    ],
    ['as a sub-protocol', () => upgrade('db.localhost', '', `postern-session-1, ${lab.token.id}, ${lab.token.secret}`)],
  ])('the token %s is nothing', async (_, request) => {
    expect([400, 401]).toContain(status(await say(request())))
    expect(origin.connections - before).toBe(0)
  })

  it('the twins: both spellings are let in, in any case', async () => {
    await letIn()
    await letIn(token().replaceAll('postern-client', 'CF-Access-Client'))
    await expect.poll(() => origin.connections - before).toBe(2)
  })
})

describe('row 73: what follows a request', () => {
  const second = () => upgrade('db.localhost', token())
  it.each<[string, () => string]>([
    ['a refused upgrade, then a good one', () => upgrade('db.localhost', '') + second()],
    ['a refused request, then a good upgrade', () => `GET / HTTP/1.1\r\nHost: db.localhost\r\n\r\n${second()}`],
    [
      'a good upgrade as the body of a request',
      () => `POST / HTTP/1.1\r\nHost: db.localhost\r\nContent-Length: ${second().length}\r\n\r\n${second()}`,
    ],
    [
      'a good upgrade behind an empty body',
      () => `POST / HTTP/1.1\r\nHost: db.localhost\r\nContent-Length: 0\r\n\r\n${second()}`,
    ],
    [
      'a good upgrade behind chunks',
      () => `POST / HTTP/1.1\r\nHost: db.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${second()}`,
    ],
    [
      'a good upgrade behind CONNECT',
      () => `CONNECT db.localhost:443 HTTP/1.1\r\nHost: db.localhost\r\n\r\n${second()}`,
    ],
    [
      'a good upgrade behind h2c',
      () => `GET / HTTP/1.1\r\nHost: db.localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n${second()}`,
    ],
    [
      'a good upgrade behind the wrong version',
      () => upgrade('db.localhost', token()).replace('Version: 13', 'Version: 12') + second(),
    ],
    [
      'an upgrade with a length, then a good one',
      () => second().replace('\r\n\r\n', '\r\nContent-Length: 3\r\n\r\nabc') + second(),
    ],
    [
      'an upgrade in chunks',
      () => second().replace('\r\n\r\n', '\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n') + second(),
    ],
  ])('%s: at most one answer, which is no, and the service sees nobody', async (_, bytes) => {
    const text = await say(bytes())
    expect(text).not.toMatch(/HTTP\/1\.1 101/)
    expect(text.match(/HTTP\/1\.1 \d/g)?.length ?? 0).toBeLessThan(2)
    expect(origin.connections - before).toBe(0)
  })

  it('a service that answers in HTTP, and a visitor who goes on in HTTP, are bytes in frames and no more', async () => {
    const request = Buffer.from(upgrade('db.localhost', token()))
    const inside = 'GET /admin HTTP/1.1\r\nHost: other.localhost\r\n\r\n'
    const text = await say(Buffer.concat([request, webSocketFrame(0x82, inside)]), /admin/)
    expect(text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    expect(text).toContain(inside)
    expect(origin.connections - before).toBe(1)
    const bare = await say(Buffer.concat([request, Buffer.from(inside)]))
    expect(bare.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    await letIn()
  })
})

describe('row 69, row 71: frames that RFC 6455 does not allow', () => {
  const big = Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
  it.each<[string, Buffer, number]>([
    ['unmasked', webSocketFrame(0x82, 'x', false), 1002],
    ['RSV1, as if compressed', webSocketFrame(0xc2, 'x'), 1002],
    ['RSV2', webSocketFrame(0xa2, 'x'), 1002],
    ['opcode 3', webSocketFrame(0x83, 'x'), 1002],
    ['opcode 11', webSocketFrame(0x8b, 'x'), 1002],
    ['a ping in fragments', webSocketFrame(0x09, 'x'), 1002],
    ['a ping of 126 bytes', webSocketFrame(0x89, 'x'.repeat(126)), 1002],
    ['a continuation of nothing', webSocketFrame(0x80, 'x'), 1002],
    ['text that is no UTF-8', webSocketFrame(0x81, Buffer.from([0xff])), 1007],
    ['a close of one byte', webSocketFrame(0x88, 'x'), 1002],
    ['close code 1005', webSocketFrame(0x88, Buffer.from([3, 0xed])), 1002],
    ['close code 999', webSocketFrame(0x88, Buffer.from([3, 0xe7])), 1002],
    ['a length with its first bit set', big, 1009],
    ['a message of 1 MiB and more', webSocketFrame(0x82, Buffer.alloc(2 ** 20 + 1)).subarray(0, 100), 1009],
  ])('%s: closed with its code; the service is cut, and nobody else is', async (_, frame, code) => {
    const offer = 'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n'
    const request = Buffer.from(upgrade('db.localhost', token() + offer))
    const text = await say(Buffer.concat([request, frame]))
    expect(text).toMatch(/^HTTP\/1\.1 101/)
    expect(text.toLowerCase()).not.toContain('extensions')
    const closing = Buffer.from(text.slice(text.indexOf('\r\n\r\n') + 4), 'latin1')
    expect([closing[0], closing.readUInt16BE(2)]).toEqual([0x88, code])
    await expect.poll(() => origin.open.size, { timeout: 10_000 }).toBe(0)
    await letIn()
  })
})

describe('TLS', () => {
  it('1.0 and 1.1 are refused, 1.2 and 1.3 are not', async () => {
    for (const version of ['TLSv1', 'TLSv1.1'] as const) {
      const old = { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' } as const
      await expect(dialTls(lab, 'db.localhost', old)).rejects.toThrow()
    }
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = await dialTls(lab, 'db.localhost', { minVersion: version, maxVersion: version })
      expect(socket.getProtocol()).toBe(version)
      socket.destroy()
    }
  })

  it('who renegotiates without end is cut', async () => {
    const socket = await dialTls(lab, 'db.localhost', { maxVersion: 'TLSv1.2' })
    const closed = new Promise(resolve => socket.once('close', resolve))
    socket.resume() // an end that nobody reads is not seen
    const again = () => void (socket.destroyed || socket.renegotiate({}, error => error || again()))
    again()
    await closed
    await letIn()
  })

  it('names that are none end the handshake or get the edge’s own certificate, and harm nobody', async () => {
    for (const servername of [
      '__proto__',
      'constructor',
      `${'a'.repeat(255)}.localhost`,
      'db.localhost.',
      '*.localhost',
      '',
    ])
      await dialTls(lab, servername, { rejectUnauthorized: false, checkServerIdentity: () => undefined }).then(
        socket => socket.destroy(),
        () => {},
      )
    await letIn()
  })
})

describe('row 127: who connects and holds', () => {
  it('nothing, half a hello, a hello alone, half a head: all are gone in time, and a good visitor is served meanwhile', async () => {
    await using slow = await startLab(`tcp://127.0.0.1:${origin.port}`, { limits: { headTime: 2000 } })
    await expect.poll(() => slow.edge.counts().connectors, { timeout: 10_000 }).toBe(4)
    const steady = slow.edge.counts().sockets
    const begin = (bytes: Uint8Array) => {
      const socket = connect(slow.port, '127.0.0.1').on('error', () => {})
      socket.write(bytes)
      return socket.resume()
    }
    const held = [
      ...Array.from({ length: 30 }, () => begin(Buffer.alloc(0))),
      ...Array.from({ length: 30 }, () => begin(Buffer.from([0x16, 3, 1, 2, 0, 1, 0]))),
    ]
    for (let n = 0; n < 10; n++) {
      held.push((await dialTls(slow, 'db.localhost')).resume())
      const half = (await dialTls(slow, 'db.localhost')).resume()
      half.write('GET / HTTP/1.1\r\nHost: db.localhost\r\nX: ')
      held.push(half)
      const body = (await dialTls(slow, 'db.localhost')).resume()
      body.write('POST / HTTP/1.1\r\nHost: db.localhost\r\nContent-Length: 1000\r\n\r\nx')
      held.push(body)
    }
    const good = await slow.visitor()
    good.open(3, { v: 1, hostname: 'db.localhost', requestId: 'x', purpose: 'tcp' })
    await good.until(() => good.answer(3)?.ok === true, 'a yes')
    await expect.poll(() => slow.edge.counts().sockets, { timeout: 15_000 }).toBe(steady + 1)
    expect(good.closed).toBe(false)
    good.pipe.destroy()
    for (const socket of held) socket.destroy()
  })
})
