import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pack, publishedPackages } from '../../scripts/pack-check.ts'
import { temporaryFolder } from '../world/folder.ts'
import { Namespace, WITHOUT_NAMESPACES } from '../world/namespaces.ts'
import { startPostgres } from '../world/postgres.ts'

const root = join(import.meta.dirname, '../..')
const EXAMPLES = ['pg', 'fetch', 'fastify']
const peers = (process.env.POSTERN_PEERS ?? '').split(' ')

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

/** Ours among what a package needs, and what those need. */
function ours(names: Iterable<string>, found = new Set<string>()): ReadonlySet<string> {
  const published = publishedPackages()
  for (const name of names) {
    const manifest = published.get(name)?.manifest
    if (!manifest || found.has(name)) continue
    found.add(name)
    ours(Object.keys(manifest.dependencies ?? {}), found)
  }
  return found
}

const manifestOf = (example: string): Manifest =>
  JSON.parse(readFileSync(join(root, 'examples', example, 'package.json'), 'utf8'))

/** All of them in one project, as workspaces: what they share is packed and installed once. */
function install(project: string): void {
  const needed = EXAMPLES.map(manifestOf).flatMap(one => Object.keys({ ...one.dependencies, ...one.devDependencies }))
  mkdirSync(join(project, 'tarballs'), { recursive: true })
  const tarballs = pack(ours(needed), join(project, 'tarballs'))
  for (const example of EXAMPLES) cpSync(join(root, 'examples', example), join(project, example), { recursive: true })
  const overrides = Object.fromEntries([...tarballs].map(([name, file]) => [name, `file:${file}`]))
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ name: 'examples', private: true, workspaces: EXAMPLES, overrides }),
  )
  const flags = [
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
    '--loglevel=error',
    '--prefer-offline',
  ]
  execFileSync('npm', ['install', ...flags], { cwd: project, stdio: 'pipe', timeout: 180_000 })
}

describe('the examples of embedding, installed from tarballs into an empty project', { timeout: 120_000 }, () => {
  const folder = temporaryFolder()
  const project = join(folder.path, 'project')
  beforeAll(() => install(project), 240_000)
  afterAll(() => folder[Symbol.dispose]())

  /** What `npm test` of an example says. */
  async function npmTest(example: string, env: NodeJS.ProcessEnv = {}, through: readonly string[] = []) {
    const { NODE_OPTIONS: _, VITEST: __, ...own } = process.env
    const place = { cwd: join(project, example), env: { ...own, ...env, NO_COLOR: '1' }, timeout: 100_000 }
    const [program = '', ...words] = [...through, 'npm', 'test', '--silent']
    return promisify(execFile)(program, words, place).then(
      ({ stdout }) => ({ passed: true, stdout }),
      (error: Error & { stdout: string; stderr: string }) => ({
        passed: false,
        stdout: `${error.stdout}${error.stderr}`,
      }),
    )
  }

  it('their types hold', async () => {
    const tsc = join(root, 'node_modules/.bin/tsc')
    const check = (example: string) => promisify(execFile)(tsc, ['-p', '.'], { cwd: join(project, example) })
    const said = await Promise.all(EXAMPLES.map(one => check(one).catch(error => error)))
    expect(said.map(({ stdout }) => stdout)).toEqual(EXAMPLES.map(() => ''))
  })

  it('fetch: its test passes', async () => {
    const { passed, stdout } = await npmTest('fetch')
    expect(passed, stdout).toBe(true)
    expect(stdout).toMatch(/pass 5\b/)
  })

  const nowhere = WITHOUT_NAMESPACES === undefined ? ', on a machine without any network' : ''
  it(`fastify: its test passes, in vitest${nowhere}`, async () => {
    using space = WITHOUT_NAMESPACES === undefined ? new Namespace() : undefined
    const { passed, stdout } = await npmTest('fastify', {}, space?.place.through)
    expect(passed, stdout).toBe(true)
    expect(stdout).toMatch(/Tests {2}7 passed/)
  })

  it.skipIf(!peers.includes('postgres'))(
    'pg: its test passes with a real PostgreSQL (needs: apt-get install postgresql)',
    async () => {
      await using postgres = await startPostgres(folder.path)
      const { passed, stdout } = await npmTest('pg', { PGPORT: String(postgres.port), PGUSER: 'me' })
      expect(passed, stdout).toBe(true)
      expect(stdout).toMatch(/pass 8\b/)
    },
  )

  it('pg: says what it needs where there is no PostgreSQL', async () => {
    const { PGPORT: _, ...env } = process.env
    const { passed, stdout } = await npmTest('pg', { ...env, PGPORT: '' })
    expect([passed, stdout.includes('set PGPORT')]).toEqual([true, true])
  })
})
