import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installAlone, pack } from '../../scripts/pack-check.ts'
import { temporaryFolder } from '../world/folder.ts'
import { startWorld, type World } from '../world/world.ts'

const root = join(import.meta.dirname, '../..')
const NAME = 'postern-protocol-echo'

describe('a protocol by somebody else, installed from tarballs into an empty project', () => {
  const folder = temporaryFolder()
  const project = join(folder.path, 'project')
  const plugin = join(project, 'node_modules', NAME)
  let world: World

  beforeAll(async () => {
    const source = join(folder.path, 'echo')
    cpSync(join(root, 'examples/protocol-echo'), source, { recursive: true })
    mkdirSync(join(folder.path, 'tarballs'))
    const tarballs = new Map(pack(['@postern/interface', '@postern/pump'], join(folder.path, 'tarballs')))
    execFileSync('npm', ['pack', '--silent', '--pack-destination', join(folder.path, 'tarballs')], { cwd: source })
    tarballs.set(NAME, join(folder.path, 'tarballs', `${NAME}-1.0.0.tgz`))
    installAlone(project, [NAME], tarballs)
    world = await startWorld({
      hostname: 'echo.localhost',
      service: 'echo://here',
      daemonFlags: ['--plugin', plugin, '--shout'],
    })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  })

  const speak = async (flags: readonly string[], cwd: string) => {
    const running = world.access('echo', flags, { cwd })
    running.child.stdin?.end('hello\n')
    return { exit: await running.exit, stdout: running.stdout, stderr: running.stderr }
  }

  it('is used by --plugin with its path, by service scheme on the daemon', async () => {
    const { exit, stdout, stderr } = await speak(['--plugin', `./node_modules/${NAME}`], project)
    expect([exit, stderr]).toEqual([0, ''])
    expect(stdout).toContain('HELLO')
  })

  it('is not used by its name, from whatever folder somebody is in: only what was added is', async () => {
    const { exit, stderr } = await speak(['--plugin', NAME], project)
    expect([exit, stderr]).toEqual([60, expect.stringContaining(`./node_modules/${NAME}`)])
  })

  it('is used from the config file, by a path from its folder, with its own keys', async () => {
    const file = join(project, 'config.yaml')
    const section = `applications: { ${world.hostname}: { greeting: good evening } }`
    writeFileSync(file, `plugins: [./node_modules/${NAME}]\n${section}\n`, { mode: 0o600 })
    const { exit, stdout, stderr } = await speak(['--config', file], folder.path)
    expect([exit, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/good evening/i)
    writeFileSync(file, `${section}\n`)
    const without = await speak(['--config', file], folder.path)
    expect([without.exit, without.stderr.includes('there is no key "greeting" here')]).toEqual([3, true])
  })

  it('takes its own flags, and another plugin’s flag is named as such', async () => {
    expect((await speak(['--plugin', plugin, '--greeting', 'good day'], project)).stdout).toMatch(/good day/i)
    const { exit, stderr } = await speak(['--plugin', plugin, '--token', 'x'], project)
    expect([exit, stderr.includes('OPTION_UNKNOWN')]).toEqual([2, true])
  })

  it('is not found without --plugin: the message says what there is', async () => {
    const { exit, stderr } = await speak([], project)
    expect(exit).toBe(60)
    expect(stderr).toContain('PLUGIN_NOT_FOUND')
    expect(stderr).toMatch(/ssh, tcp/)
  })
})
