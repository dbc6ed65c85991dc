import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { recordingLog } from '@postern/testkit'
import { afterAll, describe, expect, it } from 'vitest'
import { COMMANDS } from '../src/commands.ts'
import { serveHealth } from '../src/health.ts'
import { runPosternd } from './run-posternd.ts'

const folder = mkdtempSync(join(tmpdir(), 'postern-ops-'))
afterAll(() => rmSync(folder, { recursive: true }))

const run = (argv: readonly string[], env: NodeJS.ProcessEnv = {}, log = recordingLog()) =>
  runPosternd(argv, { env, log, cwd: folder })

const RULE = ['--hostname', 'ssh.example.com', '--url', 'ssh://localhost:22', '--edge', 'https://edge.example.com']
const lineOf = (unit: string, name: string) => unit.split('\n').filter(line => line.startsWith(`${name}=`))

function config(text: string, mode = 0o644): string {
  const file = join(folder, `posternd-${mode}.yaml`)
  writeFileSync(file, text, { mode })
  return file
}

describe('posternd service print', () => {
  it('a rule: its command line, the token as a credential', async () => {
    const unit = await run(['service', 'print', ...RULE, '--grace-period', '90s', '--auth', 'tunnel-token'])
    expect(lineOf(unit, 'ExecStart')).toEqual([
      expect.stringMatching(
        / --hostname ssh\.example\.com --url ssh:\/\/localhost:22 --edge https:\/\/edge\.example\.com\/ --auth tunnel-token --grace-period 90s$/,
      ),
    ])
    expect(lineOf(unit, 'LoadCredential')).toEqual(['LoadCredential=tunnel-token:/etc/postern/tunnel-token'])
    expect(lineOf(unit, 'TimeoutStopSec')).toEqual(['TimeoutStopSec=100'])
    expect(lineOf(unit, 'ExecReload')).toEqual([])
  })

  it('a file: run with it, reloaded, and its own grace period waited for', async () => {
    const file = config('edge: https://edge.example.com\ngracePeriod: 5m\ningress: []\n')
    const unit = await run(['service', 'print', '--config', file, '--metrics', '127.0.0.1:9090'])
    expect(lineOf(unit, 'ExecStart')).toEqual([
      expect.stringContaining(` run --config ${file} --metrics 127.0.0.1:9090`),
    ])
    expect(lineOf(unit, 'ExecReload')).toHaveLength(1)
    expect(lineOf(unit, 'TimeoutStopSec')).toEqual(['TimeoutStopSec=310'])
  })

  it('takes the token’s file and the CA from the config file, and no token', async () => {
    const file = config('edge: https://edge.example.com\ntokenFile: token\nca: /etc/ca.pem\n')
    const unit = await run(['service', 'print', '--config', file])
    expect(lineOf(unit, 'LoadCredential')).toEqual([
      `LoadCredential=tunnel-token:${join(folder, 'token')}`,
      'LoadCredential=ca.pem:/etc/ca.pem',
    ])
    const inline = config('edge: https://edge.example.com\ntoken: ptt_hunter2\n')
    const error = await run(['service', 'print', '--config', inline]).catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'OPTION_CONFLICT', message: expect.stringContaining('.yaml:2:') })
    expect(error.message).not.toContain('hunter2')
  })

  it('files that only root can read are credentials, with absolute paths', async () => {
    const unit = await run(['service', 'print', ...RULE, '--token-file', 'token', '--ca', 'ca.pem'])
    expect(lineOf(unit, 'LoadCredential')).toEqual([
      `LoadCredential=tunnel-token:${join(folder, 'token')}`,
      `LoadCredential=ca.pem:${join(folder, 'ca.pem')}`,
    ])
    expect(lineOf(unit, 'Environment')).toEqual([
      'Environment=POSTERN_TUNNEL_TOKEN_FILE=%d/tunnel-token',
      'Environment=POSTERN_CA=%d/ca.pem',
    ])
  })

  it('holds no secret, wherever one is', async () => {
    const env = { TUNNEL_TOKEN: 'ptt_hunter2', POSTERN_TUNNEL_TOKEN: 'ptt_hunter2', POSTERN_HOSTNAME: 'a.example.com' }
    expect(await run(['service', 'print', ...RULE.slice(2)], env)).not.toContain('hunter2')
    for (const words of [['--token', 'ptt_hunter2'], ['--tunnel-token=ptt_hunter2'], ['--url', 'ssh://u:hunter2@h']]) {
      const rule = words[0] === '--url' ? [...RULE.slice(0, 2), ...RULE.slice(4)] : RULE
      const error = await run(['service', 'print', ...rule, ...words]).catch(thrown => thrown)
      expect(error).toMatchObject({ message: expect.stringMatching(/holds no|has a user or password/) })
      expect(error.message).not.toContain('hunter2')
    }
  })

  it('warns where the user that systemd makes cannot read the config file', async () => {
    const log = recordingLog()
    await run(['service', 'print', '--config', config('edge: https://edge.example.com\n', 0o600)], {}, log)
    expect(log.text()).toContain('chmod 644')
    const quiet = recordingLog()
    await run(['service', 'print', '--config', config('edge: https://edge.example.com\n')], {}, quiet)
    expect(quiet.text()).not.toContain('chmod')
  })

  it.runIf(folder.startsWith('/tmp/'))(
    'warns of a config file where the unit lets the service see nothing',
    async () => {
      const log = recordingLog()
      await run(['service', 'print', '--config', config('edge: https://edge.example.com\n')], {}, log)
      expect(log.text()).toContain('posternd-420.yaml is in a folder that the unit hides')
    },
  )

  it.each([
    ['nothing to run', [], 'OPTION_MISSING'],
    ['no edge', RULE.slice(0, 4), 'OPTION_MISSING'],
    ['a rule and a file', [...RULE, '--config', '/etc/postern/posternd.yaml'], 'OPTION_CONFLICT'],
    ['a file that is not there', ['--config', '/nonexistent/posternd.yaml'], 'FILE_UNREADABLE'],
    ['an unknown option', [...RULE, '--dynamic-user'], 'OPTION_UNKNOWN'],
    ['a word too many', [...RULE, 'posternd.service'], 'BAD_USAGE'],
  ])('refuses %s', async (_, words, code) => {
    await expect(run(['service', 'print', ...words])).rejects.toMatchObject({ code })
  })
})

