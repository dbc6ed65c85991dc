import { copyFile, cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import type { Rule } from '@postern/policy'
import type { ApplicationOptions, ApplicationRecord } from '@postern/store'
import { createServiceToken } from '@postern/tokens'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { startEdge } from '../src/index.ts'
import { Seal } from '../src/keys/seal.ts'
import { TeamKeys } from '../src/keys/team-keys.ts'
import { Origins } from '../src/origins.ts'
import { Sessions } from '../src/sign-in/sessions.ts'
import { asker } from './visitor.ts'
import { call, header, quiet, startWorld, type World } from './world.ts'

const ann = { issuer: 'https://idp.example.com', subject: 'ann', email: 'ann@example.com', claims: {} }
const how = { via: 'browser', remoteAddress: '192.0.2.1', requestId: 'r' } as const
const note = { actor: 'test' }
const patience = () => ({ signal: AbortSignal.timeout(20_000), log: quiet })
const people: Rule = { name: 'staff', action: 'allow', include: [{ emailDomain: 'example.com' }] }
const services: Rule = { name: 'machines', action: 'service', include: [{ anyServiceToken: true }] }

let world: World
let sessions: Sessions
let keys: TeamKeys
let origins: Origins
beforeEach(async () => {
  world = await startWorld()
  await lookInside()
  await change({ rules: [people, services] })
  await change({ id: 'other', hostname: 'other.localhost', rules: [people] })
})
afterEach(async () => {
  await sessions[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
})

/** The edge's own rows and keys, as its pages use them. */
async function lookInside(): Promise<void> {
  const { store, port } = world.edge
  origins = new Origins('edge.localhost', () => port)
  sessions = new Sessions(store, quiet)
  keys = await TeamKeys.open({ store, seal: await Seal.open(world.folder, true), origins, log: quiet })
  keys[Symbol.dispose]()
}

async function change(more: Partial<ApplicationRecord> & { readonly options?: ApplicationOptions }): Promise<void> {
  const { store } = world.edge
  const before = store.snapshot.applications.get(more.hostname ?? 'db.localhost') ?? application()
  const value = { ...before, ...more }
  await store.apply([{ put: 'application', value }], { action: 'application.put', actor: 'test' })
}

function application(hostname = 'db.localhost'): ApplicationRecord {
  const found = world.edge.store.snapshot.applications.get(hostname)
  if (found === undefined) throw new Error('no such application')
  return found
}

async function signedIn(hostname = 'db.localhost') {
  const { session } = await sessions.open(ann, how)
  const value = await sessions.admit(session, application(hostname), note)
  return { session, value, cookie: `__Host-postern-session=${value}` }
}

async function tokenFor(hostname = 'db.localhost', more: Record<string, string | number> = {}) {
  const { session } = await sessions.open(ann, { ...how, via: 'cli' })
  const ends = Math.floor(sessions.endsFor(session, application(hostname)) / 1000)
  const claims = { sub: 'ann', idp: ann.issuer, sid: session.id, session_expires_at: ends, ...more }
  const audience = origins.of(hostname)
  return { session, token: await keys.sign(claims, { typ: 'at+jwt', audience, lifetimeSeconds: 600 }) }
}

type Headers = Readonly<Record<string, string | readonly string[]>>

function get(headers: Headers, hostname = 'db.localhost') {
  const lines = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map(value => `${name}: ${value}\r\n`),
  )
  const host = origins.of(hostname).slice('https://'.length)
  return world.ask(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n${lines.join('')}\r\n`, hostname)
}

/** What it is answered, over HTTP and as a session of the tunnel: both are decided alike. */
async function answers(headers: Headers, hostname = 'db.localhost'): Promise<string> {
  const answer = await get(headers, hostname)
  const opened = await world
    .dial(hostname, 'session', { ...headers, host: origins.of(hostname).slice('https://'.length) })
    .then(
      pipe => {
        pipe.destroy()
        return 'let in'
      },
      (error: unknown) => PosternError.from(error).code,
    )
  // There is no web behind it, which only who is let in is told.
  const plain = answer.code === 'VERSION_UNSUPPORTED' ? 'let in' : answer.code
  expect(plain).toBe(opened)
  return opened
}

async function lastActor(): Promise<string | undefined> {
  const [row] = await world.edge.store.readAudit({ most: 1, action: 'access.decide' })
  return row?.actor
}

describe('how credentials compose', () => {
  test('our cookie or token, expired, revoked or not known: as if absent, and told where to sign in', async () => {
    const metadata = `Bearer resource_metadata="${origins.of('db.localhost')}/.well-known/oauth-protected-resource"`
    const gone = await signedIn()
    const goneToken = await tokenFor()
    expect(await answers({ cookie: gone.cookie })).toBe('let in')
    expect(await answers({ 'postern-access-token': goneToken.token })).toBe('let in')
    await sessions.revoke({ user: ann }, note)
    const over = await tokenFor('db.localhost', { session_expires_at: Math.floor(Date.now() / 1000) - 1 })
    for (const headers of [
      {},
      { cookie: gone.cookie },
      { 'postern-access-token': goneToken.token },
      { 'postern-access-token': over.token },
    ]) {
      expect(await answers(headers)).toBe('LOGIN_REQUIRED')
      expect((await get(headers)).headers['www-authenticate']).toBe(metadata)
    }
    expect(world.opened()).toBe(0)
  })

  test('row 10: a bad signature, or another application’s: 401, audited', async () => {
    const { value, cookie } = await signedIn()
    const { token } = await tokenFor()
    const altered = `${token.slice(0, -2)}${token.endsWith('AA') ? 'BB' : 'AA'}`
    expect(await answers({ cookie: cookie.replace(value, (await signedIn()).value) })).toBe('let in')
    const wrong: [Headers, string?][] = [
      [{ cookie: `${cookie.slice(0, -2)}${cookie.endsWith('AA') ? 'BB' : 'AA'}` }],
      [{ 'postern-access-token': altered }],
      [{ cookie }, 'other.localhost'],
      [{ 'postern-access-token': token }, 'other.localhost'],
    ]
    for (const [headers, hostname] of wrong) {
      expect(await answers(headers, hostname)).toBe('AUTH_REJECTED')
      const rows = await world.edge.store.readAudit({ most: 1, action: 'access.decide' })
      expect(rows).toMatchObject([{ allowed: false, code: 'AUTH_REJECTED' }])
    }
    expect(await answers({ cookie: (await signedIn('other.localhost')).cookie }, 'other.localhost')).toBe('let in')
    expect(world.opened()).toBe(0)
  })

  test('row 96: a bad service token: 401 and never a redirect, whatever else is there', async () => {
    const { cookie } = await signedIn()
    const bad = world.headers({ ...world.token, secret: createServiceToken().secret })
    expect(await answers({ ...bad, cookie })).toBe('AUTH_REJECTED')
    const page = await get({ ...bad, accept: 'text/html', 'sec-fetch-mode': 'navigate' })
    expect(page).toMatchObject({ status: 401 })
    expect(page.headers.location).toBeUndefined()
    expect(await answers({ ...world.headers(), cookie })).toBe('let in')
    expect(world.opened()).toBe(0)
  })

  test('row 96: a service token and a person, both good: both identities', async () => {
    const { cookie } = await signedIn()
    expect(await answers({ ...world.headers(), cookie })).toBe('let in')
    const actor = await lastActor()
    expect(actor).toContain(`postern:service-token ${world.token.id}`)
    expect(actor).toContain('https://idp.example.com ann')
    // Row 11 of the invariants: what is meant for people is not met by the service beside them.
    await change({ rules: [{ ...people, require: [{ email: 'bob@example.com' }] }] })
    expect(await answers({ ...world.headers(), cookie })).toBe('ACCESS_DENIED')
    await change({ rules: [people] })
    expect(await answers(world.headers())).toBe('ACCESS_DENIED')
  })

  test('one scheme twice: 400', async () => {
    const { cookie } = await signedIn()
    const { token } = await tokenFor()
    for (const headers of [
      { cookie: `${cookie}; ${cookie}` },
      { cookie: `${cookie}; __Host-postern-session=x` },
      { 'postern-access-token': [token, token] },
      { cookie, 'postern-access-token': token },
    ])
      expect((await get(headers)).code).toBe('BAD_USAGE')
    expect(world.opened()).toBe(0)
  })

  test('Authorization is the application’s own, unless it says otherwise', async () => {
    const { token } = await tokenFor()
    const bearer = { authorization: `Bearer ${token}` }
    expect(await answers(bearer)).toBe('LOGIN_REQUIRED')
    expect(await answers({ authorization: 'Bearer x', 'postern-access-token': token })).toBe('let in')
    await change({ options: { authorizationHeader: true } })
    expect(await answers(bearer)).toBe('let in')
    expect(await answers({ authorization: 'Bearer x' })).toBe('AUTH_REJECTED')
    expect(await answers({ authorization: 'Basic x' })).toBe('LOGIN_REQUIRED')
  })

  test('row 11: what is for another use is none here', async () => {
    const { session, cookie: team } = await sessions.open(ann, how)
    const signed = (typ: string, audience: string) =>
      keys.sign({ sub: 'ann', idp: ann.issuer, sid: session.id }, { typ, audience, lifetimeSeconds: 60 })
    for (const headers of [
      { cookie: `__Host-postern-session=${team}` },
      { 'postern-access-token': team },
      { 'postern-access-token': await signed('postern-identity+jwt', origins.of('db.localhost')) },
      { 'postern-access-token': await signed('at+jwt', 'db.localhost') },
      { 'postern-access-token': await signed('at+jwt', origins.team) },
      { cookie: `__Host-postern-session=${(await tokenFor()).token}` },
    ])
      expect(['AUTH_REJECTED', 'LOGIN_REQUIRED']).toContain(await answers(headers))
    expect(await answers({ cookie: `__Host-postern-team=${team}` })).toBe('LOGIN_REQUIRED')
    expect(await answers({ 'postern-access-token': (await tokenFor()).token })).toBe('let in')
    expect(world.opened()).toBe(0)
  })
})

describe('rows 67 and 68: what is open ends', () => {
  const endOf = async (stream: Duplex): Promise<string> => {
    const failed = await new Promise<unknown>(resolve => {
      stream.on('error', resolve).on('close', resolve)
      stream.resume()
    })
    return PosternError.from(failed).code
  }
  const streamOf = async (headers: Record<string, string>) =>
    (await world.session({ ...headers, host: origins.of('db.localhost').slice('https://'.length) })).open(
      header(),
      patience(),
    )
  const causes: [string, (one: { session: { id: string }; value: string; kid: string }) => Promise<unknown>, string][] =
    [
      ['its session is revoked', ({ session }) => sessions.revoke({ session: session.id }, note), 'cookie'],
      ['the person is', () => sessions.revoke({ user: ann }, note), 'both'],
      ['its cookie is', ({ value }) => sessions.revoke({ cookie: value.split('.')[0] ?? '' }, note), 'cookie'],
      ['row 24: the key that signed its token is removed', ({ kid }) => keys.remove(kid, note), 'token'],
      ['the session may last shorter there now', () => change({ options: { sessionSeconds: 60 } }), 'both'],
      [
        'a group they were let in by is changed',
        () =>
          world.edge.store.apply([{ put: 'group', name: 'team', value: [{ email: 'bob@example.com' }] }], {
            action: 'group.put',
            actor: 'test',
          }),
        'both',
      ],
    ]
  test.each(causes)('when %s', async (_name, cause, whose) => {
    await world.edge.store.apply([{ put: 'group', name: 'team', value: [{ emailDomain: 'example.com' }] }], {
      action: 'group.put',
      actor: 'test',
    })
    await change({ rules: [{ ...people, include: [{ inGroup: 'team' }] }, services] })
    // Signed in two minutes ago.
    const ago = { ...how, authenticatedAt: Date.now() - 120_000 }
    const { session } = await sessions.open(ann, ago)
    const value = await sessions.admit(session, application(), note)
    const cli = await sessions.open(ann, { ...ago, via: 'cli' })
    const ends = Math.floor(cli.session.expiresAt / 1000)
    const claims = { sub: 'ann', idp: ann.issuer, sid: cli.session.id, session_expires_at: ends }
    const about = { typ: 'at+jwt', audience: origins.of('db.localhost') }
    const token = await keys.sign(claims, { ...about, lifetimeSeconds: 600 })
    const { kid } = await keys.verify(token, about)
    const open = {
      cookie: await streamOf({ cookie: `__Host-postern-session=${value}` }),
      token: await streamOf({ 'postern-access-token': token }),
      service: await streamOf(world.headers()),
    }
    const ended = { cookie: endOf(open.cookie), token: endOf(open.token) }
    await cause({ session, value, kid })
    for (const which of ['cookie', 'token'] as const) {
      if (whose === 'both' || whose === which) expect(await ended[which]).toBe('ACCESS_ENDED')
      else expect(open[which].destroyed).toBe(false)
    }
    expect(open.service.destroyed).toBe(false)
  })

  test('when the session ends, though its token would not', async () => {
    const { session } = await sessions.open(ann, { ...how, via: 'cli', authenticatedAt: Date.now() - 58_000 })
    await change({ options: { sessionSeconds: 60 } })
    const claims = {
      sub: 'ann',
      idp: ann.issuer,
      sid: session.id,
      session_expires_at: Math.floor(Date.now() / 1000) + 999,
    }
    const token = await keys.sign(claims, { typ: 'at+jwt', audience: origins.of('db.localhost'), lifetimeSeconds: 600 })
    const stream = await streamOf({ 'postern-access-token': token })
    expect(await endOf(stream)).toBe('ACCESS_ENDED')
    expect(await answers({ 'postern-access-token': token })).toBe('LOGIN_REQUIRED')
  })
})

test('a bypass is of nobody: it is not ended with the session of who asked', async () => {
  await change({ rules: [{ name: 'open', action: 'bypass', include: [{ path: ['/'] }] }, people] })
  const { cookie } = await signedIn()
  expect((await get({ cookie })).code).toBe('VERSION_UNSUPPORTED')
  expect(await lastActor()).toBeUndefined()
})

test('rows 23 and 24: the keys at the team domain are two or more, and one that was removed is gone', async () => {
  const published = async () => {
    const host = origins.team.slice('https://'.length)
    const request = `GET /.well-known/jwks.json HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
    const answer = await world.ask(request, 'edge.localhost')
    expect(answer).toMatchObject({ status: 200, headers: { 'cache-control': 'public, max-age=300' } })
    expect(answer.body).not.toContain('"d"')
    return (JSON.parse(answer.body) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid)
  }
  const before = await published()
  expect(before.sort()).toEqual(
    keys
      .list()
      .map(({ kid }) => kid)
      .sort(),
  )
  await world.edge.administration.call('key.rotate', { body: {} })
  expect(await published()).toHaveLength(3)
  const [kid = ''] = before
  await world.edge.administration.call('key.remove', { params: { id: kid } })
  expect(await published()).not.toContain(kid)
})

