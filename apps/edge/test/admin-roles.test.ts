import { randomUUID } from 'node:crypto'
import { type Input, openApi, ROUTES, type Route, type RouteName } from '@postern/admin'
import {
  createConnector,
  createIdentity,
  createSetupAuthority,
  type NewConnector,
  signConnector,
} from '@postern/connector/issue'
import type { Change } from '@postern/store'
import { certificateRequest, elsewhere } from '@postern/testkit'
import { createAdminToken, createSetupToken } from '@postern/tokens'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { FailureCounter } from '../src/authorize/attempts.ts'
import { type AdminAnswer, type Api, apiOf } from './admin-visitor.ts'
import { echo, startWorld, type World } from './world.ts'

type Sample<N extends RouteName> = (world: World) => Promise<Input<N>> | Input<N>

let made = 0
const fresh = (kind: string) => `${kind}-${++made}`
const tunnel = async ({ edge }: World) => {
  const name = fresh('t')
  await edge.administration.call('tunnel.create', { body: { name } })
  return name
}
const application = async (world: World) => {
  const hostname = `${fresh('a')}.localhost`
  await world.edge.administration.call('application.create', { body: { hostname, tunnel: 'home', rules: [] } })
  return hostname
}
const serviceToken = ({ edge }: World) =>
  edge.administration.call('service-token.create', { body: { name: fresh('s') } })

const ownCa = async ({ edge }: World) => {
  const { name } = await edge.administration.call('ca.create', { body: { name: fresh('ca') } })
  return { ca: name }
}
const listed = async ({ edge }: World) => {
  const { cert, revocationList } = await elsewhere('Elsewhere')
  const { name } = await edge.administration.call('ca.import', { body: { name: fresh('ca'), certificates: cert } })
  return { params: { ca: name }, body: { crl: revocationList(['0a1b']) } }
}

const user = async ({ edge }: World) => {
  const body = { email: `${fresh('u')}@example.com` }
  return (await edge.administration.call('user.invite', { body })).id
}
const group = async ({ edge }: World) => {
  const params = { name: fresh('g') }
  await edge.administration.call('group.put', { params, body: { selectors: [{ emailDomain: 'example.com' }] } })
  return params
}
const wantedProvider = () => ({
  name: 'Example',
  issuer: `https://${fresh('idp')}.example.com`,
  clientId: 'postern',
  clientSecret: 'a secret of the client',
})

/** One identity for all tunnels here: what it signs names the tunnel. */
const identity = createIdentity('any')
const authorityOf = async (tunnel: string, id?: string) => createSetupAuthority(await identity, tunnel, id)
const ONE = await createConnector()
const setUp = authorityOf('set-up', ONE.id)
const identified = async ({ edge }: World, name: string = fresh('t')) => {
  const { cert } = await identity
  await edge.administration.call('tunnel.create', { body: { name, identity: cert } })
  return name
}
const request = async (world: World) => {
  const name = await identified(world)
  const one = await createConnector()
  const body = { connector: one.id, publicKey: one.publicKey, host: 'here' }
  const { id } = await world.edge.administration.call('signing-request.create', { params: { name }, body })
  return { params: { name, id }, one }
}
const certificateOf = async (name: string, one?: NewConnector) =>
  signConnector(await identity, name, one ?? (await createConnector()))

