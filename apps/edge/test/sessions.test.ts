import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ApplicationRecord, openStore, type Store } from '@postern/store'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Seal } from '../src/keys/seal.ts'
import { hasTeamKeys, ROTATION, TeamKeys } from '../src/keys/team-keys.ts'
import { Origins } from '../src/origins.ts'
import { rowsOf, SEEN, userKey } from '../src/sign-in/session-record.ts'
import { Sessions } from '../src/sign-in/sessions.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const call = { signal: new AbortController().signal, log: quiet }

const ann = { issuer: 'https://idp.example.com', subject: 'ann', email: 'ann@example.com', claims: { team: 'red' } }
const bob = { ...ann, subject: 'bob' }
const how = { via: 'browser', remoteAddress: '192.0.2.1', requestId: 'r' } as const
const note = { actor: 'test' }
const DAY = 24 * 3600_000

let folder: string
let store: Store
let sessions: Sessions
const application = (options: ApplicationRecord['options'] = {}, hostname = 'app.localhost'): ApplicationRecord => ({
  id: hostname,
  hostname,
  tunnelId: 'home',
  protocols: ['http'],
  rules: [],
  options,
})

async function open(): Promise<void> {
  store = await openStore({ path: join(folder, 'edge.db') }, call)
  sessions = new Sessions(store, quiet)
}

async function close(): Promise<void> {
  await sessions[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
}

async function serve(one: ApplicationRecord): Promise<ApplicationRecord> {
  await store.apply([{ put: 'application', value: one }], { action: 'application.put', actor: 'test' })
  return one
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-sessions-'))
  await open()
  await store.apply([{ put: 'tunnel', value: { id: 'home', name: 'Home' } }], { action: 'tunnel.put', actor: 'test' })
})
afterEach(async () => {
  vi.useRealTimers()
  await close()
  await rm(folder, { recursive: true })
})

/** The clock alone: the store's writer is another thread. */
function at(time: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: time })
}

