import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installAlone, pack } from '../../scripts/pack-check.ts'
import { temporaryFolder } from '../world/folder.ts'
import { echoThenTail, startOrigin } from '../world/origin.ts'
import { startWorld } from '../world/world.ts'

const root = join(import.meta.dirname, '../..')
const OURS = ['create-postern-plugin', '@postern/interface', '@postern/pump', '@postern/compliance']

/** npm's settings of an outer `npm test` must not reach the inner one; `tsc` is this repository's. */
const env = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_|^NODE_OPTIONS$|^NODE_TEST|^VITEST/i.test(name)),
  ),
  PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}`,
}
const run = async (command: string, args: readonly string[], cwd: string) =>
  (await promisify(execFile)(command, args, { cwd, env, timeout: 240_000, maxBuffer: 2 ** 24 })).stdout

describe('what npm create postern-plugin makes, with our packages from tarballs and nothing of the workspace', () => {
  const folder = temporaryFolder()
  const shop = join(folder.path, 'shop')
  let tarballs: ReadonlyMap<string, string>

  beforeAll(() => {
    mkdirSync(join(folder.path, 'tarballs'))
    tarballs = pack(OURS, join(folder.path, 'tarballs'))
    installAlone(shop, ['create-postern-plugin'], new Map([...tarballs].slice(0, 1)))
  }, 60_000)
  afterAll(() => folder[Symbol.dispose]())

  /** @returns its folder, where everything it depends on is installed */
  async function create(kind: string, name: string): Promise<string> {
    const program = join(shop, 'node_modules/.bin/create-postern-plugin')
    const said = await run(program, [name, '--kind', kind], folder.path)
    expect(said).toContain(`cd ${name}\n  npm install\n  npm test`)
    const project = join(folder.path, name)
    const manifest = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'))
    for (const list of [manifest.dependencies, manifest.devDependencies])
      for (const own of Object.keys(list)) {
        if (own.startsWith('@postern/')) list[own] = `file:${tarballs.get(own)}`
        else delete list[own] // the compiler and Node's types are large, and ours are as good
      }
    writeFileSync(join(project, 'package.json'), JSON.stringify(manifest, null, 2))
    await run('npm', ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'], project)
    symlinkSync(join(root, 'node_modules/@types'), join(project, 'node_modules/@types'))
    return project
  }

  it.each(['protocol', 'auth', 'transport'])(
    '%s: passes its own tests, the kit among them, and its types hold',
    {
      timeout: 240_000,
    },
    async kind => {
      const project = await create(kind, `postern-${kind}-sample`)
      const [said] = await Promise.all([run('npm', ['test'], project), run('npm', ['run', 'types'], project)])
      expect(Number(/^\S pass (\d+)$/m.exec(said)?.[1])).toBeGreaterThan(30)
      expect(said).toMatch(/^\S fail 0$/m)
      expect(said).toMatch(/^\S skipped 0$/m)
      const text = readdirSync(project, { recursive: true, withFileTypes: true })
        .filter(file => file.isFile() && !file.parentPath.includes('node_modules'))
        .map(file => `${file.name}\n${readFileSync(join(file.parentPath, file.name), 'utf8')}`)
        .join('')
      expect(text).not.toMatch(/my-p|MY_P/)
    },
  )

  it('the protocol carries bytes from postern to a service beside posternd, by --plugin and its folder', async () => {
    const project = await create('protocol', 'postern-parcel')
    await using origin = await startOrigin(echoThenTail)
    const flags = ['--plugin', project]
    const service = `parcel://127.0.0.1:${origin.port}`
    await using world = await startWorld({ hostname: 'parcel.localhost', service, daemonFlags: flags })
    const running = world.access('parcel', flags)
    running.child.stdin?.end('hello\n')
    expect([await running.exit, running.stderr]).toEqual([0, ''])
    expect(running.stdout).toBe(`HELLO\nhello\n${'t'.repeat(1000)}`)
  })
})
