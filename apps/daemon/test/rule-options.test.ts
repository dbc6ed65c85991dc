// `options:` of ingress rules: what they may say is the protocol’s, and is checked before anything is served.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Call } from '@postern/interface'
import { createRedactor, parseCommandLine } from '@postern/options'
import type { Program } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { builtins } from '../src/builtin.ts'
import { CONFIG_FLAGS, RULE_FLAGS, RUN_FLAGS } from '../src/flags.ts'
import { SettingsReader } from '../src/settings.ts'

const call: Call = { signal: AbortSignal.timeout(60_000), log: { debug() {}, info() {}, warn() {}, error() {} } }
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-rule-options-'))
  chmodSync(folder, 0o700)
  writeFileSync(join(folder, 'ca.pem'), '-----BEGIN CERTIFICATE-----\n')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function reader(flags: readonly string[]): SettingsReader {
  const program: Program = {
    argv: flags,
    env: {},
    cwd: tmpdir(),
    stop: { gently: call.signal, now: call.signal, onHangup() {}, [Symbol.dispose]() {} },
    redactor: createRedactor(),
    print() {},
    log: () => call.log,
    json: false,
  }
  const line = parseCommandLine(flags, { ...CONFIG_FLAGS, ...RULE_FLAGS, ...RUN_FLAGS })
  return new SettingsReader(line, createRegistry(builtins), program)
}

function read(rule: string) {
  const file = join(folder, 'posternd.yaml')
  const text = `edge: https://edge.example.com\ningress:\n  - hostname: app.example.com\n${rule.replace(/^/gm, '    ')}\n`
  writeFileSync(file, text, { mode: 0o600 })
  return reader([]).readConfig(file, call)
}

it('are read as options are: paths from the file’s folder, durations in milliseconds', async () => {
  const { rules, warnings } = await read(`service: https://localhost:8443
options:
  hostHeader: inner.example.com
  caFile: ca.pem
  serverName: inner.example.com
  http2: true
  requireIdentity: true
  connectTimeout: 2s
  responseTimeout: 5m`)
  expect(rules[0]?.options).toMatchObject({
    hostHeader: 'inner.example.com',
    caFile: join(folder, 'ca.pem'),
    serverName: 'inner.example.com',
    http2: true,
    requireIdentity: true,
    connectTimeout: 2000,
    responseTimeout: 300_000,
  })
  expect(warnings).toEqual([])
})

it('noTlsVerify is warned about, with its place', async () => {
  const { warnings } = await read('service: https://localhost\noptions: { noTlsVerify: true }')
  expect(warnings).toEqual([expect.stringMatching(/posternd\.yaml:3:\d+: noTlsVerify: /)])
})

describe('a mistake in them is one of the file, with its place', () => {
  it.each([
    [
      'service: http://localhost\noptions: { hostHeadr: x }',
      '"hostHeadr" is not an option of a rule; did you mean hostHeader?',
    ],
    ['service: http://localhost\noptions: { http2: "yes" }', 'http2 is "yes"'],
    ['service: http://localhost\noptions: { responseTimeout: soon }', 'responseTimeout'],
    ['service: http://localhost\noptions: { caFile: ca.pem }', 'caFile is about TLS'],
    ['service: https://localhost\noptions: { caFile: gone.pem }', 'caFile cannot be read'],
    ['service: tcp://localhost:1\noptions: { http2: true }', 'options are of HTTP services'],
    ['service: http_status:404\noptions: { hostHeader: x }', 'http_status reaches none'],
  ])('%s', async (rule, said) => {
    await expect(read(rule)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/posternd\.yaml:\d+:\d+: /),
    })
    await expect(read(rule)).rejects.toThrow(said)
  })
})

it('the one rule of a command line is for requests where its service speaks HTTP', async () => {
  const one = async (url: string) =>
    (await reader(['--hostname', 'app.localhost', '--url', url, '--edge', 'https://edge.localhost']).readRule(call))
      .rules[0]
  expect(await one('http://localhost:8080')).toMatchObject({ purposes: ['http'], hostname: 'app.localhost' })
  expect(await one('https://localhost')).toMatchObject({ purposes: ['http'] })
  expect(await one('ssh://localhost')).toMatchObject({ purposes: ['tcp'] })
  expect(await one('unix:/run/app.sock')).toMatchObject({ purposes: ['tcp', 'http'] })
})
