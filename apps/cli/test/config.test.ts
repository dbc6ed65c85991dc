import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRegistry } from '@postern/registry'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { builtins } from '../src/builtin.ts'
import { readConfig } from '../src/config.ts'
import { postern } from './postern.ts'

const SECRET = 'psts_hunter2hunter2hunter2'
const registry = createRegistry(builtins)
let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-config-'))
  file = join(folder, 'config.yaml')
  write('secret', `${SECRET}\n`)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function write(name: string, text: string, mode = 0o600): void {
  writeFileSync(join(folder, name), text)
  chmodSync(join(folder, name), mode)
}

const read = (text: string) => {
  write('config.yaml', text)
  return readConfig(undefined, { env: { POSTERN_HOME: folder } })
}
const access = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  postern(['access', 'tcp', ...args], { env: { POSTERN_HOME: folder, ...env } })

describe('the config file', () => {
  it('may be missing, unless it was named', async () => {
    expect(await readConfig(undefined, { env: { POSTERN_HOME: folder } })).toBeUndefined()
    expect(await readConfig(undefined, { env: { POSTERN_HOME: join(folder, 'secret') } })).toBeUndefined()
    await expect(readConfig(file, { env: {} })).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  })

  it('says for all applications what an application does not say for itself', async () => {
    const config = await read(`
      edge: https://edge.example.com
      ca: ca.pem
      applications:
        DB.example.com: { id: pst_1, secretFile: secret, edge: "https://other.example.com" }
        ssh.example.com:
    `)
    expect(config?.section('db.example.com:8443', registry).values).toEqual({
      edge: 'https://other.example.com',
      ca: 'ca.pem',
      id: 'pst_1',
      secretFile: 'secret',
    })
    const shared = { edge: 'https://edge.example.com', ca: 'ca.pem' }
    expect(config?.section('ssh.example.com', registry).values).toEqual(shared)
    expect(config?.section('x.example.com', registry).values).toEqual(shared)
  })

  it.each([
    ['a colon that is missing', `secret ${SECRET}`],
    ['a comma that is missing', `id pst_1 secret: ${SECRET}`],
    ['a value where a key belongs', SECRET],
  ])('never repeats a secret because of %s', async (_what, line) => {
    write('config.yaml', `applications: { db.example.com: { ${line} } }`)
    const { code, stdout, stderr } = await access(['--hostname', 'db.example.com', '--log-level', 'debug'])
    expect([code, stderr]).toEqual([3, expect.stringContaining('config.yaml:1:')])
    expect(stdout + stderr).not.toContain('hunter2')
  })

  it('says where a credential that is missing could stand', async () => {
    write('config.yaml', `applications: { other.example.com: { id: pst_1, secretFile: secret } }`)
    const { code, stderr } = await access(['--hostname', 'db.example.com', '--auth', 'service-token'])
    expect([code, stderr]).toEqual([2, expect.stringContaining(`or id below db.example.com in ${file}`)])
  })

  it('names a key by its line', async () => {
    const config = await read('edge: x\napplications:\n  db.example.com:\n    ca: y\n')
    const label = config?.section('db.example.com', registry).label
    expect([label?.('edge'), label?.('ca')]).toEqual([`${file}:1:1: edge`, `${file}:4:5: ca`])
  })

  // A credential stands below its application, so that it is sent nowhere else.
  it.each([
    ['egde: x', '1:1', 'Did you mean edge?'],
    ['id: pst_1', '1:1', 'There are: auth, '],
    ['secretFile: secret', '1:1', 'There are: auth, '],
    ['applications:\n  db.example.com: { secrteFile: x }', '2:21', 'Did you mean secret'],
    ['applications:\n  db.example.com: { hostname: x }', '2:21', ''],
    ['applications:\n  other.example.com: { nonsense: x }', '2:24', 'There are: auth, '],
    ['applications:\n  db.example.com:8443: {}', '2:3', 'edge: https://db.example.com:8443'],
    ['applications:\n  "*.example.com": {}', '2:3', 'letters, digits, hyphens'],
    ['applications:\n  a.b: {}\n  A.b: {}', '3:3', ''],
    ['applications: [x]', '1:1', ''],
    ['applications: { a.b: x }', '1:17', ''],
    ['plugins: [7]', '1:11', ''],
    ['- x', '1:1', ''],
    ['edge: x\nedge: y', '2:1', ''],
    ['edge: !!js x', '1:', ''],
    ['applications:\n  __proto__: { id: x }', '2:3', ''],
  ])('%j is CONFIG_INVALID at %s', async (text, place, next) => {
    const section = read(text).then(config => config?.section('db.example.com', registry))
    await expect(section).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`${file}:${place}`),
      next: expect.stringContaining(next),
    })
  })

  it('is not taken from who could be somebody else', async () => {
    write('config.yaml', 'edge: https://x', 0o666)
    await expect(readConfig(undefined, { env: { POSTERN_HOME: folder } })).rejects.toMatchObject({
      code: 'FILE_UNSAFE',
    })
    chmodSync(file, 0o644)
    expect(await readConfig(undefined, { env: { POSTERN_HOME: folder } })).toBeDefined()
    chmodSync(folder, 0o777)
    await expect(readConfig(undefined, { env: { POSTERN_HOME: folder } })).rejects.toMatchObject({
      code: 'FILE_UNSAFE',
    })
  })

  it('may be a link, as dotfile managers make them, to a file that is as safe; paths in it are relative to the link', async () => {
    mkdirSync(join(folder, 'dotfiles'))
    write('dotfiles/postern.yaml', 'applications: { db.localhost: { id: pst_1, secretFile: secret } }')
    symlinkSync('dotfiles/postern.yaml', file)
    const config = await readConfig(undefined, { env: { POSTERN_HOME: folder } })
    expect(config?.section('db.localhost', registry)).toMatchObject({ path: file, values: { id: 'pst_1' } })
    chmodSync(join(folder, 'dotfiles/postern.yaml'), 0o666)
    await expect(readConfig(undefined, { env: { POSTERN_HOME: folder } })).rejects.toMatchObject({
      code: 'FILE_UNSAFE',
    })
  })
})