/** What each route is called with: a route that is missing here does not compile, and fails below. */
const SAMPLES: { readonly [N in RouteName]: Sample<N> } = {
  'status.get': () => ({}),
  'whoami.get': () => ({}),
  'openapi.get': () => ({}),
  'settings.get': () => ({}),
  'settings.put': () => ({ body: { auditDays: ++made } }),
  'setup.use': () => ({ body: { name: fresh('first') } }),
  'admin-token.list': () => ({}),
  'admin-token.create': () => ({ body: { name: fresh('ann'), role: 'viewer' } }),
  'admin-token.revoke': async ({ edge }) => {
    const body = { name: fresh('old'), role: 'viewer' } as const
    return { params: { id: (await edge.administration.call('admin-token.create', { body })).id } }
  },
  'tunnel.list': () => ({}),
  'tunnel.create': () => ({ body: { name: fresh('t') } }),
  'tunnel.get': async world => ({ params: { name: await tunnel(world) } }),
  'tunnel.delete': async world => ({ params: { name: await tunnel(world) } }),
  'tunnel-token.create': async world => ({ params: { name: await tunnel(world) }, body: {} }),
  'tunnel-token.rotate': async world => ({ params: { name: await tunnel(world) }, body: { overlapSeconds: 60 } }),
  'tunnel-token.revoke': async world => {
    const name = await tunnel(world)
    const { id } = await world.edge.administration.call('tunnel-token.create', { params: { name }, body: {} })
    return { params: { name, id } }
  },
  'connector.evict': async world => {
    const id = randomUUID()
    await world.daemon(echo, undefined, { connector: id, connection: 0, version: '1.0.0' })
    await expect.poll(() => world.edge.routes.all().map(one => one.connectorId)).toContain(id)
    return { params: { name: 'home', id } }
  },
  'tunnel-identity.put': async world => ({
    params: { name: await tunnel(world) },
    body: { certificate: (await identity).cert },
  }),
  'connector.enrol': async world => {
    const name = await identified(world)
    return { params: { name }, body: { certificate: await certificateOf(name), host: 'here' } }
  },
  'connector.retire': async world => {
    const name = await identified(world)
    const body = { certificate: await certificateOf(name) }
    const { id } = await world.edge.administration.call('connector.enrol', { params: { name }, body })
    return { params: { name, id }, body: { overlapSeconds: 60 } }
  },
  'connector-setup.create': async world => {
    const name = await identified(world)
    return { params: { name }, body: { authority: (await authorityOf(name)).cert } }
  },
  'connector-setup.use': async () => ({
    body: { certificate: await signConnector(await setUp, 'set-up', ONE) },
  }),
  'signing-request.create': async world => {
    const { id: connector, publicKey, host } = await createConnector()
    return { params: { name: await identified(world) }, body: { connector, publicKey, host } }
  },
  'signing-request.list': async world => ({ params: { name: (await request(world)).params.name } }),
  'signing-request.get': async world => ({ params: (await request(world)).params }),
  'signing-request.sign': async world => {
    const { params, one } = await request(world)
    return { params, body: { certificate: await certificateOf(params.name, one) } }
  },
  'application.list': () => ({}),
  'application.create': () => ({ body: { hostname: `${fresh('a')}.localhost`, tunnel: 'home' } }),
  'application.get': async world => ({ params: { hostname: await application(world) } }),
  'application.put': async world => ({
    params: { hostname: await application(world) },
    body: { tunnel: 'home', protocols: ['ssh'] },
  }),
  'application.delete': async world => ({ params: { hostname: await application(world) } }),
  'policy.put': async world => ({
    params: { hostname: await application(world) },
    body: { rules: [{ name: 'all', action: 'allow', include: [{ anyServiceToken: true }] }] },
  }),
  'policy.add': async world => ({
    params: { hostname: await application(world) },
    body: { rule: { name: 'all', action: 'allow', include: [{ anyServiceToken: true }] } },
  }),
  'policy.remove': async world => {
    const hostname = await application(world)
    const rule = { name: 'a/b %2F c', action: 'deny' as const, include: [{ anyServiceToken: true as const }] }
    await world.edge.administration.call('policy.add', { params: { hostname }, body: { rule } })
    return { params: { hostname }, query: { name: rule.name } }
  },
  'service-token.list': () => ({}),
  'service-token.create': () => ({ body: { name: fresh('s') } }),
  'service-token.get': async world => ({ params: { token: (await serviceToken(world)).id } }),
  'service-token.rotate': async world => ({ params: { token: (await serviceToken(world)).id }, body: {} }),
  'service-token.revoke': async world => ({ params: { token: (await serviceToken(world)).id } }),
  'group.list': () => ({}),
  'group.get': async world => ({ params: await group(world) }),
  'group.put': () => ({ params: { name: fresh('g') }, body: { selectors: [{ group: 'ops' }] } }),
  'group.delete': async world => ({ params: await group(world) }),
  'user.list': () => ({}),
  'user.get': async world => ({ params: { user: await user(world) } }),
  'user.invite': () => ({ body: { email: `${fresh('u')}@example.com`, groups: ['ops'] } }),
  'user.put': async world => ({ params: { user: await user(world) }, body: { disabled: true } }),
  'user.reset': async world => ({ params: { user: await user(world) }, body: {} }),
  'user.delete': async world => ({ params: { user: await user(world) } }),
  'session.list': () => ({ query: { user: 'ann@example.com' } }),
  'session.revoke': () => ({ body: { email: 'ann@example.com' } }),
  'provider.list': () => ({}),
  'provider.put': () => ({ params: { id: fresh('p') }, body: wantedProvider() }),
  'provider.delete': async ({ edge }) => {
    const params = { id: fresh('p') }
    await edge.administration.call('provider.put', { params, body: wantedProvider() })
    return { params }
  },
  'key.list': () => ({}),
  'key.rotate': () => ({ body: {} }),
  'key.remove': async ({ edge }) => {
    const [first] = await edge.administration.call('key.list', {})
    return { params: { id: first?.id ?? '' } }
  },
  'grant-key.list': () => ({}),
  'grant-key.rotate': () => ({ body: {} }),
  'ca.list': () => ({}),
  'ca.create': () => ({ body: { name: fresh('ca') } }),
  'ca.import': async () => ({ body: { name: fresh('ca'), certificates: (await elsewhere('Elsewhere')).cert } }),
  'ca.get': async world => ({ params: await ownCa(world) }),
  'ca.put': async world => ({ params: await ownCa(world), body: { leafSeconds: 3600 } }),
  'ca.rotate': async world => ({ params: await ownCa(world), body: {} }),
  'ca.retire': async world => {
    const params = await ownCa(world)
    const { certificates } = await world.edge.administration.call('ca.rotate', { params, body: {} })
    return { params: { ...params, fingerprint: certificates[0]?.fingerprint ?? '' } }
  },
  'ca.delete': async world => ({ params: await ownCa(world) }),
  'crl.put': async world => ({ ...(await listed(world)) }),
  'crl.delete': async world => {
    const { params, body } = await listed(world)
    await world.edge.administration.call('crl.put', { params, body })
    return { params }
  },
  'certificate.list': () => ({ query: { name: 'ci' } }),
  'certificate.issue': async world => ({
    params: await ownCa(world),
    body: { csr: (await certificateRequest()).csr, commonName: 'ci', san: [{ type: 'dns', value: 'ci.example.com' }] },
  }),
  'certificate.revoke': async world => ({ params: await ownCa(world), body: { serial: '0A:1B' } }),
  'audit.list': () => ({ query: { most: '5' } }),
  'access.get': () => ({}),
  'access.apply': () => ({ body: { access: { version: 1, tunnels: [{ name: fresh('t') }] } } }),
}

