import { createPrivateKey, X509Certificate } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import { setTimeout as pause } from 'node:timers/promises'
import type { Rule } from '@postern/policy'
import { certificateRequest, elsewhere } from '@postern/testkit'
import { createServiceToken } from '@postern/tokens'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { issuedRow } from '../src/certificates/records.ts'
import type { Administration } from '../src/index.ts'
import { Seal } from '../src/keys/seal.ts'
import { TeamKeys } from '../src/keys/team-keys.ts'
import { Origins } from '../src/origins.ts'
import { Sessions } from '../src/sign-in/sessions.ts'
import { askOver, reach } from './certificate-world.ts'
import { quiet, startWorld, type World } from './world.ts'

const HOST = 'db.localhost'
const patience = { timeout: 10_000 }

interface Given {
  readonly ca: string
  readonly serial: string
  readonly certificate: string
  readonly chain: string
  readonly notAfter: string
  readonly renewUntil?: string
}

interface Sent {
  readonly headers?: Record<string, string>
  readonly query?: string
  readonly body?: unknown
  readonly raw?: string
  readonly method?: string
  readonly tls?: { readonly cert: string; readonly key: string }
  readonly host?: string
}

let world: World
let administration: Administration
beforeEach(async () => {
  world = await startWorld({}, [], 0)
  administration = world.edge.administration
  await administration.call('ca.create', { body: { name: 'team', rules: [machines()], renewSeconds: 86_400 } })
})
afterEach(() => world[Symbol.asyncDispose]())

const machines = (id = world.token.id) => ({
  name: 'machines',
  action: 'service' as const,
  include: [{ serviceToken: id }],
})
const certificates: Rule = { name: 'certificates', action: 'allow', include: [{ certificate: { ca: 'team' } }] }
const snapshot = () => world.edge.store.snapshot
const policy = (...rules: Rule[]) =>
  administration.call('policy.put', { params: { hostname: HOST }, body: { rules: rules as never } })
const update = (body: object) => administration.call('ca.put', { params: { ca: 'team' }, body })
const listed = (name?: string) => administration.call('certificate.list', { query: name === undefined ? {} : { name } })

