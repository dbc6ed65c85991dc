import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AdminWorld, failure, json, startAdminWorld } from './admin-world.ts'

let world: AdminWorld
beforeAll(async () => {
  world = await startAdminWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const local = (...args: string[]) => world.local(args)
const file = (name: string) => join(world.folder, name)

describe('help', () => {
  it.each([
    [['tunnel'], ['Usage: postern tunnel COMMAND', '  create  ', '  evict   ']],
    [
      ['admin', '--help'],
      ['Usage: postern admin COMMAND', '  service-token  ', '  apply '],
    ],
    [
      ['admin', 'policy'],
      ['Usage: postern admin policy COMMAND', '  allow '],
    ],
    [
      ['tunnel', 'token', '--help'],
      ['Usage: postern tunnel token NAME [options]', '--rotate', '--out PATH', '--socket PATH', 'Examples:\n  postern'],
    ],
  ])('%j', async (args, lines) => {
    const { code, stdout, stderr } = await local(...args)
    expect([code, stderr]).toEqual([0, ''])
    for (const line of lines) expect(stdout).toContain(line)
  })

  it.each([
    [['tunnel', 'creat', 'x'], 'Did you mean "tunnel create"?'],
    [['admin', 'polcy'], 'Did you mean "admin policy"?'],
    [['admin', 'app', 'lst'], 'Did you mean "admin app list"?'],
    [['tunnel', 'list', '--jsn'], 'Did you mean --json?'],
    [['tunnel', 'create'], 'NAME is missing'],
    [['tunnel', 'create', 'a', 'b'], 'nothing is done with "b"'],
    [['tunnel', 'list', '--edge', 'https://a.b', '--socket', 'x'], '--socket and --edge name an edge each'],
  ])('for what was mistyped: %j', async (args, hint) => {
    const { code, stdout, stderr } = await local(...args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(hint)
  })
})

it('settings are shown and set', async () => {
  const first = { auditDays: 90, sessionSeconds: 86_400, administrators: [] }
  expect((await local('admin', 'settings')).stdout).toBe('audit days      90\nsession         1d\nadministrators  -\n')
  expect(json(await local('admin', 'settings', '--audit-days', '30', '--json'))).toEqual({ ...first, auditDays: 30 })
  expect(failure(await local('admin', 'settings', '--audit-days', '0', '--json'))).toMatchObject({ code: 'BAD_USAGE' })
  const all = ['--session', '400d', '--idle', '12h', '--administrator', 'ann@example.com']
  const group = ['--administrator', '{"group":"admins"}']
  expect((await local('admin', 'settings', ...all, ...group)).stdout).toBe(
    'audit days      30\nsession         400d\nidle            12h\nadministrators  {"email":"ann@example.com"} {"group":"admins"}\n',
  )
  for (const wrong of ['{"grp":"admins"}', '{', '{"group":1}'])
    expect(failure(await local('admin', 'settings', '--administrator', wrong, '--json')).code).toBe('OPTION_INVALID')
  expect(failure(await local('admin', 'settings', '--unset', 'session', '--json')).code).toBe('OPTION_INVALID')
  const unset = ['--unset', 'idle', '--unset', 'administrator', '--session', '1d']
  expect(json(await local('admin', 'settings', ...unset, '--json'))).toEqual({ ...first, auditDays: 30 })
})

describe('tunnels', () => {
  it('are made, with what to do next, listed and removed', async () => {
    const made = await local('tunnel', 'create', 'office')
    expect([made.code, made.stdout]).toEqual([0, 'the tunnel office is made\n'])
    expect(made.stderr).toContain('postern tunnel token office --out ./office-token')
    const { url, ca } = world
    const daemon = `posternd --hostname HOSTNAME --url ssh://localhost:22 --edge ${url} --ca ${ca} --token-file`
    expect(made.stderr).toContain(daemon)
    const { stdout } = await local('tunnel', 'list')
    expect(stdout).toMatch(
      /^NAME\s+ONLINE\s+DAEMONS\s+APPLICATIONS\s+MADE\s+IDENTITY\nhome\s+no\s+0\s+db\.localhost\s+.*\noffice/,
    )
    expect((await local('tunnel', 'delete', 'office')).stdout).toBe('the tunnel office is removed\n')
    const list = json<{ name: string }[]>(await local('tunnel', 'list', '--json'))
    expect(list.map(({ name }) => name)).toEqual(['home'])
  })

  it('name the same edge in what to do next', async () => {
    const folder = join(world.folder, 'edge')
    const named = await world.as('nobody', ['tunnel', 'create', 'one', '--data', folder])
    expect(named.stderr).toContain(`tunnel token one --out ./one-token --data ${folder}\n`)
    const socket = join(folder, 'admin.sock')
    const over = await world.as('nobody', ['tunnel', 'create', 'two', '--socket', socket])
    expect(over.stderr).toContain(`tunnel token two --out ./two-token --socket ${socket}\n`)
    expect(over.stderr).toContain(`--edge ${world.url} --ca FOLDER_OF_THE_EDGE/ca/ca.pem`)
    const app = ['admin', 'app', 'create', 'one.localhost', '--tunnel', 'one', '--data', folder]
    const { stderr } = await world.as('nobody', app)
    expect(stderr).toContain(`postern admin policy allow one.localhost --service-token NAME --data ${folder}\n`)
    await local('admin', 'app', 'delete', 'one.localhost')
    for (const name of ['one', 'two']) expect((await local('tunnel', 'delete', name)).code).toBe(0)
  })

  it('that are used, unknown or misspelt are refused, with the edge’s request', async () => {
    const used = await local('tunnel', 'delete', 'home', '--json')
    expect([used.code, used.stdout]).toEqual([73, ''])
    expect(failure(used)).toMatchObject({ code: 'CONFLICT', requestId: expect.any(String) })
    expect(failure(await local('tunnel', 'info', 'nowhere', '--json'))).toMatchObject({ code: 'NOT_FOUND' })
    expect(failure(await local('tunnel', 'create', 'Office', '--json'))).toMatchObject({ code: 'BAD_USAGE' })
    expect((await local('tunnel', 'info', 'home')).code).toBe(0)
  })

  it('give tokens: alone on stdout, or in a new file of mode 600', async () => {
    const { stdout, stderr } = await local('tunnel', 'token', 'home')
    expect(stdout).toMatch(/^\S{40,}\n$/)
    expect(stderr).toContain('is shown once')
    expect(stderr).not.toContain(stdout.trim())
    const out = file('home-token')
    const kept = json(await local('tunnel', 'token', 'home', '--expires-in', '90d', '--out', out, '--json'))
    expect(kept).toEqual({ tunnel: 'home', id: expect.any(String), file: out })
    expect([statSync(out).mode & 0o777, readFileSync(out, 'utf8')]).toEqual([
      0o600,
      expect.stringMatching(/^\S{40,}\n$/),
    ])
    const again = await local('tunnel', 'token', 'home', '--out', out, '--json')
    expect(failure(again)).toMatchObject({ code: 'ALREADY_EXISTS' })
    const tokens = json<{ tokens: object[] }>(await local('tunnel', 'info', 'home', '--json')).tokens
    expect(tokens).toHaveLength(3) // what could not be kept was not made
    expect(tokens.at(-1)).toMatchObject({ id: kept.id, expiresAt: expect.any(String) })
    expect((await local('tunnel', 'info', 'home')).stdout).toMatch(/good, expires in (90|89) d/)
  })

  it('leave no empty file where no token was made', async () => {
    const out = file('nowhere-token')
    expect((await local('tunnel', 'token', 'nowhere', '--out', out)).code).toBe(20)
    expect(existsSync(out)).toBe(false)
  })

  it('rotate and revoke their tokens', async () => {
    const { id } = json<{ id: string }>(await local('tunnel', 'token', 'home', '--rotate', '--overlap', '1h', '--json'))
    const after = json<{ tokens: { id: string; expiresAt?: string }[] }>(
      await local('tunnel', 'info', 'home', '--json'),
    )
    expect(after.tokens.filter(one => one.expiresAt === undefined).map(one => one.id)).toEqual([id])
    expect((await local('tunnel', 'revoke', 'home', id)).stdout).toBe(`the token ${id} is revoked\n`)
    expect((await local('tunnel', 'token', 'home', '--overlap', '1h')).stderr).toContain('--overlap goes with --rotate')
    expect((await local('tunnel', 'evict', 'home', 'nobody')).code).toBe(20)
  })
})

describe('applications and their policies', () => {
  it('are made, changed and removed; service tokens are let in by name', async () => {
    const made = await local('admin', 'app', 'create', 'git.localhost', '--tunnel', 'home', '--protocol', 'ssh')
    expect([made.code, made.stdout]).toEqual([0, 'the application git.localhost is made\n'])
    expect(made.stderr).toContain('postern admin policy allow git.localhost --service-token NAME')
    const token = json<{ id: string; secret: string }>(await local('admin', 'service-token', 'create', 'ci', '--json'))
    const allowed = await local('admin', 'policy', 'allow', 'git.localhost', '--service-token', 'ci')
    expect(allowed.stdout).toBe(`- name: allow ci\n  action: allow\n  include:\n    - serviceToken: ${token.id} # ci\n`)
    expect(
      failure(await local('admin', 'policy', 'allow', 'git.localhost', '--service-token', 'ci', '--json')),
    ).toMatchObject({
      code: 'ALREADY_EXISTS',
    })
    const deny = ['admin', 'policy', 'deny', 'git.localhost', '--any-service-token', '--name', 'closed', '--json']
    expect(json<object[]>(await local(...deny))).toHaveLength(2)
    expect(json<object[]>(await local('admin', 'policy', 'remove', 'git.localhost', 'closed', '--json'))).toHaveLength(
      1,
    )
    const first = ['--name', 'first', '--before', 'allow ci', '--any-service-token', '--json']
    const rules = json<{ name: string }[]>(await local('admin', 'policy', 'deny', 'git.localhost', ...first))
    expect(rules.map(({ name }) => name)).toEqual(['first', 'allow ci'])
    const both = ['a', 'b'].map(name =>
      local('admin', 'policy', 'allow', 'git.localhost', '--any-service-token', '--name', name),
    )
    expect((await Promise.all(both)).map(({ code }) => code)).toEqual([0, 0])
    const left = await Promise.all(
      ['first', 'a', 'b'].map(name => local('admin', 'policy', 'remove', 'git.localhost', name)),
    )
    expect(left.map(({ code }) => code)).toEqual([0, 0, 0])
    const removed = await local('admin', 'policy', 'remove', 'git.localhost', 'closed')
    expect(removed.stderr).toContain('It has: "allow ci".')
    expect((await local('admin', 'app', 'info', 'git.localhost')).stdout).toMatch(
      /RULE\s+ACTION\s+INCLUDES\nallow ci\s+allow/,
    )
    const updated = json(await local('admin', 'app', 'update', 'git.localhost', '--protocol', 'tcp', '--json'))
    expect(updated).toMatchObject({ protocols: ['tcp'], rules: [{ name: 'allow ci' }] })
    expect((await local('admin', 'app', 'list')).stdout).toMatch(/git\.localhost\s+home\s+tcp\s+1\s+no/)
    expect((await local('admin', 'app', 'delete', 'git.localhost')).code).toBe(0)
    expect((await local('admin', 'app', 'info', 'git.localhost')).code).toBe(20)
  })

  it('permit what a rule says, which is JSON', async () => {
    const allow = [
      'admin',
      'policy',
      'allow',
      'db.localhost',
      '--any-service-token',
      '--name',
      'some',
      '--json',
      '--permit',
    ]
    const wrong = await local(...allow, '{users: [git]}')
    expect([wrong.code, failure(wrong).message]).toEqual([2, '--permit is not JSON'])
    const rules = json<object[]>(await local(...allow, '{"users":["git"]}'))
    expect(rules.at(-1)).toMatchObject({ name: 'some', permit: { users: ['git'] } })
    await local('admin', 'policy', 'remove', 'db.localhost', 'some')
    const nobody = await local('admin', 'policy', 'allow', 'db.localhost', '--json')
    expect(failure(nobody)).toMatchObject({ code: 'OPTION_MISSING' })
  })

  it('come as a file that goes back', async () => {
    const rules = file('rules.yaml')
    const shown = (await local('admin', 'policy', 'show', 'db.localhost')).stdout
    writeFileSync(rules, shown, { mode: 0o600 })
    expect((await local('admin', 'policy', 'set', 'db.localhost', '-f', rules)).stdout).toBe(shown)
    const fromStdin = await world.local(['admin', 'policy', 'set', 'db.localhost', '-f', '-'], { input: shown })
    expect(fromStdin.stdout).toBe(shown)
    writeFileSync(rules, '- name: x\n  action: alow\n  include: []\n', { mode: 0o600 })
    const { code, stderr } = await local('admin', 'policy', 'set', 'db.localhost', '-f', rules)
    expect(code).toBe(3)
    expect(stderr).toContain(`${rules}:2:3: [0].action is not "allow" or "deny" or "bypass" or "service"`)
    expect((await local('admin', 'policy', 'show', 'db.localhost')).stdout).toBe(shown)
  })
})

describe('service tokens', () => {
  it('are made, shown without their secret, rotated and revoked', async () => {
    const { stdout, stderr } = await local('admin', 'service-token', 'create', 'nightly', '--expires-in', '7d')
    expect(stdout).toMatch(/^name\s+nightly\nid\s+pst_\w+\nexpires\s+\d{4}-.*Z\nsecret\s+psts_\S+\n$/)
    expect(stderr).toContain('shown once')
    const secret = /psts_\S+/.exec(stdout)?.[0] ?? '-'
    const out = file('nightly-secret')
    const rotated = await local('admin', 'service-token', 'rotate', 'nightly', '--overlap', '1h', '--out', out)
    expect(rotated.stdout).toContain(`secret file  ${out}`)
    expect([statSync(out).mode & 0o777, readFileSync(out, 'utf8')]).toEqual([
      0o600,
      expect.stringMatching(/^psts_\S+\n$/),
    ])
    const info = await local('admin', 'service-token', 'info', 'nightly')
    expect(info.stdout).toMatch(/old secret until\s+\d{4}-/)
    expect((await local('admin', 'service-token', 'revoke', 'nightly')).code).toBe(0)
    const list = await local('admin', 'service-token', 'list')
    expect(list.stdout).toMatch(/nightly\s+pst_\w+\s+revoked (now|\d+ s ago)/)
    for (const one of [rotated, info, list]) expect(one.stdout + one.stderr).not.toContain(secret)
  })
})

describe('what an edge says of itself', () => {
  it.each([
    [['admin', 'status'], /^team domain\s+edge\.localhost\n/, { teamDomain: 'edge.localhost' }],
    [['admin', 'whoami'], /^edge\s+\S+admin\.sock\nactor\s+local\nrole\s+admin\n/, { actor: 'local', role: 'admin' }],
    [['admin', 'openapi'], /^\{\n {2}"openapi": "3\.1\.0"/, { openapi: '3.1.0' }],
    [['admin', 'export'], /^version: 1\ntunnels:\n {2}- name: home\n/, { version: 1, tunnels: [{ name: 'home' }] }],
  ])('%j', async (args, text, value) => {
    expect((await local(...args)).stdout).toMatch(text)
    expect(json(await local(...args, '--json'))).toMatchObject(value)
  })
})

describe('no edge', () => {
  it('that was named: every way to name one is told', async () => {
    const { code, stderr } = await world.as('stranger', ['tunnel', 'list'])
    expect(code).toBe(2)
    for (const way of [
      '--data',
      '--socket',
      'postern admin login --edge URL --setup-token-file FILE',
      '--admin-token-file',
    ])
      expect(stderr).toContain(way)
  })

  it('at the socket', async () => {
    const { code, stderr } = await world.as('stranger', ['tunnel', 'list', '--socket', file('nothing.sock')])
    expect(code).toBe(21)
    expect(stderr).toContain('Is the edge running?')
  })
})
