import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { CertificateRule } from '../src/front/handshake.ts'
import {
  ask,
  askOver,
  authorityOf,
  type Pair,
  reach,
  reach2,
  type TestAuthority,
  testAuthority,
} from './certificate-world.ts'
import { ask2, type FrontWorld, startFront } from './front-world.ts'
import { askAfterRetry } from './hello-retry.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const run = promisify(execFile)

const rules = new Map<string, CertificateRule>()
let world: FrontWorld
let port: number
let [ours, theirs]: TestAuthority[] = []
let ann: Pair
const uncaught = vi.fn()

beforeAll(async () => {
  process.on('uncaughtException', uncaught)
  ;[ours, theirs] = await Promise.all([authorityOf('Ours'), authorityOf('Theirs')])
  ann = await ours.issue('ann')
  world = await startFront({ rules })
  port = world.port
})
beforeEach(() => {
  rules.clear()
  rules.set('a.localhost', authority(ours).rule)
  rules.set('same.localhost', { ...authority(ours).rule })
  rules.set('b.localhost', authority(theirs).rule)
  world.seen.length = 0
  world.upgrades.length = 0
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  expect(uncaught).not.toHaveBeenCalled()
  process.off('uncaughtException', uncaught)
})

function authority(one: TestAuthority | undefined): TestAuthority {
  if (one === undefined) throw new Error('made before all tests')
  return one
}

const der = (pem: string) => new X509Certificate(pem).raw

/** What the last request was presented with. */
function presented() {
  const { peerCertificate, peerCertificateError, peerCertificateChain } = world.seen.at(-1)?.presented ?? {}
  return { peerCertificate, peerCertificateError, peerCertificateChain }
}

const NOTHING = { peerCertificate: undefined, peerCertificateError: undefined, peerCertificateChain: undefined }

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('who is asked for a certificate, over %s', maxVersion => {
  const tls = { maxVersion }

  test('an application that wants none: nobody asks, and what a client has stays with it', async () => {
    expect(await ask(port, 'db.localhost', { ...tls, ...ann })).toMatchObject({ status: 200 })
    expect(presented()).toEqual(NOTHING)
  })

  test('one that wants one: who has none comes without', async () => {
    expect(await ask(port, 'a.localhost', tls)).toMatchObject({ status: 200 })
    expect(presented()).toEqual(NOTHING)
  })

  test('one of its CA comes with it, with nothing against it and the CA above it', async () => {
    expect(await ask(port, 'a.localhost', { ...tls, ...ann })).toMatchObject({ status: 200 })
    expect(presented()).toEqual({
      peerCertificate: der(ann.cert),
      peerCertificateError: undefined,
      peerCertificateChain: [der(authority(ours).cert)],
    })
  })

  test('row 46: however the name is spelled, it is asked for', async () => {
    expect(await ask(port, 'a.localhost', { ...tls, ...ann }, 'A.LocalHost')).toMatchObject({ status: 200 })
    expect(presented()).toMatchObject({ peerCertificate: der(ann.cert), peerCertificateError: undefined })
  })

  test('one of another CA comes with that said, and with no chain', async () => {
    expect(await ask(port, 'b.localhost', { ...tls, ...ann })).toMatchObject({ status: 200 })
    expect(presented()).toEqual({
      peerCertificate: der(ann.cert),
      peerCertificateError: expect.stringMatching(/^UNABLE_TO_/),
      peerCertificateChain: [],
    })
  })

  test('one that is no client’s: that is said', async () => {
    const server = await authority(ours).issue('a server', { usage: 'server' })
    expect(await ask(port, 'a.localhost', { ...tls, ...server })).toMatchObject({ status: 200 })
    expect(presented()).toMatchObject({
      peerCertificate: der(server.cert),
      peerCertificateError: 'INVALID_PURPOSE',
      peerCertificateChain: [der(authority(ours).cert)],
    })
  })

  test('one below a CA of theirs has that in its chain, and none without it', async () => {
    const middle = await authority(ours).issue('Middle', { usage: 'connector-authority' })
    const leaf = await testAuthority(middle, 'middle').issue('leaf')
    const stuffed = { cert: leaf.cert + ann.cert + middle.cert, key: leaf.key }
    expect(await ask(port, 'a.localhost', { ...tls, ...stuffed })).toMatchObject({ status: 200 })
    expect(presented()).toEqual({
      peerCertificate: der(leaf.cert),
      peerCertificateError: undefined,
      peerCertificateChain: [der(middle.cert), der(authority(ours).cert)],
    })
    await ask(port, 'a.localhost', { ...tls, ...leaf })
    expect(presented()).toMatchObject({ peerCertificateError: expect.any(String), peerCertificateChain: [] })
    // A CA that somebody else stands above is good by itself where it is named.
    rules.set('a.localhost', { key: `middle of ${maxVersion}`, certificates: [middle.cert] })
    await ask(port, 'a.localhost', { ...tls, ...leaf })
    expect(presented()).toMatchObject({ peerCertificateError: undefined, peerCertificateChain: [der(middle.cert)] })
    await ask(port, 'a.localhost', { ...tls, ...ann })
    expect(presented()).toMatchObject({ peerCertificateError: expect.any(String), peerCertificateChain: [] })
  })

  test('one that has expired: that is said, and whose it is', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3_600_000 })
    const old = await authority(ours).issue('old', { seconds: 60 })
    vi.useRealTimers()
    expect(await ask(port, 'a.localhost', { ...tls, ...old })).toMatchObject({ status: 200 })
    expect(presented()).toEqual({
      peerCertificate: der(old.cert),
      peerCertificateError: 'CERT_HAS_EXPIRED',
      peerCertificateChain: [der(authority(ours).cert)],
    })
  })
})