async function send({ headers = {}, query = '', body, raw, method = 'POST', tls, host = HOST }: Sent) {
  const { csr } = await certificateRequest()
  const text = raw ?? JSON.stringify(body ?? { csr })
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string; read: boolean }>()
  const request = httpsRequest(
    {
      host: '127.0.0.1',
      port: world.edge.port,
      servername: host,
      method,
      path: `/.postern/certificate${query}`,
      rejectUnauthorized: false,
      agent: false,
      headers: {
        host: `${host}:${world.edge.port}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
        ...headers,
      },
      ...(tls && { cert: tls.cert, key: tls.key }),
    },
    async response => {
      let said = ''
      for await (const chunk of response.setEncoding('utf8')) said += chunk
      resolve({ status: response.statusCode ?? 0, text: said, read: true })
    },
  )
  request.on('error', reject).end(text)
  const { status, text: said } = await promise
  const json = JSON.parse(said === '' ? '{}' : said) as Given & { code?: string; detail?: string }
  return { status, ...json }
}

/** By the service token that the world has. */
const asked = (sent: Sent = {}) => send({ ...sent, headers: { ...world.headers(), ...sent.headers } })

/** A certificate with its key, as a machine has it. */
async function enrolled(sent: Sent = {}): Promise<Given & { readonly cert: string; readonly key: string }> {
  const { csr, key } = await certificateRequest()
  const given = await asked({ body: { csr }, ...sent })
  expect(given.status).toBe(200)
  return { ...given, cert: given.certificate, key }
}

async function renewed(tls: { readonly cert: string; readonly key: string }, sent: Sent = {}) {
  const { csr, key } = await certificateRequest()
  const given = await send({ body: { csr }, tls, ...sent })
  return { ...given, cert: given.certificate, key }
}

describe('who the CA’s rules let ask', () => {
  test('is given a certificate for the key alone, with names that are not theirs to choose', async () => {
    const { csr, key } = await certificateRequest('root@example.com')
    const given = await asked({ body: { csr } })
    expect(given).toMatchObject({ status: 200, ca: 'team', serial: expect.stringMatching(/^[0-9a-f]{32}$/) })
    const leaf = new X509Certificate(given.certificate)
    expect(leaf.ca).toBe(false)
    expect(leaf.verify(new X509Certificate(given.chain).publicKey)).toBe(true)
    expect(leaf.checkPrivateKey(createPrivateKey(key))).toBe(true)
    const team = `https://edge.localhost:${world.edge.port}`
    expect(leaf.subjectAltName).toBe(`URI:${team}/service-tokens/${world.token.id}`)
    expect(leaf.subject).not.toContain('root')
    const [row] = await listed()
    expect(row).toMatchObject({ holder: { issuer: 'postern:service-token', subject: world.token.id } })
    expect(Date.parse(given.renewUntil ?? '')).toBeGreaterThan(Date.now() + 86_000_000)
    const [change] = await world.edge.store.readAudit({ most: 10, action: 'certificate.issue' })
    expect(change).toMatchObject({ actor: `postern:service-token ${world.token.id}`, hostname: HOST })
    const rows = await world.edge.store.readAudit({ most: 10, action: 'access.decide' })
    expect(rows).toMatchObject([{ allowed: true, requestId: change?.requestId }])
  })

  test('is nobody else: no stranger, no other token, whatever the application itself allows', async () => {
    const other = await administration.call('service-token.create', { body: { name: 'other' } })
    await policy(machines(other.id))
    const before = snapshot().version
    expect(await send({})).toMatchObject({ status: 401, code: 'LOGIN_REQUIRED' })
    expect(await send({ headers: world.headers(other) })).toMatchObject({ status: 403, code: 'ACCESS_DENIED' })
    expect(await send({ headers: world.headers({ ...world.token, secret: 'x'.repeat(43) }) })).toMatchObject({
      status: 401,
    })
    expect(snapshot().version).toBe(before)
    expect((await asked()).status).toBe(200)
    await update({ rules: [] })
    expect(await asked()).toMatchObject({ status: 403, code: 'ACCESS_DENIED' })
  })

  test('is a program, and never a page: a browser’s own credentials count for nothing here', async () => {
    for (const headers of [
      { origin: `https://${HOST}` },
      { origin: 'null' },
      { 'sec-fetch-site': 'same-origin' },
      { 'sec-fetch-mode': 'cors' },
    ])
      expect(await asked({ headers })).toMatchObject({ status: 403, code: 'ACCESS_DENIED' })
    const who = { issuer: 'https://idp.example.com', subject: 'ann', email: 'ann@example.com', claims: {} }
    await using sessions = new Sessions(world.edge.store, quiet)
    const { session } = await sessions.open(who, { via: 'browser', remoteAddress: '127.0.0.1', requestId: 'r' })
    const application = snapshot().applications.get(HOST)
    if (application === undefined) throw new Error('no application')
    const cookie = await sessions.admit(session, application, { actor: 'test' })
    await update({ rules: [{ name: 'people', action: 'allow', include: [{ everyone: true }] }] })
    expect(await send({ headers: { cookie: `__Host-postern-session=${cookie}` } })).toMatchObject({ status: 401 })
  })

  test('may be a person: the certificate has the address that their provider vouches for', async () => {
    await update({ rules: [{ name: 'people', action: 'allow', include: [{ emailDomain: 'example.com' }] }] })
    const { store, port } = world.edge
    const origins = new Origins('edge.localhost', () => port)
    const keys = await TeamKeys.open({ store, seal: await Seal.open(world.folder, true), origins, log: quiet })
    keys[Symbol.dispose]()
    await using sessions = new Sessions(store, quiet)
    const ask = async (who: { subject: string; email?: string; name?: string }) => {
      const person = { issuer: 'https://idp.example.com', claims: {}, ...who }
      const { session } = await sessions.open(person, { via: 'cli', remoteAddress: '127.0.0.1', requestId: 'r' })
      const claims = {
        sub: who.subject,
        idp: person.issuer,
        sid: session.id,
        session_expires_at: Math.floor(session.expiresAt / 1000),
      }
      const how = { typ: 'at+jwt', audience: origins.of(HOST), lifetimeSeconds: 600 }
      return send({ headers: { 'postern-access-token': await keys.sign(claims, how) } })
    }
    const ann = await ask({ subject: 'ann', email: 'Ann@Example.com', name: 'Ann' })
    expect(ann.status).toBe(200)
    const leaf = new X509Certificate(ann.certificate)
    expect(leaf.subject).toBe('CN=ann@example.com')
    expect(leaf.subjectAltName).toMatch(/^email:ann@example\.com, URI:https:\/\/edge\.localhost:\d+\/users\/[\w-]{22}$/)
    const again = await ask({ subject: 'ann', email: 'ann@example.com' })
    expect(new X509Certificate(again.certificate).subjectAltName).toBe(leaf.subjectAltName)
    expect(await ask({ subject: 'bob', name: 'ann@example.com' })).toMatchObject({ status: 403 })
  })
})

