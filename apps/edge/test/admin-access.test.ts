import type { Access, Applied, Input } from '@postern/admin'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Administration } from '../src/index.ts'
import { type Api, apiOf } from './admin-visitor.ts'
import { startWorld, type World } from './world.ts'

let world: World
let api: Api
let administration: Administration
beforeAll(async () => {
  world = await startWorld({}, [], 0)
  api = apiOf(world.edge, world.folder)
  administration = world.edge.administration
})
afterAll(() => world[Symbol.asyncDispose]())

const apply = (access: Access, how: Omit<Input<'access.apply'>['body'], 'access'> = {}): Promise<Applied> =>
  administration.call('access.apply', { body: { access, ...how } })
const now = () => administration.call('access.get', {})
const version = () => world.edge.store.snapshot.version

/** Valid documents: applications use the tunnels and tokens that the document has. */
const TUNNELS = ['home', 'office', 'lab', 'a-b']
const TOKENS = ['ci', 'deploy bot', 'ann@laptop', 'x']
const HOSTS = ['db.localhost', 'ssh.localhost', 'a.b.example.com', 'x']
const documents = fc
  .record({ tunnels: fc.subarray(TUNNELS, { minLength: 1 }), tokens: fc.subarray(TOKENS), hosts: fc.subarray(HOSTS) })
  .chain(({ tunnels, tokens, hosts }) => {
    const selector = fc.oneof(
      fc.constant({ anyServiceToken: true as const }),
      fc.constant({ identity: { issuer: 'i', subject: 's' } }),
      ...(tokens.length > 0 ? [fc.constantFrom(...tokens).map(serviceToken => ({ serviceToken }))] : []),
    )
    const list = fc.array(selector, { maxLength: 3 })
    const rule = fc
      .record(
        {
          action: fc.constantFrom('allow' as const, 'deny' as const),
          include: list,
          require: list,
          exclude: list,
          permit: fc.jsonValue({ maxDepth: 3 }).filter(one => !JSON.stringify(one).includes('__proto__')),
        },
        { requiredKeys: ['action', 'include'] },
      )
      .map(({ permit, ...rest }) =>
        rest.action === 'allow' && permit !== undefined
          ? { ...rest, permit: JSON.parse(JSON.stringify(permit)) as never }
          : rest,
      )
    const rules = fc.array(rule, { maxLength: 3 }).map(all => all.map((one, n) => ({ name: `rule ${n}`, ...one })))
    const protocols = fc.uniqueArray(fc.constantFrom('tcp', 'ssh', 'http'), { minLength: 1 })
    const applications = fc.tuple(
      ...hosts.map(hostname =>
        fc.record({ hostname: fc.constant(hostname), tunnel: fc.constantFrom(...tunnels), protocols, rules }),
      ),
    )
    return applications.map(
      (all): Access => ({
        version: 1,
        tunnels: tunnels.map(name => ({ name })),
        serviceTokens: tokens.map(name => ({ name })),
        applications: all,
      }),
    )
  })

const sorted = ({ tunnels = [], serviceTokens = [], applications = [] }: Access) => ({
  tunnels: tunnels.map(({ name }) => name).sort(),
  serviceTokens: serviceTokens.map(({ name }) => name).sort(),
  applications: applications.toSorted((one, other) => (one.hostname < other.hostname ? -1 : 1)),
})