const put = ({ edge }: World, namespace: string, id: string, value: Extract<Change, { put: 'record' }>['value']) =>
  edge.store.apply([{ put: 'record', namespace, id, value }], { action: 'test', actor: 'test' })
const admin = async (world: World, more: object) => {
  const { id, token, hash } = createAdminToken()
  await put(world, 'admin-token', id, { name: fresh('someone'), role: 'admin', hash, ...more })
  return token
}

interface Somebody {
  /** The bearer they send; undefined: none. */
  readonly token: (world: World) => Promise<string | undefined> | string | undefined
  /** What they hear when they call a route: a code, or nothing where it is done. */
  readonly hears: (route: Route) => string | undefined
  readonly door?: 'socket'
}

const asAdmin = ({ role }: Route) => (role === 'setup' || role === 'connector' ? 'ACCESS_DENIED' : undefined)
const connectorSetup = async (world: World) => {
  const name = world.edge.store.snapshot.tunnels.has('set-up') ? 'set-up' : await identified(world, 'set-up')
  const body = { authority: (await setUp).cert }
  return world.edge.administration.call('connector-setup.create', { params: { name }, body })
}
const EVERYBODY: Readonly<Record<string, Somebody>> = {
  nobody: { token: () => undefined, hears: () => 'LOGIN_REQUIRED' },
  'a service token’s secret': { token: world => world.token.secret, hears: () => 'AUTH_REJECTED' },
  'a service token’s id and secret': {
    token: world => `${world.token.id}:${world.token.secret}`,
    hears: () => 'AUTH_REJECTED',
  },
  'a tunnel token': { token: world => world.tunnelToken, hears: () => 'AUTH_REJECTED' },
  'an admin token with another’s secret': {
    token: async world => (await admin(world, {})).slice(0, 30) + createAdminToken().token.slice(30),
    hears: () => 'AUTH_REJECTED',
  },
  'a revoked admin token': { token: world => admin(world, { revokedAt: Date.now() }), hears: () => 'TOKEN_REVOKED' },
  'an expired admin token': {
    token: world => admin(world, { expiresAt: Date.now() - 1 }),
    hears: () => 'TOKEN_EXPIRED',
  },
  'an expired setup token': {
    token: async world => {
      const { id, token, hash } = createSetupToken()
      await put(world, 'setup-token', id, { hash, expiresAt: Date.now() - 1 })
      return token
    },
    hears: () => 'AUTH_REJECTED',
  },
  'a setup token': {
    token: async world => {
      const { id, token, hash } = createSetupToken()
      await put(world, 'setup-token', id, { hash, expiresAt: Date.now() + 60_000 })
      return token
    },
    hears: ({ role }) => (role === 'setup' ? undefined : 'AUTH_REJECTED'),
  },
  'a daemon’s setup token': {
    token: async world => (await connectorSetup(world)).token,
    hears: ({ role }) => (role === 'connector' ? undefined : 'AUTH_REJECTED'),
  },
  'a daemon’s setup token that was used': {
    token: async world => {
      const { id, token } = await connectorSetup(world)
      const row = world.edge.store.snapshot.records.get('connector-setup')?.get(id)
      await put(world, 'connector-setup', id, { ...(row as object), revokedAt: 1 })
      return token
    },
    hears: () => 'TOKEN_REVOKED',
  },
  'a daemon’s setup token that has expired': {
    token: async world => {
      const { id, token } = await connectorSetup(world)
      const row = world.edge.store.snapshot.records.get('connector-setup')?.get(id)
      await put(world, 'connector-setup', id, { ...(row as object), expiresAt: Date.now() - 1 })
      return token
    },
    hears: () => 'TOKEN_EXPIRED',
  },
  'a viewer': {
    token: world => admin(world, { role: 'viewer' }),
    hears: ({ role }) => (role === 'viewer' ? undefined : 'ACCESS_DENIED'),
  },
  'an admin': { token: world => admin(world, {}), hears: asAdmin },
  'an admin that will expire': { token: world => admin(world, { expiresAt: Date.now() + 60_000 }), hears: asAdmin },
  'who opened the socket': { token: () => undefined, hears: asAdmin, door: 'socket' },
  'a viewer on the socket': {
    token: world => admin(world, { role: 'viewer' }),
    hears: ({ role }) => (role === 'viewer' ? undefined : 'ACCESS_DENIED'),
    door: 'socket',
  },
}
const STATUS: Readonly<Record<string, number>> = { ACCESS_DENIED: 403 }

