import type { Input, RouteName } from '@postern/admin'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { startWorld, type World } from './world.ts'

let world: World
beforeEach(async () => {
  world = await startWorld({}, [], 0)
})
afterEach(() => world[Symbol.asyncDispose]())

const ask = <N extends RouteName>(name: N, input: Input<N>) => world.edge.administration.call(name, input)
const failure = (asked: Promise<unknown>) =>
  asked.then(
    () => 'done',
    ({ code, message }) => `${code}: ${message}`,
  )
const put = (name: string, selectors: Input<'group.put'>['body']['selectors']) =>
  ask('group.put', { params: { name }, body: { selectors } })
const allowing = (inGroup: string) => [{ name: 'them', action: 'allow' as const, include: [{ inGroup }] }]
const create = (hostname: string, more: object = {}) =>
  ask('application.create', { body: { hostname, tunnel: 'home', ...more } })

describe('groups', () => {
  test('are made, shown with what names them, changed and removed', async () => {
    const token = (await ask('service-token.create', { body: { name: 'ci' } })).id
    expect(await put('staff', [{ emailDomain: 'example.com' }, { serviceToken: 'ci' }])).toEqual({
      name: 'staff',
      selectors: [{ emailDomain: 'example.com' }, { serviceToken: token }],
      applications: [],
      groups: [],
      administrators: false,
    })
    await put('all', [{ inGroup: 'staff' }])
    await create('a.localhost', { rules: allowing('staff') })
    expect(await ask('group.get', { params: { name: 'staff' } })).toMatchObject({
      applications: ['a.localhost'],
      groups: ['all'],
    })
    const remove = (name: string) => failure(ask('group.delete', { params: { name } }))
    expect(await remove('staff')).toBe('CONFLICT: the group staff is named by a.localhost, the group all')
    expect(await remove('all')).toBe('done')
    await ask('policy.put', { params: { hostname: 'a.localhost' }, body: { rules: [] } })
    expect(await remove('staff')).toBe('done')
    expect(await remove('staff')).toMatch(/^NOT_FOUND/)
    expect(await ask('group.list', {})).toEqual([])
    const rows = await world.edge.store.readAudit({ most: 10, action: 'group.delete' })
    expect(rows.map(({ detail }) => detail)).toMatchObject([{ group: 'staff' }, { group: 'all' }])
  })

  test('that are not there are named by no rule, and by no group', async () => {
    const wanted = /^BAD_USAGE: .*names a group that is not there/
    await create('a.localhost')
    const params = { hostname: 'a.localhost' }
    expect(await failure(create('b.localhost', { rules: allowing('none') }))).toMatch(wanted)
    const [rule] = allowing('none')
    if (rule === undefined) throw new Error('no rule')
    const asked = [
      ask('application.put', { params, body: { tunnel: 'home', rules: [rule] } }),
      ask('policy.put', { params, body: { rules: [rule] } }),
      ask('policy.add', { params, body: { rule } }),
      ask('access.apply', {
        body: { access: { version: 1, applications: [{ ...params, tunnel: 'home', rules: [rule] }] } },
      }),
      put('one', [{ inGroup: 'none' }]),
    ]
    for (const one of asked) expect(await failure(one)).toMatch(wanted)
    await put('none', [{ everyone: true }])
    expect(await failure(ask('policy.add', { params, body: { rule } }))).toBe('done')
  })

  test('cannot be in themselves, nor hold what a rule that names them cannot have', async () => {
    await put('a', [{ email: 'ann@example.com' }])
    await put('b', [{ inGroup: 'a' }])
    expect(await failure(put('a', [{ inGroup: 'b' }]))).toMatch(/^BAD_USAGE: group "[ab]": is in itself/)
    expect(await failure(put('a', [{ email: 'nobody' }]))).toMatch(/^BAD_USAGE: group "a": \[0\]/)
    expect(await failure(put('a', [{ serviceToken: 'none' }]))).toMatch(/^BAD_USAGE: .*no service token "none"/)
    await create('a.localhost', { rules: allowing('b') })
    expect(await failure(put('a', [{ path: ['/x'] }]))).toMatch(/^BAD_USAGE: a\.localhost: rule 1: .*path/)
    expect((await ask('group.get', { params: { name: 'a' } })).selectors).toEqual([{ email: 'ann@example.com' }])
  })

  test('are part of the document: compared, changed, pruned, and back again', async () => {
    const apply = (access: object, how: object = {}) =>
      ask('access.apply', { body: { access: { version: 1, ...access }, ...how } as never })
    const groups = [
      { name: 'ops', selectors: [{ group: 'ops' }] },
      { name: 'staff', selectors: [{ inGroup: 'ops' }, { serviceToken: 'ci' }] },
    ]
    const document = {
      serviceTokens: [{ name: 'ci' }],
      groups,
      applications: [{ hostname: 'a.localhost', tunnel: 'home', rules: allowing('staff') }],
    }
    const { version } = world.edge.store.snapshot
    const dry = await apply(document, { dryRun: true })
    expect(dry.changes.map(({ action, kind, name }) => `${action} ${kind} ${name}`)).toEqual([
      'create service-token ci',
      'create group ops',
      'create group staff',
      'create application a.localhost',
    ])
    expect(world.edge.store.snapshot.version).toBe(version)
    expect((await apply(document)).done).toBe(true)
    expect((await apply(document)).changes).toEqual([])
    const all = await ask('access.get', {})
    expect(all.groups).toEqual(groups)
    expect((await apply(all)).changes).toEqual([])
    const [ops] = groups
    const changed = { groups: [{ ...ops, selectors: [{ group: 'operators' }] }] }
    expect(await apply(changed, { dryRun: true })).toMatchObject({
      changes: [
        {
          action: 'update',
          kind: 'group',
          name: 'ops',
          before: { name: 'ops', selectors: [{ group: 'ops' }] },
          after: { name: 'ops', selectors: [{ group: 'operators' }] },
        },
      ],
      unlisted: [{ kind: 'group', name: 'staff' }],
    })
    expect(await failure(apply(changed, { prune: true }))).toMatch(
      /^BAD_USAGE: a\.localhost: .*group that is not there/,
    )
    const without = { ...changed, applications: [{ hostname: 'a.localhost', tunnel: 'home' }] }
    expect((await apply(without, { prune: true })).done).toBe(true)
    expect(Object.keys(world.edge.store.snapshot.groups)).toEqual(['ops'])
    const twice = { groups: [ops, ops] }
    expect(await failure(apply(twice))).toBe('BAD_USAGE: groups[1]: "ops" is listed twice')
  })
})