describe('any document', { timeout: 120_000 }, () => {
  test('is what there is after it was applied with prune; again it changes nothing, and neither does what is read back', async () => {
    await fc.assert(
      fc.asyncProperty(documents, async access => {
        const before = { version: version(), access: await now() }
        const tried = await apply(access, { prune: true, dryRun: true })
        expect({ version: version(), access: await now() }).toEqual(before)
        expect(tried).toMatchObject({ done: false, version: before.version, secrets: [] })

        const done = await apply(access, { prune: true, ifVersion: tried.version })
        expect(done.changes).toEqual(tried.changes)
        expect(done.secrets.map(({ name }) => name)).toEqual(
          done.changes
            .filter(({ kind, action }) => kind === 'service-token' && action === 'create')
            .map(({ name }) => name),
        )
        expect(version()).toBe(before.version + (done.changes.length > 0 ? 1 : 0))
        expect(sorted(await now())).toEqual(sorted(access))

        expect((await apply(access, { prune: true })).changes).toEqual([])
        expect(await apply(await now(), { prune: true })).toMatchObject({ changes: [], unlisted: [], secrets: [] })
        expect(version()).toBe(done.version)
      }),
      { numRuns: 60 },
    )
    expect((await world.edge.store.check()).broken).toBeUndefined()
  })

  test('without prune takes nothing away, and says what it left', async () => {
    await fc.assert(
      fc.asyncProperty(documents, documents, async (first, second) => {
        await apply(first, { prune: true })
        const before = sorted(await now())
        const done = await apply(second)
        expect(done.changes.filter(({ action }) => action === 'delete')).toEqual([])
        const after = sorted(await now())
        const wanted = sorted(second)
        for (const kind of ['tunnels', 'serviceTokens'] as const)
          expect(after[kind]).toEqual([...new Set([...before[kind], ...wanted[kind]])].sort())
        const hosts = (all: typeof after) => all.applications.map(({ hostname }) => hostname)
        expect(hosts(after)).toEqual([...new Set([...hosts(before), ...hosts(wanted)])].sort())
        const left = done.unlisted.filter(({ kind }) => kind === 'application').map(({ name }) => name)
        expect(left.sort()).toEqual(hosts(before).filter(name => !hosts(wanted).includes(name)))
      }),
      { numRuns: 30 },
    )
  })
})