describe('what is asked', () => {
  test('is for the CA that is meant: by name, or the one that the application names, or the only one', async () => {
    await administration.call('ca.create', { body: { name: 'other', rules: [machines()] } })
    await administration.call('ca.create', { body: { name: 'away', rules: [machines()], hostnames: ['x.localhost'] } })
    const keyless = await elsewhere('Keyless')
    const body = { name: 'keyless', certificates: keyless.cert, rules: [machines() as never] }
    await administration.call('ca.import', { body })
    expect((await asked({ query: '?ca=other' })).ca).toBe('other')
    for (const query of ['', '?ca=away', '?ca=keyless', '?ca=none', '?ca='])
      expect(await asked({ query })).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    await policy(certificates)
    expect((await asked()).ca).toBe('team')
    expect(await asked({ query: '?ca=team&ca=other' })).toMatchObject({ status: 400 })
    // A stranger learns nothing of which there are.
    expect(await send({ query: '?ca=none' })).toMatchObject({ status: 401 })
  })

  test.each([
    ['no JSON', { raw: '{' }],
    ['nothing', { body: {} }],
    ['no request', { body: { csr: 'x' } }],
    ['a number', { body: { csr: 1 } }],
    ['a list', { body: [] }],
    ['something else besides', { body: { csr: 'x', san: ['dns:edge.localhost'] } }],
    ['no time', { body: { csr: 'x', seconds: 0 } }],
    ['too much time', { body: { csr: 'x', seconds: 1e9 } }],
    ['a body twice named', { raw: '{"csr":"x","csr":"y"}' }],
    ['a form', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
  ])('row 106: is refused when it is %s', async (_what, sent: Sent) => {
    expect(await asked(sent)).toMatchObject({ status: 400, code: 'BAD_USAGE' })
    expect(await listed()).toEqual([])
  })

  test('is not read of who may not ask, nor beyond what a request has', async () => {
    const large = 'x'.repeat(100_000)
    expect(await asked({ raw: large })).toMatchObject({ code: 'REQUEST_TOO_LARGE' })
    expect(await send({ raw: '{' })).toMatchObject({ status: 401 })
    const other = await administration.call('service-token.create', { body: { name: 'other' } })
    expect(await send({ raw: '{', headers: world.headers(other) })).toMatchObject({ status: 403 })
  })

  test('may be for less time, and for no more than the CA gives', async () => {
    const { csr } = await certificateRequest()
    const short = await asked({ body: { csr, seconds: 600 } })
    expect(Date.parse(short.notAfter)).toBeLessThanOrEqual(Date.now() + 600_000)
    expect(await asked({ body: { csr, seconds: 31 * 86_400 } })).toMatchObject({ status: 400 })
  })

  test('is a POST, and is nothing on the team domain', async () => {
    for (const method of ['GET', 'PUT', 'DELETE', 'OPTIONS'])
      expect((await asked({ method, raw: '' })).status).toBe(405)
    expect((await asked({ host: 'edge.localhost' })).status).toBe(404)
  })
})

describe('a renewal', () => {
  beforeEach(() => policy(certificates))

  test('is by the certificate itself: the same names, another key, and the same time', async () => {
    const { csr, key } = await certificateRequest()
    const first = await asked({ body: { csr, seconds: 3600 } })
    const next = await renewed({ cert: first.certificate, key })
    expect(next.status).toBe(200)
    const [before, after] = [first, next].map(({ certificate }) => new X509Certificate(certificate))
    expect(after?.subjectAltName).toBe(before?.subjectAltName)
    expect(after?.subject).toBe(before?.subject)
    expect(after?.publicKey.equals(before!.publicKey)).toBe(false)
    expect(after?.checkPrivateKey(createPrivateKey(next.key))).toBe(true)
    expect(Date.parse(next.notAfter)).toBeLessThanOrEqual(Date.now() + 3_600_000)
    expect(next.renewUntil).toBe(first.renewUntil)
    const found = await listed()
    expect(found.find(({ serial }) => serial === next.serial)).toMatchObject({
      replaces: first.serial,
      holder: { subject: world.token.id },
    })
    expect((await renewed(next)).status).toBe(200)
  })

  test('needs no rule that lets ask, and ends when its time is over', async () => {
    const mine = await enrolled()
    await update({ rules: [] })
    expect((await renewed(mine)).status).toBe(200)
    await update({ renewSeconds: 0 })
    expect(await renewed(mine)).toMatchObject({ status: 403, code: 'ACCESS_DENIED' })
    await update({ renewSeconds: 1 })
    await pause(1100)
    expect(await renewed(mine)).toMatchObject({ status: 403 })
    await update({ renewSeconds: 86_400 })
    expect((await renewed(mine)).status).toBe(200)
  })

  test('is not had with a revoked one, nor with what was renewed with it', async () => {
    const mine = await enrolled()
    const next = await renewed(mine)
    const params = { ca: 'team' }
    expect(await administration.call('certificate.revoke', { params, body: { serial: mine.serial } })).toEqual({
      revoked: 2,
    })
    expect(await renewed(mine)).toMatchObject({ status: 403, code: 'CERTIFICATE_REVOKED' })
    expect(await renewed(next)).toMatchObject({ status: 403, code: 'CERTIFICATE_REVOKED' })
  })

  test('is for no more time than the one before it was given', async () => {
    const { csr, key } = await certificateRequest()
    const body = { csr, commonName: 'printer', seconds: 600 }
    const { certificate: cert } = await administration.call('certificate.issue', { params: { ca: 'team' }, body })
    const again = (seconds: number) => renewed({ cert, key }, { body: { csr, seconds } })
    const left = ({ notAfter }: Given) => Date.parse(notAfter) - Date.now()
    expect(left(await again(86_400))).toBeLessThanOrEqual(600_000)
    const shorter = left(await again(120))
    expect([shorter > 60_000, shorter <= 120_000]).toEqual([true, true])
  })

  test('is not had by whom the CA’s rules deny', async () => {
    const mine = await enrolled()
    const [, uri = ''] = /URI:(\S+)/.exec(new X509Certificate(mine.cert).subjectAltName ?? '') ?? []
    const deny = (name: string): Rule => ({ name: 'out', action: 'deny', include: [{ certificate: { uri: name } }] })
    await update({ rules: [deny(uri)] })
    expect(await renewed(mine)).toMatchObject({ status: 403, code: 'ACCESS_DENIED' })
    await update({ rules: [deny(`${uri}0`)] })
    expect((await renewed(mine)).status).toBe(200)
  })

  test('that races with its revocation leaves nothing that is good', async () => {
    for (let round = 0; round < 5; round += 1) {
      const mine = await enrolled()
      const revoke = () =>
        administration.call('certificate.revoke', { params: { ca: 'team' }, body: { serial: mine.serial } })
      const [one, , other] = await Promise.all([renewed(mine), revoke(), renewed(mine)])
      for (const next of [one, other]) {
        if (next.status === 200) expect(await renewed(next)).toMatchObject({ status: 403, code: 'CERTIFICATE_REVOKED' })
        else expect(next.status).toBe(403)
      }
      expect((await listed()).filter(({ revokedAt }) => revokedAt === undefined)).toEqual([])
    }
    const mine = await enrolled()
    const both = await Promise.all([renewed(mine), renewed(mine)])
    expect(both.map(({ status }) => status)).toEqual([200, 200])
    expect(both[0]?.serial).not.toBe(both[1]?.serial)
  })

  test('is not had with a certificate of another CA, or of a look-alike, or one that is not known here', async () => {
    await administration.call('ca.create', { body: { name: 'other', rules: [machines()] } })
    const other = await enrolled({ query: '?ca=other' })
    expect(await renewed(other)).toMatchObject({ status: 401 })
    const mine = await enrolled()
    const [authority] = await administration.call('ca.list', {})
    const row = issuedRow(authority?.id ?? '', mine.serial)
    await world.edge.store.apply([{ delete: 'record', namespace: 'mtls', id: row }], { action: 'test', actor: 'test' })
    expect(await renewed(mine)).toMatchObject({ status: 403, code: 'ACCESS_DENIED' })
  })

  test('of one that an administrator issued is had too', async () => {
    const { csr, key } = await certificateRequest()
    const body = { csr, commonName: 'printer', seconds: 600 }
    const { certificate: cert } = await administration.call('certificate.issue', { params: { ca: 'team' }, body })
    const next = await renewed({ cert, key })
    expect(new X509Certificate(next.certificate).subject).toBe('CN=printer')
    expect(Date.parse(next.notAfter)).toBeLessThanOrEqual(Date.now() + 600_000)
  })
})

describe('a certificate ends with what it was asked by', () => {
  beforeEach(() => policy(certificates))

  test('with the service token: it never outlives it, is revoked with it, and is renewed no more', async () => {
    const name = 'short'
    const token = await administration.call('service-token.create', { body: { name, expiresInSeconds: 7200 } })
    await update({ rules: [machines(token.id)] })
    const { csr, key } = await certificateRequest()
    const given = await send({ headers: world.headers(token), body: { csr } })
    expect(given.status).toBe(200)
    expect(Date.parse(given.notAfter)).toBeLessThanOrEqual(Date.parse(token.expiresAt ?? ''))
    const mine = { cert: given.certificate, key }
    expect((await renewed(mine)).status).toBe(200)
    await administration.call('service-token.revoke', { params: { token: token.id } })
    expect(await renewed(mine)).toMatchObject({ status: 403, code: 'CERTIFICATE_REVOKED' })
    expect((await listed()).map(({ revokedAt }) => revokedAt !== undefined)).toEqual([true, true])
  })

  test('with the service token that a document leaves out', async () => {
    const mine = await enrolled()
    const access = { version: 1 as const, serviceTokens: [] }
    await administration.call('access.apply', { body: { access, prune: true } })
    expect(await renewed(mine)).toMatchObject({ status: 403, code: 'CERTIFICATE_REVOKED' })
  })

  test('with the person: disabled, given a new password, or removed', async () => {
    const team = `https://edge.localhost:${world.edge.port}`
    const [authority] = await administration.call('ca.list', {})
    const hold = async (subject: string) => {
      const { csr } = await certificateRequest()
      const { serial } = await administration.call('certificate.issue', {
        params: { ca: 'team' },
        body: { csr, commonName: 'x' },
      })
      const id = issuedRow(authority?.id ?? '', serial)
      const row = snapshot().records.get('mtls')?.get(id) as object
      const value = { ...row, holder: { issuer: team, subject } }
      await world.edge.store.apply([{ put: 'record', namespace: 'mtls', id, value }], { action: 'test', actor: 'test' })
      return serial
    }
    const isRevoked = async (wanted: string) =>
      (await listed()).find(({ serial }) => serial === wanted)?.revokedAt !== undefined
    const user = (await administration.call('user.invite', { body: { email: 'ann@example.com' } })).id
    const other = await hold('somebody-else')
    const first = await hold(user)
    await administration.call('user.put', { params: { user }, body: { name: 'Ann' } })
    expect(await isRevoked(first)).toBe(false)
    await administration.call('user.put', { params: { user }, body: { disabled: true } })
    expect(await isRevoked(first)).toBe(true)
    await administration.call('user.put', { params: { user }, body: { disabled: false } })
    const second = await hold(user)
    await administration.call('user.reset', { params: { user }, body: {} })
    expect(await isRevoked(second)).toBe(true)
    const third = await hold(user)
    await administration.call('user.delete', { params: { user } })
    expect(await isRevoked(third)).toBe(true)
    expect(await isRevoked(other)).toBe(false)
  })

  test('row 67: and with its revocation, whatever is open: the next request on the same connection is refused', async () => {
    const { cert, key, serial } = await enrolled()
    const socket = await reach(world.edge.port, HOST, { cert, key })
    // It is let in, to where there is no web.
    expect(await askOver(socket, HOST)).toMatchObject({ status: 426, code: 'VERSION_UNSUPPORTED' })
    await administration.call('certificate.revoke', { params: { ca: 'team' }, body: { serial } })
    expect(await askOver(socket, HOST)).toMatchObject({ status: 403, code: 'CERTIFICATE_REVOKED' })
    socket.destroy()
  })
})

describe('a certificate that was asked for with another one', () => {
  const short = async () => {
    await administration.call('ca.create', {
      body: { name: 'short', rules: [certificates] as never, leafSeconds: 86_400 },
    })
    await policy(certificates, { ...certificates, name: 'short', include: [{ certificate: { ca: 'short' } }] })
  }

  test('ends when that one does, and is not renewed', async () => {
    await short()
    const mine = await enrolled({ query: '?ca=team' })
    const { csr, key } = await certificateRequest()
    const body = { csr, commonName: 'brief', seconds: 600 }
    const { certificate: cert } = await administration.call('certificate.issue', { params: { ca: 'team' }, body })
    const brief = { cert, key }
    const next = await renewed(brief, { query: '?ca=short' })
    expect(next.status).toBe(200)
    expect(Date.parse(next.notAfter)).toBeLessThanOrEqual(Date.now() + 600_000)
    expect(next.renewUntil).toBeUndefined()
    expect(await renewed(next, { query: '?ca=short' })).toMatchObject({ status: 403, code: 'ACCESS_DENIED' })
    expect(Date.parse((await renewed(mine, { query: '?ca=short' })).notAfter)).toBeGreaterThan(Date.now() + 80_000_000)
  })

  test('is revoked with it, and with what that was renewed with', async () => {
    await short()
    const mine = await enrolled({ query: '?ca=team' })
    const next = await renewed(mine, { query: '?ca=team' })
    const had = await renewed(next, { query: '?ca=short' })
    const others = await renewed(await enrolled({ query: '?ca=team' }), { query: '?ca=short' })
    expect([had.status, others.status]).toEqual([200, 200])
    const revoke = { params: { ca: 'team' }, body: { serial: mine.serial } }
    expect(await administration.call('certificate.revoke', revoke)).toEqual({ revoked: 3 })
    expect(await renewed(had, { query: '?ca=short' })).toMatchObject({ status: 403, code: 'CERTIFICATE_REVOKED' })
    const good = (await listed()).filter(({ revokedAt }) => revokedAt === undefined).map(({ serial }) => serial)
    expect(good).toContain(others.serial)
    expect(good).not.toContain(had.serial)
  })

  test('is revoked with the service token of that one, too', async () => {
    await short()
    const other = await administration.call('service-token.create', { body: { name: 'other' } })
    await update({ rules: [machines(), machines(other.id)].map((one, at) => ({ ...one, name: `machines-${at}` })) })
    const [mine, theirs] = [
      await enrolled({ query: '?ca=team' }),
      await enrolled({ query: '?ca=team', headers: world.headers(other) }),
    ]
    const had = await renewed(mine, { query: '?ca=short' })
    const others = await renewed(theirs, { query: '?ca=short' })
    await administration.call('service-token.revoke', { params: { token: world.token.id } })
    const good = (await listed()).filter(({ revokedAt }) => revokedAt === undefined).map(({ serial }) => serial)
    expect(good.sort()).toEqual([theirs.serial, others.serial].sort())
    expect(good).not.toContain(had.serial)
  })
})

test('who shows two credentials gets none with the name of either', async () => {
  await policy(certificates)
  const mine = await enrolled()
  const other = await administration.call('service-token.create', { body: { name: 'other' } })
  await update({ rules: [machines(other.id)] })
  // The certificate is for its own renewal alone, or comes along: nothing but what it says is renewed.
  const both = await renewed(mine, { headers: world.headers(other) })
  expect(new X509Certificate(both.certificate).subjectAltName).toBe(new X509Certificate(mine.cert).subjectAltName)
  await update({ renewSeconds: 0 })
  const asked = await renewed(mine, { headers: world.headers(other) })
  expect(new X509Certificate(asked.certificate).subjectAltName).toMatch(new RegExp(`/service-tokens/${other.id}$`))
})

describe('while a request is under way', () => {
  const askers: Rule = { name: 'askers', action: 'allow', include: [{ inGroup: 'askers' }] }
  const group = (...ids: string[]) =>
    administration.call('group.put', {
      params: { name: 'askers' },
      body: { selectors: ids.map(one => ({ serviceToken: one })) },
    } as never)

  /** Decided, and then something happens before its body is there. */
  async function meanwhile(headers: Record<string, string>, happens: () => Promise<unknown>): Promise<number> {
    const { csr } = await certificateRequest()
    const text = JSON.stringify({ csr })
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const request = httpsRequest(
      {
        ...{ host: '127.0.0.1', port: world.edge.port, servername: HOST, rejectUnauthorized: false, agent: false },
        ...{ method: 'POST', path: '/.postern/certificate' },
        headers: {
          host: HOST,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
          ...headers,
        },
      },
      response => {
        response.resume()
        resolve(response.statusCode ?? 0)
      },
    )
    request.on('error', reject)
    request.write(text.slice(0, 10))
    const decided = () => world.edge.store.readAudit({ most: 5, action: 'access.decide' })
    await expect.poll(async () => (await decided()).length, patience).toBe(1)
    await happens()
    request.end(text.slice(10))
    return promise
  }

  test('whoever is put out gets nothing', async () => {
    const { id, secret, hash } = createServiceToken()
    const note = { action: 'test', actor: 'test' }
    const value = { name: 'late', hash, createdAt: Date.now() }
    await world.edge.store.apply([{ put: 'record', namespace: 'service-token', id, value }], note)
    await update({ rules: [machines(id)] })
    const revoke = () => administration.call('service-token.revoke', { params: { token: id } })
    expect(await meanwhile(world.headers({ id, secret }), revoke)).toBe(403)
    expect(await listed()).toEqual([])
  })

  test.each([
    ['the CA’s rules', () => update({ rules: [] })],
    ['a group that they name', () => group()],
  ])('whoever %s let ask no more gets nothing', async (_what, happens) => {
    await group(world.token.id)
    await update({ rules: [askers] })
    expect(await meanwhile(world.headers(), happens)).toBe(409)
    expect(await listed()).toEqual([])
  })

  test('whoever they still let ask gets theirs', async () => {
    await group(world.token.id)
    await update({ rules: [askers] })
    const other = () => administration.call('service-token.create', { body: { name: 'other' } })
    expect(await meanwhile(world.headers(), other)).toBe(200)
    expect(await listed()).toHaveLength(1)
  })
})