describe('posternd ready', () => {
  async function asked(connections: number, words: readonly string[], env = (_where: string) => ({})) {
    const options = { where: '127.0.0.1:0', connectorId: 'c-1', connections: () => connections }
    const render = async () => ({ type: 'text/plain', text: '' })
    const call = { signal: AbortSignal.timeout(30_000), log: recordingLog() }
    await using health = await serveHealth({ ...options, render }, call)
    return await run(['ready', ...words.map(word => word.replace('WHERE', health.address))], env(health.address))
  }

  it('a connection takes streams: it says so, and ends well', async () => {
    expect(await asked(1, ['--metrics', 'WHERE'])).toBe('ready: 1 connection to the edge\n')
    expect(await asked(4, ['--metrics=WHERE'])).toBe('ready: 4 connections to the edge\n')
    expect(JSON.parse(await asked(4, ['--metrics=WHERE', '--json']))).toEqual({
      readyConnections: 4,
      connectorId: 'c-1',
    })
  })

  it('asks where the environment says, as the daemon beside it listens', async () => {
    expect(await asked(2, [], where => ({ TUNNEL_METRICS: where }))).toContain('ready: 2')
    expect(await asked(2, [], where => ({ POSTERN_METRICS: where.replace('127.0.0.1', '0.0.0.0') }))).toContain(
      'ready: 2',
    )
  })

  it('none does: TUNNEL_OFFLINE', async () => {
    await expect(asked(0, ['--metrics', 'WHERE'])).rejects.toMatchObject({ code: 'TUNNEL_OFFLINE' })
  })

  it('nobody is there: TUNNEL_OFFLINE too', async () => {
    await expect(run(['ready', '--metrics', '127.0.0.1:1'])).rejects.toMatchObject({
      code: 'TUNNEL_OFFLINE',
      message: expect.stringContaining('no posternd answers'),
    })
  })

  it.each([
    ['hangs', () => {}],
    ['says something else', (_: unknown, response: import('node:http').ServerResponse) => void response.end('<html>')],
    ['says too much', (_: unknown, response: import('node:http').ServerResponse) => void response.end(' '.repeat(1e6))],
  ])('somebody else is there, who %s', async (_, serve) => {
    const server = createServer(serve).listen(0, '127.0.0.1')
    await new Promise(resolve => server.once('listening', resolve))
    const { port } = server.address() as AddressInfo
    await expect(run(['ready', '--metrics', `127.0.0.1:${port}`])).rejects.toMatchObject({ code: 'TUNNEL_OFFLINE' })
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  })

  it('asks nobody without an address', async () => {
    await expect(run(['ready'])).rejects.toMatchObject({ code: 'OPTION_MISSING' })
  })
})

