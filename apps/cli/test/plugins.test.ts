import { execFileSync, spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { create } from 'tar'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { postern } from './postern.ts'

const NAME = 'postern-protocol-note'
const LOCK = 'postern-plugins.lock.json'
let folder: string
let home: string
let plugins: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-plugins-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** The environment of somebody with a new home. */
async function newHome(): Promise<NodeJS.ProcessEnv> {
  home = await mkdtemp(join(folder, 'home-'))
  plugins = join(home, 'plugins')
  return { POSTERN_HOME: home, HOME: home, npm_config_offline: 'true' }
}

const entry = { kind: 'protocol', name: 'note', client: './client.js' }
const manifest = (version: string, more: object = {}) => ({
  name: NAME,
  version,
  type: 'module',
  postern: { api: 1, plugins: [entry] },
  ...more,
})

/** A tarball as npm pack makes them, of these files. What is no text is JSON. */
async function pack(
  files: Readonly<Record<string, unknown>>,
  more?: (source: string) => Promise<void>,
): Promise<string> {
  const source = await mkdtemp(join(folder, 'source-'))
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(source, path)), { recursive: true })
    await writeFile(join(source, path), typeof content === 'string' ? content : JSON.stringify(content))
  }
  await more?.(join(source, 'package'))
  const file = `${source}.tgz`
  await create({ gzip: true, file, cwd: source, portable: true, preservePaths: true }, await readdir(source))
  return file
}
const packNote = (version = '1.0.0', more: object = {}, client = `export default 'never imported here'`) =>
  pack({ 'package/package.json': manifest(version, more), 'package/client.js': client })

const lockOf = async () => JSON.parse(await readFile(join(plugins, LOCK), 'utf8')).plugins[NAME]
const listed = async (env: NodeJS.ProcessEnv) => {
  const { code, stdout } = await postern(['plugins', 'list', '--json'], { env })
  return { code, added: JSON.parse(stdout).plugins.filter((one: { builtIn: boolean }) => !one.builtIn) }
}

test('add, list, replace, remove: as it is typed', { timeout: 60_000 }, async () => {
  const env = await newHome()
  const [first, second] = [await packNote('1.0.0'), await packNote('1.1.0')]
  expect(await listed(env)).toEqual({ code: 0, added: [] })

  const added = await postern(['plugins', 'add', first], { env })
  expect(added).toMatchObject({
    code: 0,
    stderr: '',
    stdout: expect.stringContaining(`${NAME}@1.0.0 added\n  sha512-`),
  })
  expect(await postern(['plugins', 'add', first], { env })).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('already'),
  })
  const { integrity } = await lockOf()
  expect(await listed(env)).toMatchObject({
    code: 0,
    added: [
      { kind: 'protocol', name: 'note', sides: ['client'], package: NAME, version: '1.0.0', integrity, ok: true },
    ],
  })
  const text = (await postern(['plugins', 'list'], { env })).stdout
  expect(text).toMatch(/^auth +service-token +client, edge +@postern\/auth-service-token +built in/m)
  expect(text).toMatch(/^protocol +note +client +postern-protocol-note +1\.0\.0 +as added/m)

  const replaced = await postern(['plugins', 'add', second, '--json'], { env })
  expect(JSON.parse(replaced.stdout)).toMatchObject({ name: NAME, version: '1.1.0', before: '1.0.0' })
  expect((await listed(env)).added).toMatchObject([{ version: '1.1.0', ok: true }])

  expect(await postern(['plugins', 'remove', NAME], { env })).toMatchObject({ code: 0, stdout: `${NAME} removed\n` })
  expect(await listed(env)).toEqual({ code: 0, added: [] })
  expect((await readdir(plugins)).filter(name => name.includes('@'))).toEqual([])
  expect((await postern(['plugins', 'remove', NAME], { env })).code).toBe(60)
})

