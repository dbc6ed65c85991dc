import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Call } from '@postern/interface'
import { createRedactor, parseCommandLine } from '@postern/options'
import type { Program } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { builtins } from '../src/builtin.ts'
import { CONFIG_FLAGS, RUN_FLAGS } from '../src/flags.ts'
import { type Settings, SettingsReader } from '../src/settings.ts'

const call: Call = { signal: AbortSignal.timeout(60_000), log: { debug() {}, info() {}, warn() {}, error() {} } }
const RULES = 'ingress:\n  - { hostname: db.example.com, service: "tcp://localhost:5432" }\n'
let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-settings-'))
  mkdirSync(join(folder, 'elsewhere'))
  file = join(folder, 'posternd.yaml')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function reader(flags: readonly string[] = [], env: Readonly<Record<string, string>> = {}): SettingsReader {
  const program: Program = {
    argv: flags,
    env,
    cwd: join(folder, 'elsewhere'),
    stop: { gently: call.signal, now: call.signal, onHangup() {}, [Symbol.dispose]() {} },
    redactor: createRedactor(),
    print() {},
    log: () => call.log,
    json: false,
  }
  const line = parseCommandLine(flags, { ...CONFIG_FLAGS, ...RUN_FLAGS })
  return new SettingsReader(line, createRegistry(builtins), program)
}

function read(text: string, ...given: Parameters<typeof reader>): Promise<Settings> {
  writeFileSync(file, text, { mode: 0o600 })
  return reader(...given).readConfig(file, call)
}

async function refusal(text: string, ...given: Parameters<typeof reader>) {
  const error = await read(text, ...given).then(
    () => Promise.reject(new Error('was taken')),
    thrown => thrown,
  )
  return { code: error.code, message: error.message.replaceAll(file, '') }
}

describe('each key of a config file', () => {
  it('is an option of the daemon, or of a plugin it uses', async () => {
    const { values, rules, auth, forPlugins } = await read(
      `edge: https://edge.example.com
ca: ca.pem
auth: tunnel-token
tokenFile: ./tunnel-token
transport: websocket
connections: 2
gracePeriod: 5m
metrics: 127.0.0.1:9090
logLevel: warn
plugins: []
${RULES}`,
    )
    expect(values).toMatchObject({
      ca: join(folder, 'ca.pem'), // from the file's folder
      transport: 'websocket',
      connections: 2,
      gracePeriod: 300_000,
      metrics: '127.0.0.1:9090',
      logLevel: 'warn',
      plugin: [],
    })
    expect(values.edge.href).toBe('https://edge.example.com/')
    expect(auth).toEqual(['tunnel-token'])
    expect(rules.map(rule => rule.hostname)).toEqual(['db.example.com'])
    expect(forPlugins?.values).toEqual({ tokenFile: './tunnel-token' })
  })

  it('gives way to the environment, and that to a flag', async () => {
    const text = `edge: https://file.example.com\nconnections: 1\n${RULES}`
    const env = { POSTERN_CONNECTIONS: '2', TUNNEL_EDGE: 'https://env.example.com' }
    const values = async (...given: Parameters<typeof reader>) => (await read(text, ...given)).values
    expect(await values()).toMatchObject({ connections: 1, gracePeriod: 30_000 })
    expect(await values([], env)).toMatchObject({ connections: 2 })
    const all = await values(['--connections', '3', '--grace-period', '1s'], env)
    expect(all).toMatchObject({ connections: 3, gracePeriod: 1000 })
    expect(all.edge.hostname).toBe('env.example.com')
  })

  it('may be missing when a flag or variable has it, and else that is said', async () => {
    expect((await read(RULES, ['--edge', 'https://edge.example.com'])).values.edge.hostname).toBe('edge.example.com')
    expect(await refusal(RULES)).toMatchObject({ code: 'OPTION_MISSING', message: expect.stringContaining(': edge') })
  })
})

describe('which file', () => {
  it('is said by flag or variable, and by nothing else', async () => {
    writeFileSync(join(folder, 'elsewhere', 'posternd.yaml'), RULES, { mode: 0o600 })
    await expect(reader().configPath(call)).rejects.toMatchObject({ code: 'OPTION_MISSING' })
    for (const name of ['POSTERN_CONFIG', 'TUNNEL_CONFIG'])
      expect(await reader([], { [name]: '../posternd.yaml' }).configPath(call)).toBe(file)
    expect(await reader(['--config', file], { POSTERN_CONFIG: '/else' }).configPath(call)).toBe(file)
  })
})

