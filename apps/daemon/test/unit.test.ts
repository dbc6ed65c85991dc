import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { quoted, renderUnit, type UnitFacts } from '../src/unit.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')

const token = (path: string) => ({ name: 'tunnel-token', path, variable: 'POSTERN_TUNNEL_TOKEN_FILE' })

const FACTS: UnitFacts = {
  program: [process.execPath, '/usr/lib/posternd/bin/posternd.js'],
  words: ['--hostname', 'ssh.example.com', '--url', 'ssh://localhost:22', '--edge', 'https://edge.example.com/'],
  credentials: [token('/etc/postern/tunnel-token')],
  reloads: false,
  grace: 30_000,
}

const linesOf = (facts: Partial<UnitFacts> = {}) => renderUnit({ ...FACTS, ...facts }).split('\n')

describe('a unit', () => {
  it('runs as a user that systemd makes, with the token as a credential', () => {
    const lines = linesOf()
    expect(lines).toContain(
      `ExecStart=${process.execPath} /usr/lib/posternd/bin/posternd.js --hostname ssh.example.com --url ssh://localhost:22 --edge https://edge.example.com/`,
    )
    expect(lines).toContain('LoadCredential=tunnel-token:/etc/postern/tunnel-token')
    expect(lines).toContain('Environment=POSTERN_TUNNEL_TOKEN_FILE=%d/tunnel-token')
    expect(lines).toContain('DynamicUser=yes')
    expect(lines).toContain('StateDirectory=posternd')
    expect(lines.filter(line => line.startsWith('User='))).toEqual([])
  })

  it('or as one that exists', () => {
    expect(linesOf({ user: 'postern' })).toContain('User=postern')
    expect(linesOf({ user: 'postern' })).not.toContain('DynamicUser=yes')
  })

  it.each(['root', 'nobody', '0', '', 'a b', 'a\nExecStartPre=/bin/sh', 'Émile', '-x', 'a'.repeat(33)])(
    'never as %j',
    user => expect(() => linesOf({ user })).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' })),
  )

  it('waits for the grace period and then some', () => {
    expect(linesOf({ grace: 30_000 })).toContain('TimeoutStopSec=40')
    expect(linesOf({ grace: 1500 })).toContain('TimeoutStopSec=12')
  })

  it('reloads where there is a file to read again; a signal would stop it otherwise', () => {
    expect(linesOf({ reloads: true })).toContain('ExecReload=/bin/kill -HUP $MAINPID')
    expect(linesOf().join()).not.toContain('ExecReload')
  })

  it('is not started again for a refusal that no waiting mends, and is for a stranger in the way', () => {
    const [, exits = ''] = /^RestartPreventExitStatus=(.*)$/m.exec(renderUnit(FACTS)) ?? []
    expect(exits.split(' ')).toEqual(expect.arrayContaining(['2', '3', '10', '11', '12', '13', '14', '25']))
    expect(exits.split(' ')).not.toContain('22')
  })
})

describe('values', () => {
  it.each([
    ['plain-1.2_x/y:z@a=b,c', 'plain-1.2_x/y:z@a=b,c'],
    ['two words', '"two words"'],
    ['100%', '100%%'],
    ['$HOME', '$$HOME'],
    ['a"b', '"a\\"b"'],
    ["a'b", '"a\'b"'],
    ['a\\b', '"a\\\\b"'],
    ['a;b', '"a;b"'],
    ['; $x "%n"', '"; $$x \\"%%n\\""'],
  ])('%s is written %s', (word, written) => expect(quoted(word)).toBe(written))

  it.each(['a\nb', 'a\rb', 'a\0b', 'a\u2028b', '\u001b[31m', ''])('%j is refused', word =>
    expect(() => quoted(word)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' })),
  )

  it.each(['relative', '/a\nb', '/a\\', '/a '])('a credential’s path %j is refused', path =>
    expect(() => linesOf({ credentials: [token(path)] })).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' })),
  )

  it('a credential’s path may hold what systemd reads otherwise', () =>
    expect(linesOf({ credentials: [token('/etc/my token 5%')] })).toContain(
      'LoadCredential=tunnel-token:/etc/my token 5%%',
    ))

  it.each(['/opt/$node', '/opt/"node"', '/opt/no\\de'])('the program %s is refused: systemd would not start it', node =>
    expect(() => linesOf({ program: [node, '/x.js'] })).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' })),
  )
})

describe.skipIf(!peers.includes('systemd-analyze'))('systemd itself (needs: apt-get install systemd)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-unit-'))
  const node = join(folder, 'node 100% of it') // systemd looks whether the program is there
  beforeAll(() => {
    writeFileSync(node, '')
    chmodSync(node, 0o755)
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  function analyze(unit: string, ...words: string[]) {
    const file = join(folder, 'posternd.service')
    writeFileSync(file, unit)
    const { status, stdout, stderr } = spawnSync('systemd-analyze', [...words, file], {
      encoding: 'utf8',
      timeout: 60_000,
    })
    return { status, said: stdout + stderr }
  }

  it.each<[string, Partial<UnitFacts>]>([
    ['as it comes', {}],
    [
      'with a user and a file',
      { user: 'daemon', reloads: true, words: ['run', '--config', '/etc/postern/posternd.yaml'] },
    ],
    ['with values that want quotes', { words: ['--url', 'unix:/run/my "app" $1 100%.sock', "it's", '\\', ';'] }],
  ])('takes it %s without a word', (_, facts) => {
    const unit = renderUnit({ ...FACTS, program: [node, '/posternd.js'], ...facts })
    expect(analyze(unit, 'verify', '--man=no')).toEqual({ status: 0, said: '' })
  })

  it('has words for what is wrong (the twin)', () => {
    const unit = renderUnit({ ...FACTS, program: [node, '/posternd.js'] }).replace(
      'NoNewPrivileges=yes',
      'NoNewPrivileges=perhaps',
    )
    expect(analyze(unit, 'verify', '--man=no').said).toContain('perhaps')
  })

  it('finds it little exposed: at most 1.5 of 10, where a unit without any of it has more than 9', () => {
    const threshold = (unit: string, tenths: number) =>
      analyze(unit, 'security', '--offline=true', '--no-pager', `--threshold=${tenths}`)
    const unit = renderUnit({ ...FACTS, program: [node, '/posternd.js'] })
    const { status, said } = threshold(unit, 15)
    expect(said.split('\n').filter(line => line.includes('exposure level'))).toEqual([expect.stringContaining('OK')])
    expect(status).toBe(0)
    expect(threshold('[Service]\nExecStart=/bin/true\n', 90).status).not.toBe(0)
  })
})