test('the document that is served is the table’s', async () => {
  await using world = await startWorld({}, [], 0)
  const { json } = await apiOf(world.edge, world.folder).socket({ path: '/openapi.json' })
  const { software } = await world.edge.administration.call('status.get', {})
  expect(json).toEqual(JSON.parse(JSON.stringify(openApi(software))))
})

test('every route has a sample', () => {
  expect(Object.keys(SAMPLES).sort()).toEqual(Object.keys(ROUTES).sort())
})

describe.each(Object.entries(EVERYBODY))('row 104: %s', (_who, { token, hears, door }) => {
  let world: World
  let api: Api
  beforeAll(async () => {
    // All of these come from one address, and are more than may be wrong in a minute: what becomes of that is row 97, below.
    vi.spyOn(FailureCounter.prototype, 'isOver').mockReturnValue(false)
    world = await startWorld()
    api = apiOf(world.edge, world.folder)
  })
  afterAll(async () => {
    vi.restoreAllMocks()
    await world[Symbol.asyncDispose]()
  })

  test.each(Object.entries<Route>(ROUTES))('%s', async (name, route) => {
    const input = (await SAMPLES[name as RouteName](world)) as { params?: object; query?: object; body?: object }
    const bearer = await token(world)
    const { version } = world.edge.store.snapshot
    const answer = await api[door ?? 'team']({
      method: route.method,
      path: pathOf(route, input),
      token: bearer,
      body: input.body,
    })
    const code = hears(route)
    if (code === undefined) return expectDone(answer, route, world.edge.store.snapshot.version - version)
    expect(answer).toMatchObject({ status: STATUS[code] ?? 401, code })
    expect(answer.headers['www-authenticate']).toBe(STATUS[code] ? undefined : 'Bearer')
    expect(world.edge.store.snapshot.version).toBe(version)
  })
})

