import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { lineDiff, withBlock } from '../src/ssh-config-text.ts'
import { postern } from './postern.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const OWN = 'AddKeysToAgent yes\n\nHost *.work\n\tUser me  # ä, and no change of mine\n'
let home: string
let file: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'postern-ssh-home-'))
  mkdirSync(join(home, '.ssh'), { mode: 0o700 })
  file = join(home, '.ssh/config')
})
afterEach(() => rmSync(home, { recursive: true, force: true }))

const run = (hostname: string, ...args: string[]) =>
  postern(['access', 'ssh-config', '--hostname', hostname, '--id', 'pst_1', '--secret-file', '/token', ...args], {
    env: { HOME: home, POSTERN_HOME: join(home, 'postern') },
  })
const write = (hostname: string, ...args: string[]) => run(hostname, '--write', ...args)
const text = () => readFileSync(file, 'utf8')
const block = (hostname: string, more = '') =>
  `# >>> postern ${hostname}\n# Written by \`postern access ssh-config --write\`, which replaces what is changed here.\nHost ${hostname}\n  ProxyCommand postern access ssh --hostname ${hostname} --id pst_1 --secret-file /token${more}\n# <<< postern ${hostname}\n`

function writeLoose(path: string): void {
  writeFileSync(path, OWN)
  chmodSync(path, 0o666)
}

describe('ssh-config --write', () => {
  it('adds its block to the end, keeps every other byte, and what was is beside it', async () => {
    writeFileSync(file, OWN, { mode: 0o644 })
    const { code, stdout } = await write('ssh.example.com')
    expect([code, stdout]).toEqual([0, ''])
    expect(text()).toBe(`${OWN}\n${block('ssh.example.com')}`)
    expect(readFileSync(`${file}.before-postern`, 'utf8')).toBe(OWN)
    for (const one of [file, `${file}.before-postern`]) expect(statSync(one).mode & 0o777).toBe(0o600)
  })

  it('is done once: the second time changes nothing, other flags change its block alone', async () => {
    writeFileSync(file, OWN, { mode: 0o600 })
    await write('a.example.com')
    await write('b.example.com')
    const both = `${OWN}\n${block('a.example.com')}\n${block('b.example.com')}`
    expect(text()).toBe(both)
    const { ino } = statSync(file)
    expect((await write('a.example.com')).stderr).toContain('is as it should be')
    expect([text(), statSync(file).ino]).toEqual([both, ino])
    await run('a.example.com', '--write', '--edge', 'https://e.example.com')
    expect(text()).toContain(block('b.example.com'))
    expect(text()).toContain('--hostname a.example.com --edge https://e.example.com')
    expect(text().match(/>>> postern a\.example\.com/g)).toHaveLength(1)
  })

  it('makes folder and file where there are none, for this user alone', async () => {
    rmSync(join(home, '.ssh'), { recursive: true })
    const { code, stdout } = await write('ssh.example.com', '--json')
    expect([code, JSON.parse(stdout)]).toEqual([0, { file, changed: true }])
    expect(text()).toBe(block('ssh.example.com'))
    expect([statSync(file).mode & 0o777, statSync(join(home, '.ssh')).mode & 0o777]).toEqual([0o600, 0o700])
    expect(readdirSync(join(home, '.ssh'))).toEqual(['config']) // no temporary file, no backup of nothing
  })

  it('two at once both end up in it', async () => {
    writeFileSync(file, OWN, { mode: 0o600 })
    await Promise.all(['a', 'b', 'c'].map(name => write(`${name}.example.com`)))
    for (const name of ['a', 'b', 'c']) expect(text()).toContain(block(`${name}.example.com`))
  })

  it('--dry-run shows the change as a diff that patch takes, and changes nothing', async () => {
    writeFileSync(file, OWN, { mode: 0o600 })
    const { code, stdout } = await run('ssh.example.com', '--dry-run')
    expect(code).toBe(0)
    expect(stdout).toContain('+# >>> postern ssh.example.com\n')
    expect([text(), readdirSync(join(home, '.ssh'))]).toEqual([OWN, ['config']])
  })

  it('follows a symbolic link to the user’s own file and leaves the link', async () => {
    mkdirSync(join(home, 'dotfiles'))
    writeFileSync(join(home, 'dotfiles/ssh'), OWN, { mode: 0o600 })
    symlinkSync('../dotfiles/ssh', file)
    expect((await write('ssh.example.com')).code).toBe(0)
    expect(readlinkSync(file)).toBe('../dotfiles/ssh')
    expect(readFileSync(join(home, 'dotfiles/ssh'), 'utf8')).toBe(`${OWN}\n${block('ssh.example.com')}`)
  })

  it.each([
    ['a link that leads nowhere', () => symlinkSync('nowhere', file), 'FILE_UNSAFE'],
    ['a FIFO', () => void spawnSync('mkfifo', [file]), 'FILE_UNSAFE'],
    ['a link to a device', () => symlinkSync('/dev/null', file), 'FILE_UNSAFE'],
    ['a folder', () => mkdirSync(file), 'FILE_UNSAFE'],
    ['a file that others can write', () => writeLoose(file), 'FILE_UNSAFE'],
    ['a folder that others can write', () => chmodSync(join(home, '.ssh'), 0o777), 'FILE_UNSAFE'],
    [
      'what is not text',
      () => writeFileSync(file, Buffer.from([0x41, 0xff, 0x0a]), { mode: 0o600 }),
      'FILE_UNREADABLE',
    ],
    [
      'a mark without its pair',
      () => writeFileSync(file, '# >>> postern ssh.example.com\n', { mode: 0o600 }),
      'CONFIG_INVALID',
    ],
  ])('refuses %s, and changes nothing', async (_what, prepare, code) => {
    prepare()
    const before = existsSync(file) && statSync(file).isFile() ? readFileSync(file) : undefined
    const { stderr } = await write('ssh.example.com')
    expect(stderr).toContain(code)
    if (before) expect(readFileSync(file).equals(before)).toBe(true)
    expect(existsSync(`${file}.before-postern`)).toBe(false)
  })

  it.skipIf(process.getuid?.() !== 0).each(['.ssh', '.ssh/config'])(
    'refuses a %s of another user (needs: to be root)',
    async name => {
      writeFileSync(file, OWN, { mode: 0o600 })
      chownSync(join(home, name), 12_345, 12_345)
      expect((await write('ssh.example.com')).stderr).toContain('FILE_UNSAFE')
      expect(text()).toBe(OWN)
    },
  )

  it.skipIf(process.getuid?.() !== 0)(
    'as root leaves nothing in another user’s home, not even a folder (needs: to be root)',
    async () => {
      rmSync(join(home, '.ssh'), { recursive: true })
      chownSync(home, 12_345, 12_345)
      expect((await write('ssh.example.com')).stderr).toContain('FILE_UNSAFE')
      expect(readdirSync(home)).toEqual([])
    },
  )

  it.each([
    ['what stands where the backup goes', () => mkdirSync(`${file}.before-postern`), 'config.before-postern'],
    ['settings that cannot be written', () => writeFileSync(join(home, 'postern'), ''), 'postern/secrets'],
  ])('says which file cannot be written, and changes nothing: %s', async (_what, prepare, named) => {
    writeFileSync(file, OWN, { mode: 0o600 })
    prepare()
    const { code, stderr } = await write('ssh.example.com')
    expect([code, stderr]).toEqual([5, expect.stringContaining(`${named} cannot be`)])
    expect(text()).toBe(OWN)
  })

  it.each([
    ['Host a.b ssh.example.com\n  User me\n', 1],
    ['Host "ssh.example.com"\n', 1],
    ['ProxyJump bastion\n', 1],
    ['Host *\n  User me\n  ProxyCommand=none\n', 3],
    ['Host *.example.???\n  ProxyCommand none\n', 2],
    ['Host b\nMatch all\n  proxycommand none\n', 3],
  ])('warns about an earlier stanza for the same host, which ssh would take first: %j', async (before, line) => {
    writeFileSync(file, before, { mode: 0o600 })
    expect((await write('ssh.example.com')).stderr).toContain(`${file}:${line} is about ssh.example.com too`)
  })

  it.each([
    'Host *\n  User me\n',
    'Host b *.org\n  ProxyCommand none\n',
    'Host * !*.example.com\n  ProxyCommand none\n',
    'Match host b\n  ProxyCommand none\n',
    '# Host ssh.example.com\n',
  ])('does not warn about what leaves its proxy alone: %j', async before => {
    writeFileSync(file, before, { mode: 0o600 })
    expect((await write('ssh.example.com')).stderr).not.toContain('is about')
  })
})