describe('postern access with a config file', () => {
  const applications = 'applications: { db.localhost: { id: pst_1, secretFile: secret } }'

  it('needs no flags: it gets as far as the edge', async () => {
    write('config.yaml', applications)
    const { code, stderr } = await access(['--hostname', 'db.localhost:1'])
    expect([code, stderr]).toEqual([21, expect.stringContaining('EDGE_UNREACHABLE')])
    const other = await access(['--hostname', 'other.localhost:1', '--auth', 'service-token']) // the twin: the credential is for db.localhost alone
    expect([other.code, other.stderr]).toEqual([2, expect.stringContaining('OPTION_MISSING')])
  })

  it.each([
    ['--config', (path: string) => [['--config', path], {}] as const],
    ['POSTERN_CONFIG', (path: string) => [[], { POSTERN_CONFIG: path }] as const],
  ] as const)('reads the one that %s names', async (_name, how) => {
    write('mine.yaml', applications)
    const [args, env] = how(join(folder, 'mine.yaml'))
    expect((await access(['--hostname', 'db.localhost:1', ...args], env)).code).toBe(21)
    const missing = how(join(folder, 'nope.yaml'))
    const none = await access(['--hostname', 'db.localhost:1', ...missing[0]], missing[1])
    expect([none.code, none.stderr]).toEqual([5, expect.stringContaining('FILE_UNREADABLE')])
  })

  it('is named, with what was chosen, to who asks for more than the result; its secrets are not', async () => {
    write('config.yaml', applications)
    const { stderr } = await access(['--hostname', 'db.localhost:1', '--log-level', 'debug'])
    expect(stderr).toContain(`auth=service-token transport=auto protocol=tcp config=${file}`)
    expect(stderr).toContain('dialling the edge hostname=db.localhost edge=db.localhost:1')
    expect(stderr).not.toContain(SECRET)
  })

  it('a flag beats it, and so does a variable', async () => {
    write('config.yaml', `edge: http://example.com\n${applications}`)
    const wrong = await access(['--hostname', 'db.localhost:1'])
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('dialled by https:')])
    expect((await access(['--hostname', 'db.localhost:1', '--edge', 'https://127.0.0.1:1'])).code).toBe(21)
    expect((await access(['--hostname', 'db.localhost:1'], { POSTERN_EDGE: 'https://127.0.0.1:1' })).code).toBe(21)
  })

  it('a wrong value is told with its place', async () => {
    write('config.yaml', 'edge: nonsense\n')
    const { code, stderr } = await access(['--hostname', 'db.localhost:1'])
    expect([code, stderr]).toEqual([2, expect.stringContaining(`${file}:1:1: edge is "nonsense"`)])
  })

  it('a secret in a file that others can read is not used, and not told', async () => {
    write('config.yaml', `applications: { db.localhost: { id: pst_1, secret: ${SECRET} } }`, 0o644)
    const { code, stderr } = await access(['--hostname', 'db.localhost:1'])
    expect([code, stderr]).toEqual([5, expect.stringContaining('FILE_UNSAFE')])
    expect(stderr).not.toContain(SECRET)
    chmodSync(file, 0o600)
    expect((await access(['--hostname', 'db.localhost:1'])).code).toBe(21)
  })

  it('makes its plugins known, found from its own folder', async () => {
    write('config.yaml', 'plugins: ./nope')
    const { stderr } = await postern(['access', 'redis', '--hostname', 'a.b'], {
      env: { POSTERN_HOME: folder },
      cwd: tmpdir(),
    })
    expect(stderr).toContain('PLUGIN_NOT_FOUND')
    expect(stderr).toContain('./nope')
  })

  it('costs nothing where there is none: no YAML is loaded', async () => {
    const without = await postern(['access', 'tcp', '--hostname', 'db.localhost:1', '--id', 'x'], { trace: true })
    expect(without.loaded.filter(url => /yaml/.test(url))).toEqual([])
    write('config.yaml', applications)
    const found = await postern(['access', 'tcp', '--hostname', 'db.localhost:1'], {
      trace: true,
      env: { POSTERN_HOME: folder },
    })
    expect(found.loaded.some(url => /yaml/.test(url))).toBe(true)
  })
})
