// Services behind TLS: trusted by the system’s CAs or by caFile, for the name that was dialled or serverName, or not at all.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createSecureServer, type ServerHttp2Stream } from 'node:http2'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { testAuthority } from '@postern/compliance'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import origin from '../src/origin.ts'
import { ask, at, problemIn, Rig, rule } from './rig.ts'

const folder = mkdtempSync(join(tmpdir(), 'postern-http-'))
const caFile = join(folder, 'ca.pem')
const authority = testAuthority()
const server = createServer(
  authority.issue({ commonName: 'inner.example.com', dnsNames: ['inner.example.com'] }),
  (_, r) => void r.end('secure'),
)
let names: unknown[] = []
server.on('secureConnection', socket => names.push(socket.servername))
beforeAll(async () => {
  writeFileSync(caFile, authority.ca)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(() => {
  server.close()
  rmSync(folder, { recursive: true })
})

describe('row 93: the certificate of an https service is verified', () => {
  it.each([
    ['nothing is said', {}],
    ['its CA is trusted, and it is for another name', { caFile }],
    ['its name is said, and its CA is not trusted', { serverName: 'inner.example.com' }],
    ['another name is said', { caFile, serverName: 'other.example.com' }],
    ['its CA’s file is gone', { caFile: join(folder, 'gone.pem'), serverName: 'inner.example.com' }],
  ])('it is refused where %s: ORIGIN_UNTRUSTED', async (_what, options) => {
    await using rig = new Rig(rule(at(server, 'https'), options))
    const { text } = await ask(rig, 'GET / HTTP/1.1')
    expect(problemIn(text)).toMatchObject({ code: 'ORIGIN_UNTRUSTED', status: 502 })
    expect(text).not.toMatch(/inner\.example|localhost/)
  })

  it('an environment variable does not turn it off', async () => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    try {
      await using rig = new Rig(rule(at(server, 'https')))
      expect(problemIn((await ask(rig, 'GET / HTTP/1.1')).text)).toMatchObject({ code: 'ORIGIN_UNTRUSTED' })
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
    }
  })

  it.each([
    ['its CA and its name are said', { caFile, serverName: 'inner.example.com' }, 'inner.example.com'],
    ['anything is taken', { noTlsVerify: true }, 'localhost'],
  ])('it is let through where %s', async (_what, options, name) => {
    names = []
    await using rig = new Rig(rule(at(server, 'https'), options))
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toContain('secure')
    expect(names).toEqual([name])
  })

  it('a service that speaks no TLS is ORIGIN_UNTRUSTED as well', async () => {
    const plain = (await import('node:http')).createServer().listen(0, '127.0.0.1')
    await once(plain, 'listening')
    await using rig = new Rig(rule(at(plain, 'https'), { noTlsVerify: true }))
    expect(problemIn((await ask(rig, 'GET / HTTP/1.1')).text)).toMatchObject({ code: 'ORIGIN_UNTRUSTED' })
    plain.close()
  })

  it('HTTP/2 is asked for by its name, and a service without it is ORIGIN_FAILED', async () => {
    const options = { caFile, serverName: 'inner.example.com', http2: true }
    const modern = createSecureServer(authority.issue({ commonName: 'x', dnsNames: ['inner.example.com'] }))
    modern.on('stream', (stream: ServerHttp2Stream) => {
      stream.respond({ ':status': 200 })
      stream.end('two')
    })
    modern.listen(0, '127.0.0.1')
    await once(modern, 'listening')
    const to = rule(at(modern, 'https'), options)
    await using rig = new Rig(to)
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toContain('two')
    to.remove()
    await using old = new Rig(rule(at(server, 'https'), options))
    expect(problemIn((await ask(old, 'GET / HTTP/1.1')).text)).toMatchObject({
      code: expect.stringMatching(/^ORIGIN_(FAILED|UNTRUSTED)$/), // Node refuses in TLS already
    })
    modern.close()
  })
})

describe('a rule is looked at before it is served', () => {
  const check = (service: URL | number, options: object) => {
    if (!origin.rule?.check) throw new Error('there is no check')
    return origin.rule.check(service, options as Readonly<Record<string, unknown>>)
  }
  const [http, https] = [new URL('http://localhost:1'), new URL('https://localhost:1')]

  it.each<[URL | number, object]>([
    [http, {}],
    [http, { hostHeader: 'inner.example.com:8080', connectTimeout: 5000, responseTimeout: 0, http2: true }],
    [http, { requireIdentity: true, hostHeader: '[::1]:80' }],
    [https, { caFile, serverName: 'inner.example.com' }],
    [404, { requireIdentity: true }],
  ])('%s with %j can be', async (service, options) =>
    expect(await check(service, options)).toEqual({ mistakes: [], warnings: [] }),
  )

  it.each<[URL | number, object, string]>([
    [http, { caFile }, 'caFile is about TLS'],
    [http, { noTlsVerify: true }, 'noTlsVerify is about TLS'],
    [https, { caFile: '/nowhere' }, 'caFile cannot be read'],
    [https, { noTlsVerify: true, serverName: 'a' }, 'leave caFile and serverName out'],
    [https, { serverName: 'a:1' }, 'serverName is no hostname'],
    [http, { hostHeader: 'a\r\nb' }, 'hostHeader is no hostname'],
    [http, { hostHeader: 'a:99999' }, 'hostHeader is no hostname'],
    [http, { connectTimeout: 0 }, 'connectTimeout'],
    [http, { connectTimeout: 11_000 }, 'connectTimeout'],
    [404, { http2: true }, 'http_status reaches none'],
  ])('%s with %j cannot', async (service, options, said) =>
    expect((await check(service, options)).mistakes).toEqual([expect.stringContaining(said)]),
  )

  it('noTlsVerify is warned about', async () => {
    expect(await check(https, { noTlsVerify: true })).toEqual({
      mistakes: [],
      warnings: [expect.stringContaining('can read and change all of it')],
    })
  })
})
