import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postern } from './postern.ts'

const SECRET = 'psts_hunter2hunter2hunter2'
const folder = mkdtempSync(join(tmpdir(), 'postern-cli-'))
const secretFile = join(folder, 'secret')
const nobody = { port: 0 }

beforeAll(async () => {
  writeFileSync(secretFile, `${SECRET}\n`, { mode: 0o600 })
  // A port where nobody answers as an edge: taken, then closed.
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  nobody.port = (server.address() as AddressInfo).port
  await new Promise(resolve => server.close(resolve))
})
afterAll(() => rmSync(folder, { recursive: true }))

const access = (...more: string[]) => ['access', 'tcp', '--hostname', `db.localhost:${nobody.port}`, ...more]
const credential = () => ['--id', 'pst_1', '--secret-file', secretFile]

describe('help', () => {
  it.each([
    [[], ['Usage: postern COMMAND [options]', '  access  ', '--version', 'postern access ssh-config --hostname']],
    [['--help'], ['Usage: postern COMMAND [options]']],
    [
      ['access', '-h'],
      ['Usage: postern access COMMAND [options]', '  tcp  ', '  ssh  ', '  ssh-config  '],
    ],
    [
      ['access', 'tcp', '--help'],
      [
        '-T, --hostname TEXT',
        '(required, POSTERN_HOSTNAME',
        '--auth service-token:',
        '--secret-file FILE',
        '--ca PATH',
      ],
    ],
    [['access', 'ssh', '--help'], ["ssh -o ProxyCommand='postern access ssh --hostname %h"]],
    [
      ['access', 'ssh-config', '--help'],
      ['[options of access ssh]', '--secret-file ~/.postern-token --write', '--dry-run'],
    ],
    [
      ['access', 'rdp', '--help'],
      ['listen here: localhost:5432, or a path for a Unix socket (default: a free port of this machine)', '--rdp-file'],
    ],
    [['access', 'redis', '--plugin', 'x', '--help'], ['a protocol that a plugin must bring (--plugin)']],
  ])('%j', async (args, lines) => {
    const { code, stdout, stderr } = await postern(args)
    expect([code, stderr]).toEqual([0, ''])
    for (const line of lines) expect(stdout).toContain(line)
  })

  it.each(['--version', '-V'])('%s is that of the package', async flag => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'))
    expect(await postern([flag])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: '' })
  })
})

describe('what was mistyped', () => {
  it.each([
    [['acess'], 'BAD_USAGE', '"acess" is no command', 'Did you mean "access"?'],
    [['access', 'tpc'], 'BAD_USAGE', '"tpc" is no command of "access"', 'Did you mean "access tcp"?'],
    [['access', 'ssh-confg', '--hostname', 'a.b'], 'BAD_USAGE', 'no command', 'Did you mean "access ssh-config"?'],
    [['access', 'redis', '--hostname', 'a.b'], 'PLUGIN_NOT_FOUND', 'redis', 'Name its package with --plugin'],
    [['--hlep'], 'OPTION_UNKNOWN', '--hlep', 'Did you mean --help?'],
    [['access', '--hostname', 'x'], 'OPTION_UNKNOWN', '--hostname is not an option of this command', ''],
    [['access', 'tcp', '--hostnam', 'x'], 'OPTION_UNKNOWN', '--hostnam', 'Did you mean --hostname?'],
    [['access', 'tcp', '--hostname', 'a.b', '--secrte', 'x'], 'OPTION_UNKNOWN', '--secrte', 'Did you mean --secret?'],
    [
      ['access', 'tcp', '--hostname', 'a.b', '--transport', 'websockt'],
      'PLUGIN_NOT_FOUND',
      'websockt',
      'Did you mean websocket?',
    ],
    [
      ['access', 'tcp', '--hostname', 'a.b', '--auth', 'service-tokn'],
      'PLUGIN_NOT_FOUND',
      'service-tokn',
      'Did you mean service-token?',
    ],
    [['access', 'redis', '--plugin', './nope', '--hostname', 'a.b'], 'PLUGIN_NOT_FOUND', './nope', ''],
    [['access', 'tcp', '--hostname', 'a.b', '--id', '1', '--secret', 'abcdef', 'word'], 'BAD_USAGE', '"word"', ''],
  ])('%j', async (args, code, message, next) => {
    const { stdout, stderr } = await postern(args)
    for (const part of [code, message, next]) expect(stderr).toContain(part)
    expect(stdout).toBe('')
  })
})