describe('row 44: a request over a connection that was made under another rule', () => {
  const misdirected = { status: 421, code: 'MISDIRECTED_REQUEST' }

  test.each([
    ['no certificate asked for, then an application that wants one', 'db.localhost', 'a.localhost'],
    ['no name, then an application that wants one', '', 'a.localhost'],
    ['a name with a dot at its end', 'a.localhost.', 'a.localhost'],
    ['one CA, then another', 'a.localhost', 'b.localhost'],
    ['a certificate asked for, then an application that wants none', 'a.localhost', 'db.localhost'],
    ['a certificate asked for, then the team domain', 'a.localhost', 'edge.localhost'],
    ['a certificate asked for, then nobody’s name', 'a.localhost', 'nobody.localhost'],
  ])('%s: 421, and nobody is asked', async (_, servername, host) => {
    expect(await ask(port, host, ann, servername)).toMatchObject({ ...misdirected, headers: { connection: 'close' } })
    const socket = await reach(port, servername, ann)
    const upgrade = 'Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
    const key = `Sec-WebSocket-Key: ${'A'.repeat(22)}==\r\n`
    expect(await askOver(socket, host, upgrade + key)).toMatchObject(misdirected)
    expect([...world.seen, ...world.upgrades]).toEqual([])
    expect(await ask(port, host, ann)).toMatchObject({ status: 200 })
  })

  test('between applications of the same rule, either way, it is served', async () => {
    for (const [servername, host] of [
      ['a.localhost', 'same.localhost'],
      ['same.localhost', 'a.localhost'],
      ['db.localhost', 'edge.localhost'],
      ['', 'db.localhost'],
    ] as const)
      expect(await ask(port, host, ann, servername)).toMatchObject({ status: 200, body: `GET ${host} /` })
  })

  test('a browser that shares its connection: 421 for the one alone, and the others are served on', async () => {
    const session = reach2(port, 'a.localhost', ann)
    const goaway = vi.fn()
    session.on('goaway', goaway)
    const to = (authority: string) => ask2(session, { ':path': '/', ':authority': authority })
    expect(await to('a.localhost')).toMatchObject({ headers: { ':status': 200 } })
    for (const other of ['b.localhost', 'db.localhost', 'edge.localhost'])
      expect(await to(other)).toMatchObject({ headers: { ':status': 421 } })
    const connect = {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'https',
      'sec-websocket-version': '13',
    }
    expect(await ask2(session, { ...connect, ':path': '/', ':authority': 'b.localhost' }, '')).toMatchObject({
      headers: { ':status': 421 },
    })
    expect(await to('same.localhost')).toMatchObject({ headers: { ':status': 200 } })
    expect(presented()).toMatchObject({ peerCertificate: der(ann.cert), peerCertificateError: undefined })
    expect(world.seen.map(one => one.hostname)).toEqual(['a.localhost', 'same.localhost'])
    expect(world.upgrades).toEqual([])
    expect(goaway).not.toHaveBeenCalled()
    session.destroy()
    const plain = reach2(port, 'db.localhost')
    const over = (authority: string) => ask2(plain, { ':path': '/', ':authority': authority })
    expect(await over('a.localhost')).toMatchObject({ headers: { ':status': 421 } })
    expect(await over('db.localhost')).toMatchObject({ headers: { ':status': 200 } })
    plain.destroy()
  })
})

