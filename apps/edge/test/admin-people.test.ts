import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Input, RouteName } from '@postern/admin'
import type { Change } from '@postern/store'
import { createSetupToken } from '@postern/tokens'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isAdministrator } from '../src/admin/administrators.ts'
import { Sessions } from '../src/sign-in/sessions.ts'
import { type Api, apiOf } from './admin-visitor.ts'
import { quiet, startWorld, type World } from './world.ts'

let world: World
let api: Api
let sessions: Sessions
beforeAll(async () => {
  world = await startWorld({}, [], 0)
  api = apiOf(world.edge, world.folder)
  sessions = new Sessions(world.edge.store, quiet)
})
afterAll(async () => {
  await sessions[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
})

const PASSWORD = 'a long walk to the sea'
const asking = { remoteAddress: '192.0.2.1', signal: new AbortController().signal }
const ask = <N extends RouteName>(name: N, input: Input<N>) => world.edge.administration.call(name, input)
const codeOf = (asked: Promise<unknown>) =>
  asked.then(
    () => 'done',
    ({ code }) => code,
  )
const tokenIn = (link: string) => link.slice(link.lastIndexOf('/') + 1)
const origin = () => `https://edge.localhost:${world.edge.port}`

async function joined(email: string) {
  const { id, link } = await ask('user.invite', { body: { email, groups: ['ops'] } })
  return world.edge.directory.accept(tokenIn(link), { password: PASSWORD }, asking).then(person => ({ id, person }))
}
const signIn = async (person: Parameters<Sessions['open']>[0], remoteAddress = '192.0.2.1') =>
  (await sessions.open(person, { via: 'browser', remoteAddress, requestId: 'r' })).session
const external = (subject: string, issuer = 'https://idp.example.com') => ({
  issuer,
  subject,
  email: `${subject}@example.org`,
  claims: {},
})
const knows = (email: string) => world.edge.directory.verify({ email, password: PASSWORD }, asking)

describe('people of the directory', () => {
  test('are invited with a link that is shown once, and come in with the password they chose', async () => {
    const made = await ask('user.invite', { body: { email: 'Ann@Example.com', name: 'Ann', groups: ['ops', 'ops'] } })
    expect(made).toMatchObject({ email: 'ann@example.com', name: 'Ann', groups: ['ops'], hasPassword: false })
    expect(made.link).toMatch(new RegExp(`^${origin()}/invite/pinvs_[0-9a-f]{24}_[\\w-]{43}$`))
    expect(await codeOf(ask('user.invite', { body: { email: 'ANN@example.com' } }))).toBe('ALREADY_EXISTS')
    const shown = [await ask('user.list', {}), await ask('user.get', { params: { user: made.id } })]
    expect(JSON.stringify(shown)).not.toMatch(/pinvs|sha256|scrypt/)
    await world.edge.directory.accept(tokenIn(made.link), { password: PASSWORD }, asking)
    const after = await ask('user.get', { params: { user: 'ANN@example.com' } })
    expect(after).toMatchObject({ id: made.id, hasPassword: true })
    expect(after.linkUntil).toBeUndefined()
    expect(JSON.stringify(after)).not.toMatch(/scrypt/)
    expect(await knows('ann@example.com')).toMatchObject({ issuer: origin(), subject: made.id, groups: ['ops'] })
  })

  test.each([
    ['disabled', (user: string) => ask('user.put', { params: { user }, body: { disabled: true } }), false],
    ['put into other groups', (user: string) => ask('user.put', { params: { user }, body: { groups: [] } }), true],
    ['reset', (user: string) => ask('user.reset', { params: { user }, body: {} }), false],
    ['removed', (user: string) => ask('user.delete', { params: { user } }), false],
  ])('lose their sessions when they are %s, and nobody else does', async (what, change, comesIn) => {
    const email = `${what.replaceAll(' ', '-')}@example.com`
    const { id, person } = await joined(email)
    const other = await signIn(external(id))
    const own = [await signIn(person), await signIn(person)]
    const { version } = world.edge.store.snapshot
    await change(email)
    for (const { id: session } of own) expect(sessions.get(session)).toBeUndefined()
    expect(sessions.get(other.id)).toBeDefined()
    const key = `user:${origin()} ${id}`
    expect(world.edge.store.snapshot.revocations.get(key)?.version).toBeGreaterThan(version)
    expect((await knows(email)) !== undefined).toBe(comesIn)
  })

  test('are changed with a row that says what was and is, however much that is', async () => {
    const { id } = await ask('user.invite', { body: { email: 'long@example.com', groups: ['ops'] } })
    const groups = Array.from({ length: 100 }, (_, n) => `${'g'.repeat(120)}${n}`)
    await ask('user.put', { params: { user: id }, body: { groups, name: 'Long' } })
    await ask('user.put', { params: { user: id }, body: { groups: [], disabled: true } })
    const [second, first] = await world.edge.store.readAudit({ most: 2, action: 'user.put' })
    expect(first?.detail).toMatchObject({
      user: id,
      before: { groups: ['ops'], disabled: false },
      after: { name: 'Long' },
    })
    expect(second?.detail).toMatchObject({ after: { name: 'Long', groups: [], disabled: true } })
    const { before } = (second?.detail ?? {}) as { before?: { groups: unknown[] } }
    expect(before?.groups.at(-1)).toEqual({ more: expect.any(Number) })
  })

  test('keep their sessions when only their name is another', async () => {
    const { person } = await joined('ida@example.com')
    const { id } = await signIn(person)
    await ask('user.put', { params: { user: 'ida@example.com' }, body: { name: 'Ida' } })
    expect(sessions.get(id)).toBeDefined()
  })

  test('are let in again when they are enabled, and by a new link when they were reset', async () => {
    const { id } = await joined('bob@example.com')
    const params = { user: id }
    expect(await ask('user.put', { params, body: { disabled: true } })).toHaveProperty('disabledAt')
    expect(await codeOf(ask('user.reset', { params, body: {} }))).toBe('CONFLICT')
    expect(await ask('user.put', { params, body: { disabled: false } })).not.toHaveProperty('disabledAt')
    expect(await knows('bob@example.com')).toBeDefined()
    const first = await ask('user.reset', { params, body: {} })
    const second = await ask('user.reset', { params, body: {} })
    expect(world.edge.directory.invited(tokenIn(first.link))).toBeUndefined()
    await world.edge.directory.accept(tokenIn(second.link), { password: `${PASSWORD} too` }, asking)
    expect(await knows('bob@example.com')).toBeUndefined()
  })
})

describe('sessions', () => {
  test('are listed and ended by id, person and application', async () => {
    const [ann, eve] = [external('ann-1'), external('eve-1')]
    const [a1, a2, a3, e1, e2] = [
      await signIn(ann),
      await signIn(ann, '198.51.100.7'),
      await signIn({ ...ann, issuer: 'https://other.example.com' }),
      await signIn(eve),
      await signIn(eve),
    ]
    const application = world.edge.store.snapshot.applications.get('db.localhost')
    if (application === undefined) throw new Error('no application')
    await sessions.admit(e2, application, { actor: 'test' })
    const list = (query: object = {}) => ask('session.list', { query })
    expect((await list({ user: 'ANN-1@example.org' })).map(({ id }) => id).sort()).toEqual([a1.id, a2.id, a3.id].sort())
    expect(await list({ application: 'db.localhost' })).toMatchObject([
      { id: e2.id, applications: ['db.localhost'], issuer: ann.issuer, subject: 'eve-1', via: 'browser' },
    ])
    expect(JSON.stringify(await list())).not.toMatch(/sha256/)
    const live = () => [a1, a2, a3, e1, e2].filter(({ id }) => sessions.get(id)).map(({ id }) => id)
    const revoke = async (body: Input<'session.revoke'>['body']) => (await ask('session.revoke', { body })).revoked
    expect(await revoke({ session: a1.id })).toBe(1)
    expect(live()).toEqual([a2.id, a3.id, e1.id, e2.id])
    expect(await revoke({ issuer: ann.issuer, subject: ann.subject })).toBe(1)
    expect(live()).toEqual([a3.id, e1.id, e2.id])
    expect(await revoke({ application: 'db.localhost' })).toBe(1)
    expect(live()).toEqual([a3.id, e1.id])
    expect(await revoke({ email: 'Eve-1@example.org' })).toBe(1)
    expect(await revoke({ email: 'nobody' })).toBe(0)
    expect(await revoke({ session: 'none' })).toBe(0)
    expect(live()).toEqual([a3.id])
    for (const body of [{}, { session: a3.id, email: 'x@example.org' }, { issuer: 'x' }, { all: true }])
      expect(await codeOf(revoke(body as never))).toBe('BAD_USAGE')
    expect(live()).toEqual([a3.id])
  })
})

describe('identity providers', () => {
  const wanted = { name: 'Example', issuer: 'https://idp.example.net', clientId: 'postern' }
  const put = (body: object, id = 'one') => ask('provider.put', { params: { id }, body: { ...wanted, ...body } })

  test('keep a secret that nobody is shown, for that client alone', async () => {
    const clientSecret = 'the secret of the client'
    const made = await put({ clientSecret, scopes: ['openid', 'groups'], groupsClaim: 'groups' })
    expect(made).toMatchObject({ hasSecret: true, redirectUri: expect.stringMatching(`^${origin()}/login/`) })
    const kept = () => {
      const row = world.edge.store.snapshot.records.get('provider')?.get('one')
      return (row as { clientSecret?: string } | undefined)?.clientSecret
    }
    const sealed = kept()
    expect(sealed).toMatch(/^v1\./)
    expect(await put({ name: 'Another name' })).toMatchObject({ name: 'Another name', hasSecret: true })
    expect(kept()).toBe(sealed)
    expect(await put({ issuer: 'https://evil.example.net' })).toMatchObject({ hasSecret: false })
    await put({ clientSecret })
    expect(await put({ clientId: 'other' })).toMatchObject({ hasSecret: false })
    await put({ clientSecret })
    const audit = await world.edge.store.readAudit({ most: 1000 })
    const told = JSON.stringify([audit, await ask('provider.list', {}), made])
    expect(told).not.toContain(clientSecret)
    expect(told).not.toContain(sealed)
    await ask('provider.delete', { params: { id: 'one' } })
    expect(await ask('provider.list', {})).toEqual([])
  })

  test.each([
    ['http:', 'http://idp.example.net'],
    ['no URL', 'idp.example.net'],
    ['a password in it', 'https://ann:secret@idp.example.net'],
    ['a name in it', 'https://ann@idp.example.net'],
    ['a fragment', 'https://idp.example.net/#x'],
    ['an empty fragment', 'https://idp.example.net/#'],
    ['a query', 'https://idp.example.net/?x=1'],
    ['another spelling', 'https://IDP.example.net'],
    ['a default port', 'https://idp.example.net:443'],
    ['dots', 'https://idp.example.net/a/../b'],
    ['a space', ' https://idp.example.net'],
    ['a line end', 'https://idp.example.net\r\n'],
    ['javascript:', 'javascript:alert(1)'],
  ])('have no issuer with %s', async (_what, issuer) => {
    expect(await codeOf(put({ issuer }))).toBe('BAD_USAGE')
    expect(await ask('provider.list', {})).toEqual([])
  })

  test('are never the edge itself, nor the issuer of another', async () => {
    expect(await codeOf(put({ issuer: origin() }))).toBe('BAD_USAGE')
    expect(await codeOf(put({ issuer: `${origin()}/` }))).toBe('BAD_USAGE')
    for (const issuer of [
      'https://idp.example.net/realms/a',
      'https://idp.example.net:8443',
      'https://idp.example.net/',
    ])
      expect(await put({ issuer })).toMatchObject({ issuer })
    expect(await codeOf(put({ issuer: 'https://idp.example.net/' }, 'two'))).toBe('ALREADY_EXISTS')
    await ask('provider.delete', { params: { id: 'one' } })
  })

  test('take the sessions with them when they go, or become another', async () => {
    const issuer = 'https://gone.example.net'
    await put({ issuer })
    const [first, other] = [await signIn(external('x', issuer)), await signIn(external('x'))]
    await put({ issuer, name: 'the same' })
    expect(sessions.get(first.id)).toBeDefined()
    await put({ issuer: 'https://new.example.net' })
    expect(sessions.get(first.id)).toBeUndefined()
    const second = await signIn(external('x', 'https://new.example.net'))
    await ask('provider.delete', { params: { id: 'one' } })
    expect(sessions.get(second.id)).toBeUndefined()
    expect(sessions.get(other.id)).toBeDefined()
    expect(await codeOf(ask('provider.delete', { params: { id: 'one' } }))).toBe('NOT_FOUND')
  })

  test.each([
    ['other groups', { groupsClaim: 'roles', trustEmail: true }, false],
    ['less trust in its addresses', { groupsClaim: 'groups' }, false],
    ['another client', { groupsClaim: 'groups', trustEmail: true, clientId: 'other' }, false],
    ['another name and scopes', { groupsClaim: 'groups', trustEmail: true, name: 'N', scopes: ['openid'] }, true],
  ])('that mean something else by what they say take the sessions with them: %s', async (_what, change, stays) => {
    const issuer = 'https://changed.example.net'
    await put({ issuer, groupsClaim: 'groups', trustEmail: true })
    const { id } = await signIn(external('x', issuer))
    await put({ issuer, ...change })
    expect(sessions.get(id) !== undefined).toBe(stays)
    await ask('provider.delete', { params: { id: 'one' } })
  })
})

test('the keys of grants are shown and rotated beside those of the team, which stay', async () => {
  const team = await ask('key.list', {})
  const before = await ask('grant-key.list', {})
  expect(before.map(({ state, algorithm }) => [state, algorithm])).toEqual([
    ['current', 'ES256'],
    ['next', 'ES256'],
  ])
  const after = await ask('grant-key.rotate', { body: {} })
  expect(after.find(({ state }) => state === 'current')?.id).toBe(before.find(({ state }) => state === 'next')?.id)
  expect(await ask('grant-key.list', {})).toEqual(after)
  expect(await ask('key.list', {})).toEqual(team)
})

test('signing keys are listed without their secrets, rotated and removed', async () => {
  const before = await ask('key.list', {})
  const by = (state: string, keys = before) => keys.find(key => key.state === state)?.id ?? ''
  expect(JSON.stringify(before)).not.toMatch(/"d"|privateJwk/)
  const after = await ask('key.rotate', { body: {} })
  expect([by('current', after), by('previous', after)]).toEqual([by('next'), by('current')])
  expect(after.find(({ id }) => id === by('current'))?.until).toBeDefined()
  await ask('key.remove', { params: { id: by('current') } })
  expect((await ask('key.list', {})).map(({ id }) => id)).not.toContain(by('current'))
  expect(world.edge.store.snapshot.revocations.has(`key:${by('current')}`)).toBe(true)
  expect(await codeOf(ask('key.remove', { params: { id: by('current') } }))).toBe('NOT_FOUND')
  const [row] = await world.edge.store.readAudit({ most: 1, action: 'key.rotate' })
  expect(row).toMatchObject({ actor: 'local' })
})

describe('administrators', () => {
  const identity = (email: string, kind: 'user' | 'service' = 'user') =>
    ({ kind, issuer: 'https://idp.example.com', subject: email, email, claims: {}, revokeKeys: [] }) as const
  const may = (email: string, kind?: 'service') => isAdministrator(identity(email, kind), world.edge.store.snapshot, 0)

  test('are who the setting names, directly or by a group, and nobody without it', async () => {
    expect(may('ann@example.com')).toBe(false)
    await ask('group.put', { params: { name: 'admins' }, body: { selectors: [{ email: 'eve@example.com' }] } })
    await ask('settings.put', { body: { administrators: [{ email: 'ann@example.com' }, { inGroup: 'admins' }] } })
    expect(['ann@example.com', 'eve@example.com', 'bob@example.com'].map(one => may(one))).toEqual([true, true, false])
    expect(may('ann@example.com', 'service')).toBe(false)
    expect(await codeOf(ask('group.delete', { params: { name: 'admins' } }))).toBe('CONFLICT')
    const request = { selectors: [{ address: ['10.0.0.0/8'] }] }
    expect(await codeOf(ask('group.put', { params: { name: 'admins' }, body: request }))).toBe('BAD_USAGE')
    await ask('settings.put', { body: { administrators: [] } })
    expect(may('ann@example.com')).toBe(false)
    await ask('group.delete', { params: { name: 'admins' } })
  })
})

describe('row 106: what is sent about people is checked strictly', () => {
  const bodies: readonly (readonly [string, string, object, string])[] = [
    ['POST', '/users', { email: 'x@example.com' }, 'id'],
    ['POST', '/users', { email: 'y@example.com' }, 'password'],
    ['PUT', '/users/{user}', { name: 'Z' }, 'email'],
    ['PUT', '/users/{user}', { name: 'Y' }, 'hasPassword'],
    ['POST', '/sessions/revoke', { email: 'x@example.com' }, 'all'],
    ['PUT', '/groups/g', { selectors: [] }, 'name'],
    ['PUT', '/providers/p', { name: 'P', issuer: 'https://p.example.com', clientId: 'p' }, 'redirectUri'],
    ['POST', '/keys/rotate', {}, 'overlapSeconds'],
    ['PUT', '/settings', { sessionSeconds: 3600 }, 'teamDomain'],
    ['POST', '/applications', { hostname: 'o.localhost', tunnel: 'home', options: { preflight: true } }, 'id'],
  ]
  test.each(bodies)('%s %s %j, and not with %s besides', async (method, path, body, member) => {
    const { id } = await joined(`u${Math.random()}@example.com`)
    const at = { method, path: path.replace('{user}', id) }
    const { version } = world.edge.store.snapshot
    for (const odd of [
      JSON.stringify({ ...body, [member]: 'x' }),
      JSON.stringify({ ...body, role: 'admin', tenant: 'x' }),
      `{"__proto__":{"role":"admin"}${JSON.stringify(body) === '{}' ? '' : ','}${JSON.stringify(body).slice(1)}`,
      `[${JSON.stringify(body)}]`,
      'null',
    ])
      expect(await api.socket({ ...at, raw: odd })).toMatchObject({ status: 400, code: 'BAD_USAGE' })
    expect(world.edge.store.snapshot.version).toBe(version)
    expect((await api.socket({ ...at, body })).status).toBe(200)
  })

  test.each([
    ['email', { email: { $ne: '' } }],
    ['email', { email: `${'x'.repeat(300)}@example.com` }],
    ['name', { email: 'q@example.com', name: 'two\nlines' }],
    ['name', { email: 'q@example.com', name: '\u202Egnp.exe' }],
    ['groups', { email: 'q@example.com', groups: 'ops' }],
    ['groups', { email: 'q@example.com', groups: Array(101).fill('g') }],
  ])('an invitation with a wrong %s: %j', async (member, body) => {
    const answer = await api.socket({ method: 'POST', path: '/users', body })
    expect(answer).toMatchObject({ status: 400, code: 'BAD_USAGE' })
    expect((answer.json as { detail: string }).detail).toContain(member)
  })
})

test('row 107: whoever is looked for by what is no name is not found, and nothing is harmed', async () => {
  const { version } = world.edge.store.snapshot
  for (const user of [
    "' or 1=1 --",
    '"; drop table records; --',
    '$where',
    '.*',
    '__proto__',
    'constructor',
    '\u0000',
  ]) {
    expect(await ask('session.list', { query: { user } })).toEqual([])
    expect(await codeOf(ask('user.get', { params: { user } }))).toBe('NOT_FOUND')
    expect(await codeOf(ask('user.delete', { params: { user } }))).toBe('NOT_FOUND')
    expect(['NOT_FOUND', 'BAD_USAGE']).toContain(await codeOf(ask('group.get', { params: { name: user } })))
  }
  expect(world.edge.store.snapshot.version).toBe(version)
})

test('row 109: of the first admin token and the first administrator, wanted at once, one is made', async () => {
  await using fresh = await startWorld({}, [], 0)
  for (let n = 0; n < 4; n += 1) {
    const { id, token, hash } = createSetupToken()
    const value = { hash, expiresAt: Date.now() + 60_000 }
    const changes: Change[] = [
      { put: 'record', namespace: 'setup-token', id, value },
      { put: 'setting', key: 'administrators', value: [] },
      ...[...(fresh.edge.store.snapshot.records.get('admin-token')?.keys() ?? [])].map(
        (one): Change => ({ delete: 'record', namespace: 'admin-token', id: one }),
      ),
    ]
    await fresh.edge.store.apply(changes, { action: 'test', actor: 'test' })
    const byToken = () =>
      apiOf(fresh.edge, fresh.folder).team({ method: 'POST', path: '/setup', token, body: { name: 'ann' } })
    const byPage = () => fresh.edge.directory.setup(token, { email: `ann${n}@example.com`, password: PASSWORD }, asking)
    const ends = await Promise.allSettled([
      byPage().then(() => 'page'),
      byToken().then(({ status }) => (status === 200 ? 'token' : Promise.reject(status))),
      byPage().then(() => 'page'),
    ])
    expect(ends.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    const { snapshot } = fresh.edge.store
    const admins = snapshot.records.get('admin-token')?.size ?? 0
    expect(admins + (snapshot.settings.get('administrators') as unknown[]).length).toBe(1)
  }
})

test('row 99: a copy of the database has no secret in it', async () => {
  await using fresh = await startWorld({ passwordCost: 16 }, [], 0)
  const { administration, directory, store } = fresh.edge
  const clientSecret = 'a client secret in clear'
  const provider = { name: 'P', issuer: 'https://p.example.com', clientId: 'p', clientSecret }
  await administration.call('provider.put', { params: { id: 'p' }, body: provider })
  const used = tokenIn((await administration.call('user.invite', { body: { email: 'ann@example.com' } })).link)
  const person = await directory.accept(used, { password: PASSWORD }, asking)
  const open = tokenIn((await administration.call('user.invite', { body: { email: 'bob@example.com' } })).link)
  const here = new Sessions(store, quiet)
  const { session, cookie } = await here.open(person, { via: 'browser', remoteAddress: '192.0.2.1', requestId: 'r' })
  const application = store.snapshot.applications.get('db.localhost')
  if (application === undefined) throw new Error('no application')
  const admitted = await here.admit(session, application, { actor: 'test' })
  await here[Symbol.asyncDispose]()
  const files = await Promise.all(
    ['edge.db', 'edge.db-wal'].map(one => readFile(join(fresh.folder, one)).catch(() => '')),
  )
  const all = files.map(file => file.toString('latin1')).join('')
  for (const known of ['ann@example.com', 'https://p.example.com', session.id, 'scrypt$16$8$1$'])
    expect(all).toContain(known)
  const secretOf = (token: string) => token.slice(-43)
  for (const secret of [
    PASSWORD,
    clientSecret,
    secretOf(used),
    secretOf(open),
    secretOf(cookie),
    secretOf(admitted),
    '"d":"',
  ])
    expect(all).not.toContain(secret)
})