describe('what is missing', () => {
  it('is named with its flag and its variables', async () => {
    const { code, stderr } = await postern(['access', 'tcp'])
    expect(code).toBe(2)
    expect(stderr).toMatch(/--hostname is missing .* give --hostname, or POSTERN_HOSTNAME, .*\(OPTION_MISSING\)/)
  })

  it('of a plugin, too: by its owner', async () => {
    const { code, stderr } = await postern(access('--auth', 'service-token'))
    expect(code).toBe(2)
    for (const part of [
      '--auth service-token',
      '--id',
      'POSTERN_SERVICE_TOKEN_ID',
      '--secret-file FILE',
      'POSTERN_SERVICE_TOKEN_SECRET',
    ])
      expect(stderr).toContain(part)
  })

  it('may come from the environment', async () => {
    const env = {
      POSTERN_HOSTNAME: `db.localhost:${nobody.port}`,
      POSTERN_SERVICE_TOKEN_ID: 'pst_1',
      POSTERN_SERVICE_TOKEN_SECRET: SECRET,
    }
    const { code, stderr } = await postern(['access', 'tcp'], { env })
    expect([code, stderr]).toEqual([21, expect.stringContaining('EDGE_UNREACHABLE')])
    expect(stderr).not.toContain(SECRET)
  })
})

describe('a secret', () => {
  it('on the command line is warned about, and never repeated', async () => {
    const { code, stderr } = await postern(access('--id', 'pst_1', '--secret', SECRET, '--log-level', 'debug'))
    expect(code).toBe(21)
    expect(stderr).toMatch(/warn {2}.*--secret on the command line can be read by every user/)
    expect(stderr).not.toContain(SECRET)
  })

  it('in a file is not', async () => {
    const { code, stderr } = await postern(access(...credential()))
    expect(code).toBe(21)
    expect(stderr).not.toContain('warn')
  })

  it.each([0o644, 0o640, 0o620])('in a file of mode %o is FILE_UNSAFE', async mode => {
    const file = join(folder, `open-${mode}`)
    writeFileSync(file, SECRET)
    chmodSync(file, mode)
    const { code, stderr } = await postern(access('--id', 'pst_1', '--secret-file', file))
    expect([code, stderr]).toEqual([5, expect.stringContaining('FILE_UNSAFE')])
    expect(stderr).toContain(`chmod 600 ${file}`)
  })

  it('from stdin is a conflict: stdin is the connection', async () => {
    const { code, stderr } = await postern(access('--id', 'pst_1', '--secret-file', '-'))
    expect([code, stderr]).toEqual([2, expect.stringContaining('OPTION_CONFLICT')])
  })
})

describe('before anything is dialled', () => {
  it('a port that another program has is LISTEN_FAILED', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => server.once('listening', resolve))
    const { port } = server.address() as AddressInfo
    const { code, stderr } = await postern(access(...credential(), '--url', `localhost:${port}`))
    expect([code, stderr]).toEqual([4, expect.stringMatching(/another program listens there \(LISTEN_FAILED\)/)])
    await new Promise(resolve => server.close(resolve))
  })

  it('a --ca that is not there, or no certificate', async () => {
    const missing = await postern(access(...credential(), '--ca', join(folder, 'nope')))
    expect([missing.code, missing.stderr]).toEqual([5, expect.stringContaining('FILE_UNREADABLE')])
    const nonsense = await postern(access(...credential(), '--ca', secretFile))
    expect([nonsense.code, nonsense.stderr]).toEqual([2, expect.stringContaining('holds no PEM certificate')])
    expect(nonsense.stderr).not.toContain(SECRET)
  })

  it('an --edge that would send the credential in clear text', async () => {
    const { code, stderr } = await postern(access(...credential(), '--edge', 'http://edge.example.com'))
    expect([code, stderr]).toEqual([2, expect.stringContaining('dialled by https:')])
  })
})

