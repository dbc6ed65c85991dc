import { execFileSync } from 'node:child_process'
import { appendFile, chmod, mkdir, readFile, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createRegistry, hashTree, LOCK_FILE } from '../src/index.ts'
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

const NAME = 'postern-auth-key'

/** A plugin folder with one plugin and a dependency of it. */
async function added() {
  const pluginFolder = await emptyFolder()
  const folder = await addPackage(pluginFolder, NAME, {
    'package.json': manifest(authEntry),
    'client.js': `import 'dep'\n${authModule()}`,
    'node_modules/dep/package.json': { name: 'dep', version: '1.0.0', type: 'module', exports: './index.js' },
    'node_modules/dep/index.js': '',
  })
  const add = (name = NAME) => {
    const registry = createRegistry([])
    return registry.add(name, { from: '/', pluginFolder }).then(() => registry)
  }
  const lock = join(pluginFolder, LOCK_FILE)
  const change = async (how: (entry: Record<string, unknown>, plugins: Record<string, unknown>) => void) => {
    const json = JSON.parse(await readFile(lock, 'utf8'))
    how(json.plugins[NAME], json.plugins)
    await writeFile(lock, JSON.stringify(json))
  }
  return { pluginFolder, folder, site: join(folder, '../..'), lock, add, change }
}

describe('row 115: a plugin that was added', () => {
  test('is loaded by its name, and by its name and version, while it is what it was', async () => {
    const { add } = await added()
    for (const name of [NAME, `${NAME}@1.0.0`]) {
      const registry = await add(name)
      expect(registry.find('auth', 'key')).toMatchObject({ version: '1.0.0', builtin: false })
      expect(await registry.create('auth', 'key', 'client', {}, host, call)).toHaveProperty('authenticate')
    }
  })

  test('its hash is what coreutils say', async () => {
    const { site } = await added()
    const lines = `find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha512sum | sha512sum | cut -d' ' -f1`
    const hex = execFileSync('sh', ['-c', lines], { cwd: site, encoding: 'utf8' }).trim()
    expect(await hashTree(site)).toEqual({ hash: `sha512-${Buffer.from(hex, 'hex').toString('base64')}` })
  })

  const changes: [string, (world: Awaited<ReturnType<typeof added>>) => Promise<unknown>, code?: string][] = [
    ['a file of it was changed', ({ folder }) => appendFile(join(folder, 'client.js'), '\n')],
    ['a file of what it depends on was', ({ folder }) => appendFile(join(folder, 'node_modules/dep/index.js'), '//')],
    ['a file came to it', ({ site }) => writeFile(join(site, 'node_modules/extra.js'), '')],
    ['a file went', ({ folder }) => unlink(join(folder, 'node_modules/dep/index.js'))],
    ['a file got another name', ({ folder }) => rename(join(folder, 'client.js'), join(folder, 'other.js'))],
    ['a file became a link', ({ folder }) => relink(join(folder, 'client.js'))],
    ['a link came to it', ({ folder }) => symlink('/etc/passwd', join(folder, 'passwd'))],
    ['it is gone', ({ site }) => rm(site, { recursive: true })],
    [
      'its folder is a link',
      async ({ site, pluginFolder }) => {
        await rename(site, join(pluginFolder, 'moved'))
        await mkdir(site)
        await symlink('../moved/node_modules', join(site, 'node_modules'))
      },
    ],
    ['the lock has no integrity', ({ change }) => change(entry => delete entry.integrity)],
    [
      'the lock has another hash’s integrity',
      ({ change }) => change(entry => Object.assign(entry, { integrity: 'sha1-AAAA' })),
    ],
    ['the lock has no hash of what was installed', ({ change }) => change(entry => delete entry.tree)],
    ['the lock has a range', ({ change }) => change(entry => Object.assign(entry, { version: '^1.0.0' }))],
    ['the lock has another version', ({ change }) => change(entry => Object.assign(entry, { version: '1.0.1' }))],
    ['the lock names a folder elsewhere', ({ change }) => change(entry => Object.assign(entry, { folder: '../x' }))],
    ['the lock’s entry is none', ({ change }) => change((_, plugins) => Object.assign(plugins, { [NAME]: '1.0.0' }))],
    ['the lock is no JSON', ({ lock }) => writeFile(lock, '{')],
    ['the lock is of a later version', ({ lock }) => writeFile(lock, '{ "lockfileVersion": 2, "plugins": {} }')],
    ['the lock does not know it', ({ change }) => change((_, plugins) => delete plugins[NAME]), 'PLUGIN_NOT_FOUND'],
    ['there is no lock', ({ lock }) => unlink(lock), 'PLUGIN_NOT_FOUND'],
    ['others can write the lock', ({ lock }) => chmod(lock, 0o666), 'FILE_UNSAFE'],
    ['others can write the folder', ({ pluginFolder }) => chmod(pluginFolder, 0o777), 'FILE_UNSAFE'],
    ['the lock is a link', ({ lock }) => relink(lock), 'FILE_UNSAFE'],
  ]
  test.each(changes)('%s: refused before anything of it is imported', async (_, change, code = 'PLUGIN_INTEGRITY') => {
    const world = await added()
    await world.add()
    await change(world)
    const error = await refused(world.add())
    expect(error.code).toBe(code)
    expect(error.next).not.toBe('')
  })

  test('is looked at again when its file is asked for', async () => {
    const { add, folder } = await added()
    const registry = await add()
    expect(await registry.moduleOf('auth', 'key', 'client')).toBe(join(folder, 'client.js'))
    await appendFile(join(folder, 'client.js'), '\n')
    expect((await refused(registry.moduleOf('auth', 'key', 'client'))).code).toBe('PLUGIN_INTEGRITY')
  })

  test.each(['^1.0.0', '~1.0.0', '1', '1.x', 'latest', '*', '>=1.0.0', ''])(
    'by the version %j: refused',
    async version => {
      const { add } = await added()
      expect((await refused(add(`${NAME}@${version}`))).code).toBe('PLUGIN_NOT_FOUND')
    },
  )

  test('by another exact version than it has: refused', async () => {
    const { add } = await added()
    expect((await refused(add(`${NAME}@1.0.1`))).code).toBe('PLUGIN_INTEGRITY')
  })

  test('a package that says it is another, in the place of one that was added: refused', async () => {
    const { add, site, folder, change } = await added()
    await writePackage(folder, { 'package.json': { ...manifest(authEntry), name: 'postern-auth-kay' } })
    const found = await hashTree(site)
    await change(entry => Object.assign(entry, { tree: 'hash' in found && found.hash }))
    expect(await refused(add())).toMatchObject({
      code: 'PLUGIN_INTEGRITY',
      message: expect.stringContaining('postern-auth-kay'),
    })
  })

  test('one that is near, and one in the working folder, are not taken for it', async () => {
    const { add, pluginFolder } = await added()
    const from = await emptyFolder()
    await writePackage(join(from, 'node_modules', NAME), {
      'package.json': manifest(authEntry),
      'client.js': 'globalThis.squatted = true',
    })
    const registry = createRegistry([])
    await registry.add(NAME, { from, pluginFolder })
    await registry.load('auth', 'key', 'client', call)
    expect(globalThis).not.toHaveProperty('squatted')
    expect((await refused(add('postern-auth-kee'))).code).toBe('PLUGIN_NOT_FOUND')
  })
})

/** The same file, through a link. */
async function relink(path: string): Promise<void> {
  await rename(path, `${path}.real`)
  await symlink(`${path}.real`, path)
}