describe('a session', () => {
  test('is opened with its audit row, found by its cookie, and there after a start', async () => {
    const { session, cookie } = await sessions.open(ann, { ...how, userAgent: 'Firefox' })
    expect(sessions.ofTeamCookie(cookie)).toEqual(session)
    expect(session).toMatchObject({ person: ann, via: 'browser', userAgent: 'Firefox' })
    expect(session.expiresAt - session.authenticatedAt).toBe(DAY)
    const [row] = await store.readAudit({ most: 1 })
    expect(row).toMatchObject({ action: 'session.open', actor: 'https://idp.example.com ann', requestId: 'r' })
    await close()
    await open()
    expect(sessions.ofTeamCookie(cookie)).toEqual(session)
    expect(sessions.list()).toMatchObject([{ id: session.id, seenAt: session.createdAt }])
  })

  test('row 32: each sign-in is a new one; no secret is kept', async () => {
    const one = await sessions.open(ann, how)
    const other = await sessions.open(ann, how)
    expect(other.session.id).not.toBe(one.session.id)
    expect(other.cookie).not.toBe(one.cookie)
    expect(JSON.stringify(rowsOf(store.snapshot))).not.toContain(one.cookie.slice(25))
  })

  test('is nobody’s for another secret, another form, or a session of a command line', async () => {
    const { session, cookie } = await sessions.open(ann, how)
    const cli = await sessions.open(ann, { ...how, via: 'cli' })
    expect(cli.cookie).toBe('')
    const secret = cookie.slice(25)
    for (const wrong of [
      `${session.id}.${secret.slice(1)}A`,
      `${cli.session.id}.${secret}`,
      `${session.id}.`,
      `${cookie}=`,
      '',
      `__proto__.${secret}`,
      'x'.repeat(100_000),
    ])
      expect(sessions.ofTeamCookie(wrong)).toBeUndefined()
    expect(sessions.ofTeamCookie(cookie)).toBeDefined()
  })

  test('row 26: more groups or claims than fit are refused, not cut; names of prototypes are claims as any', async () => {
    const many = Array.from({ length: 100_000 }, (_, n) => `g${n}`)
    let deep: object = {}
    for (let n = 0; n < 10_000; n += 1) deep = { deep }
    for (const person of [
      { ...ann, groups: many },
      { ...ann, claims: { deep } },
      { ...ann, claims: { long: 'x'.repeat(10_000) } },
      { ...ann, subject: '' },
    ])
      await expect(sessions.open(person as never, how)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    const claims = JSON.parse('{"__proto__":{"isAdmin":true},"constructor":{"prototype":{"isAdmin":true}}}')
    const { session } = await sessions.open({ ...ann, claims }, how)
    const identity = sessions.identityOf(session)
    expect(({} as { isAdmin?: boolean }).isAdmin).toBeUndefined()
    expect((identity.claims as { isAdmin?: boolean }).isAdmin).toBeUndefined()
    expect(Object.keys(identity.claims)).toEqual(['__proto__', 'constructor', 'sid', 'auth_time'])
  })

  test('one person has at most 200: the oldest ends', { timeout: 30_000 }, async () => {
    const first = await sessions.open(ann, how)
    await sessions.open(bob, how)
    for (let n = 0; n < 199; n += 1) await sessions.open(ann, { ...how, via: 'cli' })
    expect(sessions.get(first.session.id)).toBeDefined()
    await sessions.open(ann, { ...how, via: 'cli' })
    expect(sessions.get(first.session.id)).toBeUndefined()
    expect(sessions.list()).toHaveLength(201)
  })
})

describe('row 34: ends', () => {
  test('an application’s own is from a minute to years, and never counted from use', async () => {
    const short = await serve(application({ sessionSeconds: 60 }))
    const long = await serve(application({ sessionSeconds: 400 * 24 * 3600 }, 'long.localhost'))
    const { session, cookie } = await sessions.open(ann, how)
    const start = session.authenticatedAt
    expect(sessions.endsFor(session, short)).toBe(start + 60_000)
    expect(sessions.endsFor(session, long)).toBe(start + 400 * DAY)
    expect(sessions.endsFor(session, application())).toBe(start + DAY)
    const identities = [sessions.identityOf(session, long)]
    at(start + 59_000)
    expect(sessions.take(identities, short, Date.now())).toMatchObject([{ expiresAt: start + 60_000 }])
    at(start + 60_000)
    expect(sessions.take(identities, short, Date.now())).toEqual([])
    at(start + 399 * DAY)
    expect(sessions.take(identities, long, Date.now())).toEqual(identities)
    expect(sessions.get(session.id)).toBeDefined()
    // It signs in nowhere new after its own end.
    expect(sessions.ofTeamCookie(cookie)).toBeUndefined()
    at(start + 400 * DAY)
    expect(sessions.get(session.id)).toBeUndefined()
  })

  test('what is made of an older sign-in ends with it', async () => {
    const before = Date.now() - DAY + 60_000
    const { session } = await sessions.open(ann, { ...how, via: 'cli', authenticatedAt: before })
    expect(session.expiresAt).toBe(before + DAY)
    const late = sessions.open(ann, { ...how, authenticatedAt: Date.now() - DAY - 1 })
    await expect(late).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    const future = await sessions.open(ann, { ...how, authenticatedAt: Date.now() + DAY })
    expect(future.session.authenticatedAt).toBeLessThanOrEqual(Date.now())
  })

  test('not used for too long: over; used or open: not', async () => {
    await store.apply([{ put: 'setting', key: 'sessionIdleSeconds', value: 600 }], {
      action: 'settings.put',
      actor: 'test',
    })
    const idle = (await sessions.open(ann, how)).session
    const used = (await sessions.open(ann, how)).session
    const busy = (await sessions.open(ann, how)).session
    sessions.countAsUsed(() => new Set([`session:${busy.id}`]))
    at(idle.createdAt + 599_000)
    expect(sessions.get(idle.id)).toBeDefined()
    sessions.touch(used.id)
    await sessions.sweep()
    at(idle.createdAt + 601_000)
    expect(sessions.get(idle.id)).toBeUndefined()
    expect(sessions.get(used.id)).toBeDefined()
    expect(sessions.get(busy.id)).toBeDefined()
    await sessions.sweep()
    expect(store.snapshot.revocations.has(`session:${idle.id}`)).toBe(true)
    expect(sessions.list().map(({ id }) => id)).toEqual([used.id, busy.id])
    const [row] = await store.readAudit({ most: 1, action: 'session.revoke' })
    expect(row).toMatchObject({ actor: 'edge', detail: { session: idle.id, because: 'idle' } })
    // What was used is known after a start.
    await close()
    await open()
    at(idle.createdAt + 1_000_000)
    expect(sessions.get(used.id)).toBeDefined()
  })

  test('an application’s own idle limit ends what is open there, not the session', async () => {
    const app = await serve(application({ idleSeconds: 60 }))
    const { session } = await sessions.open(ann, how)
    const [cookie = ''] = (await sessions.admit(session, app, note)).split('.')
    const identity = { ...sessions.identityOf(session, app), revokeKeys: [`cookie:${cookie}`, `session:${session.id}`] }
    at(session.createdAt + 30_000)
    expect(sessions.take([identity], app, Date.now())).toHaveLength(1)
    at(session.createdAt + 89_000)
    expect(sessions.take([identity], app, Date.now())).toHaveLength(1)
    at(session.createdAt + 150_000)
    expect(sessions.take([identity], app, Date.now())).toEqual([])
    await sessions.sweep()
    expect(store.snapshot.revocations.has(`cookie:${cookie}`)).toBe(true)
    expect(sessions.get(session.id)).toBeDefined()
  })

  test('what is over is swept, with its cookies and when they were used', async () => {
    const app = await serve(application())
    const { session } = await sessions.open(ann, how)
    await sessions.admit(session, app, note)
    sessions.touch(session.id)
    await sessions.sweep()
    expect(store.snapshot.records.get(SEEN)?.size).toBe(1)
    at(session.expiresAt)
    await sessions.sweep()
    expect(rowsOf(store.snapshot)).toEqual({ sessions: [], cookies: [] })
    expect(store.snapshot.records.get(SEEN)?.size).toBe(0)
  })
})

test('who signs in while being put out is out', async () => {
  const opening = sessions.open(ann, how)
  const [{ session }, ended] = await Promise.all([opening, sessions.revoke({ user: ann }, note)])
  expect(ended).toBe(0)
  await expect.poll(() => sessions.get(session.id)).toBeUndefined()
  // The allow twin: whoever signs in after that is in.
  const later = await sessions.open(ann, how)
  await store.apply([{ revoke: 'user:somebody else' }], { action: 'test', actor: 'test' })
  expect(sessions.get(later.session.id)).toBeDefined()
})

test('a revocation is forgotten when nothing from before it can be open; another’s is kept', async () => {
  const { session } = await sessions.open(ann, how)
  await store.apply([{ revoke: 'service-token:pst_x' }], { action: 'test', actor: 'test' })
  await sessions.revoke({ user: ann }, note)
  const start = Date.now()
  await sessions.sweep(start)
  await sessions.sweep(start + 599_000)
  expect(store.snapshot.revocations.has(`session:${session.id}`)).toBe(true)
  await sessions.sweep(start + 600_000)
  expect([...store.snapshot.revocations.keys()]).toEqual(['service-token:pst_x'])
})

describe('an admission', () => {
  test('is of one session at one application, and there are few', async () => {
    const app = await serve(application({ sessionSeconds: 3600 }))
    const { session } = await sessions.open(ann, how)
    const values: string[] = []
    for (let n = 0; n < 6; n += 1) values.push(await sessions.admit(session, app, note))
    const { cookies } = rowsOf(store.snapshot)
    expect(cookies).toHaveLength(4)
    expect(cookies.every(({ expiresAt }) => expiresAt === session.authenticatedAt + 3600_000)).toBe(true)
    expect(cookies.map(({ id }) => id)).toContain(values.at(-1)?.split('.')[0])
  })

  test('of a session that has ended is none', async () => {
    const app = await serve(application())
    const { session } = await sessions.open(ann, how)
    await sessions.admit(session, app, note)
    await sessions.revoke({ session: session.id }, note)
    await expect(sessions.admit(session, app, note)).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    expect(rowsOf(store.snapshot)).toEqual({ sessions: [], cookies: [] })
  })
})

test('revoking a person ends all their sessions and nobody else’s', async () => {
  const app = await serve(application())
  const [one, two, other] = [
    await sessions.open(ann, how),
    await sessions.open(ann, { ...how, via: 'cli' }),
    await sessions.open({ ...ann, issuer: 'https://idp.example.com/' }, how),
  ]
  await sessions.admit(one.session, app, note)
  expect(await sessions.revoke({ user: ann }, note)).toBe(2)
  expect(sessions.ofTeamCookie(one.cookie)).toBeUndefined()
  // Row 12: an issuer that differs by a slash is another person.
  expect(sessions.ofTeamCookie(other.cookie)).toBeDefined()
  expect([...store.snapshot.revocations.keys()]).toEqual([
    `session:${one.session.id}`,
    `session:${two.session.id}`,
    'user:https://idp.example.com ann',
  ])
  expect(await sessions.revoke({ session: one.session.id }, note)).toBe(0)
})

describe('keys', () => {
  const origins = new Origins('team.localhost', () => 443)
  const keysOf = async (data = folder) => {
    const seal = await Seal.open(data, hasTeamKeys(store.snapshot))
    return TeamKeys.open({ store, seal, origins, log: quiet })
  }
  const what = { typ: 'at+jwt', audience: 'https://app.localhost' }

  test('are kept sealed, and the same after a start; the file is 0600', async () => {
    using keys = await keysOf()
    const token = await keys.sign({ sub: 'ann' }, { ...what, lifetimeSeconds: 60 })
    using again = await keysOf()
    await expect(again.verify(token, what)).resolves.toMatchObject({ claims: { iss: 'https://team.localhost' } })
    const row = JSON.stringify(store.snapshot.records.get('team-keys')?.get('ring'))
    expect(row).not.toMatch(/"d"|current|privateJwk/)
    expect((await stat(join(folder, 'keys', 'seal.key'))).mode & 0o777).toBe(0o600)
  })

  test('row 7: without the seal’s key, with another or one that others may read, nothing starts', async () => {
    using _first = await keysOf()
    const path = join(folder, 'keys', 'seal.key')
    const good = await readFile(path, 'utf8')
    await rm(path)
    await expect(keysOf()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    const other = await mkdtemp(join(tmpdir(), 'postern-keys-'))
    const wrong = await Seal.open(other, false)
    await expect(TeamKeys.open({ store, seal: wrong, origins, log: quiet })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
    await writeFile(path, '', { mode: 0o600 })
    await expect(keysOf()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await writeFile(path, good)
    await chmod(path, 0o644)
    await expect(keysOf()).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    await chmod(path, 0o600)
    using last = await keysOf()
    expect(last.list()).toHaveLength(2)
    await rm(other, { recursive: true })
  })

  test('what was altered in the seal does not open', async () => {
    const seal = await Seal.open(folder, false)
    const sealed = seal.seal('secret')
    expect(seal.open(sealed)).toBe('secret')
    expect(seal.seal('secret')).not.toBe(sealed)
    for (const wrong of [
      '',
      'v1',
      `${sealed}A`,
      sealed.replace(/.$/, one => (one === 'A' ? 'Q' : 'A')),
      `v2${sealed.slice(2)}`,
    ])
      expect(() => seal.open(wrong)).toThrow('does not fit')
  })

  test('row 23: rotated, both verify and are published; for its age by itself', async () => {
    using keys = await keysOf()
    const old = await keys.sign({}, { ...what, lifetimeSeconds: 600 })
    const before = keys.jwks()
    expect(keys.jwks()).toBe(before)
    await keys.rotate(note)
    const next = await keys.sign({}, { ...what, lifetimeSeconds: 600 })
    await expect(keys.verify(old, what)).resolves.toBeDefined()
    await expect(keys.verify(next, what)).resolves.toBeDefined()
    expect(keys.jwks().keys).toHaveLength(3)
    expect(before.keys).toHaveLength(2)
    at(Date.now() + ROTATION)
    using aged = await keysOf()
    expect(aged.list().find(({ state }) => state === 'current')?.since).toBe(Date.now())
    const [row] = await store.readAudit({ most: 1, action: 'key.rotate' })
    expect(row).toMatchObject({ actor: 'edge' })
  })

  test('row 24: removed, its tokens are nobody’s and what they opened is revoked; others stay', async () => {
    using keys = await keysOf()
    const old = await keys.sign({}, { ...what, lifetimeSeconds: 600 })
    const { kid } = await keys.verify(old, what)
    await keys.remove(kid, note)
    await expect(keys.verify(old, what)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect(store.snapshot.revocations.has(`key:${kid}`)).toBe(true)
    expect(keys.jwks().keys.map(key => key.kid)).not.toContain(kid)
    const next = await keys.sign({}, { ...what, lifetimeSeconds: 600 })
    await expect(keys.verify(next, what)).resolves.toBeDefined()
    await expect(keys.remove(kid, note)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

test('an origin leaves port 443 out', () => {
  expect(new Origins('team.example.com', () => 443).team).toBe('https://team.example.com')
  expect(new Origins('team.example.com', () => 8443).of('app.example.com')).toBe('https://app.example.com:8443')
})

describe('whoever is put out while a session of theirs is written down', () => {
  const put = (person: typeof ann) => store.apply([{ revoke: userKey(person) }], { action: 'test', actor: 'test' })

  test('is out; another’s end is nothing to them', async () => {
    // Asked for first, so it is durable first: the sweep of those who came late does not see what comes behind it.
    const cut = put(ann)
    await expect(sessions.open(ann, how)).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    await cut
    expect(sessions.list()).toEqual([])
    const other = put(bob)
    await sessions.open(ann, how)
    await other
    expect(sessions.list()).toHaveLength(1)
  })

  test('is out where what it is made of has ended, before or meanwhile', async () => {
    const { session } = await sessions.open(ann, how)
    const holds = () => sessions.get(session.id) !== undefined
    await sessions.open(ann, { ...how, via: 'cli', holds })
    const cut = sessions.revoke({ session: session.id }, note)
    await expect(sessions.open(ann, { ...how, via: 'cli', holds })).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    await cut
    await expect(sessions.open(ann, { ...how, via: 'cli', holds })).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    expect(sessions.list().map(({ via }) => via)).toEqual(['cli'])
  })
})
