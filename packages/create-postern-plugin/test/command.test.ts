import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, expect, it } from 'vitest'

const program = join(import.meta.dirname, '../bin/create-postern-plugin.js')
const folder = mkdtempSync(join(tmpdir(), 'create-postern-plugin-'))
const hasTerminal = (process.env.POSTERN_PEERS ?? '').split(' ').includes('script')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** @param answers what is typed at each question */
async function ran(command: string, args: readonly string[], answers: readonly string[] = []) {
  const child = spawn(command, args, { cwd: folder, timeout: 15_000 })
  const left = [...answers]
  child.stdout.on('data', said => {
    if (/[?:] [^\n]*$/.test(String(said))) child.stdin.write(left.shift() ?? '')
  })
  child.stdin.on('error', () => {})
  if (answers.length === 0) child.stdin.end()
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise(resolve => child.once('close', resolve)),
  ])
  return { stdout, stderr, code }
}
const create = (...args: string[]) => ran(process.execPath, [program, ...args])
const manifestOf = (name: string) => JSON.parse(readFileSync(join(folder, name, 'package.json'), 'utf8'))

it('makes a package, and says what to type next', async () => {
  const { stdout, stderr, code } = await create('@ann/postern-auth-badge', '--kind', 'auth')
  expect([stderr, code]).toEqual(['', 0])
  expect(stdout).toContain('@ann/postern-auth-badge: an auth plugin “badge”')
  expect(stdout).toContain('  cd postern-auth-badge\n  npm install\n  npm test')
  const { name, postern } = manifestOf('postern-auth-badge')
  expect([name, postern.plugins[0].name]).toEqual(['@ann/postern-auth-badge', 'badge'])
  const files = readdirSync(join(folder, 'postern-auth-badge'), { recursive: true })
  expect(files).toEqual(expect.arrayContaining(['.gitignore', '.github/workflows/release.yml', 'test/badge.test.js']))
  const edge = readFileSync(join(folder, 'postern-auth-badge/src/edge.js'), 'utf8')
  expect(edge).toContain("headers['x-badge-key']")
  expect(readFileSync(join(folder, 'postern-auth-badge/README.md'), 'utf8')).toContain('POSTERN_BADGE_KEYS_FILE')
})

it('asks for no other Postern than the one that there is', () => {
  for (const kind of ['protocol', 'auth', 'transport']) {
    const file = new URL(`../templates/${kind}/_package.json`, import.meta.url)
    const { dependencies, devDependencies } = JSON.parse(readFileSync(file, 'utf8'))
    for (const [name, range] of Object.entries({ ...dependencies, ...devDependencies } as Record<string, string>)) {
      if (!name.startsWith('@postern/')) continue
      const own = new URL(`../../${name.slice('@postern/'.length)}/package.json`, import.meta.url)
      const [major] = JSON.parse(readFileSync(own, 'utf8')).version.split('.')
      expect(`${name} ${range}`).toBe(`${name} ${major}.x`)
    }
  }
})

it('writes over nothing: a folder with a file in it, or a file, is refused', async () => {
  mkdirSync(join(folder, 'taken'))
  writeFileSync(join(folder, 'taken', 'mine.txt'), 'mine')
  writeFileSync(join(folder, 'a-file'), 'mine')
  for (const name of ['taken', 'a-file']) {
    const { stderr, code } = await create(name, '--kind', 'protocol')
    expect([code, stderr]).toEqual([
      1,
      `create-postern-plugin: ${name} is there and not empty: choose another name, or empty it\n`,
    ])
  }
  expect(readdirSync(join(folder, 'taken'))).toEqual(['mine.txt'])
  mkdirSync(join(folder, 'empty'))
  expect((await create('empty', '--kind', 'transport')).code).toBe(0)
})

it.each([
  [['x'], /--kind is missing: protocol, auth, transport/],
  [[], /a NAME is missing/],
  [['x', '--kind', 'proto'], /--kind is protocol, auth, transport; not "proto"/],
  [['x', 'y', '--kind', 'auth'], /one name, not 2/],
  [['X', '--kind', 'auth'], /"X" is no name of a package/],
  [['x', '--kind', 'auth', '--name', '../y'], /is no name of a plugin/],
  [['x', '--sort', 'auth'], /--sort/],
])('where nobody is there to be asked, %j is refused with 2, and nothing is made', async (args, said) => {
  const { stdout, stderr, code } = await create(...args)
  expect([stdout, code]).toEqual(['', 2])
  expect(stderr).toMatch(said)
  expect(stderr).toMatch(/See --help\.\n$/)
  expect(existsSync(join(folder, 'x'))).toBe(false)
})

it('--help shows an example, --version the version', async () => {
  expect((await create('--help')).stdout).toContain(
    'npm create postern-plugin@latest postern-protocol-redis -- --kind protocol',
  )
  expect((await create('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})

it.skipIf(!hasTerminal)('on a terminal it asks (needs: apt-get install bsdutils)', async () => {
  const line = `'${process.execPath}' '${program}'`
  const { stdout, code } = await ran('script', ['-qec', line, '/dev/null'], ['something\r', 't\r', '\r'])
  expect(stdout).toContain('What kind of plugin: protocol, auth, transport?')
  expect(code).toBe(0)
  const left = await ran('script', ['-qec', line, '/dev/null'], ['\u0004'])
  expect([left.code, left.stdout]).toEqual([2, expect.stringContaining('nothing was made')])
  expect(manifestOf('postern-transport-sample').postern.plugins[0]).toMatchObject({ kind: 'transport', name: 'sample' })
})
