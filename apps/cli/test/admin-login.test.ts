import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { authority } from '@postern/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AdminWorld, failure, json, startAdminWorld } from './admin-world.ts'

let world: AdminWorld
beforeAll(async () => {
  world = await startAdminWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const file = (name: string, text: string) => {
  const path = join(world.folder, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}
const login = (...more: string[]) => ['admin', 'login', '--edge', world.url, '--ca', world.ca, ...more]
const stored = (who: string) => join(world.folder, who, 'secrets', 'admin-logins')

describe('a login', () => {
  let viewer = ''

  it('exchanges the setup token, once, and remembers the rest', async () => {
    const setup = readFileSync(world.setupTokenFile, 'utf8')
    const copy = file('setup-copy', setup)
    const first = await world.as('ada', login('--setup-token-file', world.setupTokenFile, '--name', 'ada'))
    expect([first.code, first.stdout]).toEqual([0, expect.stringContaining(`logged in at ${world.url} as admin:ada`)])
    expect(statSync(stored('ada')).mode & 0o777).toBe(0o600)
    const { token } = JSON.parse(readFileSync(stored('ada'), 'utf8')).edges[world.url]
    for (const secret of [token, setup.trim()]) expect(first.stdout + first.stderr).not.toContain(secret)
    const second = await world.as('eve', login('--setup-token-file', copy))
    expect([second.code, second.stdout]).toEqual([11, ''])
    expect(second.stderr).toContain('AUTH_REJECTED')
  })

  it('is all that later commands need', async () => {
    const who = json(await world.as('ada', ['admin', 'whoami', '--json']))
    expect(who).toMatchObject({ edge: world.url, role: 'admin' })
    const made = await world.as('ada', ['tunnel', 'create', 'remote'])
    expect(made.stderr).toContain(`--edge ${world.url} --ca ${world.ca} --token-file`)
  })

  it('of a viewer lets look and not touch', async () => {
    const out = join(world.folder, 'viewer-token')
    const created = await world.as('ada', ['admin', 'token', 'create', 'eyes', '--role', 'viewer', '--out', out])
    expect(created.code).toBe(0)
    viewer = readFileSync(out, 'utf8').trim()
    expect((await world.as('vic', login('--token-file', out))).code).toBe(0)
    expect((await world.as('vic', ['tunnel', 'list'])).stdout).toContain('remote')
    for (const args of [
      ['tunnel', 'create', 'other'],
      ['admin', 'token', 'list'],
      ['admin', 'service-token', 'create', 'x', '--out', join(world.folder, 'never')],
    ]) {
      const { code, stdout, stderr } = await world.as('vic', args)
      expect([code, stdout]).toEqual([14, ''])
      expect(stderr).toContain('ACCESS_DENIED, said by the edge')
      expect(stderr).toMatch(/request {2}\S+/)
    }
    expect((await world.as('ada', ['tunnel', 'list'])).stdout).not.toContain('other')
  })

  it('can be left out: a token for one command, by file or variable, which nothing shows', async () => {
    const tokenFile = join(world.folder, 'viewer-token')
    const place = ['--edge', world.url, '--ca', world.ca, '--log-level', 'debug']
    for (const [args, env] of [
      [['--admin-token-file', tokenFile], {}],
      [[], { POSTERN_ADMIN_TOKEN_FILE: tokenFile }],
      [[], { POSTERN_ADMIN_TOKEN: viewer }],
    ] as const) {
      const ran = await world.as('nobody', ['admin', 'whoami', ...place, ...args], { env })
      expect([ran.code, ran.stdout]).toEqual([0, expect.stringContaining('admin:eyes')])
      expect(ran.stdout + ran.stderr).not.toContain(viewer)
    }
  })

  it('is refused for a token of another kind, before anybody hears of it', async () => {
    const wrong = await world.as('eve', login('--token-file', file('wrong', 'pst_something\n'), '--json'))
    expect(failure(wrong)).toMatchObject({
      code: 'OPTION_INVALID',
      next: expect.stringContaining('--setup-token-file'),
    })
    expect(failure(await world.as('eve', login('--json')))).toMatchObject({ code: 'OPTION_MISSING' })
  })

  it('of a file that others can read is refused', async () => {
    const open = join(world.folder, 'open-token')
    writeFileSync(open, 'pats_x', { mode: 0o644 })
    expect((await world.as('eve', login('--token-file', open))).code).toBe(5)
  })

  it('ends with logout: forgotten, and revoked where that is wanted', async () => {
    const { token } = JSON.parse(readFileSync(stored('ada'), 'utf8')).edges[world.url]
    const spare = join(world.folder, 'spare-token')
    await world.as('ada', ['admin', 'token', 'create', 'spare', '--role', 'admin', '--out', spare])
    const env = { POSTERN_EDGE_DATA: '/nonexistent' } // another edge that the variables mean is not asked
    expect((await world.as('ada', ['admin', 'logout', '--revoke'], { env })).stdout).toContain('the token is revoked')
    expect(readFileSync(stored('ada'), 'utf8')).not.toContain(token)
    expect((await world.as('ada', ['tunnel', 'list'])).code).toBe(2)
    const back = await world.as('ada', login('--token-file', file('ada-token', `${token}\n`)))
    expect([back.code, back.stderr]).toEqual([13, expect.stringContaining('TOKEN_REVOKED')])
    await world.as('ada', login('--token-file', spare))
    expect((await world.as('ada', ['admin', 'token', 'list'])).stdout).toMatch(/ada\s+pat_\w+\s+admin\s+revoked/)
    expect((await world.as('ada', ['admin', 'logout'])).code).toBe(0)
    expect((await world.as('ada', login('--token-file', spare))).code).toBe(0) // not revoked: still good
  })
})

describe('an edge elsewhere', () => {
  it('with a certificate of another CA is not shown the token', async () => {
    const other = file('other-ca.pem', (await authority()).ca)
    const { code, stderr } = await world.as('vic', ['tunnel', 'list', '--ca', other])
    expect([code, stderr]).toEqual([22, expect.stringContaining('EDGE_UNTRUSTED')])
    expect((await world.as('vic', ['tunnel', 'list'])).code).toBe(0)
  })

  it('that is down', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    await new Promise(resolve => server.close(resolve))
    const args = ['tunnel', 'list', '--edge', `https://edge.localhost:${port}`]
    const env = { POSTERN_ADMIN_TOKEN: 'pats_x' }
    expect(await world.as('vic', args, { env })).toMatchObject({
      code: 21,
      stderr: expect.stringContaining('nothing listens'),
    })
  })

  it('for which there is no token', async () => {
    const { code, stderr } = await world.as('vic', ['tunnel', 'list', '--edge', 'https://other.localhost'])
    expect([code, stderr]).toEqual([10, expect.stringContaining('postern admin login --edge https://other.localhost')])
  })
})