describe('row 44: two hellos, as TLS 1.3 has them where the first brings no key', () => {
  const hello = (first: string, second: string, host = second) => askAfterRetry(port, [first, second], host)

  test.each(['a.localhost', 'db.localhost'])('of the same name, %s: as if there were one', async name => {
    expect(await hello(name, name)).toMatch(/^HTTP\/1.1 200 /)
  })

  test.each([
    ['a.localhost', 'b.localhost'],
    ['a.localhost', 'same.localhost'],
    ['a.localhost', 'db.localhost'],
    ['a.localhost', 'edge.localhost'],
  ])('%s, then %s: there is no connection', async (first, second) => {
    for (const host of [first, second]) expect(await hello(first, second, host)).toBe('')
    expect(world.seen).toEqual([])
  })

  test('of one that wants none, then of one that does: 421', async () => {
    expect(await hello('db.localhost', 'a.localhost')).toMatch(/^HTTP\/1.1 421 /)
    expect(world.seen).toEqual([])
  })
})

describe('the rule changes while somebody is connected', () => {
  test.each([
    ['another CA', () => authority(theirs).rule],
    ['one CA more', () => ({ key: 'both', certificates: [authority(ours).cert, authority(theirs).cert] })],
    ['none any more', () => undefined],
  ])('%s: 421, the connection ends in good order, and the next one is as it has to be', async (_, next) => {
    const socket = await reach(port, 'a.localhost', ann)
    expect(await askOver(socket, 'a.localhost')).toMatchObject({ status: 200, headers: { connection: 'keep-alive' } })
    const session = reach2(port, 'a.localhost', ann)
    expect(await ask2(session, { ':path': '/' })).toMatchObject({ headers: { ':status': 200 } })
    const rule = next()
    if (rule === undefined) rules.delete('a.localhost')
    else rules.set('a.localhost', rule)
    const closed = [once(socket, 'close'), once(session, 'close')]
    expect(await askOver(socket, 'a.localhost')).toMatchObject({ status: 421, headers: { connection: 'close' } })
    expect(await ask2(session, { ':path': '/' })).toMatchObject({ headers: { ':status': 421 }, rstCode: 0 })
    await Promise.all(closed)
    expect(await ask(port, 'a.localhost', ann)).toMatchObject({ status: 200 })
  })

  test('one is asked for from now on: whoever is connected without comes again', async () => {
    rules.delete('a.localhost')
    const session = reach2(port, 'a.localhost', ann)
    expect(await ask2(session, { ':path': '/' })).toMatchObject({ headers: { ':status': 200 } })
    rules.set('a.localhost', authority(ours).rule)
    const closed = once(session, 'close')
    expect(await ask2(session, { ':path': '/' })).toMatchObject({ headers: { ':status': 421 } })
    await closed
    expect(await ask(port, 'a.localhost', ann)).toMatchObject({ status: 200 })
    expect(presented()).toMatchObject({ peerCertificate: der(ann.cert), peerCertificateError: undefined })
  })

  test('in the middle of a handshake: there is no connection, and the next one is good', async () => {
    // What the hello was read for, then OpenSSL too, and not a moment longer.
    const rule = authority(ours).rule
    for (const most of [1, 2]) {
      let times = 0
      const fleeting = vi.spyOn(rules, 'get').mockImplementation(() => (times++ < most ? rule : undefined))
      expect(await ask(port, 'a.localhost', ann)).toMatchObject({ status: 0 })
      fleeting.mockRestore()
      expect(times).toBe(most + 1)
    }
    expect(world.seen).toEqual([])
    expect(await ask(port, 'a.localhost', ann)).toMatchObject({ status: 200 })
  })

  test('to another CA in the middle of a handshake: what was asked of the one before is not taken for an answer of this', async () => {
    const [before, after] = [authority(ours).rule, authority(theirs).rule]
    let times = 0
    const turning = vi.spyOn(rules, 'get').mockImplementation(() => (times++ < 2 ? before : after))
    expect(await ask(port, 'a.localhost', ann)).toMatchObject({ status: 0 })
    turning.mockRestore()
    expect(world.seen).toEqual([])
    expect(await ask(port, 'a.localhost', ann)).toMatchObject({ status: 200 })
  })

  test('a CA that nobody can read vouches for nobody', async () => {
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
    rules.set('a.localhost', { key: 'broken', certificates: [broken] })
    expect(await ask(port, 'a.localhost', ann)).toMatchObject({ status: 200 })
    expect(presented()).toMatchObject({ peerCertificateError: expect.any(String), peerCertificateChain: [] })
  })
})

