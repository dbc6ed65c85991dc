import { createPrivateKey, X509Certificate } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createAuthority, readAuthorities, readAuthority } from '../src/authority.ts'
import { makeKey } from '../src/keys.ts'
import { certificate, extension, file, keys, name, noOpenssl, openssl, pemOf, seq, YES } from './forged.ts'

const refusal = { code: 'CONFIG_INVALID' }
const DAY = 86_400_000
const CA = '551d13'
const asPem = (der: Uint8Array) => pemOf(der, 'CERTIFICATE')

describe('a CA of one’s own', () => {
  test.each(['ec', 'rsa'] as const)('%s: what it says, and its key', async keyType => {
    const made = await createAuthority({ commonName: 'Team Zoë', days: 10, keyType })
    const facts = readAuthority(made.cert, made.key)
    expect(facts).toMatchObject({ subject: 'CN=Team Zoë', keyType: keyType === 'ec' ? 'EC P-256' : 'RSA 2048' })
    expect(Math.abs(facts.notAfter - Date.now() - 10 * DAY)).toBeLessThan(60_000)
    expect(facts.notBefore).toBeLessThanOrEqual(Date.now() - DAY)
    expect(facts.cert).toBe(made.cert)
    expect(made.key).toContain('BEGIN PRIVATE KEY')
  })

  test('row 94: serials and keys are never the same twice', async () => {
    const made = await Promise.all(Array.from({ length: 8 }, () => createAuthority({ commonName: 'Same', days: 1 })))
    expect(new Set(made.map(one => new X509Certificate(one.cert).serialNumber)).size).toBe(8)
    expect(new Set(made.map(one => one.key)).size).toBe(8)
  })

  test('times and names that cannot be', async () => {
    for (const days of [0, -1, Number.NaN, 40 * 366 + 1, Number.POSITIVE_INFINITY])
      await expect(createAuthority({ commonName: 'CA', days })).rejects.toMatchObject({ code: 'BAD_USAGE' })
    for (const commonName of ['', 'a\0b', 'x'.repeat(65), 'a\nb', '\ud800'])
      await expect(createAuthority({ commonName, days: 1 })).rejects.toMatchObject({ code: 'BAD_USAGE' })
    const { cert } = await createAuthority({ commonName: 'x'.repeat(64), days: 40 * 366 })
    expect(new Date(readAuthority(cert).notAfter).getUTCFullYear()).toBeGreaterThan(2050)
  })
})

describe('a CA that is brought', () => {
  const isCa = extension(CA, seq(YES), true)
  const forged = (facts: Parameters<typeof certificate>[0] = {}) =>
    asPem(certificate({ subject: name('CA'), extensions: [isCa], ...facts }))

  test('its twin is taken', () => {
    expect(readAuthority(forged())).toMatchObject({ subject: 'CN=CA' })
    const key = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    expect(readAuthority(forged(), key)).toMatchObject({ subject: 'CN=CA' })
  })

  test('row 84: no CA, by any of the ways not to be one', () => {
    const usage = extension('551d0f', Buffer.from('03020780', 'hex'), true)
    for (const extensions of [[], [extension(CA, seq(), true)], [isCa, usage]])
      expect(() => readAuthority(forged({ extensions }))).toThrow(expect.objectContaining(refusal))
  })

  test('no name; not its key; no key; several; none; another thing', async () => {
    expect(() => readAuthority(forged({ subject: seq() }))).toThrow(/names no subject/)
    const other = await makeKey()
    expect(() => readAuthority(forged(), other)).toThrow(expect.objectContaining(refusal))
    expect(() => readAuthority(forged(), 'no key')).toThrow(expect.objectContaining(refusal))
    const encrypted = createPrivateKey(other).export({
      type: 'pkcs8',
      format: 'pem',
      cipher: 'aes-256-cbc',
      passphrase: 'x',
    })
    expect(() => readAuthority(forged(), encrypted.toString())).toThrow(/is encrypted/)
    expect(() => readAuthority(forged() + forged())).toThrow(expect.objectContaining(refusal))
    for (const text of ['', 'x', pemOf(Buffer.from([1, 2, 3]), 'CERTIFICATE'), other, 'x'.repeat(300_000)])
      expect(() => readAuthority(text)).toThrow(expect.objectContaining(refusal))
  })

  test('a rotation: two, both looked at; not eleven', () => {
    expect(readAuthorities(`first:\n${forged()}\nsecond:\n${forged({ subject: name('New') })}`)).toMatchObject([
      { subject: 'CN=CA' },
      { subject: 'CN=New' },
    ])
    expect(() => readAuthorities(forged() + forged({ extensions: [] }))).toThrow(expect.objectContaining(refusal))
    expect(() => readAuthorities(forged().repeat(11))).toThrow(expect.objectContaining(refusal))
    expect(readAuthorities(forged().repeat(10))).toHaveLength(10)
  })
})

describe.skipIf(noOpenssl)('a CA made with openssl', () => {
  const make = async (key: readonly string[], ...more: readonly string[]) => {
    const [pem, cert] = [file(), file()]
    await openssl('genpkey', '-quiet', ...key, '-out', pem)
    await openssl('req', '-x509', '-key', pem, '-subj', '/O=Org/CN=Theirs', '-days', '30', '-out', cert, ...more)
    return { cert, pem, text: await openssl('x509', '-in', cert), key: await openssl('pkey', '-in', pem) }
  }
  const rsa = (bits: number, e = 65_537) =>
    ['-algorithm', 'RSA', '-pkeyopt', `rsa_keygen_bits:${bits}`, '-pkeyopt', `rsa_keygen_pubexp:${e}`] as const
  const curve = (of: string) => ['-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${of}`] as const

  test.each([
    ['RSA 2048', rsa(2048)],
    ['EC P-256', curve('P-256')],
    ['EC P-384', curve('P-384')],
    ['EC P-521', curve('P-521')],
    ['Ed25519', ['-algorithm', 'ED25519']],
  ] as const)('%s is taken', async (keyType, args) => {
    const { text, key } = await make(args)
    expect(readAuthority(text, key)).toMatchObject({ keyType, subject: 'CN=Theirs,O=Org' })
  })

  test.each([
    ['RSA 1024', rsa(1024), []],
    ['RSA with the exponent 3', rsa(2048, 3), []],
    ['a curve of little use', curve('secp224r1'), []],
    ['a curve that nobody else has', curve('secp256k1'), []],
    ['SHA-1', rsa(2048), ['-sha1']],
    ['RSA-PSS', rsa(2048), ['-sigopt', 'rsa_padding_mode:pss']],
  ] as const)('row 94: %s is refused', async (_, args, more) => {
    const { text } = await make(args, ...more)
    expect(() => readAuthority(text)).toThrow(expect.objectContaining(refusal))
  })

  test('row 87: one that has expired is refused', async () => {
    const [pem, request, cert] = [file(), file(), file()]
    await openssl('genpkey', '-quiet', ...curve('P-256'), '-out', pem)
    await openssl('req', '-new', '-key', pem, '-subj', '/CN=Old', '-out', request)
    const extensions = file('basicConstraints=critical,CA:TRUE')
    const sign = (days: string) =>
      openssl('x509', '-req', '-in', request, '-signkey', pem, '-days', days, '-extfile', extensions, '-out', cert)
    await sign('-1')
    const old = await openssl('x509', '-in', cert)
    expect(() => readAuthority(old)).toThrow(/expired at/)
    await sign('1')
    expect(readAuthority(await openssl('x509', '-in', cert))).toMatchObject({ subject: 'CN=Old' })
  })
})
