import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  issueSshCertificate,
  readSshCertificate,
  type SshCertificateOrder,
  sshAuthorityLine,
} from '../../src/ssh/certificate.ts'
import { createSshAuthority, createSshKey, publicKeyOf, readSshAuthority } from '../../src/ssh/key.ts'
import { SSH_EXTENSIONS } from '../../src/ssh/permit.ts'
import { readSshPublicKey } from '../../src/ssh/public-key.ts'

const hasSsh = (process.env.POSTERN_PEERS ?? '').split(' ').includes('ssh')

const ED25519 = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGkqNIMV/Y0sW9zTtn0GpUc8BpUWr4rIMdQ+wvOEI8nK ann@laptop'

const order = (more: Partial<SshCertificateOrder> = {}): SshCertificateOrder => ({
  publicKey: readSshPublicKey(ED25519),
  keyId: 'ann@example.com:6f1d',
  principals: ['ann', 'deploy'],
  validAfter: 1_800_000_000,
  validBefore: 1_800_000_360,
  ...more,
})

describe('a certificate', async () => {
  const authority = readSshAuthority(await createSshAuthority())

  it('says what was ordered, with a serial of 64 random bits', () => {
    const one = issueSshCertificate(authority, order())
    expect(readSshCertificate(one.certificate)).toEqual({
      publicKey: ED25519.replace(' ann@laptop', ''),
      serial: one.serial,
      keyId: 'ann@example.com:6f1d',
      principals: ['ann', 'deploy'],
      validAfter: 1_800_000_000,
      validBefore: 1_800_000_360,
    })
    const serials = new Set(Array.from({ length: 50 }, () => issueSshCertificate(authority, order()).serial))
    expect(serials.size).toBe(50)
  })

  it.each([
    ['no principals, which would be all of them', { principals: [] }],
    ['33 principals', { principals: Array.from({ length: 33 }, (_, at) => `user${at}`) }],
    ['two in one', { principals: ['ann,root'] }],
    ['a line end', { principals: ['ann\nroot'] }],
    ['a NUL', { principals: ['root\0ann'] }],
    ['a space', { principals: ['ann root'] }],
    ['an option of a line', { principals: ['-oProxyCommand=x'] }],
    ['an empty one', { principals: [''] }],
    ['a letter that looks like another', { principals: ['rооt'] }],
    ['an end before its beginning', { validBefore: 1_799_999_999 }],
    ['no time at all', { validBefore: 1_800_000_000 }],
    ['a hundred years', { validBefore: 4_900_000_000 }],
    ['a day and two minutes', { validBefore: 1_800_000_000 + 86_520 }],
    ['half a second', { validBefore: 1_800_000_000.5 }],
    ['no key id', { keyId: '' }],
    ['a key id of two lines', { keyId: 'ann\nAccepted publickey for root' }],
    ['an option with a line end', { criticalOptions: { 'force-command': 'true\nfalse' } }],
  ] as [string, Partial<SshCertificateOrder>][])('row 94: is not made with %s', (_what, more) => {
    expect(() => issueSshCertificate(authority, order(more))).toThrow(/ordered that may not be/)
    expect(issueSshCertificate(authority, order()).certificate).toMatch(/^ssh-ed25519-cert-v01@openssh\.com /)
  })

  it.each([
    ['nothing', ''],
    ['a key', ED25519],
    ['half of one', 'ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t'],
    ['megabytes', `ssh-ed25519-cert-v01@openssh.com ${'A'.repeat(1_000_000)}`],
  ])('is not read out of %s', (_what, line) => {
    expect(() => readSshCertificate(line)).toThrow()
  })

  it('every bit that is turned is noticed or says something else', () => {
    const { certificate } = issueSshCertificate(authority, order())
    const [type = '', base64 = ''] = certificate.split(' ')
    const bytes = Buffer.from(base64, 'base64')
    for (let at = 0; at < bytes.length; at += 1) {
      const turned = Buffer.from(bytes)
      turned[at] = (turned[at] ?? 0) ^ 0x80
      expect(() => {
        try {
          readSshCertificate(`${type} ${turned.toString('base64')}`)
        } catch (error) {
          if ((error as { code?: string }).code !== 'BAD_USAGE') throw error
        }
      }).not.toThrow()
    }
  })
})