function expectDone(answer: AdminAnswer, { answer: schema, method }: Route, changes: number): void {
  expect(answer.code).toBeUndefined()
  expect(answer.status).toBe(schema === undefined ? 204 : 200)
  if (schema === undefined) expect(answer.body).toBe('')
  else expect(schema.safeParse(answer.json).error).toBeUndefined()
  expect(changes).toBe(method === 'GET' ? 0 : 1)
  expect(answer.headers).toMatchObject({
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'postern-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
  })
}

function pathOf({ path }: Route, { params = {}, query }: { params?: object; query?: object }): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, key: string) => encodeURIComponent(String(Reflect.get(params, key))))
  return query === undefined ? filled : `${filled}?${new URLSearchParams(query as Record<string, string>)}`
}

describe('what a stranger sees', () => {
  let world: World
  let api: Api
  beforeAll(async () => {
    world = await startWorld()
    api = apiOf(world.edge, world.folder)
  })
  afterAll(() => world[Symbol.asyncDispose]())
  /** Whether the connection goes on hangs on what was sent, and not on who asked. */
  const without = ({ status, headers, body }: AdminAnswer) => {
    const { connection: _connection, 'keep-alive': _time, date: _date, ...same } = headers
    const id = headers['postern-request-id'] ?? ''
    return { status, headers: { ...same, 'postern-request-id': '' }, body: body.replace(id, '') }
  }

  test('is the same on every path, existing or not, in every method, with a body or without', async () => {
    const first = without(await api.team({ path: '/status' }))
    expect(first.status).toBe(401)
    const targets = ['', '/', '/v1', '/v1/', '/v1/tunnels', '/v1/nothing', '/v1/status/', '/v2/status', '?x']
    for (const target of ['/v1//status', '/%2e%2e/x', '/v1/../v1/status', '/v1/tunnels/a%2fb', '/v1/nothing%2fx'])
      expect(await api.team({ target: `/api${target}` })).toMatchObject({ status: 400, code: 'BAD_USAGE' })
    for (const target of targets) expect(without(await api.team({ target: `/api${target}` }))).toEqual(first)
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      expect(without(await api.team({ method, path: '/tunnels' }))).toEqual(first)
      expect(without(await api.team({ method, path: '/tunnels', body: { name: 'x' } }))).toEqual(first)
      expect(without(await api.team({ method, path: '/nothing', raw: 'not json' }))).toEqual(first)
    }
    const head = await api.team({ method: 'HEAD', path: '/status' })
    expect(head).toMatchObject({ status: 401, body: '' })
    const upgrade = ['Connection: Upgrade', 'Upgrade: h2c']
    expect(await api.team({ path: '/status', headers: upgrade })).toMatchObject({ status: 400, code: 'BAD_USAGE' })
    expect(without(await api.team({ path: '/status', headers: ['Expect: 100-continue'] }))).toEqual(first)
  })

  test('beside the API nothing is different on the team domain, and no application serves it', async () => {
    const token = await admin(world, {})
    for (const target of ['/API/v1/status', '/apis', '/x/api/v1/status'])
      expect(await api.team({ target, token })).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    for (const target of ['//api/v1/status', '/x/../api/v1/status', '/api%2fv1/status'])
      expect(await api.team({ target, token })).toMatchObject({ status: 400, code: 'BAD_USAGE' })
    expect(await api.team({ path: '/status', token, host: 'db.localhost' })).toMatchObject({
      status: 401,
      code: 'LOGIN_REQUIRED',
    })
    expect(await api.team({ path: '/status', token, host: 'none.localhost' })).toMatchObject({ status: 404 })
    // RFC 9112 §3.2.2: a server takes the absolute form, too; whose it is goes by what is in it.
    expect(await api.team({ target: 'https://edge.localhost/api/v1/status', token })).toMatchObject({ status: 200 })
    expect(await api.team({ path: '/status', token })).toMatchObject({ status: 200 })
  })

  test('a token counts in the Authorization header, once, and nowhere else', async () => {
    const token = await admin(world, {})
    for (const ask of [
      { path: `/status?access_token=${token}` },
      { path: `/status?authorization=Bearer%20${token}` },
      { path: '/status', headers: [`Cookie: token=${token}; authorization=Bearer ${token}`] },
      { path: '/status', headers: [`Proxy-Authorization: Bearer ${token}`] },
      { path: '/status', headers: [`X-Authorization: Bearer ${token}`] },
    ])
      expect(await api.team(ask)).toMatchObject({ status: 401, code: 'LOGIN_REQUIRED' })
    for (const value of [
      token,
      `Basic ${token}`,
      `Bearer  ${token}`,
      `Bearer ${token} x`,
      `Bearer ${token},${token}`,
      'Bearer',
      'Bearer ',
    ])
      expect(await api.team({ path: '/status', headers: [`Authorization: ${value}`] })).toMatchObject({
        code: 'AUTH_REJECTED',
      })
    const twice = [`Authorization: Bearer ${token}`, `Authorization: Bearer ${token}`]
    expect(await api.team({ path: '/status', headers: twice })).toMatchObject({ status: 400, code: 'BAD_USAGE' })
    for (const scheme of ['Bearer', 'bearer'])
      expect(await api.team({ path: '/status', headers: [`Authorization: ${scheme} ${token}`] })).toMatchObject({
        status: 200,
      })
  })
})