describe('a file with mistakes is refused whole', () => {
  it.each([
    ['a colon that was forgotten', 'token ptt_eyJ0IjoiaG9tZSJ9: x\n', ':1:1: a word here is not a key of this file'],
    ['an unknown key', 'edgee: https://x\n', ':1:1: "edgee" is not a key of this file; did you mean edge?'],
    ['a key of a plugin that is misspelt', 'tokenFil: x\n', 'did you mean tokenFile?'],
    [
      'a key of a plugin that is not used',
      'secretFile: x\n',
      'an option of auth service-token, which this file does not use',
    ],
    ['an option of one run only', 'help: true\n', '"help" is not a key'],
    ['the rule of a command line', 'hostname: db.example.com\n', '"hostname" is not a key'],
    ['a number as a text', 'connections: "4"\n', ':1:1: connections is "4", not a number'],
    ['too many connections', 'connections: 17\n', ':1:1: connections is 1 to 16'],
    ['a level that is none', 'logLevel: loud\n', ':1:1: logLevel is one of debug'],
    ['an edge without scheme', 'edge: edge.example.com\n', ':1:1: edge is "edge.example.com", not a URL'],
    [
      'a transport that is none',
      'transport: websockt\n',
      ':1:1: no transport plugin is called "websockt"; did you mean websocket?',
    ],
    ['a way to sign in that is none', 'auth: [tunnel-tokn]\n', ':1:1: no auth plugin is called "tunnel-tokn"'],
  ])('%s', async (_what, text, said) => {
    const { code, message } = await refusal(`${text}${RULES}`, ['--edge', 'https://edge.example.com'])
    expect([code, message]).toEqual(['CONFIG_INVALID', expect.stringContaining(said)])
  })

  it('all of them at once, from the first line to the last', async () => {
    const { message } = await refusal('connections: 99\nx: 1\ningress:\n  - hostname: db.example.com\nlogLevel: 7\n')
    expect(message.split('; ').map((one: string) => one.slice(0, 4))).toEqual([':1:1', ':2:1', ':4:5', ':5:1'])
  })

  it('a file that is no list of keys', async () => {
    expect(await refusal('- a\n')).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(':1:1') })
    expect(await refusal('')).toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('a file that others can write', async () => {
    writeFileSync(file, RULES, { mode: 0o600 })
    chmodSync(file, 0o666)
    await expect(reader(['--edge', 'https://e']).readConfig(file, call)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
  })
})

describe('plugins of the file', () => {
  beforeEach(() => {
    const made = join(folder, 'node_modules', '@acme', 'postern-redis')
    mkdirSync(made, { recursive: true })
    const plugin = {
      kind: 'protocol',
      name: 'redis',
      summary: 'x',
      schemes: ['redis'],
      defaultPort: 6379,
      options: { origin: ['database'] },
      origin: './origin.js',
    }
    const manifest = {
      name: '@acme/postern-redis',
      version: '1.0.0',
      type: 'module',
      postern: { api: 1, plugins: [plugin] },
    }
    writeFileSync(join(made, 'package.json'), JSON.stringify(manifest))
    writeFileSync(join(made, 'origin.js'), 'export default {}')
  })
  const text = (plugin: string) => `edge: https://edge.example.com
plugins: ["${plugin}"]
database: 3
ingress:
  - { hostname: cache.example.com, service: "redis://10.0.0.7" }
`

  it('a path is looked for from the file’s folder', async () => {
    const { rules, forPlugins } = await read(text('./node_modules/@acme/postern-redis'))
    expect(rules[0]?.service).toEqual(new URL('redis://10.0.0.7:6379'))
    expect(forPlugins?.values).toEqual({ database: 3 })
  })

  it('a name that nobody added is not looked for there: it says that it was not added', async () => {
    const { code, message } = await refusal(text('@acme/postern-redis'))
    expect([code, message]).toEqual(['CONFIG_INVALID', expect.stringContaining('no such plugin was added')])
  })

  it('that are not there are said to be missing', async () => {
    const { code, message } = await refusal(text('@acme/other'))
    expect([code, message]).toEqual(['CONFIG_INVALID', expect.stringMatching(/:2:11: .*@acme\/other.*:5:36: .*redis:/)])
  })

  it('of a flag are looked for from the working folder', async () => {
    const without = text('x').replace('plugins: ["x"]\n', '')
    expect((await read(without, ['--plugin', '../node_modules/@acme/postern-redis'])).rules).toHaveLength(1)
    await expect(read(without, ['--plugin', './node_modules/@acme/postern-redis'])).rejects.toMatchObject({
      code: 'PLUGIN_NOT_FOUND',
    })
  })
})