it('every command that runs says in its help what it is for', async () => {
  for (const path of [['ready'], ['service', 'print']]) {
    const help = await run([...path, '--help'])
    const command = path.reduce((node, name) => node.commands?.[name] ?? node, COMMANDS)
    expect(help).toContain(command.summary)
    expect(help).toContain(command.examples?.[0])
  }
})

describe('posternd service print refuses what posternd would refuse at every start', () => {
  it.each([
    ['--url', ';'],
    ['--url', 'tcp://localhost:1 #'],
    ['--url', 'tcp://localhost'],
    ['--url', 'tcp:user:password@localhost:1'],
    ['--url', 'ssh://user:password@localhost'],
    ['--hostname', 'db example.com'],
    ['--metrics', 'example.com'],
    ['--log-level', 'loud'],
    ['--connections', '17'],
  ])('%s %s', async (flag, value) => {
    const rule = RULE.flatMap((word, at) => (at % 2 === 1 ? [] : word === flag ? [] : [word, RULE[at + 1] ?? '']))
    await expect(run(['service', 'print', ...rule, flag, value])).rejects.toMatchObject({
      code: expect.stringMatching(/^(OPTION|HOSTNAME)_INVALID$/),
      message: expect.not.stringContaining('password@'),
    })
  })

  it('and not what a plugin may serve (the twin)', async () => {
    const rule = RULE.map(word => (word.startsWith('ssh:') ? 'redis://localhost' : word))
    expect(await run(['service', 'print', ...rule, '--plugin', '@acme/redis'])).toContain('redis://localhost')
  })
})

describe('posternd ingress rule', () => {
  const file = () =>
    config(`edge: https://edge.example.com
ingress:
  - hostname: app.example.com
    path: /api
    service: http://localhost:8080
  - hostname: db.example.com
    service: tcp://localhost:5432
  - service: http_status:404
`)
  const asked = async (url: string) =>
    JSON.parse(await run(['ingress', 'rule', '--json', '--config', file(), '--', url])).rule

  it.each<[string, number]>([
    ['https://app.example.com/api/users', 1],
    ['app.example.com/api?next=https://evil.example/', 1],
    ['https://user:password@APP.example.com:8443/%61pi', 1],
    ['wss://app.example.com/api', 1], // a WebSocket is HTTP first
    ['https://app.example.com/API', 3],
    ['tcp://db.example.com:5432', 2],
    ['DB.example.com:5432', 2],
  ])('%s is answered by rule %i', async (url, number) => expect(await asked(url)).toBe(number))

  it.each([
    'https://app.example.com/x/%2e%2e/api',
    'https://app.example.com/x/../api',
    'https://app.example.com/x\\..\\api',
    'https://app.example.com/api%2Fusers',
    '/api',
    'https:///app.example.com/api',
    'https://',
    '',
  ])('%j is answered by none, and not by the rule it may be taken for', async url => {
    await expect(asked(url)).rejects.toMatchObject({ code: 'BAD_USAGE' })
  })
})
