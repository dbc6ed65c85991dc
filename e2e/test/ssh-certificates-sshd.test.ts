import { type KeyObject, sign } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { issueSshCertificate, type SshCertificateOrder, sshAuthorityLine } from '@postern/pki/ssh/certificate'
import { createSshAuthority, createSshKey, publicKeyOf, readSshAuthority } from '@postern/pki/ssh/key'
import { SSH_EXTENSIONS } from '@postern/pki/ssh/permit'
import { readSshPublicKey } from '@postern/pki/ssh/public-key'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { run } from '../world/program.ts'
import { ACCOUNT, logged, startTrustingSshd, type TrustingSshd } from '../world/ssh-ca.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
/** Bytes at the end of a certificate: its type, 64 bytes, and three lengths. */
const SIGNATURE = 4 + 4 + 'ssh-ed25519'.length + 4 + 64
const sshString = (bytes: Buffer) => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
const now = () => Math.floor(Date.now() / 1000)

describe.skipIf(!['ssh', 'sshd'].every(name => peers.includes(name)))(
  'sshd and certificates of ours (needs: apt-get install openssh-client openssh-server)',
  () => {
    const folder = temporaryFolder()
    let [ours, other]: (KeyObject | undefined)[] = []
    /** One lets names in, the other its account’s own name alone. */
    let named: TrustingSshd
    let plain: TrustingSshd
    let count = 0

    beforeAll(async () => {
      ours = readSshAuthority(await createSshAuthority())
      other = readSshAuthority(await createSshAuthority())
      named = await startTrustingSshd(join(folder.path, 'named'), ['deploy', 'ann'])
      plain = await startTrustingSshd(join(folder.path, 'plain'))
      for (const sshd of [named, plain]) sshd.trust(sshAuthorityLine(ours, 'postern ssh.example.com'))
    })
    afterAll(async () => {
      await named?.[Symbol.asyncDispose]()
      await plain?.[Symbol.asyncDispose]()
      folder[Symbol.dispose]()
    })

    interface Wanted {
      readonly authority?: KeyObject | undefined
      readonly order?: Partial<SshCertificateOrder>
      readonly alter?: (line: string) => string
      /** Present the certificate with another key than it is for. */
      readonly stolen?: boolean
      readonly args?: readonly string[]
    }

    async function ssh(sshd: TrustingSshd, wanted: Wanted, command = 'echo in') {
      const own = join(folder.path, `case-${count++}`)
      mkdirSync(own, { mode: 0o700 })
      const key = await createSshKey('test')
      const { certificate } = issueSshCertificate((wanted.authority ?? ours) as KeyObject, {
        publicKey: readSshPublicKey(publicKeyOf(wanted.stolen ? await createSshKey('test') : key)),
        keyId: 'ann@example.com:6f1d',
        principals: ['deploy'],
        validAfter: now() - 60,
        validBefore: now() + 300,
        extensions: SSH_EXTENSIONS,
        ...wanted.order,
      })
      writeFileSync(join(own, 'key'), key, { mode: 0o600 })
      writeFileSync(join(own, 'key-cert.pub'), `${(wanted.alter ?? (line => line))(certificate)}\n`)
      writeFileSync(join(own, 'known_hosts'), `[127.0.0.1]:${sshd.port} ${sshd.hostPublicKey}\n`)
      const settings = { UserKnownHostsFile: join(own, 'known_hosts'), IdentitiesOnly: 'yes', BatchMode: 'yes' }
      const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
      const place = ['-F', 'none', '-i', join(own, 'key'), '-p', String(sshd.port), '-l', ACCOUNT]
      return run('ssh', [...place, ...options, ...(wanted.args ?? []), '127.0.0.1', command])
    }

    it('a good one is let in, and the log says whose it is', async () => {
      const since = named.log().length
      expect(await ssh(named, {})).toMatchObject({ code: 0, stdout: 'in\n' })
      await logged(
        named,
        since,
        /Accepted publickey for \S+ .* ID ann@example\.com:6f1d \(serial \d+\) CA ED25519 SHA256:/,
      )
    })

    it('by any of its names, and by the account’s own where no names are listed', async () => {
      expect((await ssh(named, { order: { principals: ['nobody', 'ann'] } })).code).toBe(0)
      expect((await ssh(plain, { order: { principals: [ACCOUNT] } })).code).toBe(0)
    })

    it.each<[string, Wanted, RegExp]>([
      ['expired', { order: { validAfter: now() - 400, validBefore: now() - 1 } }, /Certificate invalid: expired/],
      [
        'not yet valid',
        { order: { validAfter: now() + 600, validBefore: now() + 900 } },
        /Certificate invalid: not yet valid/,
      ],
      [
        'for other names',
        { order: { principals: ['eve', 'deploy2', 'Deploy'] } },
        /does not contain an authorized principal/,
      ],
    ])('one that is %s is refused', async (_what, wanted, why) => {
      const since = named.log().length
      expect((await ssh(named, wanted)).code).toBe(255)
      await logged(named, since, why)
      expect((await ssh(named, {})).code).toBe(0)
    })

    it('without a list, another name than the account’s is refused', async () => {
      const since = plain.log().length
      expect((await ssh(plain, {})).code).toBe(255)
      await logged(plain, since, /name is not a listed principal/)
      expect((await ssh(plain, { order: { principals: [ACCOUNT] } })).code).toBe(0)
    })

    it('one of another authority is refused, and let in where that is trusted', async () => {
      const since = named.log().length
      expect((await ssh(named, { authority: other })).code).toBe(255)
      await logged(named, since, /Failed publickey|Connection (closed|reset) by authenticating user/)
      const both = [ours, other].map(one => sshAuthorityLine(one as KeyObject, 'postern'))
      named.trust(...both)
      expect((await ssh(named, { authority: other })).code).toBe(0)
      named.trust(both[0] ?? '')
    })

    it('one that was altered in any place is refused', async () => {
      // Each third byte from the names on: what stands before them is the key, and the client says no to that itself.
      const { certificate } = issueSshCertificate(ours as KeyObject, {
        publicKey: readSshPublicKey(publicKeyOf(await createSshKey('x'))),
        keyId: 'k',
        principals: ['deploy'],
        validAfter: 1,
        validBefore: 2,
      })
      const length = Buffer.from(certificate.split(' ')[1] ?? '', 'base64').length
      const alter = (at: number) => (line: string) => {
        const [type = '', text = ''] = line.split(' ')
        const bytes = Buffer.from(text, 'base64')
        bytes[at] = (bytes[at] ?? 0) ^ 1
        return `${type} ${bytes.toString('base64')}`
      }
      for (const at of [40, 110, length - 60, length - 1])
        expect((await ssh(named, { alter: alter(at) })).code).toBe(255)
      expect((await ssh(named, { alter: line => line })).code).toBe(0)
    })

    it('one for another key than is shown is refused', async () => {
      expect((await ssh(named, { stolen: true })).code).toBe(255)
      expect((await ssh(named, {})).code).toBe(0)
    })

    it('row 89: a name is one name for sshd, too: no comma, line end or NUL makes two of it', async () => {
      // Signed past the check of our own, which refuses them: this is what sshd would make of them.
      const signed = (name: string) => (line: string) => {
        const [type = '', text = ''] = line.split(' ')
        const body = Buffer.from(text, 'base64').subarray(0, -SIGNATURE)
        const renamed = Buffer.from(body.toString('latin1').replace('x'.repeat(name.length), name), 'latin1')
        const own = [Buffer.from('ssh-ed25519'), sign(null, renamed, ours as KeyObject)].map(sshString)
        return `${type} ${Buffer.concat([renamed, sshString(Buffer.concat(own))]).toString('base64')}`
      }
      const [own, since] = [ACCOUNT, plain.log().length]
      for (const name of [`${own},x`, `x,${own}`, `${own}\nx`, `${own}\0x`, `${own} `]) {
        const order = { principals: ['x'.repeat(name.length)] }
        expect((await ssh(plain, { order, alter: signed(name) })).code).toBe(255)
      }
      expect(plain.log().slice(since)).not.toMatch(/Accepted/)
      // The twin: signed in the same way, with the name itself.
      expect((await ssh(plain, { order: { principals: ['x'.repeat(own.length)] }, alter: signed(own) })).code).toBe(0)
    })

    it('what it permits is what one may: a terminal, a forward, one command alone', async () => {
      expect((await ssh(named, { args: ['-tt'] }, 'tty')).stdout).toMatch(/\/dev\/pts\/\d+/)
      const without = await ssh(named, { order: { extensions: ['permit-port-forwarding'] }, args: ['-tt'] }, 'tty')
      expect(`${without.stdout}${without.stderr}`).toMatch(/PTY allocation request failed|not a tty/)
      const forced = { criticalOptions: { 'force-command': 'echo "forced: $SSH_ORIGINAL_COMMAND"' } }
      expect((await ssh(named, { order: forced })).stdout).toBe('forced: echo in\n')
      const unknown = { criticalOptions: { 'only-on-mondays': 'yes' } }
      expect((await ssh(named, { order: unknown })).code).toBe(255)
    })
  },
)