test('row 97: many bad tokens of one address are slowed, and the right one is let in all the while', async () => {
  await using world = await startWorld()
  const api = apiOf(world.edge, world.folder)
  const token = await admin(world, {})
  const codes = new Map<string | undefined, number>()
  for (let n = 0; n < 80; n += 1) {
    const { code } = await api.team({ path: '/status', token: createAdminToken().token })
    codes.set(code, (codes.get(code) ?? 0) + 1)
  }
  expect(Object.fromEntries(codes)).toEqual({ AUTH_REJECTED: 60, RATE_LIMITED: 20 })
  expect((await api.team({ path: '/status', token })).status).toBe(200)
  const rows = await world.edge.store.readAudit({ most: 1000, action: 'admin.refused' })
  expect(rows).toHaveLength(80)
  expect(JSON.stringify(rows)).not.toContain('pats_')
})

test('the path’s parameters are compared once decoded, and never become another path', async () => {
  await using world = await startWorld()
  const api = apiOf(world.edge, world.folder)
  const { administration } = world.edge
  const { id } = await administration.call('service-token.create', { body: { name: 'a b+c@d' } })
  for (const name of ['a%20b+c@d', 'a%20b%2Bc%40d', '%61%20b+c@d', id])
    expect((await api.socket({ path: `/service-tokens/${name}` })).json).toMatchObject({ id })
  for (const path of [
    '/tunnels/home%2ftokens',
    '/tunnels/home%2Ftokens',
    '/tunnels/%2e%2e/status',
    '/tunnels/../status',
    '/tunnels/./home',
    '/tunnels/home/',
    '/tunnels//home',
    '//tunnels',
    '/tunnels;x',
    '/Tunnels',
    '/tunnels/home%00',
    '/tunnels/%',
    '/tunnels/%ff',
    '/tunnels/%zz',
  ]) {
    for (const method of ['GET', 'POST', 'DELETE', 'PUT']) {
      const { version } = world.edge.store.snapshot
      const answer = await api.socket({ method, path, body: method === 'GET' ? undefined : {} })
      expect([400, 404]).toContain(answer.status)
      expect(world.edge.store.snapshot.version).toBe(version)
    }
  }
  expect((await api.socket({ path: '/tunnels/home' })).status).toBe(200)
})
