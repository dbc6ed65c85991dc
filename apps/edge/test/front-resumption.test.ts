import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type ConnectionOptions, createSecureContext, createServer, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ASKING } from '../src/front/certificates.ts'
import type { CertificateRule } from '../src/front/handshake.ts'
import { ask, askOver, authorityOf, type Pair, reach, reach2, type TestAuthority } from './certificate-world.ts'
import { ask2, type FrontWorld, startFront } from './front-world.ts'

const rules = new Map<string, CertificateRule>()
let world: FrontWorld
let [ours, theirs]: TestAuthority[] = []
let [ann, edge]: Pair[] = []
beforeAll(async () => {
  ;[ours, theirs] = await Promise.all([authorityOf('Ours'), authorityOf('Theirs')])
  ;[ann, edge] = await Promise.all([ours.issue('ann'), theirs.issue('edge', { usage: 'server' })])
  world = await startFront({ rules })
})
beforeEach(() => {
  world.seen.length = 0
  if (ours) rules.set('a.localhost', ours.rule)
})
afterAll(() => world[Symbol.asyncDispose]())

/** Connects, and keeps what could be resumed later. */
async function sessionOf(port: number, servername: string, options: ConnectionOptions): Promise<Buffer | undefined> {
  const socket = await reach(port, servername, options)
  let session: Buffer | undefined
  socket.on('session', made => {
    session = made
  })
  // TLS 1.3: it comes with what the server says next.
  await askOver(socket, servername)
  session ??= socket.getSession()
  socket.destroy()
  return session
}

/** Whether it can be: a session of TLS 1.2 without a ticket is one, too. */
async function isResumed(port: number, servername: string, options: ConnectionOptions): Promise<boolean> {
  const socket = await reach(port, servername, options)
  const resumed = socket.isSessionReused()
  socket.destroy()
  return resumed
}

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('a session that is resumed, over %s', version => {
  const tls = { maxVersion: version, minVersion: version }

  test('the danger: Node takes whoever resumes for who was there then, without a certificate and with its CA gone', async () => {
    if (!ours || !edge) throw new Error('made before all tests')
    const contextOf = (ca: string[]) => createSecureContext({ ...edge, ca })
    let context = contextOf([ours.cert])
    const made: { readonly resumed: boolean; readonly authorized: boolean }[] = []
    const options = { ...edge, ...tls, ca: [], requestCert: true, rejectUnauthorized: false }
    const server = createServer({ ...options, SNICallback: (_, done) => done(null, context) }, socket => {
      made.push({ resumed: socket.isSessionReused(), authorized: socket.authorized })
      socket.on('error', () => {}).end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const { port } = server.address() as AddressInfo
    const session = await sessionOf(port, 'a.localhost', { ...tls, ...ann })
    context = contextOf([])
    const fresh = await reach(port, 'a.localhost', { ...tls, ...ann })
    const resumed = await reach(port, 'a.localhost', { ...tls, session })
    await expect
      .poll(() => made)
      .toEqual([
        { resumed: false, authorized: true },
        { resumed: false, authorized: false },
        { resumed: true, authorized: true },
      ])
    for (const socket of [fresh, resumed]) socket.destroy()
    server.close()
  })

  test('ours has none, for whoever had a certificate or none, here or elsewhere', async () => {
    const { port } = world
    const plain = await sessionOf(port, 'db.localhost', tls)
    const with_ = await sessionOf(port, 'a.localhost', { ...tls, ...ann })
    const without = await sessionOf(port, 'a.localhost', tls)
    // Where nobody is asked, it is as before; so the rest of this can fail.
    expect(await isResumed(port, 'db.localhost', { ...tls, session: plain })).toBe(true)
    for (const session of [plain, with_, without]) {
      for (const own of [{}, ann]) {
        expect(await isResumed(port, 'a.localhost', { ...tls, ...own, session })).toBe(false)
        world.seen.length = 0
        expect(await ask(port, 'a.localhost', { ...tls, ...own, session })).toMatchObject({ status: 200 })
        const { peerCertificate } = world.seen[0]?.presented ?? {}
        expect(peerCertificate === undefined).toBe(own !== ann)
      }
      expect(await isResumed(port, 'db.localhost', { ...tls, session: with_ })).toBe(false)
      expect(await ask(port, 'a.localhost', { ...tls, session: plain }, 'db.localhost')).toMatchObject({ status: 421 })
    }
  })

  test('where a certificate is asked for since: 421, and the connection ends', async () => {
    const options = { ...tls, session: await sessionOf(world.port, 'db.localhost', tls) }
    const session = reach2(world.port, 'db.localhost', options)
    expect(await ask2(session, { ':path': '/' })).toMatchObject({ headers: { ':status': 200 } })
    expect((session.socket as TLSSocket).isSessionReused()).toBe(true)
    if (ours) rules.set('db.localhost', ours.rule)
    const closed = once(session, 'close')
    expect(await ask2(session, { ':path': '/' })).toMatchObject({ headers: { ':status': 421 } })
    await closed
    rules.delete('db.localhost')
  })

  test('one that is resumed all the same is nobody’s connection', async () => {
    const { requestCert, rejectUnauthorized } = ASKING
    expect({ requestCert, rejectUnauthorized }).toEqual({ requestCert: true, rejectUnauthorized: false })
    if (!ours || !theirs) throw new Error('made before all tests')
    const ca = ours
    // As if the option that forbids it were not there: the same server, with sessions.
    const { secureOptions } = ASKING
    Reflect.set(ASKING, 'secureOptions', 0)
    await using careless = await startFront({ rules: new Map([['a.localhost', ca.rule]]) })
    Reflect.set(ASKING, 'secureOptions', secureOptions)
    const session = await sessionOf(careless.port, 'a.localhost', { ...tls, ...ann })
    const { length } = careless.seen
    expect(await ask(careless.port, 'a.localhost', { ...tls, session })).toMatchObject({ status: 0 })
    expect(careless.seen).toHaveLength(length)
    expect(await ask(careless.port, 'a.localhost', { ...tls, ...ann })).toMatchObject({ status: 200 })
  })
})

describe('another handshake within a connection', () => {
  test.each(['a.localhost', 'db.localhost'])('%s: there is none', async hostname => {
    const socket = await reach(world.port, hostname, { maxVersion: 'TLSv1.2', ...ann })
    expect(await askOver(socket, hostname)).toMatchObject({ status: 200 })
    const error = await new Promise(resolve => {
      socket.once('error', resolve)
      socket.renegotiate({ rejectUnauthorized: false }, resolve)
    })
    expect(error).toMatchObject({ code: expect.stringMatching(/RENEGOTIATION/) })
    socket.destroy()
  })
})
