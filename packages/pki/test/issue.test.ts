import { createPublicKey, X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { createAuthority } from '../src/authority.ts'
import { issueCertificate, type Profile } from '../src/issue.ts'
import { makeKey } from '../src/keys.ts'
import { readLeaf } from '../src/leaf.ts'
import { canonicalIp, type SubjectName } from '../src/names.ts'
import type { KeyAndCertificate } from '../src/pem.ts'
import { readAuthorityExtensions } from '../src/structures.ts'
import {
  certificate,
  extension,
  file,
  keys,
  name,
  noOpenssl,
  openssl,
  pemOf,
  rsaWithExponent,
  seq,
  YES,
} from './forged.ts'

const refusal = { code: 'BAD_USAGE' }
const DAY = 86_400
let authority: KeyAndCertificate
let publicKey: string

beforeAll(async () => {
  authority = await createAuthority({ commonName: 'Team CA', days: 3650 })
  publicKey = createPublicKey(await makeKey())
    .export({ type: 'spki', format: 'pem' })
    .toString()
})

const profile = (more: Partial<Profile> = {}): Profile & { publicKey: string } => ({
  publicKey,
  commonName: 'ann',
  san: [{ type: 'email', value: 'ann@example.com' }],
  seconds: DAY,
  usage: 'client',
  ...more,
})
const derOf = (pem: string) => new Uint8Array(new X509Certificate(pem).raw)

describe('what is issued', () => {
  test('is what was asked for, and what is said of it', async () => {
    const issued = await issueCertificate(authority, profile())
    const leaf = readLeaf(derOf(issued.cert))
    expect(leaf).toMatchObject({
      commonName: 'ann',
      san: [{ type: 'email', value: 'ann@example.com' }],
      issuer: 'CN=Team CA',
      serial: issued.serial,
      fingerprint: issued.fingerprint,
      notBefore: issued.notBefore,
      notAfter: issued.notAfter,
    })
    expect(new X509Certificate(issued.cert).publicKey.equals(createPublicKey(publicKey))).toBe(true)
    expect(Math.abs(issued.notAfter - Date.now() - DAY * 1000)).toBeLessThan(60_000)
    expect(issued.notBefore).toBeLessThan(Date.now() - 200_000)
  })

  test('row 94: no CA, for client and server; its use is one', async () => {
    for (const [usage, purpose] of [
      ['client', '1.3.6.1.5.5.7.3.2'],
      ['server', '1.3.6.1.5.5.7.3.1'],
    ] as const) {
      const { cert } = await issueCertificate(authority, profile({ usage }))
      const read = new X509Certificate(cert)
      expect(read.ca).toBe(false)
      expect(read.keyUsage).toEqual([purpose])
    }
  })

  test('row 94: a CA below it only where asked for and where it may', async () => {
    const usage = 'connector-authority'
    await expect(issueCertificate(authority, profile({ usage }))).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    const above = await createAuthority({ commonName: 'Tunnel', days: 10, pathLength: 1 })
    const { cert } = await issueCertificate(above, profile({ usage, san: [] }))
    expect(new X509Certificate(cert).ca).toBe(true)
    expect(readAuthorityExtensions(derOf(cert)).pathLength).toBe(0)
  })

  test('row 94: a serial has 16 bytes by chance: positive, without a leading zero, never twice', async () => {
    const many = await Promise.all(Array.from({ length: 100 }, () => issueCertificate(authority, profile())))
    for (const { serial } of many) expect(serial).toMatch(/^[4-7][0-9a-f]{31}$/)
    expect(new Set(many.map(one => one.serial)).size).toBe(100)
  })

  test('row 94: a hundred years, no time, and nonsense are refused; the most there is, is not', async () => {
    for (const seconds of [36_500 * DAY, 825 * DAY + 1, 59, 0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      await expect(issueCertificate(authority, profile({ seconds }))).rejects.toMatchObject(refusal)
    for (const seconds of [825 * DAY, 60])
      await expect(issueCertificate(authority, profile({ seconds }))).resolves.toBeDefined()
  })

  test('row 94: never longer than its CA; and it begins before it ends', async () => {
    const short = await createAuthority({ commonName: 'Short', days: 1 })
    const { notAfter } = await issueCertificate(short, profile({ seconds: 30 * DAY }))
    const end = new X509Certificate(short.cert).validToDate.getTime()
    expect(notAfter).toBe(end)
    for (const notBefore of [Date.now() + 2 * DAY * 1000, Number.NaN])
      await expect(issueCertificate(short, profile({ notBefore }))).rejects.toMatchObject(refusal)
  })

  test('row 94: weak keys are refused, and what is no public key', async () => {
    const bad = [rsaWithExponent('AQ'), rsaWithExponent('Aw'), rsaWithExponent('AQAC'), await makeKey(), '', 'x']
    for (const one of bad)
      await expect(issueCertificate(authority, { ...profile(), publicKey: one })).rejects.toMatchObject(refusal)
    await expect(
      issueCertificate(authority, { ...profile(), publicKey: rsaWithExponent('AQAB') }),
    ).resolves.toBeDefined()
  })

  test('row 94: a CA that is none, has expired, or has another key issues nothing', async () => {
    const key = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    const ca = extension('551d13', seq(YES), true)
    const good = { key, cert: pemOf(certificate({ subject: name('CA'), extensions: [ca] }), 'CERTIFICATE') }
    await expect(issueCertificate(good, profile())).resolves.toBeDefined()
    const leaf = await issueCertificate(authority, profile())
    for (const bad of [
      { key, cert: pemOf(certificate({ subject: name('CA') }), 'CERTIFICATE') },
      { ...good, key: authority.key },
      { ...good, key: 'x' },
      { ...good, cert: '' },
      { key: authority.key, cert: leaf.cert },
    ])
      await expect(issueCertificate(bad, profile())).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('row 89: names that are none of their type are refused', async () => {
    const names: readonly [SubjectName['type'], string][] = [
      ['dns', 'a\0b'],
      ['dns', 'bücher.example'],
      ['dns', 'a..b'],
      ['dns', 'a b'],
      ['dns', '-a'],
      ['dns', 'a.*.example'],
      ['dns', 'x'.repeat(254)],
      ['dns', ''],
      ['email', 'ann'],
      ['email', 'ann@b\n'],
      ['email', 'ann@bob@c'],
      ['email', 'zoë@example.com'],
      ['uri', 'nothing'],
      ['uri', 'https://a b'],
      ['uri', 'https://ü'],
      ['ip', '1.2.3'],
      ['ip', '1.2.3.4/8'],
      ['ip', 'fe80::1%eth0'],
      ['ip', 'localhost'],
    ]
    for (const [type, value] of names)
      await expect(issueCertificate(authority, profile({ san: [{ type, value }] })), value).rejects.toMatchObject(
        refusal,
      )
    for (const commonName of ['', 'x'.repeat(65), 'a\0', 'a\u202eb'])
      await expect(issueCertificate(authority, profile({ commonName }))).rejects.toMatchObject(refusal)
    const twice = { type: 'dns', value: 'a.example' } as const
    await expect(issueCertificate(authority, profile({ san: [twice, twice] }))).rejects.toMatchObject(refusal)
  })

  test('row 89: a hundred names, not ten thousand', async () => {
    const san = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ type: 'dns', value: `h${i}.example` }) as const)
    const { cert } = await issueCertificate(authority, profile({ san: san(100) }))
    expect(readLeaf(derOf(cert)).san).toEqual(san(100))
    for (const count of [101, 10_000])
      await expect(issueCertificate(authority, profile({ san: san(count) }))).rejects.toMatchObject(refusal)
  })

  test('any names, and any CA’s key: as asked for, exactly', async () => {
    const authorities = [authority, await createAuthority({ commonName: 'R', days: 9, keyType: 'rsa' })]
    const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/)
    const dns = fc.array(label, { minLength: 1, maxLength: 4 }).map(labels => labels.join('.'))
    const subjectName: fc.Arbitrary<SubjectName> = fc.oneof(
      dns.map(value => ({ type: 'dns' as const, value })),
      fc.tuple(fc.stringMatching(/^[!#$%&'*+/=?^`{|}~a-zA-Z0-9,"(.-]{1,20}$/), dns).map(([local, host]) => ({
        type: 'email' as const,
        value: `${local}@${host}`,
      })),
      fc.stringMatching(/^[!-~]{1,60}$/).map(rest => ({ type: 'uri' as const, value: `postern:${rest}` })),
      fc.oneof(fc.ipV4(), fc.ipV6()).map(ip => ({ type: 'ip' as const, value: canonicalIp(ip) ?? '' })),
    )
    const commonName = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
      .filter(text => !/[\p{C}\p{Z}]/u.test(text) && [...text].length <= 64)
    const san = fc.uniqueArray(subjectName, { maxLength: 8, selector: one => `${one.type} ${one.value}` })
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...authorities), san, commonName, async (by, san, commonName) => {
        const { cert } = await issueCertificate(by, profile({ san, commonName }))
        expect(readLeaf(derOf(cert))).toMatchObject({ san, commonName })
      }),
      { numRuns: 100 },
    )
  })
})