describe('options of an application', () => {
  const options = {
    name: 'Wiki',
    contact: 'it@example.com',
    sessionSeconds: 34_560_000,
    idleSeconds: 3600,
    authorizationHeader: true,
    preflight: true,
    upgradeOrigins: ['https://app.example.com', 'https://b.example.com:8443'],
  }
  const params = { hostname: 'a.localhost' }
  const kept = () => world.edge.store.snapshot.applications.get('a.localhost')

  test('are kept, shown, and stay with the policy; what is as by default is not kept', async () => {
    expect(await create('a.localhost', { options })).toMatchObject({ options })
    await ask('policy.put', {
      params,
      body: { rules: [{ name: 'all', action: 'allow', include: [{ everyone: true }] }] },
    })
    expect(kept()?.options).toEqual(options)
    const id = kept()?.id
    const plain = { preflight: false, authorizationHeader: false, upgradeOrigins: [] }
    expect(await ask('application.put', { params, body: { tunnel: 'home', options: plain } })).not.toHaveProperty(
      'options',
    )
    expect(kept()).not.toHaveProperty('options')
    expect(kept()?.id).toBe(id)
    const [row] = await world.edge.store.readAudit({ most: 1, action: 'application.put' })
    expect(row?.detail).toMatchObject({ options: { before: options, after: {} } })
  })

  test.each([
    ['too short a session', { sessionSeconds: 59 }],
    ['too long a one', { sessionSeconds: 316_224_001 }],
    ['no time at all', { idleSeconds: 0 }],
    ['an origin with a path', { upgradeOrigins: ['https://app.example.com/'] }],
    ['an origin with its default port', { upgradeOrigins: ['https://app.example.com:443'] }],
    ['an origin with a port that is none', { upgradeOrigins: ['https://app.example.com:99999'] }],
    ['the null origin', { upgradeOrigins: ['null'] }],
    ['every origin', { upgradeOrigins: ['*'] }],
    ['a contact of two lines', { contact: 'a\nb' }],
    ['what is not known', { sessionHours: 1 }],
    ['text for a switch', { preflight: 'yes' }],
  ])('refused: %s', async (_what, wrong) => {
    expect(await failure(create('a.localhost', { options: wrong }))).toMatch(/^BAD_USAGE/)
    expect(kept()).toBeUndefined()
  })

  test('are part of the document', async () => {
    const access = { version: 1 as const, applications: [{ hostname: 'a.localhost', tunnel: 'home', options }] }
    expect((await ask('access.apply', { body: { access } })).changes).toHaveLength(1)
    expect((await ask('access.apply', { body: { access } })).changes).toHaveLength(0)
    const exported = await ask('access.get', {})
    expect(exported.applications?.find(({ hostname }) => hostname === 'a.localhost')?.options).toEqual(options)
    expect((await ask('access.apply', { body: { access: exported } })).changes).toHaveLength(0)
    const other = {
      ...access,
      applications: [{ hostname: 'a.localhost', tunnel: 'home', options: { idleSeconds: 60 } }],
    }
    expect(await ask('access.apply', { body: { access: other } })).toMatchObject({
      changes: [{ action: 'update', before: { options }, after: { options: { idleSeconds: 60 } } }],
    })
    expect(kept()?.options).toEqual({ idleSeconds: 60 })
    const [row] = await world.edge.store.readAudit({ most: 1, action: 'access.apply' })
    expect(JSON.stringify(row?.detail)).toContain('"idleSeconds":60')
  })
})
