import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { sshConfig } from '../src/ssh-config.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const plain = { hostname: 'ssh.example.com', program: ['postern'], args: [] }

describe('the ssh_config stanza', () => {
  it('names the hostname and the command', () => {
    expect(sshConfig(plain)).toBe(
      'Host ssh.example.com\n  ProxyCommand postern access ssh --hostname ssh.example.com\n',
    )
  })

  it('keeps the edge’s port out of the Host line', () => {
    expect(sshConfig({ ...plain, hostname: 'SSH.localhost:8443' })).toBe(
      'Host ssh.localhost\n  ProxyCommand postern access ssh --hostname ssh.localhost:8443\n',
    )
  })

  // security.md row 81; the allow twin is above.
  it.each([
    '-oProxyCommand=calc',
    '$(id)',
    '`id`',
    'a\nHost *',
    'a b',
    '%h',
    'a;id',
    "a'b",
    'a..b',
    '.a',
    'a.',
    '-a.b',
    'a/b',
    'a@b',
    '10.0.0.1',
    'ä.example',
    '',
  ])('%j is no hostname', hostname => {
    expect(() => sshConfig({ ...plain, hostname })).toThrow(expect.objectContaining({ code: 'HOSTNAME_INVALID' }))
  })

  it('refuses a word with a line end, which would begin a line of its own', () => {
    expect(() => sshConfig({ ...plain, args: ['--id', 'x\nProxyCommand calc'] })).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    )
  })
})

describe.skipIf(!peers.includes('ssh'))(
  'the stanza in the hands of OpenSSH (needs: apt-get install openssh-client)',
  () => {
    it('hands every hostile word over as it is, and runs nothing else', () => {
      const folder = mkdtempSync(join(tmpdir(), 'postern-ssh-config-'))
      try {
        const words = [
          '$(touch pwned)',
          '`touch pwned`',
          "it's",
          'a b',
          '%h',
          '%%',
          '"',
          ';touch pwned',
          '&',
          '\\',
          "\\'",
          'C:\\a\\',
          '\\\\"',
        ]
        const echo = join(folder, 'show.mjs')
        writeFileSync(
          echo,
          `import { writeFileSync } from 'node:fs'; writeFileSync(${JSON.stringify(join(folder, 'argv'))}, JSON.stringify(process.argv.slice(2)))`,
        )
        writeFileSync(
          join(folder, 'config'),
          sshConfig({ hostname: 'ssh.example.com', program: [process.execPath, echo], args: words }),
        )
        try {
          execFileSync('ssh', ['-F', join(folder, 'config'), '-o', 'BatchMode=yes', 'ssh.example.com', 'true'], {
            cwd: folder,
            stdio: 'pipe',
            timeout: 15_000,
          })
        } catch {} // the command behind it is no server
        expect(JSON.parse(readFileSync(join(folder, 'argv'), 'utf8'))).toEqual([
          'access',
          'ssh',
          '--hostname',
          'ssh.example.com',
          ...words,
        ])
        expect(() => readFileSync(join(folder, 'pwned'))).toThrow()
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    })
  },
)

describe('the stanza with a short-lived certificate', () => {
  const files = { keyFile: '/home/me/.config/postern/ssh/ssh.example.com', certificateFile: '/home/me/c-cert.pub' }
  const stanza = (more: Partial<typeof files> & { readonly args?: readonly string[] } = {}) =>
    sshConfig({ ...plain, certificate: { args: [], ...files, ...more } })

  it('has ssh ask for one, in a block of its own behind the way there', () => {
    expect(stanza({ args: ['--id', 'pst_1'] })).toBe(`Host ssh.example.com
  ProxyCommand postern access ssh --hostname ssh.example.com
Match host ssh.example.com exec "postern access ssh-gen --hostname ssh.example.com --id pst_1"
  IdentityFile /home/me/.config/postern/ssh/ssh.example.com
  CertificateFile /home/me/c-cert.pub
`)
  })

  it.each(["it's", 'a"b', 'a\\b', 'a\nb', 'a\0b'])('row 81: %j cannot stand there', word => {
    for (const more of [{ args: ['--id', word] }, { keyFile: `/home/${word}` }, { certificateFile: `/home/${word}` }])
      expect(() => stanza(more)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
    expect(stanza({ args: ['--id', 'a b'] })).toContain(` --id 'a b'"\n`)
  })

  it.skipIf(!peers.includes('ssh'))(
    'in the hands of OpenSSH: hostile words arrive as they are, and nothing else runs (needs: apt-get install openssh-client)',
    () => {
      const folder = mkdtempSync(join(tmpdir(), 'postern-ssh-config-'))
      try {
        const words = ['a b', '$(id)', '`id`', '%h', '%%', ';id', '&', '~', '*', '#x', '$HOME', '--', 'ä', '']
        const args = join(folder, 'args')
        const program = join(folder, 'postern')
        writeFileSync(program, `#!/bin/sh\nfor a; do printf '%s\\n' "$a"; done > ${args}\n`, { mode: 0o755 })
        const [keyFile, certificateFile] = [join(folder, 'my key %h'), join(folder, 'my #cert')]
        const text = sshConfig({
          hostname: 'ssh.example.com',
          program: [program],
          args: [],
          certificate: { args: words, keyFile, certificateFile },
        })
        const config = join(folder, 'config')
        writeFileSync(config, text)
        const ssh = (host: string) => execFileSync('ssh', ['-G', '-F', config, host], { encoding: 'utf8' })
        const shown = ssh('ssh.example.com')
        expect(readFileSync(args, 'utf8').split('\n').slice(0, -1)).toEqual([
          ...['access', 'ssh-gen', '--hostname', 'ssh.example.com'],
          ...words,
        ])
        // As they stand: what ssh makes of %% it says only when it opens the file.
        expect(shown).toContain(`identityfile ${keyFile.replace('%', '%%')}\n`)
        expect(shown).toContain(`certificatefile ${certificateFile}\n`)
        rmSync(args)
        expect(ssh('other.example.com')).not.toContain(folder)
        expect(() => readFileSync(args)).toThrow(/ENOENT/)
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    },
  )
})
