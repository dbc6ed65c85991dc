import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'postern-bundle-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Runs the program as it is published, and tells which files and which parts of Node it loaded. */
function run(...args: string[]) {
  const spy = join(folder, 'spy.cjs')
  const seen = join(folder, 'seen.json')
  writeFileSync(
    spy,
    `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(seen)}, JSON.stringify([Object.keys(require.cache), process.moduleLoadList])))`,
  )
  const done = spawnSync(process.execPath, ['--require', spy, join(root, 'bin/postern.js'), ...args], {
    encoding: 'utf8',
    input: '',
    env: { PATH: process.env.PATH, POSTERN_HOME: folder },
    timeout: 15_000,
  })
  const [files, builtins]: [string[], string[]] = JSON.parse(readFileSync(seen, 'utf8'))
  const text = files.map(file => readFileSync(file, 'utf8')).join('\n')
  return { ...done, files, builtins: builtins.join(' '), packages: packagesIn(text) }
}

/** The bundler writes where each part came from. */
function packagesIn(text: string): ReadonlySet<string> {
  return new Set(
    [...text.matchAll(/^\s*\/\/ .*\/node_modules\/((?:@[^/\n]+\/)?[^/\n]+)\//gm)].map(match => match[1] ?? ''),
  )
}

describe('the bundle', () => {
  it('loads for access what access needs, and nothing for administration, config files or the web', () => {
    const secret = join(folder, 'secret')
    writeFileSync(secret, 'a-secret', { mode: 0o600 })
    const { status, stderr, files, packages, builtins } = run(
      ...['access', 'ssh', '--hostname', 'x.localhost:1', '--id', 'pst_x', '--secret-file', secret],
    )
    expect([status, stderr]).toEqual([21, expect.stringContaining('EDGE_UNREACHABLE')])
    expect([...packages]).toEqual([]) // ws comes with its transport, when tls did not get through
    expect(builtins).toContain('NativeModule tls')
    expect(builtins).not.toMatch(/undici|NativeModule (sqlite|worker_threads|child_process)\b/)
    // Nothing of TLS inside the pipe: the edge has not offered it yet.
    expect(files.map(file => readFileSync(file, 'utf8')).join('\n')).not.toContain('packages/end-to-end/dist/tls.js')
    expect(files.filter(file => !file.startsWith(join(root, 'dist'))).map(file => file.split('/').at(-1))).toEqual([
      'spy.cjs',
    ])
  })

  it('loads next to nothing for --help', () => {
    const { status, packages, files } = run('--help')
    expect([status, [...packages]]).toEqual([0, []])
    // Pieces that a plugin or a command shares with the program are files of their own.
    expect(files.length).toBeLessThan(12)
  })

  it('says the package’s version, and whose code it contains', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    expect(run('--version').stdout).toBe(`${version}\n`)
    const notices = readFileSync(join(root, 'dist/THIRD-PARTY.txt'), 'utf8')
    for (const name of ['ws', 'yaml', 'zod'])
      expect(notices).toMatch(new RegExp(`^${name} [\\d.]+ \\((MIT|ISC)\\)$`, 'm'))
    expect(notices).toMatch(/Permission is hereby granted/)
  })
})
