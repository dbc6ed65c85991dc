import { execFile } from 'node:child_process'
import { cp, readdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { OriginHost } from '@postern/interface'
import { expect, test } from 'vitest'
import { createRegistry } from '../src/index.ts'
import { call, emptyFolder, host, refused, writePackage } from './packages.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const execute = promisify(execFile)
/** npm's settings of an outer `npm test` must not reach the inner npm. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^npm_|^NODE_OPTIONS$|^VITEST/i.test(name)),
)
const run = (command: string, args: string[], cwd: string) => execute(command, args, { cwd, env, timeout: 120_000 })

/** An empty project with the example and what it depends on, from packed tarballs and nothing else. */
async function projectFromTarballs(): Promise<string> {
  const project = await emptyFolder()
  await writePackage(project, { 'package.json': { name: 'somebody', private: true, type: 'module' } })
  for (const name of ['interface', 'pump']) {
    await run('pnpm', ['pack', '--pack-destination', project], join(root, 'packages', name))
  }
  await run('npm', ['pack', '--silent', '--pack-destination', project], join(root, 'examples/protocol-echo'))
  const tarballs = (await readdir(project)).filter(name => name.endsWith('.tgz')).map(name => `./${name}`)
  expect(tarballs).toHaveLength(3)
  await run('npm', ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', ...tarballs], project)
  return project
}

const originHost: OriginHost = {
  resolve: async () => [],
  team: 'team.example.com',
  fetch: () => Promise.reject(new Error('nothing to ask')),
}

async function echo(registry: ReturnType<typeof createRegistry>): Promise<string> {
  const name = registry.forScheme('echo:')?.entry.name ?? ''
  const client = await registry.create('protocol', name, 'client', { greeting: 'hi' }, host, call)
  const origin = await registry.create('protocol', name, 'origin', { shout: true }, originHost, call)
  const [program, stdio] = duplexPair()
  const [near, far] = duplexPair()
  const dial = () => Promise.reject(new Error('nothing to dial'))
  const remote = { service: new URL('echo://here:7'), identities: [], permit: null, audit() {}, dial }
  const app = { hostname: 'echo.localhost', id: 'a', teamDomain: 'localhost', protocols: [name] }
  const both = [
    origin.serve({ accept: () => far }, remote, call),
    client.connect({ app, stdio, open: async () => near }, call),
  ]
  program.end('hello')
  const answer = await text(program)
  await Promise.all(both)
  return answer
}

test('the example, packed and installed into an empty project, is found and does its work, and so is its source', {
  timeout: 240_000,
}, async () => {
  const project = await projectFromTarballs()
  const installed = createRegistry([])
  await installed.add('./node_modules/postern-protocol-echo', { from: project })
  expect(installed.ownersOf('shout')).toEqual([{ kind: 'protocol', name: 'echo', side: 'origin' }])
  expect(await echo(installed)).toBe('HI\nHELLO')

  await cp(join(root, 'examples/protocol-echo'), join(project, 'mine'), { recursive: true })
  const byPath = createRegistry([])
  await byPath.add('./mine', { from: project })
  expect(await echo(byPath)).toBe('HI\nHELLO')

  // It is used only by who asked for it.
  expect((await refused(createRegistry([]).load('protocol', 'echo', 'client', call))).code).toBe('PLUGIN_NOT_FOUND')

  // Its own test passes and its types hold with the published packages alone.
  await run(process.execPath, ['--test'], join(project, 'mine'))
  await symlink(join(root, 'node_modules/@types'), join(project, 'node_modules/@types'))
  await run(join(root, 'node_modules/.bin/tsc'), ['-p', join(project, 'mine')], project)
})