describe.skipIf(noOpenssl)('what openssl says of it', () => {
  test.each(['ec', 'rsa'] as const)('%s: strictly verified, for its purpose only, by its CA only', async keyType => {
    const ca = await createAuthority({ commonName: 'Team CA', days: 9, keyType })
    const twin = await createAuthority({ commonName: 'Team CA', days: 9, keyType })
    const [trusted, other] = [file(ca.cert), file(twin.cert)]
    for (const usage of ['client', 'server'] as const) {
      const leaf = file((await issueCertificate(ca, profile({ usage, san: [{ type: 'ip', value: '::1' }] }))).cert)
      const verify = (file: string, purpose: string) =>
        openssl('verify', '-x509_strict', '-purpose', purpose, '-no-CApath', '-CAfile', file, leaf)
      expect(await verify(trusted, `ssl${usage}`)).toContain('OK')
      await expect(verify(trusted, usage === 'client' ? 'sslserver' : 'sslclient')).rejects.toThrow(/unsuitable/i)
      await expect(verify(other, `ssl${usage}`)).rejects.toThrow()
    }
  })

  test('row 84: a leaf of ours cannot issue, and the path is as long as it was said', async () => {
    const top = await createAuthority({ commonName: 'Top', days: 9, pathLength: 1 })
    const middleKey = await makeKey()
    const middlePublic = createPublicKey(middleKey).export({ type: 'spki', format: 'pem' }).toString()
    const middle = await issueCertificate(top, {
      ...profile({ usage: 'connector-authority', commonName: 'Middle', san: [] }),
      publicKey: middlePublic,
    })
    const leaf = await issueCertificate({ cert: middle.cert, key: middleKey }, profile())
    const chain = (cert: string, between: string) =>
      openssl(
        'verify',
        '-x509_strict',
        '-purpose',
        'sslclient',
        '-no-CApath',
        '-CAfile',
        file(top.cert),
        '-untrusted',
        file(between),
        file(cert),
      )
    expect(await chain(leaf.cert, middle.cert)).toContain('OK')
    // Signed by openssl, which asks nobody whether the signer may.
    const extensions = file('basicConstraints=critical,CA:TRUE')
    const request = file()
    const key = file(middleKey)
    await openssl('req', '-new', '-key', key, '-subj', '/CN=Below', '-out', request)
    const below = await openssl(
      'x509',
      '-req',
      '-in',
      request,
      '-CA',
      file(middle.cert),
      '-CAkey',
      key,
      '-days',
      '1',
      '-extfile',
      extensions,
    )
    const deep = await issueCertificate({ cert: below.slice(below.indexOf('-----BEGIN')), key: middleKey }, profile())
    await expect(chain(deep.cert, below + middle.cert)).rejects.toThrow(/path length/i)
  })
})
