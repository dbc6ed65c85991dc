import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { createAuthority, issueCertificate, makeKey } from '@postern/pki'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  certificateFingerprint,
  checkAuthority,
  checkChain,
  checkConnector,
  checkIdentity,
  connectorUri,
  keyFingerprint,
  setupUri,
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
  const authorityFor = async (san: string[], seconds = 3600) => {
    const key = await makeKey()
    const publicKey = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()
    const names = san.map(value => ({ type: 'uri', value }) as const)
    const { cert } = await issueCertificate(home, { publicKey, san: names, seconds, usage: 'connector-authority' })
    return { cert, key }
  }

  test('signs the certificate of its connector, and lasts as long as that', async () => {
    const setup = await createSetupAuthority(home, 'home', daemon.id)
    expect(checkAuthority(setup.cert, issuer, 'home')).toMatchObject({ connector: daemon.id })
    const certificate = await signConnector(setup, 'home', daemon)
    const chain = { certificate, authority: setup.cert }
    const found = checkChain(chain, issuer, 'home')
    expect(found.id).toBe(daemon.id)
    expect(found.expiresAt).toBeGreaterThan(Date.now() + 364 * DAY)
    expect(checkChain(chain, issuer, 'home', found.expiresAt - 1000).id).toBe(daemon.id)
    expect(() => checkChain(chain, issuer, 'home', found.expiresAt + 1000)).toThrow('has expired')
    // The identity did not sign it itself: without the authority nothing comes of it.
    expect(() => checkChain({ certificate }, issuer, 'home')).toThrow('not signed')
    // The twin, of a daemon that was logged in by a person.
    expect(checkChain({ certificate: await signConnector(home, 'home', daemon) }, issuer, 'home').id).toBe(daemon.id)
  })

  test('signs no other connector, of this tunnel or another', async () => {
    const setup = await createSetupAuthority(home, 'home', daemon.id)
    const second = await signConnector(setup, 'home', await createConnector())
    const elsewhere = await signConnector(setup, 'far', daemon)
    const refused = (certificate: string, tunnel = 'home') =>
      expect(() => checkChain({ certificate, authority: setup.cert }, issuer, tunnel))
    refused(second).toThrow('another connector')
    refused(elsewhere).toThrow('not for one connector')
    refused(elsewhere, 'far').toThrow('not for one connector')
    // The twin: as often as it likes for its own, which the edge enrols once.
    for (let n = 0; n < 2; n += 1) {
      const certificate = await signConnector(setup, 'home', daemon)
      expect(checkChain({ certificate, authority: setup.cert }, issuer, 'home').id).toBe(daemon.id)
    }
  })

  test('vouches for nothing that it did not sign, nor where another identity signed it', async () => {
    const [setup, sibling] = [await createSetupAuthority(home, 'home', daemon.id), await authorityFor([])]
    const certificate = await signConnector(setup, 'home', daemon)
    const foreign = await createSetupAuthority(other, 'home', daemon.id)
    for (const authority of [foreign.cert, home.cert, sibling.cert, certificate])
      expect(() => checkChain({ certificate, authority }, issuer, 'home')).toThrow()
    const theirs = await signConnector(foreign, 'home', daemon)
    expect(() => checkChain({ certificate: theirs, authority: foreign.cert }, issuer, 'home')).toThrow('not signed')
    expect(() => checkChain({ certificate: theirs, authority: setup.cert }, issuer, 'home')).toThrow('not signed')
    expect(checkChain({ certificate, authority: setup.cert }, issuer, 'home').id).toBe(daemon.id)
  })

  test('signs no further authority', async () => {
    const setup = await createSetupAuthority(home, 'home', daemon.id)
    await expect(createSetupAuthority(setup, 'home', daemon.id)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    // Made by other means, a longer chain is none: what signed the certificate was not signed by the identity.
    const between = await createAuthority({ commonName: 'postern setup home', days: 30, pathLength: 1 })
    const below = await createSetupAuthority(between, 'home', daemon.id)
    const certificate = await signConnector(below, 'home', daemon)
    expect(() => checkChain({ certificate, authority: below.cert }, issuer, 'home')).toThrow('not signed')
    expect(() => checkAuthority(other.cert, issuer, 'home')).toThrow('not signed')
    const { cert } = await leaf({})
    expect(() => checkAuthority(cert, issuer, 'home')).toThrow('no certificate authority')
  })

  const one = crypto.randomUUID()
  test.each<[string, string[], number?]>([
    ['no name, as those of before had none', []],
    ['another tunnel’s name', [setupUri('far', one)]],
    ['two connectors', [setupUri('home', one), setupUri('home', crypto.randomUUID())]],
    ['a connector’s own name', [connectorUri('home', one)]],
    ['a name of a tunnel and no connector', ['postern:setup:home']],
    ['any connector', [setupUri('home', '*')]],
    ['a longer life', [setupUri('home', one)], 400 * 86_400],
  ])('with %s is refused', async (_what, san, seconds) => {
    const { cert } = await authorityFor(san, seconds)
    expect(() => checkAuthority(cert, issuer, 'home')).toThrow(expect.objectContaining({ code: 'BAD_USAGE' }))
  })

  test('the allow twin of those: one connector, of this tunnel', async () => {
    const { cert } = await authorityFor([setupUri('home', one)])
    expect(checkAuthority(cert, issuer, 'home').connector).toBe(one)
    expect(() => checkAuthority(cert, issuer, 'home', Date.now() + DAY)).toThrow('expired')
    // The identity's own certificate is signed by it, too, and is a CA.
    expect(() => checkAuthority(home.cert, issuer, 'home')).toThrow(expect.objectContaining({ code: 'BAD_USAGE' }))
  })
})
