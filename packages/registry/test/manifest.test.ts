import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { checkManifest, createRegistry, LARGEST_MANIFEST } from '../src/index.ts'
import {
  addPackage,
  authEntry,
  authModule,
  call,
  emptyFolder,
  host,
  manifest,
  refused,
  writePackage,
} from './packages.ts'

const check = (...plugins: unknown[]) => checkManifest({ api: 1, plugins }, 'p')
const protocol = {
  kind: 'protocol',
  name: 'echo',
  schemes: ['echo'],
  defaultPort: 7,
  listens: true,
  options: { origin: ['limit'] },
  client: './c.js',
  origin: './o.js',
}

describe('a manifest', () => {
  test('of the right shape is taken as it is', () => {
    expect(check(authEntry, protocol).plugins).toEqual([authEntry, protocol])
    expect(check({ ...authEntry, summary: 'an API key', client: './dist/a..b/client.js' }).plugins).toHaveLength(1)
  })

  const wrong: [unknown, string][] = [
    [undefined, 'found no "postern" in its package.json'],
    [[], '"postern" is a list'],
    [{ plugins: [authEntry] }, '"postern.api" is nothing'],
    [{ api: '1', plugins: [authEntry] }, '"postern.api" is "1"'],
    [{ api: 1.5, plugins: [authEntry] }, '"postern.api" is 1.5'],
    [{ api: 1 }, '"postern.plugins" is nothing'],
    [{ api: 1, plugins: [] }, '"postern.plugins" is a list of 0'],
    [{ api: 1, plugins: [authEntry], more: 1 }, 'the unknown key "postern.more"'],
    [{ api: 1, plugins: [1] }, '"postern.plugins[0]" is 1'],
    [
      { api: 1, plugins: [{ ...authEntry, kind: 'constructor' }] },
      'kind" is "constructor"; wanted one of auth, transport, protocol',
    ],
    [{ api: 1, plugins: [{ ...authEntry, name: 'Key' }] }, 'name" is "Key"'],
    [{ api: 1, plugins: [{ ...authEntry, clinet: './x.js' }] }, 'clinet"; wanted perhaps "client"'],
    [{ api: 1, plugins: [{ ...authEntry, origin: './x.js' }] }, 'origin"; wanted only client, edge for the kind auth'],
    [{ api: 1, plugins: [{ kind: 'auth', name: 'key' }] }, 'without a module'],
    [{ api: 1, plugins: [{ ...authEntry, client: '../x.js' }] }, 'client" is "../x.js"'],
    [{ api: 1, plugins: [{ ...authEntry, client: './a/../../x.js' }] }, 'client" is'],
    [{ api: 1, plugins: [{ ...authEntry, client: '/etc/x.js' }] }, 'client" is "/etc/x.js"'],
    [{ api: 1, plugins: [{ ...authEntry, client: 'data:text/javascript,1' }] }, 'client" is'],
    [{ api: 1, plugins: [{ ...authEntry, schemes: ['x'] }] }, 'only protocols serve schemes'],
    [{ api: 1, plugins: [{ ...authEntry, defaultPort: 1 }] }, 'only protocols have one'],
    [{ api: 1, plugins: [{ ...authEntry, listens: true }] }, 'only protocols with a client side'],
    [{ api: 1, plugins: [{ ...protocol, listens: false }] }, 'listens" is false; wanted true, or none'],
    [{ api: 1, plugins: [{ ...protocol, defaultPort: 0 }] }, 'defaultPort" is 0; wanted a port'],
    [{ api: 1, plugins: [{ ...protocol, schemes: undefined }] }, 'schemes" is nothing'],
    [{ api: 1, plugins: [{ ...protocol, schemes: ['echo://'] }] }, 'schemes" is a list'],
    [{ api: 1, plugins: [{ ...authEntry, options: { edge: [] } }] }, 'options.edge'],
    [{ api: 1, plugins: [{ ...authEntry, options: { client: ['ca-file'] } }] }, 'options.client'],
    [{ api: 1, plugins: [authEntry, authEntry] }, 'the auth key twice'],
  ]
  test.each(wrong)('%j is refused', (value, message) => {
    expect(() => checkManifest(value, 'p')).toThrow(
      expect.objectContaining({ code: 'PLUGIN_MANIFEST', message: expect.stringContaining(message) }),
    )
  })

  test('of another API version is refused whatever else it says', () => {
    const newer = expect.objectContaining({ code: 'PLUGIN_API', next: expect.stringContaining('Update Postern') })
    expect(() => checkManifest({ api: 2, extensions: [] }, 'p')).toThrow(newer)
    expect(() => checkManifest({ api: 0, plugins: [] }, 'p')).toThrow(
      expect.objectContaining({ code: 'PLUGIN_API', next: 'Update the plugin.' }),
    )
  })
})

