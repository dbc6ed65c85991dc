import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Call } from '@postern/interface'
import { createRedactor, parseCommandLine } from '@postern/options'
import type { Program } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { recordingLog } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { builtins } from '../src/builtin.ts'
import { CONFIG_FLAGS, RULE_FLAGS, RUN_FLAGS } from '../src/flags.ts'
import { tunnelOf } from '../src/login/login-command.ts'
import { SettingsReader } from '../src/settings.ts'
import { runPosternd } from './run-posternd.ts'

const call: Call = { signal: AbortSignal.timeout(60_000), log: recordingLog() }
const RULE = ['--hostname', 'db.example.com', '--url', 'tcp://localhost:5432']
const CONNECTOR = '6f0f2f9e-8d0b-4d5e-9d3c-0c1d6a1f2b3c'
const credentials = {
  version: 1,
  edge: 'https://edge.example.com:8443',
  ca: '-----BEGIN CERTIFICATE-----\nown\n-----END CERTIFICATE-----\n',
  tunnel: 'home',
  connector: CONNECTOR,
  token: 'ptt_secret',
  certificate: 'CERTIFICATE',
  key: 'KEY',
}

let folder: string
let home: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-credentials-'))
  home = join(folder, 'home')
  mkdirSync(home, { mode: 0o700 })
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function write(path: string, value: object = credentials): string {
  writeFileSync(path, JSON.stringify(value), { mode: 0o600 })
  return path
}
const found = () => write(join(home, 'connector.json'))

function reader(flags: readonly string[], env: Readonly<Record<string, string>> = {}): SettingsReader {
  const program: Program = {
    argv: flags,
    env: { POSTERN_HOME: home, ...env },
    cwd: folder,
    stop: { gently: call.signal, now: call.signal, onHangup() {}, [Symbol.dispose]() {} },
    redactor: createRedactor(),
    print() {},
    log: () => call.log,
    json: false,
  }
  const line = parseCommandLine(flags, { ...CONFIG_FLAGS, ...RULE_FLAGS, ...RUN_FLAGS })
  return new SettingsReader(line, createRegistry(builtins), program)
}
const read = (flags: readonly string[] = [], env?: Readonly<Record<string, string>>) =>
  reader([...RULE, ...flags], env).readRule(call)

