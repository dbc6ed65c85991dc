import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createTunnelToken, hashId } from '@postern/tokens'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Administration } from '../src/index.ts'
import { type Api, apiOf } from './admin-visitor.ts'
import { echo, startWorld, type World } from './world.ts'

let world: World
let api: Api
let administration: Administration
beforeEach(async () => {
  world = await startWorld()
  api = apiOf(world.edge, world.folder)
  administration = world.edge.administration
})
afterEach(() => world[Symbol.asyncDispose]())

const home = { params: { name: 'home' } } as const
const db = { params: { hostname: 'db.localhost' } } as const
const patience = { timeout: 10_000 }

test('row 111: two hundred changes at once: each with its one row, none lost, versions in order', async () => {
  const before = world.edge.store.snapshot.version
  const versions: number[] = []
  world.edge.store.onChange(() => versions.push(world.edge.store.snapshot.version))
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, n) =>
      n % 2 === 0
        ? api.socket({ method: 'POST', path: '/tunnels', body: { name: `t-${n}` } })
        : administration.call('service-token.create', { body: { name: `s-${n}` } }),
    ),
  )
  const rows = await world.edge.store.readAudit({ most: 1000, class: 'change' })
  for (const answer of answers) {
    const [action, mine] =
      'status' in answer
        ? ['tunnel.create', rows.filter(({ requestId }) => requestId === answer.headers['postern-request-id'])]
        : [
            'service-token.create',
            rows.filter(({ detail }) => (detail as { id?: string } | undefined)?.id === answer.id),
          ]
    expect(mine).toMatchObject([{ action, actor: 'local' }])
  }
  expect(versions).toEqual(Array.from({ length: 200 }, (_, n) => before + 1 + n))
  expect(world.edge.store.snapshot.tunnels.size).toBe(101)
  expect((await world.edge.store.check()).broken).toBeUndefined()
})