describe('adding a package', () => {
  test('reads its manifest and imports nothing', async () => {
    const from = await emptyFolder()
    await writePackage(join(from, 'plugin'), {
      'package.json': manifest(authEntry),
      'client.js': 'globalThis.imported = true',
    })
    const registry = createRegistry([])
    await registry.add('./plugin', { from })
    expect(registry.find('auth', 'key')).toMatchObject({ package: './plugin', builtin: false })
    expect(globalThis).not.toHaveProperty('imported')
    await refused(registry.load('auth', 'key', 'client', call))
    expect(globalThis).toHaveProperty('imported')
  })

  test('a name is a package that was added, and no other that lies about', async () => {
    const [from, pluginFolder] = [await emptyFolder(), await emptyFolder()]
    await writePackage(join(from, 'node_modules/near'), { 'package.json': manifest(authEntry) })
    await addPackage(pluginFolder, '@team/far', { 'package.json': manifest({ ...authEntry, name: 'far' }) })
    const registry = createRegistry([])
    await registry.add('@team/far', { from, pluginFolder })
    await registry.add('./node_modules/near', { from, pluginFolder })
    expect(registry.names('auth')).toEqual(['far', 'key'])
    expect((await refused(createRegistry([]).add('@team/far', { from }))).code).toBe('PLUGIN_NOT_FOUND')
    expect(await refused(createRegistry([]).add('near', { from, pluginFolder }))).toMatchObject({
      code: 'PLUGIN_NOT_FOUND',
      next: expect.stringContaining('write its path: ./node_modules/near.'),
    })
    await writePackage(join(from, 'near'), { 'package.json': manifest(authEntry) })
    expect(await refused(createRegistry([]).add('near', { from, pluginFolder }))).toMatchObject({
      next: expect.stringContaining('write its path: ./near.'),
    })
    expect(await refused(createRegistry([]).add('./far', { from, pluginFolder }))).toMatchObject({
      next: expect.stringContaining('Correct the path'),
    })
  })

  test.each([
    'near@1.0.0',
    'https://example.com/x',
    '../../etc',
    'node_modules/../near',
    '',
    'NEAR',
    './nowhere',
    'file:./near',
  ])('does not take %j for an installed package', async specifier => {
    const from = await emptyFolder()
    await writePackage(join(from, 'node_modules/near'), { 'package.json': manifest(authEntry) })
    expect((await refused(createRegistry([]).add(specifier, { from }))).code).toBe('PLUGIN_NOT_FOUND')
  })

  test('refuses a package.json that is none', async () => {
    const from = await emptyFolder()
    await writePackage(from, {
      'text/package.json': 'not json',
      'large/package.json': { ...manifest(authEntry), filler: 'x'.repeat(LARGEST_MANIFEST) },
      'plain/package.json': { name: 'left-pad' },
      'folder/package.json/x': '',
      'array/package.json': [],
    })
    await mkdir(join(from, 'none'))
    const codes = await Promise.all(
      ['text', 'large', 'plain', 'folder', 'array', 'none'].map(
        async name => (await refused(createRegistry([]).add(`./${name}`, { from }))).code,
      ),
    )
    expect(codes).toEqual([...Array(5).fill('PLUGIN_MANIFEST'), 'PLUGIN_NOT_FOUND'])
  })
})

describe('modules stay inside their package', () => {
  test('a link that leaves it is refused; one that stays is followed', async () => {
    const from = await emptyFolder()
    const folder = await writePackage(join(from, 'p'), { 'package.json': manifest(authEntry), 'real.js': authModule() })
    await writeFile(join(from, 'outside.js'), authModule())
    const registry = createRegistry([])
    await registry.add('./p', { from })
    await symlink('../outside.js', join(folder, 'client.js'))
    expect((await refused(registry.load('auth', 'key', 'client', call))).code).toBe('PLUGIN_LOAD')
    const other = await writePackage(join(from, 'q'), { 'package.json': manifest(authEntry), 'real.js': authModule() })
    await symlink('real.js', join(other, 'client.js'))
    const second = createRegistry([])
    await second.add('./q', { from })
    expect(await second.load('auth', 'key', 'client', call)).toMatchObject({ name: 'key' })
  })

  test('a package that is a link itself is fine: that is how npm and pnpm link workspaces', async () => {
    const from = await emptyFolder()
    await writePackage(join(from, 'p'), { 'package.json': manifest(authEntry), 'client.js': authModule() })
    await mkdir(join(from, 'node_modules'))
    await symlink('../p', join(from, 'node_modules/linked'))
    const registry = createRegistry([])
    await registry.add('./node_modules/linked', { from })
    expect(await registry.create('auth', 'key', 'client', {}, host, call)).toHaveProperty('authenticate')
  })
})

describe('two copies of the interface agree', () => {
  test('a plugin that bundles its own copy loads, and its errors are known', async () => {
    const folder = await emptyFolder()
    const dist = new URL('../../interface/dist/', import.meta.url)
    const copy = ['codes.js', 'errors.js', 'plugin.js']
    const files = await Promise.all(
      copy.map(async name => [`own/${name}`, await readFile(new URL(name, dist), 'utf8')] as const),
    )
    const source = `import { definePlugin } from './own/plugin.js'
      import { PosternError } from './own/errors.js'
      export default definePlugin({ kind: 'auth', side: 'client', name: 'key', options: {}, create: () => ({
        authenticate: async () => { throw new PosternError('LOGIN_REQUIRED', 'nobody there') } }) })`
    await writePackage(folder, {
      'package.json': manifest(authEntry),
      'client.js': source,
      ...Object.fromEntries(files),
    })
    const registry = createRegistry([])
    await registry.add(folder, { from: folder })
    const auth = await registry.create('auth', 'key', 'client', {}, host, call)
    const error = await refused(auth.authenticate({ purpose: 'connector', teamDomain: 'x' }, call))
    expect(error).toMatchObject({ code: 'LOGIN_REQUIRED' })
    const { PosternError } = await import('@postern/interface')
    expect(error instanceof PosternError).toBe(false)
  })
})