describe('a daemon at the team domain', () => {
  const daemon = { ALPNProtocols: ['http/1.1', 'postern-certificate'] }

  test('that offers a certificate is asked for it; no CA vouches for it', async () => {
    const socket = await reach(port, 'edge.localhost', { ...daemon, ...ann })
    expect(socket.alpnProtocol).toBe('http/1.1')
    expect(await askOver(socket, 'edge.localhost')).toMatchObject({ status: 200 })
    expect(presented()).toEqual({
      peerCertificate: der(ann.cert),
      peerCertificateError: expect.any(String),
      peerCertificateChain: [],
    })
    expect(await askOver(socket, 'db.localhost')).toMatchObject({ status: 421 })
    expect(await ask(port, 'edge.localhost', daemon)).toMatchObject({ status: 200 })
    expect(presented()).toEqual(NOTHING)
  })

  test('that does not, and whoever says so elsewhere, is asked for nothing', async () => {
    expect(await ask(port, 'edge.localhost', ann)).toMatchObject({ status: 200 })
    expect(presented()).toEqual(NOTHING)
    expect(await ask(port, 'db.localhost', { ...daemon, ...ann })).toMatchObject({ status: 200 })
    expect(presented()).toEqual(NOTHING)
  })
})

describe.skipIf(!peers.includes('openssl'))('what openssl s_client sees', () => {
  const seen = async (servername: string) => {
    const argv = ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', servername]
    const asked = run('openssl', argv)
    asked.child.stdin?.end()
    return (await asked).stdout
  }

  test('an address for a name: as if none was named', async () => {
    const argv = [
      's_client',
      '-quiet',
      '-connect',
      `127.0.0.1:${port}`,
      '-servername',
      '127.0.0.1',
      '-alpn',
      'http/1.1',
    ]
    const asked = run('openssl', argv)
    asked.child.stdin?.end('GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n')
    expect((await asked).stdout).toMatch(/^HTTP\/1.1 421 /)
  })

  test('the names of the CAs that are asked for, and no others; none where nobody asks', async () => {
    expect(await seen('a.localhost')).toMatch(/Acceptable client certificate CA names\nCN = Ours\nRequested/)
    expect(await seen('b.localhost')).toMatch(/Acceptable client certificate CA names\nCN = Theirs\nRequested/)
    const none = await seen('db.localhost')
    expect(none).toContain('No client certificate CA names sent')
    expect(none).not.toContain('Requested Signature Algorithms')
  })
})