describe('changes take turns', () => {
  test('of two with one name, one is made', async () => {
    const made = async (path: string, body: object) => {
      const answers = await Promise.all(Array.from({ length: 10 }, () => api.socket({ method: 'POST', path, body })))
      return answers.map(({ status }) => status).sort()
    }
    const one = [200, ...Array<number>(9).fill(409)]
    expect(await made('/tunnels', { name: 'x' })).toEqual(one)
    expect(await made('/service-tokens', { name: 'x' })).toEqual(one)
    expect(await made('/admin-tokens', { name: 'x', role: 'viewer' })).toEqual(one)
    expect(await made('/applications', { hostname: 'x.localhost', tunnel: 'x' })).toEqual(one)
  })

  test('a tunnel is removed or used, never both', async () => {
    for (let n = 0; n < 10; n += 1) {
      await administration.call('tunnel.create', { body: { name: `t${n}` } })
      const use = { body: { hostname: `a${n}.localhost`, tunnel: `t${n}` } }
      const remove = { params: { name: `t${n}` } }
      const calls = [
        () => administration.call('application.create', use),
        () => administration.call('tunnel.delete', remove),
      ]
      if (n % 2 === 0) calls.reverse()
      const done = await Promise.allSettled(calls.map(one => one()))
      expect(done.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    }
  })

  test('who loses its right while it waits does nothing', async () => {
    const { id, token } = await administration.call('admin-token.create', { body: { name: 'ann', role: 'admin' } })
    const caller = { kind: 'admin-token', id } as const
    const revoked = administration.call('admin-token.revoke', { params: { id } })
    const late = administration.call('tunnel.create', { body: { name: 'late' } }, caller)
    await revoked
    await expect(late).rejects.toMatchObject({ code: 'TOKEN_REVOKED' })
    expect(world.edge.store.snapshot.tunnels.has('late')).toBe(false)
    expect(await api.team({ path: '/status', token })).toMatchObject({ status: 401, code: 'TOKEN_REVOKED' })
  })
})

test('row 99: no token of any kind is in the database, in whatever form', async () => {
  const named = (name: string) => ({ body: { name } })
  const post = async (path: string, body: object) =>
    (await api.socket({ method: 'POST', path, body })).json as { token?: string; secret?: string; id?: string }
  const service = await post('/service-tokens', named('ci').body)
  const shown = [
    service,
    await post(`/service-tokens/${service.id}/rotate`, { overlapSeconds: 60 }),
    await post('/admin-tokens', { name: 'ann', role: 'admin' }),
    await post('/tunnels/home/tokens', {}),
    await post('/tunnels/home/rotate', { overlapSeconds: 60 }),
    ...(
      (await post('/access', { access: { version: 1, serviceTokens: [{ name: 'more' }] } })) as never as {
        secrets: { secret: string }[]
      }
    ).secrets,
  ]
  const secrets = shown.flatMap(one => {
    const token = ('token' in one ? one.token : undefined) ?? one.secret ?? ''
    expect(token.length).toBeGreaterThan(40)
    return [
      token,
      token.startsWith('ptt_')
        ? (JSON.parse(Buffer.from(token.slice(4), 'base64url').toString()) as { s: string }).s
        : token.slice(-43),
    ]
  })
  const files = readdirSync(world.folder).filter(name => name.startsWith('edge.db'))
  expect(files).toContain('edge.db-wal')
  const bytes = Buffer.concat(files.map(name => readFileSync(join(world.folder, name))))
  for (const secret of secrets) {
    for (const form of [secret, Buffer.from(secret).toString('base64'), Buffer.from(secret).toString('hex')])
      expect(bytes.includes(form)).toBe(false)
    expect(bytes.includes(Buffer.from(secret, 'base64url'))).toBe(false)
  }
  expect(bytes.includes(service.id ?? '')).toBe(true)
  const listed = JSON.stringify([
    await api.socket({ path: '/service-tokens' }),
    await api.socket({ path: '/admin-tokens' }),
    await api.socket({ path: '/tunnels' }),
    await api.socket({ path: '/audit?most=1000' }),
    await api.socket({ path: '/access' }),
  ])
  for (const secret of secrets) expect(listed).not.toContain(secret)
  expect(listed).not.toMatch(/sha256\$/)
})

describe('who is connected', () => {
  const rule = (...include: object[]) => [{ name: 'them', action: 'allow', include }] as never

  test('stays while it is let in, and is cut when it is not', async () => {
    const other = await administration.call('service-token.create', { body: { name: 'other' } })
    const both = rule({ serviceToken: world.token.id }, { serviceToken: 'other' })
    await administration.call('policy.put', { ...db, body: { rules: both } })
    const mine = await world.session()
    const theirs = await world.session(world.headers(other))
    let [minesEnd, theirsEnd] = [0, 0]
    void mine.closed.then(() => (minesEnd += 1))
    void theirs.closed.then(() => (theirsEnd += 1))
    const same = { tunnel: 'home', protocols: ['ssh', 'tcp', 'http'], rules: both }
    await administration.call('application.put', { ...db, body: same })
    await administration.call('policy.put', {
      ...db,
      body: { rules: rule({ serviceToken: 'other' }, { serviceToken: world.token.id }) },
    })
    await new Promise(resolve => setTimeout(resolve, 1500)) // longer than the edge looks at the clock
    expect([minesEnd, theirsEnd]).toEqual([0, 0])
    await administration.call('policy.put', { ...db, body: { rules: rule({ serviceToken: world.token.id }) } })
    expect(await theirs.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    expect(minesEnd).toBe(0)
    await administration.call('application.delete', db)
    expect(await mine.closed).toMatchObject({ code: 'ACCESS_ENDED' })
  })

  test('with the secret before a rotation goes on until the overlap is over; with the new one it stays', async () => {
    const { id } = world.token
    const old = await world.session()
    const { secret } = await administration.call('service-token.rotate', {
      params: { token: id },
      body: { overlapSeconds: 2 },
    })
    const meanwhile = await world.session()
    const next = await world.session(world.headers({ id, secret }))
    let nextsEnd = 0
    void next.closed.then(() => (nextsEnd += 1))
    expect(await old.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    expect(await meanwhile.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    await expect(world.session()).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
    expect(nextsEnd).toBe(0)
    // Without an overlap at once, and the one before that as well.
    const { secret: third } = await administration.call('service-token.rotate', {
      params: { token: id },
      body: { overlapSeconds: 3600 },
    })
    await administration.call('service-token.rotate', { params: { token: id }, body: {} })
    expect(await next.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    for (const gone of [secret, third])
      await expect(world.session(world.headers({ id, secret: gone }))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('as a daemon with the token before a rotation goes on until the overlap is over', async () => {
    const { token, id } = await administration.call('tunnel-token.rotate', { ...home, body: { overlapSeconds: 2 } })
    const old = world.edge.routes.all()
    const meanwhile = await world.daemon()
    const next = await world.daemon(echo, { 'postern-tunnel-token': token })
    let nextsEnd = 0
    void next.closed.then(() => (nextsEnd += 1))
    expect(old).toHaveLength(1)
    expect(await meanwhile.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    await expect(world.daemon()).rejects.toMatchObject({
      code: expect.stringMatching(/^(AUTH_REJECTED|TOKEN_EXPIRED)$/),
    })
    await expect.poll(() => world.edge.routes.all().map(one => one.tokenId), patience).toEqual([id])
    expect(nextsEnd).toBe(0)
    const shown = await administration.call('tunnel.get', home)
    expect(shown).toMatchObject({
      online: true,
      applications: ['db.localhost'],
      connectors: [{ tokenId: id, connections: 1 }],
    })
    await administration.call('tunnel-token.revoke', { params: { name: 'home', id } })
    expect(await next.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    expect(await administration.call('tunnel.get', home)).toMatchObject({ online: false })
  })

  test('whose secret is replaced twice within the overlap: the one before last ends, the other two are good until one is revoked', async () => {
    const token = { params: { token: world.token.id } }
    const rotate = () => administration.call('service-token.rotate', { ...token, body: { overlapSeconds: 60 } })
    const first = await world.session()
    const second = await rotate()
    const secondly = await world.session(world.headers(second))
    const third = await rotate()
    expect(await first.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    await expect(world.session()).rejects.toMatchObject({ code: expect.stringMatching(/^(AUTH_REJECTED|TOKEN_)/) })
    const again = await world.session(world.headers(second))
    const thirdly = await world.session(world.headers(third))
    await administration.call('service-token.revoke', token)
    for (const session of [secondly, again, thirdly])
      expect(await session.closed).toMatchObject({ code: 'ACCESS_ENDED' })
  })

  test('as a daemon, when its token is replaced twice: each is good for its own overlap, and revoked alone', async () => {
    const rotate = async (overlapSeconds: number) =>
      (await administration.call('tunnel-token.rotate', { ...home, body: { overlapSeconds } })).token
    const join = (token: string) => world.daemon(undefined, { 'postern-tunnel-token': token })
    const tokens = [world.tunnelToken, await rotate(600), await rotate(60)]
    const [first, second, third] = await Promise.all(tokens.map(join))
    const { tokens: shown } = await administration.call('tunnel.get', home)
    const [one, two] = shown.map(({ expiresAt }) => Date.parse(expiresAt ?? '') - Date.now())
    expect(one).toBeLessThanOrEqual(60_000) // the second rotation shortened it
    expect(two).toBeLessThanOrEqual(60_000)
    await administration.call('tunnel-token.revoke', { params: { name: 'home', id: shown[1]?.id ?? '' } })
    expect(await second?.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    await (await join(tokens[0] ?? '')).close()
    expect([first?.draining, third?.draining]).toEqual([false, false])
    await rotate(0)
    for (const daemon of [first, third]) expect(await daemon?.closed).toMatchObject({ code: 'ACCESS_ENDED' })
  })

  test('with a secret that would have ended before the overlap: it ends when it would have', async () => {
    const body = { name: 'short', expiresInSeconds: 30 }
    const { id, expiresAt } = await administration.call('service-token.create', { body })
    const overlap = { params: { token: id }, body: { overlapSeconds: 3600 } }
    expect(await administration.call('service-token.rotate', overlap)).toMatchObject({
      previousUntil: expiresAt,
      expiresAt,
    })
  })

  test('as one daemon of two is put out alone', async () => {
    const [one, two] = [randomUUID(), randomUUID()]
    const first = await world.daemon(echo, undefined, { connector: one, connection: 0, version: '1.2.3' })
    await world.daemon(echo, undefined, { connector: two, connection: 0, version: '1.2.3' })
    await world.daemon(echo, undefined, { connector: two, connection: 1, version: '1.2.3' })
    await expect.poll(() => world.edge.counts().connectors).toBe(4)
    const evict = (id: string) => api.socket({ method: 'DELETE', path: `/tunnels/home/connectors/${id}` })
    expect(await evict(randomUUID())).toMatchObject({ status: 404 })
    expect(await evict(one)).toMatchObject({ status: 204 })
    expect(await first.closed).toMatchObject({ code: 'CONNECTOR_EVICTED' })
    const { connectors } = await administration.call('tunnel.get', home)
    expect(connectors).toHaveLength(2)
    expect(connectors).toContainEqual(expect.objectContaining({ id: two, version: '1.2.3', connections: 2 }))
    expect(await world.edge.store.readAudit({ most: 9, action: 'connector.evict' })).toMatchObject([
      { actor: 'local', detail: { tunnel: 'home', connector: one } },
    ])
  })

  test('is cut with its tunnel, which must be unused; one of the same name is another', async () => {
    const path = '/tunnels/home'
    const used = await api.socket({ method: 'DELETE', path })
    expect(used).toMatchObject({ status: 409, code: 'CONFLICT' })
    expect(used.body).toContain('db.localhost')
    expect(world.edge.counts().connectors).toBe(1)
    await administration.call('application.delete', { params: { hostname: 'db.localhost' } })
    const daemon = await world.daemon()
    expect(await api.socket({ method: 'DELETE', path })).toMatchObject({ status: 204 })
    expect(await daemon.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    await administration.call('tunnel.create', { body: { name: 'home' } })
    await expect(world.daemon()).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect((await administration.call('tunnel.get', home)).tokens).toEqual([])
  })
})

describe('tokens', () => {
  test('are called by name where that means one of them', async () => {
    const made = await administration.call('service-token.create', { body: { name: 'ci' } })
    const rules = [{ name: 'ci', action: 'allow', include: [{ serviceToken: 'ci' }] }] as const
    const put = await administration.call('policy.put', { ...db, body: { rules: structuredClone(rules) as never } })
    expect(put.rules).toMatchObject([{ include: [{ serviceToken: made.id }] }])
    await expect(administration.call('service-token.create', { body: { name: 'ci' } })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    })
    await administration.call('service-token.revoke', { params: { token: 'ci' } })
    expect(await administration.call('service-token.get', { params: { token: made.id } })).toHaveProperty('revokedAt')
    await expect(administration.call('service-token.get', { params: { token: 'ci' } })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
    const again = await administration.call('service-token.create', { body: { name: 'ci' } })
    expect(await administration.call('service-token.get', { params: { token: 'ci' } })).toMatchObject({ id: again.id })
    await expect(
      administration.call('service-token.rotate', { params: { token: made.id }, body: {} }),
    ).rejects.toMatchObject({ code: 'CONFLICT' })
  })

  test('of a tunnel are sixteen at most, whatever is done', async () => {
    for (let n = 0; n < 15; n += 1)
      await administration.call('tunnel-token.create', { params: { name: 'home' }, body: {} })
    for (const body of [{ overlapSeconds: 60 }] as const)
      await expect(administration.call('tunnel-token.rotate', { ...home, body })).rejects.toMatchObject({
        code: 'LIMIT_EXCEEDED',
      })
    const { token } = await administration.call('tunnel-token.rotate', { ...home, body: {} })
    expect(
      (await administration.call('tunnel.get', home)).tokens.filter(one => one.revokedAt === undefined),
    ).toHaveLength(1)
    await world.daemon(echo, { 'postern-tunnel-token': token })
    await expect(world.daemon()).rejects.toMatchObject({
      code: expect.stringMatching(/^(AUTH_REJECTED|TOKEN_REVOKED)$/),
    })
    for (let n = 0; n < 15; n += 1)
      await administration.call('tunnel-token.create', { params: { name: 'home' }, body: {} })
    expect((await administration.call('tunnel.get', home)).tokens).toHaveLength(16)
  })

  test('of a tunnel have a name of their own, and another tunnel’s are not found', async () => {
    await administration.call('tunnel.create', { body: { name: 'other' } })
    const { id } = await administration.call('tunnel-token.create', { ...home, body: { expiresInSeconds: 60 } })
    await expect(administration.call('tunnel-token.revoke', { params: { name: 'other', id } })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
    expect(id).not.toBe(hashId(createTunnelToken('home').hash))
    const found = (await administration.call('tunnel.get', home)).tokens.find(one => one.id === id)
    expect(Date.parse(found?.expiresAt ?? '') - Date.parse(found?.createdAt ?? '')).toBe(60_000)
  })
})

test('the audit log says who, what, and for which request, and is read page by page', async () => {
  const { token, id } = await administration.call('admin-token.create', { body: { name: 'ann', role: 'admin' } })
  const made = await api.team({
    method: 'POST',
    path: '/applications',
    token,
    body: { hostname: 'x.localhost', tunnel: 'home' },
  })
  const requestId = made.headers['postern-request-id'] ?? ''
  const found = await administration.call('audit.list', { query: { requestId } })
  expect(found.rows).toMatchObject([
    {
      action: 'application.create',
      actor: `admin:ann (${id})`,
      hostname: 'x.localhost',
      remoteAddress: '127.0.0.1',
      class: 'change',
    },
  ])
  for (let n = 0; n < 25; n += 1) await administration.call('tunnel.create', { body: { name: `t${n}` } })
  const seen: number[] = []
  let before: number | undefined
  do {
    const query = { most: '10', action: 'tunnel.create', ...(before !== undefined && { before: String(before) }) }
    const page = await administration.call('audit.list', { query })
    seen.push(...page.rows.map(({ sequence }) => sequence))
    before = page.next
  } while (before !== undefined)
  expect(seen).toHaveLength(25)
  expect(seen).toEqual(seen.toSorted((a, b) => b - a))
  const later = await administration.call('audit.list', {
    query: { since: new Date(Date.now() + 60_000).toISOString() },
  })
  expect(later.rows).toEqual([])
})