test('one that was added is used by its name, and no more once it was changed', { timeout: 60_000 }, async () => {
  const env = await newHome()
  const source = `export default { api: 1, kind: 'protocol', side: 'client', name: 'note', options: {},
    create: () => { throw new Error('it was imported') } }`
  const tarball = await packNote('1.0.0', {}, source)
  await postern(['plugins', 'add', tarball], { env })
  const use = (plugin: string) =>
    postern(['access', 'note', '--plugin', plugin, '--hostname', 'x.localhost', '--id', 'a', '--secret', 'bbbbbbbb'], {
      env,
    })
  expect(await use(NAME)).toMatchObject({ code: 67, stderr: expect.stringContaining('it was imported') })
  expect((await use(`${NAME}@1.0.0`)).code).toBe(67)
  expect((await use(`${NAME}@1.0.1`)).code).toBe(50)
  const { folder: own } = await lockOf()
  await appendFile(join(plugins, own, 'node_modules', NAME, 'client.js'), '\n')
  const changed = await use(NAME)
  expect(changed).toMatchObject({ code: 50, stderr: expect.stringContaining('PLUGIN_INTEGRITY') })
  expect(changed.stderr).not.toContain('it was imported')
  expect(await listed(env)).toMatchObject({ code: 50, added: [{ ok: false }] })
  // The same again mends it.
  await postern(['plugins', 'add', tarball], { env })
  expect((await use(NAME)).code).toBe(67)
})

describe('row 115: what is refused, before anything of it is unpacked', () => {
  const note = { 'package/package.json': manifest('1.0.0'), 'package/client.js': '' }
  const refused: [string, () => Promise<string>, number][] = [
    ['a link', () => pack(note, source => symlink('/etc/passwd', join(source, 'passwd'))), 52],
    ['a path that leaves it', () => pack({ ...note, 'other/x.js': '' }), 52],
    ['a path with ..', () => dots(), 52],
    ['an install script', () => packNote('1.0.0', { scripts: { postinstall: 'touch /tmp/was-run' } }), 52],
    ['something to build', () => pack({ ...note, 'package/binding.gyp': '{}' }), 52],
    [
      'a dependency from git',
      () => packNote('1.0.0', { dependencies: { dep: 'git+https://example.com/dep.git' } }),
      52,
    ],
    ['a dependency under another name', () => packNote('1.0.0', { dependencies: { dep: 'npm:other@1.0.0' } }), 52],
    ['a dependency that is no text', () => packNote('1.0.0', { dependencies: { dep: { toString: 1 } } }), 52],
    ['a name that is no text', () => packNote('1.0.0', { name: { toString: 1 } }), 52],
    [
      'something to build, in a folder of another name',
      () => pack({ 'Package/package.json': manifest('1.0.0'), 'Package/client.js': '', 'Package/Binding.gyp': '{}' }),
      52,
    ],
    [
      'package.json twice, where long s is s',
      () => pack({ ...note, 'package/package.j\u017fon': manifest('1.0.0') }),
      52,
    ],
    [
      'zeros without end behind it',
      async () => {
        const file = join(folder, 'zeros.tgz')
        await writeFile(file, Buffer.concat([await readFile(await packNote()), gzipSync(Buffer.alloc(2 ** 27))]))
        return file
      },
      52,
    ],
    ['no package.json', () => pack({ 'package/client.js': '' }), 52],
    ['no manifest', () => pack({ 'package/package.json': { name: NAME, version: '1.0.0' } }), 61],
    ['another API', () => packNote('1.0.0', { postern: { api: 2, plugins: [] } }), 62],
    ['a version that is a range', () => packNote('^1.0.0'), 50],
    [
      'no tarball',
      async () => {
        const file = join(folder, 'none.tgz')
        await writeFile(file, 'not one')
        return file
      },
      52,
    ],
    [
      'one that is cut off',
      async () => {
        const [whole, file] = [await readFile(await packNote()), join(folder, 'cut.tgz')]
        await writeFile(file, whole.subarray(0, whole.length / 2))
        return file
      },
      52,
    ],
  ]
  test.each(refused)('%s', async (_, make, code) => {
    const env = await newHome()
    const { code: exit, stderr } = await postern(['plugins', 'add', await make()], { env })
    expect([exit, stderr]).toEqual([code, expect.stringContaining('  next ')])
    expect((await readdir(plugins)).filter(name => name !== 'changing.lock')).toEqual([])
  })

  test.each([
    ['postern-x', 'no version'],
    ['postern-x@^1.0.0', 'no exact version'],
    ['postern-x@latest', 'no exact version'],
    ['postern-x@1.2', 'no exact version'],
    ['postern-x@*', 'no exact version'],
    ['git+https://example.com/x.git', 'no package’s name'],
    ['https://example.com/x.tgz', 'no package’s name'],
    ['user/repo', 'no package’s name'],
    ['file:../x.tgz', 'no package’s name'],
    ['a@npm:b@1.0.0', 'no exact version'],
    ['../x', 'no package’s name'],
  ])('%s: %s', async (word, why) => {
    const env = await newHome()
    expect(await postern(['plugins', 'add', word], { env })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(why),
    })
    await expect(readdir(plugins)).rejects.toThrow('ENOENT')
  })

  test('another tarball of the version that was added; one that is not the integrity that was said', {
    timeout: 60_000,
  }, async () => {
    const env = await newHome()
    const [good, evil] = [await packNote(), await packNote('1.0.0', {}, 'globalThis.evil = 1')]
    await postern(['plugins', 'add', good], { env })
    const before = await lockOf()
    expect(await postern(['plugins', 'add', evil], { env })).toMatchObject({
      code: 50,
      stderr: expect.stringContaining('PLUGIN_INTEGRITY'),
    })
    expect(await lockOf()).toEqual(before)
    await newHome().then(fresh => Object.assign(env, fresh))
    expect((await postern(['plugins', 'add', evil, '--integrity', before.integrity], { env })).code).toBe(50)
    expect((await postern(['plugins', 'add', good, '--integrity', before.integrity], { env })).code).toBe(0)
  })
})