test('row 112: yesterday’s copy of the database brings nobody back', { timeout: 60_000 }, async () => {
  const { cookie } = await signedIn()
  const { token } = await tokenFor()
  const lost = await world.edge.administration.call('service-token.create', { body: { name: 'lost' } })
  const kept = await world.edge.administration.call('service-token.create', { body: { name: 'kept' } })
  const config = { data: world.folder, listen: { port: 0 }, grace: 100 }
  await sessions[Symbol.asyncDispose]()
  await world.edge.close()
  const database = join(world.folder, 'edge.db')
  await copyFile(database, join(world.folder, 'backup'))
  const restart = async (warnings: string[] = []) => {
    const log = { ...quiet, warn: (message: string) => void warnings.push(message) }
    Object.assign(world, { edge: await startEdge(config, { ...call, log }) })
    Object.assign(world, { ask: asker(world.edge.port, world.edge.caFile ?? '', 'db.localhost') })
    await lookInside()
  }
  const gone = keys.list().find(({ state }) => state === 'current')?.kid ?? ''
  await restart()
  // The allow twin: after a start without a copy everybody is still there.
  expect((await get({ cookie })).code).toBe('VERSION_UNSUPPORTED')
  await world.edge.administration.call('service-token.revoke', { params: { token: lost.id } })
  await sessions.revoke({ user: ann }, note)
  await world.edge.administration.call('key.remove', { params: { id: gone } })
  await sessions[Symbol.asyncDispose]()
  await world.edge.close()
  await rm(`${database}-wal`, { force: true })
  await cp(join(world.folder, 'backup'), database)
  const warnings: string[] = []
  await restart(warnings)
  expect(warnings.join()).toContain('older copy')
  expect((await get({ cookie })).code).toBe('LOGIN_REQUIRED')
  expect((await get({ 'postern-access-token': token })).code).toBe('AUTH_REJECTED')
  expect((await get(world.headers(lost))).code).toBe('TOKEN_REVOKED')
  expect((await get(world.headers(kept))).code).toBe('VERSION_UNSUPPORTED')
  expect(keys.list().map(({ kid }) => kid)).not.toContain(gone)
  const [row] = await world.edge.store.readAudit({ most: 1, action: 'store.restored' })
  expect(row).toMatchObject({ actor: 'edge' })
})