describe('the text', () => {
  const stanza = 'Host h\n'
  it.each(['', 'x', 'x\n', 'x\r\n', '\n\n'])('keeps %j in front of the block', before => {
    const once = withBlock(before, 'h', stanza, 'f')
    expect(once.startsWith(before)).toBe(true)
    expect(withBlock(once, 'h', stanza, 'f')).toBe(once)
    expect(withBlock(`${once}Host z\n`, 'h', 'Host h2\n', 'f')).toBe(`${once.replace('Host h\n', 'Host h2\n')}Host z\n`)
  })

  it.each([
    '# >>> postern h\n',
    '# <<< postern h\n',
    '# <<< postern h\n# >>> postern h\n',
    '# >>> postern h\n# >>> postern h\n# <<< postern h\n',
    '# >>> postern h\n# >>> postern i\n# <<< postern h\n',
  ])('%j is not guessed at', before => {
    expect(() => withBlock(before, 'h', stanza, 'f')).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  })

  it.each([
    ['', 'a\n'],
    ['x', 'x\na\n'],
    ['1\n2\n3\n4\n5\n', '1\n2\n3\n4\n5\n\nnew\n'],
    ['1\n2\n3\n4\nold\n6\n7\n8\n9\n', '1\n2\n3\n4\nnew\nnewer\n6\n7\n8\n9\n'],
  ])('of %j and %j the diff is one that patch takes', (before, after) => {
    writeFileSync(join(home, 'text'), before)
    spawnSync('patch', ['--version']).status === 0 &&
      execFileSync('patch', ['-s', join(home, 'text')], { input: lineDiff(before, after, 'text') })
    if (spawnSync('patch', ['--version']).status === 0) expect(readFileSync(join(home, 'text'), 'utf8')).toBe(after)
    expect(lineDiff(after, after, 'text')).toBe('')
  })
})

describe.skipIf(!peers.includes('ssh'))('OpenSSH with the written file (needs: apt-get install openssh-client)', () => {
  it('goes through Postern for this host alone, and takes the user’s own settings as before', async () => {
    writeFileSync(file, OWN, { mode: 0o600 })
    await write('ssh.example.com')
    const asked = (host: string) => execFileSync('ssh', ['-T', '-F', file, '-G', host], { encoding: 'utf8' })
    expect(asked('ssh.example.com')).toContain(
      '\nproxycommand postern access ssh --hostname ssh.example.com --id pst_1 --secret-file /token\n',
    )
    expect(asked('ssh.example.com')).toContain('\naddkeystoagent true\n')
    expect(asked('a.work')).toMatch(/^user me$/m)
    expect(asked('a.work')).not.toContain('proxycommand')
  })
})
