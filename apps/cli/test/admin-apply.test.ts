import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type AdminWorld, failure, json, startAdminWorld } from './admin-world.ts'

let world: AdminWorld
let first: string
beforeAll(async () => {
  world = await startAdminWorld()
  first = (await local('admin', 'export')).stdout
})
afterAll(() => world[Symbol.asyncDispose]())

const local = (...args: string[]) => world.local(args)
const versionNow = async () => json<{ version: number }>(await local('admin', 'status', '--json')).version
const file = (text: string, name = 'access.yaml') => {
  const path = join(world.folder, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

const WANTED = `version: 1
tunnels:
  - name: home
  - name: office
serviceTokens:
  - name: deploy
    expiresInSeconds: 86400
applications:
  - hostname: db.localhost
    tunnel: office
    protocols: [tcp]
    rules:
      - name: allow deploy
        action: allow
        include: [{ serviceToken: deploy }]
  - hostname: new.localhost
    tunnel: home
`

describe('a file', () => {
  afterEach(async () => {
    await world.local(['admin', 'apply', '-f', '-', '--prune', '--yes'], { input: first })
  })

  it('says what would change, and a dry run changes nothing', async () => {
    const version = await versionNow()
    const { code, stdout, stderr } = await local('admin', 'apply', '-f', file(WANTED), '--dry-run')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toContain('+ tunnel office\n')
    expect(stdout).toContain('+ service-token deploy\n')
    expect(stdout).toMatch(/~ application db\.localhost\n {4}tunnel: "home" → "office"\n/)
    expect(stdout).toMatch(/ {4}rules\[allow deploy\]: nothing → \{"name":"allow deploy"/)
    expect(stdout).toContain('+ application new.localhost\n    tunnel: "home"\n    protocols: ["tcp"]\n    rules: []\n')
    expect(stdout).toMatch(/would be: 3 created, 1 updated, 0 removed\n$/)
    expect(stdout).toMatch(/not in the file, and left as they are \(--prune removes them\):\n {4}service-token \S+/)
    expect(await versionNow()).toBe(version)
    expect((await local('admin', 'export')).stdout).toBe(first)
  })

  it('is made true; its secrets go into files of their own; again, it changes nothing', async () => {
    const secrets = join(world.folder, 'secrets')
    const args = ['admin', 'apply', '-f', file(WANTED), '--secrets-dir', secrets]
    const { code, stdout, stderr } = await local(...args)
    expect([code, stdout.split('\n')[0]]).toEqual([0, '3 created, 1 updated, 0 removed'])
    expect(stderr).toContain('~ application db.localhost')
    const path = join(secrets, 'deploy')
    expect(stdout).toMatch(/service token\s+deploy\nid\s+pst_\w+\nfile\s+/)
    expect([statSync(path).mode & 0o777, readFileSync(path, 'utf8')]).toEqual([
      0o600,
      expect.stringMatching(/^psts_\S+\n$/),
    ])
    expect(stdout + stderr).not.toContain(readFileSync(path, 'utf8').trim())
    const version = await versionNow()
    expect((await local(...args)).stdout).toMatch(/nothing to change\n$/)
    expect(await versionNow()).toBe(version)
    expect((await local('admin', 'app', 'info', 'db.localhost')).stdout).toMatch(/tunnel\s+office/)
  })

  it('makes nothing where a secret could not be kept', async () => {
    const secrets = join(world.folder, 'taken')
    await local('admin', 'apply', '-f', file(WANTED), '--secrets-dir', secrets)
    await world.local(['admin', 'apply', '-f', '-', '--prune', '--yes'], { input: first })
    const kept = readFileSync(join(secrets, 'deploy'), 'utf8')
    const refused = await local('admin', 'apply', '-f', file(WANTED), '--secrets-dir', secrets, '--json')
    expect(failure(refused)).toMatchObject({ code: 'ALREADY_EXISTS' })
    expect([readdirSync(secrets), readFileSync(join(secrets, 'deploy'), 'utf8')]).toEqual([['deploy'], kept])
    expect((await local('admin', 'export')).stdout).toBe(first)
  })

  it('prints secrets once where no folder is named', async () => {
    const applied = json<{ secrets: object[] }>(await local('admin', 'apply', '-f', file(WANTED), '--json'))
    expect(applied).toMatchObject({
      done: true,
      secrets: [{ name: 'deploy', id: /^pst_/, secret: /^psts_/ }].map(one => ({
        ...one,
        id: expect.stringMatching(one.id),
        secret: expect.stringMatching(one.secret),
      })),
    })
    expect(json(await local('admin', 'apply', '-f', file(WANTED), '--json'))).toMatchObject({
      changes: [],
      secrets: [],
    })
  })

  it('removes what it does not list only with --prune, and asks before', async () => {
    await local('tunnel', 'create', 'spare')
    const version = await versionNow()
    const alone = await local('admin', 'apply', '-f', file(first))
    expect(alone.stdout).toMatch(/not in the file[\s\S]*tunnel spare\nnothing to change\n$/)
    const refused = await local('admin', 'apply', '-f', file(first), '--prune')
    expect([refused.code, refused.stdout]).toEqual([2, ''])
    expect(refused.stderr).toMatch(
      /- tunnel spare\n[\s\S]*this would remove tunnel spare, and nobody can be asked[\s\S]*--yes/,
    )
    expect(await versionNow()).toBe(version)
    const pruned = await local('admin', 'apply', '-f', file(first), '--prune', '--yes')
    expect(pruned.stdout).toBe('0 created, 0 updated, 1 removed\n')
    expect((await local('tunnel', 'info', 'spare')).code).toBe(20)
  })

  it('with mistakes is refused with the place of each, before the edge hears of it', async () => {
    const path = file(
      'version: 1\ntunnles: []\napplications:\n  - hostname: a.localhost\n    tunnel: 3\n    rules: [{ name: x }]\n',
    )
    const { code, stdout, stderr } = await world.as('stranger', [
      'admin',
      'apply',
      '-f',
      path,
      '--socket',
      '/nonexistent',
    ])
    expect([code, stdout]).toEqual([3, ''])
    expect(stderr).toContain(`${path}:2:1: tunnles is not known; did you mean tunnels?\n`)
    expect(stderr).toContain(`${path}:5:5: applications[0].tunnel is not a text\n`)
    expect(stderr).toMatch(
      /:6:\d+: applications\[0\]\.rules\[0\]\.action is not "allow" or "deny" or "bypass" or "service"\n/,
    )
    expect(stderr).toMatch(/:6:\d+: applications\[0\]\.rules\[0\]\.include is missing\n/)
    expect(stderr).toContain('has 4 mistakes (CONFIG_INVALID)')
    const told = failure(await local('admin', 'apply', '-f', path, '--json'))
    expect(told.message).toContain(`${path}:2:1: tunnles`)
  })

  it.each([
    [
      'a tunnel that is not there',
      'applications: [{ hostname: a.localhost, tunnel: x }]',
      'stdin:2:16: a.localhost: no tunnel x',
    ],
    ['a name twice', 'tunnels: [{ name: a }, { name: a }]', 'stdin:2:24: tunnels[1]'],
    [
      'a token that is not there',
      'applications: [{ hostname: a.localhost, tunnel: home, rules: [{ name: x, action: deny, include: [{ serviceToken: no }] }] }]',
      'stdin:2:98: a.localhost: rules[0].include[0]',
    ],
    [
      'a rule that cannot be',
      'applications: [{ hostname: a.localhost, tunnel: home, rules: [{ name: x, action: deny, permit: 1, include: [] }] }]',
      'stdin:2:63: a.localhost: rule 1',
    ],
    ['a hostname that is none', 'applications: [{ hostname: A_B, tunnel: home }]', '"A_B" is not a hostname'],
  ])('that the edge refuses changes nothing: %s', async (_what, line, told) => {
    const { code, stderr } = await world.local(['admin', 'apply', '-f', '-'], { input: `version: 1\n${line}\n` })
    expect([code, stderr]).toEqual([2, expect.stringContaining(told)])
    expect(stderr).toContain('said by the edge')
    expect((await local('admin', 'export')).stdout).toBe(first)
  })
})

describe.skipIf(!existsSync('/usr/bin/script'))('at a terminal (needs: apt-get install bsdutils)', () => {
  /** Types the answer once the question is there, and what else is to happen then. */
  async function answered(answer: string, meanwhile = async () => {}): Promise<string> {
    const access = file(first)
    const words = [
      process.execPath,
      join(import.meta.dirname, '../bin/postern.js'),
      'admin',
      'apply',
      '-f',
      access,
      '--prune',
    ]
    const child = spawn('script', ['-qefc', words.map(word => `'${word}'`).join(' '), '/dev/null'], {
      env: { PATH: process.env.PATH, POSTERN_HOME: '/nonexistent', POSTERN_EDGE_DATA: join(world.folder, 'edge') },
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: 15_000,
    })
    let said = ''
    let asked = false
    for await (const chunk of child.stdout) {
      said += chunk
      if (asked || !said.includes('(yes/no)')) continue
      asked = true
      await meanwhile()
      setTimeout(() => child.stdin.write(answer), 200) // typed by a person, after the terminal is ready for it
    }
    return said
  }

  it('a no changes nothing, a yes does it', async () => {
    await local('tunnel', 'create', 'spare')
    expect(await answered('no\r')).toContain('nothing was changed, as you wished')
    expect((await local('tunnel', 'info', 'spare')).code).toBe(0)
    expect(await answered('yes\r')).toContain('0 created, 0 updated, 1 removed')
    expect((await local('tunnel', 'info', 'spare')).code).toBe(20)
  })

  it('what somebody else changed since the diff was shown is noticed', async () => {
    await local('tunnel', 'create', 'spare')
    const said = await answered('yes\r', async () => void (await local('tunnel', 'create', 'meanwhile')))
    expect(said).toContain('was changed by somebody else meanwhile; nothing was applied (CONFLICT')
    expect(said).toContain('Run it again')
    expect((await local('tunnel', 'list')).stdout).toMatch(/spare[\s\S]*meanwhile/)
    await world.local(['admin', 'apply', '-f', '-', '--prune', '--yes'], { input: first })
  })
})