describe('what posternd login left', () => {
  it('is found by itself, with the edge and its CA', async () => {
    const path = found()
    const { values, credentials: used } = await read()
    expect(values.edge.href).toBe('https://edge.example.com:8443/')
    expect(used).toEqual({ ...credentials, path })
  })

  it('or where it is named, by flag, variable or config file', async () => {
    const path = write(join(folder, 'elsewhere.json'))
    expect((await read(['--credentials', 'elsewhere.json'])).credentials?.tunnel).toBe('home')
    expect((await read([], { POSTERN_CREDENTIALS: path })).credentials?.tunnel).toBe('home')
    const config = join(folder, 'posternd.yaml')
    const rule = 'ingress:\n  - { hostname: db.example.com, service: "tcp://localhost:5432" }\n'
    writeFileSync(config, `credentials: elsewhere.json\n${rule}`, { mode: 0o644 })
    const settings = await reader([]).readConfig(config, call)
    expect([settings.credentials?.tunnel, settings.values.edge.port]).toEqual(['home', '8443'])
  })

  it('row 11: what is for one edge is not sent to another, unless both are named', async () => {
    const path = found()
    const other = ['--edge', 'https://other.example.com']
    await expect(read(other)).rejects.toMatchObject({
      code: 'OPTION_CONFLICT',
      message: expect.stringContaining('https://edge.example.com:8443'),
    })
    await expect(read([], { POSTERN_EDGE: 'https://other.example.com' })).rejects.toMatchObject({
      code: 'OPTION_CONFLICT',
    })
    const config = join(folder, 'posternd.yaml')
    const rule = 'ingress:\n  - { hostname: db.example.com, service: "tcp://localhost:5432" }\n'
    writeFileSync(config, `edge: https://other.example.com\n${rule}`, { mode: 0o644 })
    await expect(reader([]).readConfig(config, call)).rejects.toMatchObject({ code: 'OPTION_CONFLICT' })
    expect((await read([...other, '--credentials', path])).values.edge.hostname).toBe('other.example.com')
    expect((await read(['--edge', credentials.edge])).credentials?.tunnel).toBe('home')
  })

  it('is left alone where a token is named, or another way to sign in', async () => {
    found()
    const edge = ['--edge', 'https://edge.example.com']
    for (const [flags, env] of [
      [[...edge, '--token-file', 'x'], {}],
      [edge, { TUNNEL_TOKEN: 'ptt_x' }],
      [edge, { POSTERN_TUNNEL_TOKEN_FILE: 'x' }],
      [[...edge, '--auth', 'service-token'], {}],
    ] as const)
      expect((await read(flags, env)).credentials).toBeUndefined()
  })

  it('both of them named are a mistake', async () => {
    write(join(folder, 'elsewhere.json'))
    const both = read(['--credentials', 'elsewhere.json', '--token-file', 'x'])
    await expect(both).rejects.toMatchObject({ code: 'OPTION_CONFLICT' })
  })

  it('row 118: a file that others can read is refused, and one that is something else is not repeated', async () => {
    const path = found()
    chmodSync(path, 0o644)
    await expect(read()).rejects.toMatchObject({ code: 'FILE_UNSAFE', next: `chmod 600 ${path}` })
    chmodSync(path, 0o600)
    writeFileSync(path, '{"token":"ptt_secret"')
    await expect(read()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(read()).rejects.not.toThrow('ptt_secret')
  })

  it('without it, what is missing is said with the shorter way to have it', async () => {
    await expect(read()).rejects.toMatchObject({
      code: 'OPTION_MISSING',
      message: expect.stringContaining('--edge is missing'),
      next: expect.stringContaining('posternd login --edge URL'),
    })
    const edge = ['--edge', 'https://edge.invalid']
    await expect(runPosternd([...RULE, ...edge], { env: { POSTERN_HOME: home } })).rejects.toMatchObject({
      code: 'OPTION_MISSING',
      next: expect.stringContaining('posternd login --edge URL'),
    })
  })
})

describe('posternd login', () => {
  const login = (...args: string[]) => runPosternd(['login', ...args], { env: { POSTERN_HOME: home }, cwd: folder })

  it('says what it needs', async () => {
    await expect(login()).rejects.toMatchObject({
      code: 'OPTION_MISSING',
      next: expect.stringContaining('--setup-token'),
    })
    await expect(login('home')).rejects.toMatchObject({ code: 'BAD_USAGE' })
    expect(await login('--help')).toContain('posternd login (--edge URL [--tunnel NAME] | --setup-token FILE)')
  })

  it('does not lose another tunnel’s credentials', async () => {
    found()
    const other = login('--edge', 'https://edge.example.com:8443', '--tunnel', 'other')
    await expect(other).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
      next: expect.stringContaining('--credentials'),
    })
  })

  it('takes no setup token that it cannot trust to be one', async () => {
    const file = write(join(folder, 'setup'))
    await expect(login('--setup-token', 'setup')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    chmodSync(file, 0o640)
    await expect(login('--setup-token', 'setup')).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    const named = login('--setup-token', 'setup', '--tunnel', 'home')
    await expect(named).rejects.toMatchObject({ code: 'OPTION_CONFLICT' })
  })

  it('looks before anybody signs in whether its file can be written', async () => {
    if (process.getuid?.() === 0) return
    const closed = join(folder, 'closed')
    mkdirSync(closed, { mode: 0o500 })
    const edge = ['--edge', 'https://edge.invalid', '--credentials', join(closed, 'x', 'connector.json')]
    await expect(login(...edge)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  })

  it.each([
    ['build-7.example.com', 'build-7'],
    ['Ann’s Laptop', 'ann-s-laptop'],
    ['-x', 'x'],
    ['…', 'home'],
    ['a'.repeat(80), 'a'.repeat(63)],
  ])('calls the tunnel of %s %s', (host, name) => {
    expect(tunnelOf(host)).toBe(name)
  })
})

describe('posternd service print', () => {
  it('lends the credentials instead of a token', async () => {
    const unit = await runPosternd(['service', 'print', ...RULE, '--credentials', '/etc/postern/connector.json'])
    expect(unit).toContain('LoadCredential=connector.json:/etc/postern/connector.json\n')
    expect(unit).toContain('Environment=POSTERN_CREDENTIALS=%d/connector.json\n')
    expect(unit).not.toContain('tunnel-token')
  })
})
