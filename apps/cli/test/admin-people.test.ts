import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type AdminWorld, failure, json, startAdminWorld } from './admin-world.ts'

let world: AdminWorld
beforeAll(async () => {
  world = await startAdminWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const local = (...args: string[]) => world.local(args)
const admin = (...args: string[]) => local('admin', ...args)
const file = (name: string) => join(world.folder, name)
const asking = { remoteAddress: '192.0.2.1', signal: new AbortController().signal }

it('a person is invited by a link, seen, changed, reset and removed', async () => {
  const made = await admin('user', 'invite', 'Ann@example.com', '--name', 'Ann', '--group', 'ops')
  expect(made.stdout).toMatch(new RegExp(`^${world.url}/invite/pinvs_\\w{24}_[\\w-]{43}\n$`))
  expect(made.stderr).toMatch(/The link for ann@example\.com is shown once/)
  const token = made.stdout.trim().split('/').at(-1) ?? ''
  expect(world.edge.directory.invited(token)).toMatchObject({ email: 'ann@example.com', name: 'Ann' })
  expect((await admin('user', 'list')).stdout).toMatch(
    /ann@example\.com +Ann +ops +invited, the link expires in [67] d/,
  )
  await world.edge.directory.accept(token, { password: 'a long walk to the sea' }, asking)
  expect((await admin('user', 'list')).stdout).toMatch(/ann@example\.com +Ann +ops +good/)
  const groups = ['--group', 'staff', '--group', 'ops']
  expect(json(await admin('user', 'update', 'ann@example.com', ...groups, '--json'))).toMatchObject({
    groups: ['staff', 'ops'],
    name: 'Ann',
  })
  expect(json(await admin('user', 'update', 'ann@example.com', '--no-group', '--json'))).toMatchObject({ groups: [] })
  expect((await admin('user', 'update', 'ann@example.com', '--disabled')).stdout).toContain('disabled now')
  expect((await admin('user', 'update', 'ann@example.com', '--no-disabled')).stdout).toMatch(/state +good/)
  expect(failure(await admin('user', 'update', 'ann@example.com', '--json')).code).toBe('OPTION_MISSING')
  const both = failure(await admin('user', 'update', 'ann@example.com', '--no-group', '--group', 'x', '--json'))
  expect(both.code).toBe('OPTION_CONFLICT')
  const reset = await admin('user', 'reset', 'ann@example.com', '--out', file('link'))
  expect(reset.stdout).toContain(`is in ${file('link')}`)
  expect(reset.stdout).not.toContain('pinvs_')
  expect(statSync(file('link')).mode & 0o777).toBe(0o600)
  expect(world.edge.directory.invited(readFileSync(file('link'), 'utf8').trim().split('/').at(-1) ?? '')).toBeDefined()
  expect((await admin('user', 'delete', 'ann@example.com')).stdout).toBe('ann@example.com is removed\n')
  expect(failure(await admin('user', 'info', 'ann@example.com', '--json')).code).toBe('NOT_FOUND')
  const taken = await admin('user', 'invite', 'bob@example.com', '--out', file('link'))
  expect(taken.stderr).toContain('is there already')
  expect(json(await admin('user', 'list', '--json'))).toEqual([])
})

it('a provider is set with a secret from a file or stdin, which nothing shows', async () => {
  const wanted = ['--name', 'Example', '--issuer', 'https://idp.example.com', '--client-id', 'postern']
  writeFileSync(file('client-secret'), 'secret of the client\n', { mode: 0o600 })
  const set = (...more: string[]) => admin('provider', 'set', 'example', ...wanted, ...more)
  const made = await set('--client-secret-file', file('client-secret'))
  expect(made.stdout).toContain(`redirect URI             ${world.url}/login/callback/example\n`)
  expect(made.stdout).toMatch(/client secret +yes/)
  const input = 'another secret\n'
  const args = ['admin', 'provider', 'set', 'example', ...wanted, '--client-secret-file', '-', '--scope', 'openid']
  expect((await world.local(args, { input })).code).toBe(0)
  const list = await admin('provider', 'list', '--json')
  expect(json(list)).toMatchObject([{ id: 'example', hasSecret: true, scopes: ['openid'] }])
  const audit = await admin('audit', '--json')
  for (const { stdout, stderr } of [made, list, audit])
    expect(stdout + stderr).not.toMatch(/secret of the|another secret/)
  expect((await admin('provider', 'remove', 'example')).code).toBe(0)
  expect(failure(await set('--issuer', 'http://idp.example.com', '--json')).code).toMatch(/OPTION_CONFLICT|BAD_USAGE/)
})

it('groups and options are set, named by rules, and part of the file', async () => {
  writeFileSync(file('staff.yaml'), '- emailDomain: example.com\n- serviceToken: first token\n', { mode: 0o600 })
  const set = await admin('group', 'set', 'staff', '-f', file('staff.yaml'))
  expect([set.code, set.stdout]).toEqual([
    0,
    expect.stringMatching(/^- emailDomain: example\.com\n- serviceToken: pst_/),
  ])
  const allow = ['policy', 'allow', 'db.localhost', '--in-group', 'staff', '--email', 'eve@example.org']
  expect((await admin(...allow)).stdout).toContain('name: allow eve@example.org, staff')
  expect((await admin('group', 'list')).stdout).toMatch(/staff +2 +db\.localhost/)
  expect((await admin('group', 'delete', 'staff')).stderr).toContain('is named by db.localhost')
  const options = ['--session', '400d', '--idle', '30m', '--contact', 'it@example.com', '--preflight', '--name', 'DB']
  const updated = await admin('app', 'update', 'db.localhost', ...options)
  expect(updated.stdout).toMatch(/name +DB\ncontact +it@example\.com\nsession +400d\nidle +30m\npreflights +yes\n/)
  const again = await admin('app', 'update', 'db.localhost', '--no-preflight', '--unset', 'idle', '--json')
  expect(json(again)).toMatchObject({
    options: { name: 'DB', contact: 'it@example.com', sessionSeconds: 34_560_000 },
    rules: [{}, { name: 'allow eve@example.org, staff' }],
  })
  expect(failure(await admin('app', 'update', 'db.localhost', '--unset', 'all', '--json')).code).toBe('OPTION_INVALID')
  const twice = await admin('app', 'update', 'db.localhost', '--unset', 'name', '--name', 'X', '--json')
  expect(failure(twice).code).toBe('OPTION_CONFLICT')
  writeFileSync(file('all.yaml'), (await admin('export')).stdout, { mode: 0o600 })
  expect((await admin('apply', '-f', file('all.yaml'))).stdout).toContain('nothing to change')
  const wrong =
    'version: 1\ngroups:\n  - name: ok\n    selectors: []\n  - name: bad\n    selectors:\n      - email: nobody\n'
  writeFileSync(file('wrong.yaml'), wrong, { mode: 0o600 })
  expect((await admin('apply', '-f', file('wrong.yaml'))).stderr).toMatch(/group "bad": \[0\]\.?email/)
  expect(existsSync(file('secrets'))).toBe(false)
})

it('what a rule says of somebody is asked of the edge, which knows its people and groups', async () => {
  await admin('user', 'invite', 'cid@partner.example', '--group', 'ops')
  const explain = (...args: string[]) => local('policy', 'explain', '--app', 'db.localhost', ...args)
  expect((await explain('--user', 'cid@partner.example')).stdout).toContain('deny, no rule lets in')
  await admin('policy', 'allow', 'db.localhost', '--group', 'ops')
  const known = await explain('--user', 'CID@partner.example')
  expect(known.stdout).toContain('allow, by the rule "allow ops"')
  expect(known.stderr).toContain('groups ops')
  expect((await explain('--user', 'cid@partner.example', '--group', 'none')).stdout).toContain('deny')
  expect((await explain('--user', 'dan@partner.example')).stdout).toContain('deny')
  expect((await explain('--user', 'dan@example.com')).stdout).toContain(
    'allow, by the rule "allow eve@example.org, staff"',
  )
  const cases = [
    '{ name: known, app: db.localhost, user: cid@partner.example, expect: allow, rule: allow ops }',
    '{ name: not, app: db.localhost, user: cid@partner.example, groups: [], expect: deny }',
    '{ name: by group, app: db.localhost, user: dan@example.com, expect: allow }',
  ]
  writeFileSync(file('cases.yaml'), `cases:\n${cases.map(one => `  - ${one}\n`).join('')}`, { mode: 0o600 })
  expect((await local('policy', 'test', file('cases.yaml'))).stdout).toContain('3 of 3 cases passed')
})

it('sessions and keys are listed, and ended', async () => {
  expect((await admin('session', 'list')).code).toBe(0)
  expect((await admin('session', 'revoke', '--user', 'ann@example.com')).stdout).toBe('0 sessions ended\n')
  const codeOf = async (...args: string[]) => failure(await admin('session', 'revoke', ...args, '--json')).code
  expect(await codeOf()).toBe('OPTION_MISSING')
  expect(await codeOf('--issuer', 'https://idp.example.com')).toBe('OPTION_MISSING')
  expect(await codeOf('--id', 'x', '--user', 'ann@example.com')).toBe('OPTION_CONFLICT')
  const before = json<{ id: string; state: string }[]>(await admin('key', 'list', '--json'))
  const next = before.find(({ state }) => state === 'next')?.id
  const after = json<{ id: string; state: string }[]>(await admin('key', 'rotate', '--json'))
  expect(after.find(({ state }) => state === 'current')?.id).toBe(next)
  expect((await admin('key', 'remove', `${next}`)).stdout).toBe(`the key ${next} is removed\n`)
})
