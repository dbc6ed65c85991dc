import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { createAuthority, issueCertificate, makeKey } from '@postern/pki'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  certificateFingerprint,
  checkAuthority,
  checkConnector,
  checkIdentity,
  connectorUri,
  keyFingerprint,
} from '../src/index.ts'
import {
  createConnector,
  createIdentity,
  createSetupAuthority,
  isCertificateOf,
  type NewConnector,
  signConnector,
} from '../src/issue.ts'

type Identity = Awaited<ReturnType<typeof createIdentity>>
let home: Identity
let other: Identity
let daemon: NewConnector
let issuer: X509Certificate
const DAY = 86_400_000

beforeAll(async () => {
  home = await createIdentity('home')
  other = await createIdentity('home')
  daemon = await createConnector()
  issuer = checkIdentity(home.cert)
})

const leaf = (more: object, by: Identity = home) =>
  issueCertificate(by, {
    publicKey: daemon.publicKey,
    san: [{ type: 'uri', value: connectorUri('home', daemon.id) }],
    seconds: 3600,
    usage: 'client',
    ...more,
  })

describe('a tunnel’s identity', () => {
  test('is known by the fingerprint of its key, in one spelling', () => {
    const { publicKey } = issuer
    expect(keyFingerprint(publicKey)).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(keyFingerprint(home.key)).toBe(keyFingerprint(publicKey))
    expect(keyFingerprint(other.key)).not.toBe(keyFingerprint(publicKey))
    expect(certificateFingerprint(issuer)).toBe(`sha256:${issuer.fingerprint256.replaceAll(':', '').toLowerCase()}`)
  })

  test('lasts twenty years, and signs what signs daemons', () => {
    expect(issuer.validToDate.getTime()).toBeGreaterThan(Date.now() + 19 * 365 * DAY)
  })

  test('row 94: what is sent with its key behind it, or before it, is refused: it would be kept', () => {
    for (const wrong of [home.cert + home.key, home.key + home.cert, `${home.cert}-----BEGIN X`])
      expect(() => checkIdentity(wrong)).toThrow(expect.objectContaining({ code: 'BAD_USAGE' }))
    expect(checkIdentity(home.cert).ca).toBe(true)
  })

  test('a leaf, another curve, two of them, or no certificate is refused', async () => {
    const rsa = await createAuthority({ commonName: 'x', days: 10, keyType: 'rsa' })
    const { cert } = await leaf({})
    for (const wrong of [cert, rsa.cert, home.cert + other.cert, home.key, '', 'x'.repeat(9000)])
      expect(() => checkIdentity(wrong)).toThrow(expect.objectContaining({ code: 'BAD_USAGE' }))
    expect(() => checkIdentity(home.cert, Date.now() + 21 * 366 * DAY)).toThrow('expired')
  })
})

describe('a daemon’s certificate', () => {
  test('says which connector of which tunnel it is', async () => {
    const certificate = await signConnector(home, 'home', daemon)
    const found = checkConnector(certificate, issuer, 'home')
    expect(found).toMatchObject({
      id: daemon.id,
      fingerprint: certificateFingerprint(new X509Certificate(certificate)),
    })
    expect(found.expiresAt).toBeGreaterThan(Date.now() + 364 * DAY)
    expect(isCertificateOf(daemon.key, certificate)).toBe(true)
    expect(isCertificateOf(await makeKey(), certificate)).toBe(false)
  })

  test('row 101: of another tunnel, or by another identity of the same name, it is refused', async () => {
    const certificate = await signConnector(home, 'home', daemon)
    expect(() => checkConnector(certificate, issuer, 'other')).toThrow('not for one connector of the tunnel other')
    expect(() => checkConnector(certificate, checkIdentity(other.cert), 'home')).toThrow('not signed')
  })

  test.each<[string, object]>([
    ['no name', { san: [] }],
    ['the name of another kind', { san: [{ type: 'dns', value: 'home.example.com' }] }],
    [
      'a second name',
      {
        san: [
          { type: 'uri', value: connectorUri('home', crypto.randomUUID()) },
          { type: 'uri', value: 'x:y' },
        ],
      },
    ],
    ['an id that is none', { san: [{ type: 'uri', value: connectorUri('home', 'one') }] }],
    ['a longer life', { seconds: 399 * 86_400 }],
  ])('with %s it is refused', async (_what, more) => {
    const { cert } = await leaf(more)
    expect(() => checkConnector(cert, issuer, 'home')).toThrow(expect.objectContaining({ code: 'BAD_USAGE' }))
  })

  test('the allow twin of those: one name, of this tunnel', async () => {
    const { cert } = await leaf({})
    expect(checkConnector(cert, issuer, 'home').id).toBe(daemon.id)
  })

  test('with a key of RSA it is refused', async () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const { cert } = await leaf({ publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString() })
    expect(() => checkConnector(cert, issuer, 'home')).toThrow('P-256')
  })

  test('not before or after its time', async () => {
    const { cert } = await leaf({})
    expect(() => checkConnector(cert, issuer, 'home', Date.now() + DAY)).toThrow('expired')
    expect(() => checkConnector(cert, issuer, 'home', Date.now() - DAY)).toThrow('not valid yet')
  })
})

describe('the authority of a setup token', () => {
  test('signs a daemon’s certificate, which lasts longer than itself', async () => {
    const setup = await createSetupAuthority(home, 'home')
    const authority = checkAuthority(setup.cert, issuer)
    const certificate = await signConnector(setup, 'home', daemon)
    const found = checkConnector(certificate, authority, 'home')
    expect(found.expiresAt).toBeGreaterThan(authority.validToDate.getTime() + 300 * DAY)
    // The identity did not sign it itself: without the setup token nothing comes of it.
    expect(() => checkConnector(certificate, issuer, 'home')).toThrow('not signed')
  })

  test('it signs no further authority, and no identity of another tunnel is one', async () => {
    const setup = await createSetupAuthority(home, 'home')
    await expect(createSetupAuthority(setup, 'home')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    expect(() => checkAuthority(other.cert, issuer)).toThrow('not signed')
    const { cert } = await leaf({})
    expect(() => checkAuthority(cert, issuer)).toThrow('no certificate authority')
  })

  test('it is over after a day, and one that lives longer is refused', async () => {
    const { cert } = await createSetupAuthority(home, 'home')
    expect(() => checkAuthority(cert, issuer, Date.now() + DAY + 60_000)).toThrow('expired')
    // The identity's own certificate is signed by it, too, and is a CA: it lives for years.
    expect(() => checkAuthority(home.cert, issuer)).toThrow('longer than a day')
  })
})