test('from a registry: with what it depends on; and a registry that lies is found out', {
  timeout: 60_000,
}, async () => {
  const online = { npm_config_offline: 'false', npm_config_prefer_online: 'true', npm_config_fetch_retries: '0' }
  const env: NodeJS.ProcessEnv = { ...(await newHome()), ...online }
  const ran = join(folder, 'was-run')
  const dep = { name: 'dep', version: '2.0.0', scripts: { postinstall: `touch ${ran}` } }
  const depTarball = await pack({ 'package/package.json': dep, 'package/index.js': '' })
  const needs = { dependencies: { dep: '^2.0.0' } }
  const good = await packNote('1.0.0', needs)
  const shelf: Record<string, OnShelf> = {
    [NAME]: { file: good, version: '1.0.0', ...needs },
    dep: { file: depTarball, version: '2.0.0' },
  }
  await using registry = await startRegistry(shelf)
  env.npm_config_registry = registry.url
  const add = () => postern(['plugins', 'add', `${NAME}@1.0.0`], { env })
  expect(await add()).toMatchObject({ code: 0, stderr: '' })
  const { folder: own, integrity } = await lockOf()
  expect(await readdir(join(plugins, own, 'node_modules'))).toEqual(expect.arrayContaining(['dep', NAME]))
  expect(integrity).toBe(await integrityOf(good))
  await expect(readFile(ran)).rejects.toThrow('ENOENT')

  // Another tarball of the same version, that the registry vouches for as well.
  shelf[NAME] = { file: await packNote('1.0.0', needs, 'evil'), version: '1.0.0', ...needs }
  expect(await add()).toMatchObject({ code: 50, stderr: expect.stringContaining('A version never changes') })
  await postern(['plugins', 'remove', NAME], { env })
  // A tarball that is another package, and one that is not what the registry says of it.
  shelf[NAME] = {
    file: await pack({ 'package/package.json': { ...manifest('1.0.0'), name: 'postern-other' } }),
    version: '1.0.0',
  }
  expect(await add()).toMatchObject({ code: 50, stderr: expect.stringContaining('postern-other@1.0.0') })
  shelf[NAME] = { file: good, version: '1.0.0', says: await integrityOf(depTarball) }
  expect(await add()).toMatchObject({ code: 51, stderr: expect.stringMatching(/integrity/i) })
  expect(await listed(env)).toEqual({ code: 0, added: [] })
})