describe('a document', () => {
  const base: Access = {
    version: 1,
    tunnels: [{ name: 'home' }, { name: 'office' }],
    serviceTokens: [{ name: 'ci' }],
    applications: [{ hostname: 'db.localhost', tunnel: 'home', protocols: ['tcp'], rules: [] }],
  }
  const refused = async (access: Access, code: string, how: Parameters<typeof apply>[1] = {}) => {
    const before = { version: version(), access: await now() }
    await expect(apply(access, how)).rejects.toMatchObject({ code })
    expect({ version: version(), access: await now() }).toEqual(before)
  }
  beforeAll(() => apply(base, { prune: true }))

  test('is done as a whole or not at all', async () => {
    const good = { hostname: 'new.localhost', tunnel: 'home', protocols: ['tcp'], rules: [] }
    for (const bad of [
      { ...good, hostname: 'bad.localhost', tunnel: 'nowhere' },
      { ...good, hostname: 'BAD_' },
      { ...good, hostname: 'edge.localhost' },
      {
        ...good,
        hostname: 'bad.localhost',
        rules: [{ name: 'x', action: 'allow' as const, include: [{ serviceToken: 'nobody' }] }],
      },
    ]) {
      const tunnels = [{ name: 'new' }]
      const access = { version: 1 as const, tunnels, serviceTokens: [{ name: 'new' }], applications: [good, bad] }
      await refused(access, bad.hostname === 'BAD_' ? 'HOSTNAME_INVALID' : 'BAD_USAGE')
    }
    await refused({ version: 1, tunnels: [{ name: 'x' }, { name: 'x' }] }, 'BAD_USAGE')
    await refused({ version: 1, serviceTokens: [{ name: 'x' }, { name: 'x' }] }, 'BAD_USAGE')
    await refused({ version: 1, applications: [good, good] }, 'BAD_USAGE')
    expect((await apply({ version: 1, applications: [good] })).changes).toHaveLength(1)
    await administration.call('application.delete', { params: { hostname: 'new.localhost' } })
  })

  test('that mentions one kind leaves the others alone, pruned or not', async () => {
    const before = await now()
    expect(await apply({ version: 1 }, { prune: true })).toMatchObject({ done: true, changes: [], unlisted: [] })
    expect(await apply({ version: 1, serviceTokens: [{ name: 'ci' }] }, { prune: true })).toMatchObject({ changes: [] })
    expect(await now()).toEqual(before)
    const emptied = await apply({ version: 1, applications: [] }, { prune: true })
    expect(emptied.changes).toMatchObject([{ action: 'delete', kind: 'application', name: 'db.localhost' }])
    expect(await now()).toEqual({ ...before, applications: [] })
    await apply(base, { prune: true })
  })

  test('cannot take a tunnel from an application that stays', async () => {
    await refused({ version: 1, tunnels: [{ name: 'office' }] }, 'CONFLICT', { prune: true })
    await refused({ version: 1, tunnels: [] }, 'CONFLICT', { prune: true, dryRun: true })
    const moved = [{ hostname: 'db.localhost', tunnel: 'office', protocols: ['tcp'], rules: [] }]
    const done = await apply({ version: 1, tunnels: [{ name: 'office' }], applications: moved }, { prune: true })
    expect(done.changes).toMatchObject([
      { action: 'delete', kind: 'tunnel', name: 'home' },
      { action: 'update', kind: 'application', before: { tunnel: 'home' }, after: { tunnel: 'office' } },
    ])
    await apply(base, { prune: true })
  })

  test('that was compared with an older version is refused', async () => {
    const { version: seen } = await apply({ ...base, tunnels: [{ name: 'fresh' }] }, { dryRun: true })
    await administration.call('tunnel.create', { body: { name: 'between' } })
    await refused({ version: 1, tunnels: [{ name: 'fresh' }] }, 'CONFLICT', { ifVersion: seen })
    expect(await apply({ version: 1, tunnels: [{ name: 'fresh' }] }, { ifVersion: version() })).toMatchObject({
      done: true,
    })
  })

  test('of two at the same time, compared with the same version, one is done', async () => {
    const ifVersion = version()
    const tries = Array.from({ length: 5 }, (_, n) =>
      apply({ version: 1, tunnels: [{ name: `race-${n}` }] }, { ifVersion }),
    )
    const done = await Promise.allSettled(tries)
    expect(done.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  test('shows a new token’s secret once; a pruned one is revoked, and its name is free', async () => {
    const first = await apply({ version: 1, serviceTokens: [{ name: 'short', expiresInSeconds: 60 }] })
    expect(first.secrets).toMatchObject([
      { name: 'short', id: expect.stringMatching(/^pst_/), secret: expect.stringMatching(/^psts_/) },
    ])
    expect((await apply({ version: 1, serviceTokens: [{ name: 'short' }] })).secrets).toEqual([])
    const { id } = first.secrets[0] ?? { id: '' }
    expect(await administration.call('service-token.get', { params: { token: id } })).toHaveProperty('expiresAt')
    await apply({ version: 1, serviceTokens: [] }, { prune: true })
    expect(await administration.call('service-token.get', { params: { token: id } })).toHaveProperty('revokedAt')
    const again = await apply({ version: 1, serviceTokens: [{ name: 'short' }] })
    expect(again.secrets[0]?.id).not.toBe(id)
  })

  test('may be as large as ten thousand tunnels, over HTTP', async () => {
    const tunnels = Array.from({ length: 10_000 }, (_, n) => ({ name: `many-${n}` }))
    const body = { access: { version: 1, tunnels }, dryRun: true }
    const answer = await api.socket({ method: 'POST', path: '/access', body })
    expect(answer.status).toBe(200)
    expect((answer.json as unknown as Applied).changes).toHaveLength(10_000)
  })

  test('may be about thousands of applications and tokens', async () => {
    const serviceTokens = Array.from({ length: 5000 }, (_, n) => ({ name: `t${n}` }))
    const rules = [{ name: 'x', action: 'allow' as const, include: [{ serviceToken: 't4999' }] }]
    const applications = serviceTokens.map(({ name }) => ({ hostname: `${name}.localhost`, tunnel: 'home', rules }))
    const body = { access: { version: 1, serviceTokens, applications }, dryRun: true }
    const answer = await api.socket({ method: 'POST', path: '/access', body })
    expect((answer.json as unknown as Applied).changes).toHaveLength(10_000)
  })

  test('leaves one audit row that names what was changed', async () => {
    await apply({ version: 1, tunnels: [{ name: 'noted' }] })
    const [row] = await world.edge.store.readAudit({ most: 1, action: 'access.apply' })
    expect(row).toMatchObject({ actor: 'local', detail: { changes: 1, named: ['create tunnel noted'] } })
  })
})
