import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { checkAuthority, checkIdentity, keyFingerprint } from '@postern/connector'
import { createConnector } from '@postern/connector/issue'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AdminWorld, failure, json, startAdminWorld } from './admin-world.ts'

let world: AdminWorld
beforeAll(async () => {
  world = await startAdminWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const local = (...args: string[]) => world.local(args)
const filesOf = (who: string) => readdirSync(join(world.folder, who, 'tunnels'))
const infoOf = async (name: string) =>
  json<{ identity?: { fingerprint: string } }>(await local('tunnel', 'info', name, '--json'))

describe('the identity of a tunnel', () => {
  it('is made with it, here, 0600, and its fingerprint is shown in one spelling', async () => {
    const made = json<{ identity: { fingerprint: string }; identityFile: string }>(
      await local('tunnel', 'create', 'home-two', '--json'),
    )
    const { fingerprint } = made.identity
    expect(fingerprint).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(made.identityFile).toBe(join(world.folder, 'local', 'tunnels', `home-two-${fingerprint.slice(7, 23)}.pem`))
    expect(statSync(made.identityFile).mode & 0o777).toBe(0o600)
    expect(keyFingerprint(readFileSync(made.identityFile, 'utf8'))).toBe(fingerprint)
    for (const shown of [await local('tunnel', 'list'), await local('tunnel', 'info', 'home-two')])
      expect(shown.stdout).toContain(fingerprint)
  })

  it('is left out where that is wanted, or goes into a file that is named', async () => {
    const before = filesOf('local')
    await local('tunnel', 'create', 'plain', '--no-identity')
    expect((await infoOf('plain')).identity).toBeUndefined()
    const named = join(world.folder, 'named.pem')
    await local('tunnel', 'create', 'named', '--identity-file', named)
    expect(keyFingerprint(readFileSync(named, 'utf8'))).toBe((await infoOf('named')).identity?.fingerprint)
    expect(filesOf('local')).toEqual(before)
    const both = await local('tunnel', 'create', 'x', '--no-identity', '--identity-file', named, '--json')
    expect(failure(both).code).toBe('OPTION_CONFLICT')
  })

  it('leaves no file of a tunnel that came to nothing', async () => {
    const before = filesOf('local')
    for (const name of ['plain', 'Office', '../office'])
      expect(failure(await local('tunnel', 'create', name, '--json')).code).toMatch(/ALREADY_EXISTS|BAD_USAGE/)
    expect(filesOf('local')).toEqual(before)
  })

  it('stays where the edge may have made the tunnel, and did not say so', async () => {
    const before = filesOf('local').length
    const data = join(world.folder, 'muddled')
    mkdirSync(data, { mode: 0o700 })
    const server = createServer((_request, response) => void response.end('{')).listen(join(data, 'admin.sock'))
    await once(server, 'listening')
    const made = await local('tunnel', 'create', 'muddled', '--data', data, '--json')
    server.close()
    expect(failure(made).code).toBe('EDGE_PROTOCOL')
    expect(filesOf('local')).toHaveLength(before + 1)
  })

  it('is replaced by another one', async () => {
    const before = (await infoOf('named')).identity?.fingerprint
    const made = json(await local('tunnel', 'rotate', 'named', '--json'))
    expect(made.fingerprint).not.toBe(before)
    expect((await infoOf('named')).identity?.fingerprint).toBe(made.fingerprint)
    expect(failure(await local('tunnel', 'rotate', 'nowhere', '--json')).code).toBe('NOT_FOUND')
  })
})

describe('a setup token', () => {
  it('is a file, 0600, that holds what one machine needs and not the identity’s key', async () => {
    const out = join(world.folder, 'home-setup')
    const made = json(await local('tunnel', 'setup-token', 'home-two', '--file', out, '--expires-in', '1h', '--json'))
    expect(made).toMatchObject({ tunnel: 'home-two', file: out })
    expect(statSync(out).mode & 0o777).toBe(0o600)
    const file = JSON.parse(readFileSync(out, 'utf8')) as Record<string, string>
    expect(file).toMatchObject({
      version: 1,
      edge: world.url,
      tunnel: 'home-two',
      token: expect.stringMatching(/^pcons_/),
    })
    const { identity } = await infoOf('home-two')
    expect(keyFingerprint(file.authorityKey ?? '')).not.toBe(identity?.fingerprint)
    expect(keyFingerprint(checkIdentity(file.identity ?? '').publicKey)).toBe(identity?.fingerprint)
    // It can be used for an hour; what it makes is good for a year, and for one connector.
    expect(Date.parse(String(made.expiresAt))).toBeLessThanOrEqual(Date.now() + 3_600_000)
    const { connector } = checkAuthority(file.authority ?? '', checkIdentity(file.identity ?? ''), 'home-two')
    expect(connector).toMatch(/^[0-9a-f-]{36}$/)
    const again = await local('tunnel', 'setup-token', 'home-two', '--file', out, '--json')
    expect(failure(again).code).toBe('ALREADY_EXISTS')
  })

  it('wants the identity on this machine', async () => {
    const out = join(world.folder, 'other-setup')
    const env = { POSTERN_EDGE_DATA: join(world.folder, 'edge') }
    const elsewhere = await world.as('somebody', ['tunnel', 'setup-token', 'home-two', '--file', out, '--json'], {
      env,
    })
    expect(failure(elsewhere)).toMatchObject({ code: 'NOT_FOUND', next: expect.stringContaining('--identity-file') })
    const none = await local('tunnel', 'setup-token', 'plain', '--file', out, '--json')
    expect(failure(none)).toMatchObject({ code: 'CONFLICT', next: expect.stringContaining('tunnel rotate plain') })
  })
})

describe('signing', () => {
  const ask = async (name: string) => {
    const one = await createConnector()
    const body = { connector: one.id, publicKey: one.publicKey, host: 'far \u001b[2J away' }
    // What a host calls itself is one line at the edge.
    await expect(
      world.edge.administration.call('signing-request.create', { params: { name }, body }),
    ).rejects.toMatchObject({ code: 'BAD_USAGE' })
    const asked = { ...body, host: 'far away' }
    return world.edge.administration.call('signing-request.create', { params: { name }, body: asked })
  }

  it('signs the key that is named by its fingerprint, and no other', async () => {
    expect(failure(await local('tunnel', 'sign', 'home-two', '--json')).code).toBe('NOT_FOUND')
    const [one, other] = [await ask('home-two'), await ask('home-two')]
    expect(failure(await local('tunnel', 'sign', 'home-two', '--yes', '--json')).code).toBe('OPTION_MISSING')
    const signed = await local('tunnel', 'sign', 'home-two', '--yes', '--fingerprint', one.fingerprint, '--json')
    expect(json(signed)).toMatchObject([{ id: one.id, certificate: expect.any(String) }])
    expect(signed.stderr).toContain('far away')
    const get = (id: string) =>
      world.edge.administration.call('signing-request.get', { params: { name: 'home-two', id } })
    expect((await get(one.id)).certificate).toBeDefined()
    expect((await get(other.id)).certificate).toBeUndefined()
  })

  it('row 101: an edge that says that fingerprint of another key gets nothing signed', async () => {
    const [asked, other] = [await ask('home-two'), await createConnector()]
    const lie = (publicKey: string) => {
      const { store } = world.edge
      const row = store.snapshot.records.get('signing-request')?.get(asked.id) as object
      const value = { ...row, publicKey }
      return store.apply([{ put: 'record', namespace: 'signing-request', id: asked.id, value }], {
        action: 'test',
        actor: 'test',
      })
    }
    const sign = () => local('tunnel', 'sign', 'home-two', '--yes', '--fingerprint', asked.fingerprint, '--json')
    await lie(other.publicKey)
    const signed = await sign()
    expect([signed.stdout, failure(signed).code]).toEqual(['', 'NOT_FOUND'])
    await lie(asked.publicKey)
    expect(json(await sign())).toMatchObject([{ id: asked.id }])
  })

  it('asks a person otherwise, and without one signs nothing', async () => {
    expect(failure(await local('tunnel', 'sign', 'home-two', '--json')).code).toBe('LOGIN_REQUIRED')
  })

  it('row 94: the identity’s key is never at the edge', async () => {
    const secrets = filesOf('local').map(file => readFileSync(join(world.folder, 'local', 'tunnels', file), 'utf8'))
    const keys = secrets.flatMap(text => /BEGIN PRIVATE KEY-----\n(.{60})/.exec(text)?.[1] ?? [])
    expect(keys.length).toBeGreaterThan(1)
    const certificates = secrets.flatMap(text => /BEGIN CERTIFICATE-----\n(.{60})/.exec(text)?.[1] ?? [])
    const data = readdirSync(join(world.folder, 'edge'), { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => readFileSync(join(entry.parentPath, entry.name)))
    for (const key of keys) expect(data.filter(bytes => bytes.includes(key))).toEqual([])
    // The search finds what is there.
    expect(certificates.filter(one => data.some(bytes => bytes.includes(one)))).not.toEqual([])
  })
})
