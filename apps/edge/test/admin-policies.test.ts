import type { Input } from '@postern/admin'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Administration } from '../src/admin/administration.ts'
import { startWorld, type World } from './world.ts'

let world: World
let administration: Administration
beforeEach(async () => {
  world = await startWorld({}, [], 0)
  administration = world.edge.administration
})
afterEach(() => world[Symbol.asyncDispose]())

const db = { params: { hostname: 'db.localhost' } }
type NewRule = Input<'policy.add'>['body']['rule']
const rule = (name: string, more: Partial<NewRule> = {}): NewRule => ({
  name,
  action: 'allow',
  include: [{ anyServiceToken: true }],
  ...more,
})
const add = (name: string, before?: string) =>
  administration.call('policy.add', { ...db, body: { rule: rule(name), ...(before !== undefined && { before }) } })
const remove = (name: string) => administration.call('policy.remove', { ...db, query: { name } })
const names = async () => (await administration.call('application.get', db)).rules.map(one => one.name)
const lastRow = async (action: string) => (await world.edge.store.readAudit({ most: 1, action }))[0]

describe('a rule', () => {
  test('is added at the end, or in front of another, and taken away again', async () => {
    await add('second')
    await add('first', 'the first token')
    expect(await names()).toEqual(['first', 'the first token', 'second'])
    await remove('the first token')
    expect(await names()).toEqual(['first', 'second'])
  })

  test('has its own name, and one that is not there is said with those that are', async () => {
    await expect(add('the first token')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(remove('other')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      next: 'It has: "the first token".',
    })
    await expect(add('x', 'other')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const nobody = { rule: rule('x', { include: [{ serviceToken: 'nobody' }] }) }
    await expect(administration.call('policy.add', { ...db, body: nobody })).rejects.toMatchObject({
      code: 'BAD_USAGE',
    })
    await remove('the first token')
    await expect(remove('the first token')).rejects.toMatchObject({ next: 'It has no rules.' })
    expect(await names()).toEqual([])
  })

  test('of fifty that are added at once none is lost, nor of fifty that are taken away', async () => {
    const fifty = Array.from({ length: 50 }, (_, n) => `r${n}`)
    await Promise.all(fifty.map(name => add(name)))
    expect((await names()).sort()).toEqual([...fifty, 'the first token'].sort())
    await Promise.all(fifty.map(remove))
    expect(await names()).toEqual(['the first token'])
  })

  test('is one of a hundred at most', async () => {
    for (let n = 1; n < 100; n += 1) await add(`r${n}`)
    await expect(add('one more')).rejects.toMatchObject({ code: 'BAD_USAGE', message: expect.stringContaining('100') })
    expect(await names()).toHaveLength(100)
  })
})

describe('with a version', () => {
  test('rules and applications are replaced at that version only', async () => {
    const { version } = await administration.call('status.get', {})
    await administration.call('policy.put', { ...db, body: { rules: [rule('one')], ifVersion: version } })
    const stale = { rules: [], ifVersion: version }
    const [put, whole] = ['policy.put', 'application.put'] as const
    await expect(administration.call(put, { ...db, body: stale })).rejects.toMatchObject({ code: 'CONFLICT' })
    await expect(administration.call(whole, { ...db, body: { tunnel: 'home', ...stale } })).rejects.toMatchObject({
      code: 'CONFLICT',
    })
    expect(await names()).toEqual(['one'])
    await administration.call(whole, { ...db, body: { tunnel: 'home', rules: [], ifVersion: version + 1 } })
    expect(await names()).toEqual([])
  })
})

describe('the audit log', () => {
  test('says which rules were, and which are instead', async () => {
    await administration.call('policy.put', { ...db, body: { rules: [rule('a'), rule('b')] } })
    const first = { name: 'the first token', include: [{ serviceToken: world.token.id }] }
    expect((await lastRow('policy.put'))?.detail).toMatchObject({
      rules: { before: [first], after: [{ name: 'a' }, { name: 'b' }] },
    })
    await add('c')
    expect((await lastRow('policy.add'))?.detail).toMatchObject({ rules: { before: [], after: [rule('c')] } })
    await remove('a')
    expect((await lastRow('policy.remove'))?.detail).toMatchObject({ rules: { before: [rule('a')], after: [] } })
    await administration.call('policy.put', { ...db, body: { rules: [rule('c'), rule('b')] } })
    const order = { before: [{ name: 'b' }, { name: 'c' }], after: [{ name: 'c' }, { name: 'b' }] }
    expect((await lastRow('policy.put'))?.detail).toMatchObject({ rules: order })
    await administration.call('application.delete', db)
    expect((await lastRow('application.delete'))?.detail).toMatchObject({
      rules: { before: [rule('c'), rule('b')], after: [] },
    })
  })

  test('of an applied document too', async () => {
    const applications = [{ hostname: 'db.localhost', tunnel: 'home', rules: [rule('a')] }]
    await administration.call('access.apply', { body: { access: { version: 1, applications } } })
    expect((await lastRow('access.apply'))?.detail).toEqual({
      prune: false,
      changes: 1,
      named: ['update application db.localhost'],
      rules: [
        {
          hostname: 'db.localhost',
          before: [expect.objectContaining({ name: 'the first token' })],
          after: [rule('a')],
        },
      ],
    })
  })

  test('has room for any of that: names at least, and how many more there are', async () => {
    const include = Array.from({ length: 400 }, () => ({ serviceToken: world.token.id }))
    const rules = Array.from({ length: 20 }, (_, n) => rule(`${'\u0001'.repeat(60)}${n}`, n === 0 ? { include } : {}))
    await administration.call('policy.put', { ...db, body: { rules } })
    const row = (await lastRow('policy.put'))?.detail as { rules: { after: { name?: string; more?: number }[] } }
    const { after } = row.rules
    expect(after[0]).toEqual({ name: rules[0]?.name, left: 'out' })
    expect(after.length - 1 + (after.at(-1)?.more ?? 0)).toBe(20)
    const long = `${'a'.repeat(60)}.`.repeat(4)
    const applications = Array.from({ length: 100 }, (_, n) => ({
      hostname: `${long}h${n}`,
      tunnel: 'home',
      rules: rules.slice(1),
    }))
    await administration.call('access.apply', { body: { access: { version: 1, applications } } })
    const applied = (await lastRow('access.apply'))?.detail as {
      named: (string | { more: number })[]
      rules: unknown[]
    }
    expect(applied.named[0]).toBe(`create application ${long}h0`)
    expect(applied.named.at(-1)).toEqual({ more: 100 - (applied.named.length - 1) })
    expect(applied.rules.at(-1)).toEqual({ more: expect.any(Number) })
  })
})

test('how long traffic is kept, and people stay signed in, are settings, noted and checked', async () => {
  const first = { auditDays: 90, sessionSeconds: 86_400, administrators: [] }
  expect(await administration.call('settings.get', {})).toEqual(first)
  const put = (body: object) => administration.call('settings.put', { body })
  expect(await put({ auditDays: 7 })).toEqual({ ...first, auditDays: 7 })
  expect(world.edge.store.snapshot.settings.get('auditDays')).toBe(7)
  expect((await lastRow('settings.put'))?.detail).toEqual({ auditDays: { before: 90, after: 7 } })
  const administrators = [{ email: 'ann@example.com' }]
  const others = { sessionSeconds: 60, sessionIdleSeconds: 3600, administrators }
  expect(await put(others)).toEqual({ auditDays: 7, ...others })
  const { version } = world.edge.store.snapshot
  expect(await put({ sessionSeconds: 60 })).toEqual({ auditDays: 7, ...others })
  expect(world.edge.store.snapshot.version).toBe(version)
  expect(await put({ sessionIdleSeconds: null, administrators: [] })).toEqual({
    ...first,
    auditDays: 7,
    sessionSeconds: 60,
  })
  for (const body of [
    ...[0, 36_501, 1.5, '7', null].map(auditDays => ({ auditDays })),
    ...[59, 316_224_001, null].map(sessionSeconds => ({ sessionSeconds })),
    ...[0, '60'].map(sessionIdleSeconds => ({ sessionIdleSeconds })),
    { administrators: [{ anyServiceToken: true }] },
    { administrators: [{ address: ['10.0.0.0/8'] }] },
    { administrators: [{ inGroup: 'none' }] },
    { administrators: [{ email: 'nobody' }] },
    { teamDomain: 'other.example.com' },
  ])
    await expect(put(body)).rejects.toMatchObject({ code: 'BAD_USAGE' })
  await put({ auditDays: 36_500, sessionSeconds: 316_224_000 })
})

test('the status says where the edge listens', async () => {
  const { port } = world.edge
  expect(await administration.call('status.get', {})).toMatchObject({
    listen: `127.0.0.1:${port}`,
    url: `https://edge.localhost:${port}`,
    ownCa: true,
  })
})