test('without npm, and where npm fails: said, with what to do', async () => {
  const env = await newHome()
  const file = await packNote()
  const empty = await mkdtemp(join(folder, 'empty-'))
  expect(await postern(['plugins', 'add', file], { env: { ...env, PATH: `${empty}:.:` } })).toMatchObject({
    code: 51,
    stderr: expect.stringMatching(/npm is not in PATH[\s\S]*Install npm/),
  })
  const needy = await packNote('1.0.0', { dependencies: { 'postern-no-such-package-anywhere': '1.0.0' } })
  expect(await postern(['plugins', 'add', needy], { env })).toMatchObject({
    code: 51,
    stderr: expect.stringContaining('npm ended with 1'),
  })
  expect((await readdir(plugins)).filter(name => name !== 'changing.lock')).toEqual([])
})

test('row 115: in a project of somebody else: its npm settings do not choose the registry', {
  timeout: 60_000,
}, async () => {
  const shelf = { [NAME]: { file: await packNote(), version: '1.0.0' } }
  const theirs = { [NAME]: { file: await packNote('1.0.0', {}, 'globalThis.evil = 1'), version: '1.0.0' } }
  await using registry = await startRegistry(shelf)
  await using evil = await startRegistry(theirs)
  const project = await mkdtemp(join(folder, 'project-'))
  await writeFile(join(project, 'package.json'), '{ "private": true, "workspaces": ["**"] }')
  await writeFile(join(project, '.npmrc'), `registry=${evil.url}\n`)
  const env = { ...(await newHome()), npm_config_offline: 'false', npm_config_fetch_retries: '0' }
  await writeFile(join(home, '.npmrc'), `registry=${registry.url}\n`)
  plugins = join(project, 'own', 'plugins')
  const here = { ...env, POSTERN_HOME: join(project, 'own') }
  expect(await postern(['plugins', 'add', `${NAME}@1.0.0`], { env: here, cwd: project })).toMatchObject({ code: 0 })
  expect((await lockOf()).integrity).toBe(await integrityOf(shelf[NAME].file))
})

test('row 156: npm that was told to do nothing: what was there stays', { timeout: 60_000 }, async () => {
  const env = await newHome()
  await postern(['plugins', 'add', await packNote('1.0.0')], { env })
  const next = await packNote('1.1.0')
  const dry = await postern(['plugins', 'add', next], { env: { ...env, npm_config_dry_run: 'true' } })
  expect(dry).toMatchObject({ code: 51, stderr: expect.stringContaining('is not there') })
  expect((await listed(env)).added).toMatchObject([{ version: '1.0.0', ok: true }])
  await postern(['plugins', 'add', next], { env })
  expect((await listed(env)).added).toMatchObject([{ version: '1.1.0', ok: true }])
})

test.each(['000', '002', '077'])(
  'row 115: with the umask %s: others may read all of it, and write nothing',
  {
    timeout: 60_000,
  },
  async umask => {
    const env = await newHome()
    const tarball = await packNote()
    const before = process.umask(Number.parseInt(umask, 8))
    const added = postern(['plugins', 'add', tarball], { env })
    process.umask(before)
    expect(await added).toMatchObject({ code: 0 })
    const own = join(plugins, (await lockOf()).folder)
    const inside = (await readdir(own, { recursive: true })).map(path => join(own, path))
    expect(inside).toContainEqual(expect.stringMatching(/client\.js$/))
    for (const path of [plugins, own, join(plugins, LOCK), ...inside]) {
      const facts = await stat(path)
      expect([path, (facts.mode & 0o777).toString(8)]).toEqual([path, facts.isDirectory() ? '755' : '644'])
    }
  },
)