describe('access ssh-config', () => {
  const config = (...args: string[]) =>
    postern(['access', 'ssh-config', '--hostname', 'ssh.example.com:8443', ...args], { cwd: folder })

  it('prints what ssh will call, with paths that hold anywhere', async () => {
    const { stdout } = await config('--id', 'pst_1', '--secret-file', 'secret', '--ca', 'ca.pem', '--json')
    expect(stdout).toBe(
      `Host ssh.example.com\n  ProxyCommand postern access ssh --hostname ssh.example.com:8443 --ca ${join(folder, 'ca.pem')} --id pst_1 --secret-file ${secretFile}\n`,
    )
  })

  it('keeps whose a flag is, and a value that begins with a hyphen', async () => {
    const { stdout } = await config('--service-token.id=-x', '--service-token.secret-file', 'secret')
    expect(stdout).toContain(`--service-token.id=-x --service-token.secret-file ${secretFile}`)
  })

  it.each([
    ['--secret', SECRET],
    [`--secret=${SECRET}`],
    ['--service-token-secret', SECRET],
    ['--service-token.secret', SECRET],
  ])('never holds a secret: %s', async (...args) => {
    const { code, stdout, stderr } = await config('--id', 'pst_1', ...args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/would stand in ssh_config[\s\S]*-file FILE/)
    expect(stderr).not.toContain(SECRET)
  })

  it.each([
    [['--secret-file', '-'], 'BAD_USAGE'],
    [['word'], 'BAD_USAGE'],
    [['--hostname', 'b.example.com'], 'OPTION_CONFLICT'],
    [['--edge', 'nonsense'], 'OPTION_INVALID'],
    [['--token', 'x'], 'OPTION_UNKNOWN'],
  ])('refuses %j', async (args, code) => {
    const ended = await config(...args)
    expect([ended.code, ended.stdout, ended.stderr]).toEqual([2, '', expect.stringContaining(code)])
  })
})

describe('only what a run uses is loaded', () => {
  const traced = async (args: readonly string[]) => {
    const { loaded } = await postern(args, { trace: true })
    expect(loaded.some(url => url.endsWith('/apps/cli/dist/main.js'))).toBe(true) // the trace sees modules at all
    const has = (part: string) => loaded.some(url => url.includes(part))
    return {
      ws: has('/ws/'),
      plugins: has('/plugins/'),
      session: has('/packages/yamux/'),
      registry: has('/packages/registry/'),
    }
  }

  it('--help and a mistyped command load no plugin and no registry', async () => {
    const nothing = { ws: false, plugins: false, session: false, registry: false }
    expect(await traced(['--help'])).toEqual(nothing)
    expect(await traced(['access', 'tpc'])).toEqual(nothing)
  })

  it('ssh-config and a usage error know the plugins, and not what they dial with', async () => {
    expect(await traced(['access', 'ssh-config', '--hostname', 'a.b'])).toMatchObject({
      ws: false,
      plugins: true,
      session: false,
    })
    expect(await traced(access('--auth', 'service-token'))).toMatchObject({ ws: false, plugins: true })
  })

  it('a dial loads it all, but for what a transport needs that is not tried', async () => {
    expect(await traced(access(...credential()))).toEqual({ ws: false, plugins: true, session: true, registry: true })
  })
})