describe.skipIf(!hasSsh)('as ssh-keygen reads it (needs: apt-get install openssh-client)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-pki-ssh-'))
  const file = (name: string) => join(folder, name)
  const keygen = (...args: string[]) => execFileSync('ssh-keygen', args, { encoding: 'utf8', stdio: 'pipe' })
  let authority: ReturnType<typeof readSshAuthority>
  let fingerprint = ''

  beforeAll(async () => {
    authority = readSshAuthority(await createSshAuthority())
    writeFileSync(file('ca.pub'), `${sshAuthorityLine(authority, 'postern ssh.example.com')}\n`)
    fingerprint = keygen('-lf', file('ca.pub')).split(' ')[1] ?? ''
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it.each([
    ['ed25519', ['-t', 'ed25519'], 'ssh-ed25519'],
    ['ecdsa on P-256', ['-t', 'ecdsa', '-b', '256'], 'ecdsa-sha2-nistp256'],
    ['ecdsa on P-384', ['-t', 'ecdsa', '-b', '384'], 'ecdsa-sha2-nistp384'],
    ['ecdsa on P-521', ['-t', 'ecdsa', '-b', '521'], 'ecdsa-sha2-nistp521'],
    ['rsa of 2048 bits', ['-t', 'rsa', '-b', '2048'], 'ssh-rsa'],
    ['rsa of 3072 bits', ['-t', 'rsa', '-b', '3072'], 'ssh-rsa'],
  ])('a key of %s', (_what, args, type) => {
    const key = file(`key-${args.join('')}`)
    keygen('-q', '-N', '', '-C', 'ann', '-f', key, ...args)
    const line = readFileSync(`${key}.pub`, 'utf8')
    const { certificate, serial } = issueSshCertificate(
      authority,
      order({
        publicKey: readSshPublicKey(line),
        extensions: SSH_EXTENSIONS.toReversed(),
        criticalOptions: { 'source-address': '10.0.0.0/8', 'force-command': 'echo "hello"' },
      }),
    )
    writeFileSync(`${key}-cert.pub`, `${certificate}\n`)
    const shown = keygen('-L', '-f', `${key}-cert.pub`)
    expect(shown).toContain(`Type: ${type}-cert-v01@openssh.com user certificate`)
    expect(shown).toContain(`Signing CA: ED25519 ${fingerprint} (using ssh-ed25519)`)
    expect(shown).toContain(
      `Public key: ${type.includes('rsa') ? 'RSA' : type.includes('ecdsa') ? 'ECDSA' : 'ED25519'}-CERT ${keygen('-lf', `${key}.pub`).split(' ')[1]}`,
    )
    expect(shown).toContain('Key ID: "ann@example.com:6f1d"')
    expect(shown).toContain(`Serial: ${serial}`)
    expect(shown).toMatch(/Principals: \n\s+ann\n\s+deploy\n/)
    expect(shown).toMatch(/Critical Options: \n\s+force-command echo "hello"\n\s+source-address 10\.0\.0\.0\/8\n/)
    // In the order of bytes: a capital stands before a small letter.
    expect(shown).toMatch(
      /Extensions: \n\s+permit-X11-forwarding\n\s+permit-agent-forwarding\n\s+permit-port-forwarding\n\s+permit-pty\n\s+permit-user-rc\n/,
    )
    expect(readSshCertificate(certificate).publicKey).toBe(line.trim().split(' ').slice(0, 2).join(' '))
  })

  it.each([
    ['sk-ssh-ed25519@openssh.com', ['<32>'], 'ED25519-SK-CERT'],
    ['sk-ecdsa-sha2-nistp256@openssh.com', ['nistp256', '<point>'], 'ECDSA-SK-CERT'],
  ])('a key on hardware, %s', (type, parts, name) => {
    const string = (value: string | Buffer) => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(Buffer.byteLength(value))
      return Buffer.concat([length, Buffer.from(value)])
    }
    keygen('-q', '-N', '', '-t', 'ecdsa', '-f', file(`sk-${name}`))
    const point = Buffer.from(readFileSync(file(`sk-${name}.pub`), 'utf8').split(' ')[1] ?? '', 'base64').subarray(-65)
    const fields = parts.map(part =>
      string(part === '<32>' ? point.subarray(1, 33) : part === '<point>' ? point : part),
    )
    const line = `${type} ${Buffer.concat([string(type), ...fields, string('ssh:')]).toString('base64')}`
    const { certificate } = issueSshCertificate(authority, order({ publicKey: readSshPublicKey(line) }))
    writeFileSync(file('sk-cert.pub'), certificate)
    expect(keygen('-L', '-f', file('sk-cert.pub'))).toContain(`Public key: ${name} `)
    expect(readSshCertificate(certificate).publicKey).toBe(line)
  })

  it('a private key of ours is one that ssh-keygen reads, and takes a passphrase', async () => {
    const text = await createSshKey('postern ssh.example.com')
    writeFileSync(file('own'), text, { mode: 0o600 })
    expect(keygen('-y', '-P', '', '-f', file('own')).trim()).toBe(`${publicKeyOf(text)} postern ssh.example.com`)
    keygen('-p', '-q', '-P', '', '-N', 'a passphrase', '-f', file('own'))
    const locked = readFileSync(file('own'), 'utf8')
    expect(locked).not.toBe(text)
    expect(publicKeyOf(locked)).toBe(publicKeyOf(text))
  })

  it('certificates of ssh-keygen are read, and those of hosts are not', () => {
    keygen('-q', '-N', '', '-t', 'ed25519', '-f', file('other-ca'))
    keygen('-q', '-N', '', '-t', 'ed25519', '-f', file('theirs'))
    keygen('-q', '-s', file('other-ca'), '-I', 'id', '-n', 'ann,bob', '-z', '7', '-V', '+5m', file('theirs.pub'))
    expect(readSshCertificate(readFileSync(file('theirs-cert.pub'), 'utf8'))).toMatchObject({
      serial: 7n,
      keyId: 'id',
      principals: ['ann', 'bob'],
    })
    keygen('-q', '-s', file('other-ca'), '-I', 'id', '-h', '-n', 'box', file('theirs.pub'))
    expect(() => readSshCertificate(readFileSync(file('theirs-cert.pub'), 'utf8'))).toThrow(
      /no SSH certificate of a user/,
    )
  })
})