test('row 156: kill -9 while a plugin is replaced leaves the old one or the new one', {
  timeout: 120_000,
}, async () => {
  const env = await newHome()
  const bin = join(import.meta.dirname, '../bin/postern.js')
  const tarballs = { '1.0.0': await packNote('1.0.0'), '1.1.0': await packNote('1.1.0') }
  await postern(['plugins', 'add', tarballs['1.0.0']], { env })
  const seen = new Set<string>()
  for (let n = 0; n < 8; n += 1) {
    const next = (await lockOf()).version === '1.0.0' ? '1.1.0' : '1.0.0'
    const child = spawn(process.execPath, [bin, 'plugins', 'add', tarballs[next]], {
      env: { PATH: process.env.PATH, ...env },
      stdio: 'ignore',
      detached: true,
    })
    const ended = once(child, 'exit')
    // From before npm runs to after it is done; the last ones when something is put in place.
    if (n < 5) await Promise.race([new Promise(resolve => setTimeout(resolve, 150 + n * 150)), ended])
    else await Promise.race([appears(plugins, `${NAME}@${next}`), ended])
    if (child.exitCode === null) process.kill(-(child.pid ?? 0), 'SIGKILL')
    await ended
    const { code, added } = await listed(env)
    expect([code, added]).toMatchObject([0, [{ package: NAME, ok: true }]])
    seen.add(added[0].version)
  }
  expect(['1.0.0', '1.1.0']).toEqual(expect.arrayContaining([...seen]))
  // What was left behind goes with the next change.
  const last = (await lockOf()).version === '1.0.0' ? '1.1.0' : '1.0.0'
  await postern(['plugins', 'add', tarballs[last]], { env })
  expect((await readdir(plugins)).filter(name => name.startsWith('.new-'))).toEqual([])
})

interface OnShelf {
  readonly file: string
  readonly version: string
  readonly dependencies?: Readonly<Record<string, string>>
  /** Instead of the integrity it has. */
  readonly says?: string
}

const integrityOf = async (file: string) => `sha512-${hash('sha512', await readFile(file), 'base64')}`

/** As much of npm's registry as installing needs. */
async function startRegistry(shelf: Readonly<Record<string, OnShelf>>) {
  const answer = async (path: string) => {
    const name = path.slice(1).replace(/\.tgz$/, '')
    const found = shelf[name]
    if (found === undefined) return undefined
    if (path.endsWith('.tgz')) return readFile(found.file)
    const { file, version, dependencies = {}, says } = found
    const dist = { tarball: `${url}/${name}.tgz`, integrity: says ?? (await integrityOf(file)) }
    const versions = { [version]: { name, version, dependencies, hasInstallScript: true, dist } }
    return JSON.stringify({ name, 'dist-tags': { latest: version }, versions })
  }
  const server = createServer(async (request, response) => {
    const body = await answer(request.url ?? '')
    response.writeHead(body === undefined ? 404 : 200, { 'cache-control': 'no-store' }).end(body ?? '{}')
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url, [Symbol.asyncDispose]: async () => void server.close() }
}

/** Until a folder that begins so is there. */
async function appears(within: string, start: string): Promise<void> {
  while (!(await readdir(within)).some(name => name.startsWith(start)))
    await new Promise(resolve => setImmediate(resolve))
}

/** tar writes no such path by itself: one byte after the other. */
async function dots(): Promise<string> {
  const source = await mkdtemp(join(folder, 'dots-'))
  await mkdir(join(source, 'package'))
  await writeFile(join(source, 'package/package.json'), JSON.stringify(manifest('1.0.0')))
  await writeFile(join(source, 'evil.js'), 'evil')
  await cp(join(source, 'evil.js'), join(source, 'package/evil.js'))
  const file = `${source}.tgz`
  const rename = 's,^package/evil.js,package/../../evil.js,'
  execFileSync('tar', [
    '-czf',
    file,
    '-P',
    '--transform',
    rename,
    '-C',
    source,
    'package/package.json',
    'package/evil.js',
  ])
  return file
}
