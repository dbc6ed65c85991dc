import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  apartFile,
  type Credentials,
  changeCredentials,
  credentialsFile,
  identityFile,
  keepGrantKeys,
  keepGrantKeysApart,
  keepIdentity,
  mustBeWritable,
  readCredentials,
  readGrantKeysApart,
  readIdentity,
  readSetupFile,
  writeJson,
} from '../src/files.ts'
import { keyFingerprint } from '../src/index.ts'
import { createIdentity } from '../src/issue.ts'

let folder: string
let env: { readonly POSTERN_HOME: string }
let identity: Awaited<ReturnType<typeof createIdentity>>
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-connector-'))
  env = { POSTERN_HOME: join(folder, 'user') }
  identity = await createIdentity('home')
})
afterAll(() => rm(folder, { recursive: true }))

const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

describe('a tunnel’s identity', () => {
  test('row 118: is kept in a file of its owner’s alone, and found by its fingerprint', async () => {
    const fingerprint = keyFingerprint(identity.key)
    const path = await keepIdentity(env, 'home', identity)
    expect(path).toBe(identityFile(env, 'home', fingerprint))
    expect([await modeOf(path), await modeOf(dirname(path))]).toEqual(['600', '700'])
    expect(await readIdentity(env, 'home', fingerprint)).toEqual(identity)
    await expect(keepIdentity(env, 'home', identity)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await chmod(path, 0o640)
    await expect(readIdentity(env, 'home', fingerprint)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    await chmod(path, 0o600)
  })

  test('a file with another one is refused; none is none', async () => {
    const other = await createIdentity('home')
    const path = await keepIdentity(env, 'home', other, join(folder, 'other.pem'))
    const wanted = keyFingerprint(identity.key)
    await expect(readIdentity(env, 'home', wanted, path)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await writeFile(join(folder, 'mixed.pem'), identity.cert + other.key, { mode: 0o600 })
    const mixed = readIdentity(env, 'home', wanted, join(folder, 'mixed.pem'))
    await expect(mixed).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    expect(await readIdentity(env, 'home', keyFingerprint(other.key))).toBeUndefined()
  })

  test('a name that leads elsewhere is none', async () => {
    for (const name of ['../x', 'a/b', 'Home', '', '.', 'x'.repeat(64)])
      await expect(keepIdentity(env, name, identity)).rejects.toMatchObject({ code: 'BAD_USAGE' })
  })

  test('row 119: through a symbolic link nothing is written or read', async () => {
    const path = join(folder, 'link.pem')
    await symlink(join(folder, 'elsewhere'), path)
    await expect(keepIdentity(env, 'home', identity, path)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(readIdentity(env, 'home', '', path)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    await expect(stat(join(folder, 'elsewhere'))).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

describe('credentials', () => {
  const credentials: Credentials = {
    version: 1,
    edge: 'https://edge.example.com',
    tunnel: 'home',
    connector: crypto.randomUUID(),
    token: 'ptt_secret',
    certificate: 'CERTIFICATE',
    key: 'KEY',
  }

  test('row 118: are written 0600 in a folder 0700, and read as they were', async () => {
    const path = join(folder, 'new', 'folder', 'connector.json')
    await mustBeWritable(path)
    await writeJson(path, credentials)
    expect([await modeOf(path), await modeOf(dirname(path))]).toEqual(['600', '700'])
    expect(readCredentials(await readFile(path, 'utf8'), path)).toEqual(credentials)
    expect(credentialsFile(env)).toBe(join(env.POSTERN_HOME, 'connector.json'))
  })

  test.each<[string, string]>([
    ['no JSON', 'ptt_secret'],
    ['no object', 'null'],
    ['no key', JSON.stringify({ ...credentials, key: undefined })],
    ['a token that is no text', JSON.stringify({ ...credentials, token: 1 })],
    ['another version', JSON.stringify({ ...credentials, version: 2 })],
    ['an edge by http', JSON.stringify({ ...credentials, edge: 'http://edge.example.com' })],
    ['a CA that is no text', JSON.stringify({ ...credentials, ca: 1 })],
  ])('with %s they are refused, and not repeated', (_what, text) => {
    const read = () => readCredentials(text, '/x')
    expect(read).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
    expect(read).toThrow(expect.objectContaining({ message: expect.not.stringContaining('ptt_secret') }))
  })

  test('later keys of grants take the place of earlier ones, of the same connector', async () => {
    const path = join(folder, 'keys', 'connector.json')
    const set = (sequence: number) => ({ keys: [{ kid: `k${sequence}` }], sequence })
    expect(await keepGrantKeys(path, credentials.connector, set(1))).toBe(false) // nothing there
    await writeJson(path, { ...credentials, grantKeys: { keys: [] } })
    expect(await keepGrantKeys(path, credentials.connector, set(2))).toBe(true)
    for (const old of [1, 2]) expect(await keepGrantKeys(path, credentials.connector, set(old))).toBe(false)
    expect(await keepGrantKeys(path, crypto.randomUUID(), set(3))).toBe(false)
    expect(readCredentials(await readFile(path, 'utf8'), path)).toEqual({ ...credentials, grantKeys: set(2) })
    expect(await modeOf(path)).toBe('600')
  })

  test('a login and a daemon that keeps later keys do not undo each other', async () => {
    const path = join(folder, 'both', 'connector.json')
    await writeJson(path, credentials)
    const set = { keys: [{ kid: 'k' }], sequence: 7 }
    const another = { ...credentials, connector: crypto.randomUUID() }
    let keeping: Promise<boolean> | undefined
    await changeCredentials(path, async () => {
      keeping = keepGrantKeys(path, credentials.connector, set)
      // For as long as it would take it, if it did not wait.
      await new Promise(resolve => setTimeout(resolve, 100))
      await writeJson(path, another)
    })
    expect(await keeping).toBe(false)
    expect(readCredentials(await readFile(path, 'utf8'), path)).toEqual(another)
    expect(await keepGrantKeys(path, another.connector, set)).toBe(true) // the allow twin
    expect(readCredentials(await readFile(path, 'utf8'), path)).toEqual({ ...another, grantKeys: set })
    await expect(changeCredentials(path, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await changeCredentials(path, async () => 'free again')).toBe('free again')
    expect(await modeOf(`${path}.lock`)).toBe('600')
  })

  test('of a service, whose credentials cannot be written, they are kept apart', async () => {
    const { connector } = credentials
    expect(apartFile({}, connector)).toBeUndefined()
    expect(apartFile({ STATE_DIRECTORY: folder }, '../../etc/passwd')).toBeUndefined()
    const path = apartFile({ STATE_DIRECTORY: `${folder}:/var/lib/other` }, connector) ?? ''
    expect(dirname(path)).toBe(folder)
    expect(await readGrantKeysApart(path, connector)).toBeUndefined()
    const set = { keys: [{ kid: 'k' }], sequence: 4 }
    await keepGrantKeysApart(path, connector, set)
    expect([await readGrantKeysApart(path, connector), await modeOf(path)]).toEqual([set, '600'])
    // Another's, or half of it, is no such thing.
    await expect(readGrantKeysApart(path, crypto.randomUUID())).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await writeFile(path, '{"version":1,"conn', { mode: 0o600 })
    await expect(readGrantKeysApart(path, connector)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('are no setup file', () => {
    expect(() => readSetupFile(JSON.stringify(credentials), '/x')).toThrow('not what postern tunnel setup-token writes')
  })
})
