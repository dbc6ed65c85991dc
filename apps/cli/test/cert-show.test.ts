import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createAuthority,
  createCertificateRequest,
  issueCertificate,
  makeKey,
  readCertificateRequest,
} from '@postern/pki'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postern } from './postern.ts'

const noOpenssl = !(process.env.POSTERN_PEERS ?? '').split(' ').includes('openssl')
const folder = mkdtempSync(join(tmpdir(), 'postern-show-'))
const at = (name: string) => join(folder, name)
let serial: string
beforeAll(async () => {
  const ca = await createAuthority({ commonName: 'Our CA', days: 1 })
  const key = await makeKey()
  const { publicKey } = await readCertificateRequest(await createCertificateRequest(key))
  const san = [{ type: 'email', value: 'ann@example.com' }] as const
  const issued = await issueCertificate(ca, { publicKey, commonName: 'ann', san, seconds: 3600, usage: 'client' })
  serial = issued.serial
  writeFileSync(at('both.pem'), `${issued.cert}${key}`, { mode: 0o600 })
  writeFileSync(at('me.crt'), issued.cert)
  writeFileSync(at('me.key'), key, { mode: 0o600 })
  writeFileSync(at('chain.pem'), `${issued.cert}${ca.cert}`)
  writeFileSync(at('me.der'), new X509Certificate(issued.cert).raw)
  writeFileSync(at('odd.pem'), `${ca.cert}${key}`, { mode: 0o600 })
  writeFileSync(at('nothing'), 'nothing')
  writeFileSync(at('passphrase'), 'a passphrase\n', { mode: 0o600 })
  writeFileSync(at('wrong'), 'another\n', { mode: 0o600 })
})
afterAll(() => rmSync(folder, { recursive: true }))

describe('postern cert show', () => {
  it.each([
    ['both.pem', 'yes', 0],
    ['me.crt', 'no', 0],
    ['chain.pem', 'no', 1],
    ['me.der', 'no', 0],
  ])('says what is in %s', async (name, key, others) => {
    const ended = await postern(['cert', 'show', at(name), '--json'])
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(ended.stdout)).toMatchObject({
      commonName: 'ann',
      san: [{ type: 'email', value: 'ann@example.com' }],
      issuer: 'CN=Our CA',
      serial,
      key,
      others,
    })
    const shown = await postern(['cert', 'show', at(name)])
    expect(shown.stdout).toMatch(/^subject +CN=ann$/m)
    expect(shown.stdout).toMatch(/^names +email:ann@example\.com$/m)
    expect(shown.stdout).not.toContain('PRIVATE')
  })

  it('says that a key is another one’s', async () => {
    expect(JSON.parse((await postern(['cert', 'show', at('odd.pem'), '--json'])).stdout).key).toBe(
      'another certificate’s',
    )
  })

  it.skipIf(noOpenssl)('opens PKCS#12 with its passphrase, and with no other', async () => {
    const make = [
      'pkcs12',
      '-export',
      '-in',
      at('me.crt'),
      '-inkey',
      at('me.key'),
      '-passout',
      `file:${at('passphrase')}`,
    ]
    execFileSync('openssl', [...make, '-out', at('me.p12')])
    const shown = await postern(['cert', 'show', at('me.p12'), '--passphrase-file', at('passphrase'), '--json'])
    expect(JSON.parse(shown.stdout)).toMatchObject({ serial, key: 'yes' })
    const wrong = await postern(['cert', 'show', at('me.p12'), '--passphrase-file', at('wrong')])
    expect([wrong.code, wrong.stdout]).toEqual([11, ''])
    expect((await postern(['cert', 'show', at('me.p12')])).code).toBe(11)
  })

  it('says what is wrong: no file, nothing in it, or two of them', async () => {
    expect((await postern(['cert', 'show', at('none')])).code).toBe(5)
    expect((await postern(['cert', 'show', at('nothing')])).code).toBe(5)
    expect((await postern(['cert', 'show', folder])).code).toBe(5)
    expect((await postern(['cert', 'show'])).code).toBe(2)
    expect((await postern(['cert', 'show', at('me.crt'), at('me.crt')])).code).toBe(2)
    const hint = await postern(['cert', 'shwo', at('me.crt')])
    expect([hint.code, hint.stderr]).toEqual([2, expect.stringContaining('show')])
  })
})

describe('what is typed wrong', () => {
  it.each([
    [['cert', 'request'], 'which application'],
    [['cert', 'request', 'http://app.example.com'], 'https:'],
    [['cert', 'request', 'app.example.com', '--out', 'x.pem', '--lasts', '1h'], '--lasts'],
    [['cert', 'renew', 'app.example.com'], '--cert'],
    [['cert', 'renew', 'app.example.com', '--cert', 'none.pem', '--before', 'soon'], '--before'],
  ])('%j is told, and nothing is asked or made', async (args, said) => {
    const ended = await postern(args, { cwd: folder })
    expect(ended.code).toBe(2)
    expect(ended.stderr).toContain(said)
  })

  it('a file that is there is told before anybody signs in', async () => {
    const ended = await postern(['cert', 'request', 'app.invalid', '--out', at('me.crt')], { cwd: folder })
    expect([ended.code, ended.stderr]).toEqual([72, expect.stringContaining('is there already')])
  })

  it('a certificate that has ended is told before the edge is asked', async () => {
    const ca = await createAuthority({ commonName: 'Old', days: 1 })
    const key = await makeKey()
    const { publicKey } = await readCertificateRequest(await createCertificateRequest(key))
    const wanted = { publicKey, commonName: 'x', san: [], seconds: 60, usage: 'client', notBefore: 0 } as const
    const { cert } = await issueCertificate(ca, wanted)
    writeFileSync(at('ended.pem'), `${cert}${key}`, { mode: 0o600 })
    const env = { POSTERN_HOME: join(folder, 'home'), NODE_OPTIONS: `--import ${at('later.mjs')}` }
    writeFileSync(at('later.mjs'), 'const now = Date.now; Date.now = () => now() + 120_000\n')
    const ended = await postern(['cert', 'renew', 'app.invalid', '--cert', at('ended.pem')], { env })
    expect([ended.code, ended.stderr]).toEqual([16, expect.stringContaining('CERTIFICATE_EXPIRED')])
  })

  it('loads no edge, no session and no plugin for a look at a file', async () => {
    const { loaded } = await postern(['cert', 'show', at('me.crt')], { trace: true })
    expect(loaded.filter(module => /auth-|transport-|yamux|tunnel/.test(module))).toEqual([])
  })
})
