import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CertificateSite, startCertificateSite, type Visit } from '../world/certificate-site.ts'
import { temporaryFolder } from '../world/folder.ts'
import { CA, type InFiles, LEAF, noOpenssl, OpensslCa } from '../world/openssl-ca.ts'

const WEB = 'web.localhost'
const LOGIN = { status: 401, code: 'LOGIN_REQUIRED' }
const DENIED = { status: 403, code: 'ACCESS_DENIED' }
const HOUR = 3_600_000

// Certificates that a machine's own openssl made, shown to a real edge, before a real daemon and an origin that counts.
describe.skipIf(noOpenssl)('certificates of attackers (needs: apt-get install openssl)', { timeout: 60_000 }, () => {
  const folder = temporaryFolder()
  const at = (name: string) => join(folder.path, name)
  let world: CertificateSite
  let staff: OpensslCa
  let ann: InFiles

  beforeAll(async () => {
    staff = OpensslCa.root(at('staff'))
    ann = staff.issue({ extensions: `${LEAF}subjectAltName=email:ann@example.com\n` })
    world = await startCertificateSite()
    await world.importCa('staff', staff.cert)
    await any()
  }, 60_000)
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  })

  const allow = (certificate: object) => ({ name: 'r', action: 'allow', include: [{ certificate }] })
  const any = () => world.rules(WEB, allow({ ca: 'staff' }))
  const behind = (leaf: InFiles, ...above: Pick<InFiles, 'cert'>[]) => ({
    cert: [leaf, ...above].map(one => one.cert).join(''),
    key: leaf.key,
  })
  const derOf = ({ cert }: Pick<InFiles, 'cert'>) => new X509Certificate(cert).raw.toString('base64')

  /** It leaves nothing at the origin; what is right, and differs in nothing else, gets there. */
  async function denied(wanted: object, pair: Visit['pair'], right: Visit['pair'] = ann): Promise<void> {
    const before = [world.web.connections, world.web.requests.length]
    expect(await world.visit(WEB, { pair })).toMatchObject(wanted)
    expect([world.web.connections, world.web.requests.length]).toEqual(before)
    expect(await world.visit(WEB, { pair: right })).toMatchObject({ status: 200 })
    expect(world.web.requests.length).toBe((before[1] ?? 0) + 1)
  }

  describe('row 84: a chain that is none', () => {
    it('a leaf that signs another leaf', async () => {
      for (const extensions of [LEAF, LEAF.replace('basicConstraints=CA:FALSE\n', '')]) {
        const signing = staff.issue({ subject: '/CN=Leaf', extensions })
        const forged = new OpensslCa(at(`forged${extensions.length}`), signing).issue()
        await denied({ status: 401 }, behind(forged, signing))
      }
    })

    it('a CA below that is none, or may not sign; the same that may', async () => {
      const wrong = [
        CA.replace('CA:TRUE', 'CA:FALSE'),
        'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature\n',
      ]
      const right = staff.below('/CN=Below')
      for (const extensions of wrong) {
        const below = staff.below('/CN=Below', extensions)
        const { status, code = '' } = await world.visit(WEB, { pair: behind(below.issue(), below) })
        expect([status, code]).toSatisfy(([s, c]) => s === 401 || (s === 403 && /^CERTIFICATE_/.test(c)))
        await denied({ status }, behind(below.issue(), below), behind(right.issue(), right))
      }
    })

    it('a CA below one that allows none below it', async () => {
      const short = OpensslCa.root(at('short'), '/CN=Short', CA.replace('CA:TRUE', 'CA:TRUE,pathlen:0'))
      await world.importCa('short', short.cert)
      await world.rules(WEB, allow({ ca: 'short' }))
      const below = short.below('/CN=Below')
      await denied({ status: 403, code: 'CERTIFICATE_REJECTED' }, behind(below.issue(), below), short.issue())
      await any()
    })

    it.each([
      ['for servers only', LEAF.replace('clientAuth', 'serverAuth')],
      ['whose key may not sign', LEAF.replace('digitalSignature', 'keyEncipherment')],
      ['with a critical extension that nobody knows', `${LEAF}1.2.3.4.5=critical,DER:05:00\n`],
    ])('a leaf %s', async (_, extensions) => {
      await denied({ status: 403, code: 'CERTIFICATE_REJECTED' }, staff.issue({ extensions }))
    })

    it('names that the CA above may not give', async () => {
      const limits = `${CA}nameConstraints=critical,permitted;email:example.com\n`
      const below = staff.below('/CN=Below', limits)
      const named = (email: string) =>
        behind(below.issue({ extensions: `${LEAF}subjectAltName=email:${email}\n` }), below)
      await denied({ status: 403, code: 'CERTIFICATE_REJECTED' }, named('ann@evil.example'), named('ann@example.com'))
    })

    it('a certificate that signed itself, and one of a CA of the same name', async () => {
      const own = OpensslCa.root(at('self'), '/CN=Ann', LEAF)
      await denied(LOGIN, own)
      const twin = OpensslCa.root(at('twin'), '/CN=Staff CA')
      await denied(LOGIN, twin.issue())
      await denied(LOGIN, behind(twin.issue(), twin))
      await denied(LOGIN, behind(twin.issue(), twin, staff))
    })

    it('a CA of the same name that is known too is another one', async () => {
      const twin = OpensslCa.root(at('known-twin'), '/CN=Staff CA')
      await world.importCa('twin', twin.cert)
      // Both are asked for; the rule is about one.
      await world.rules(WEB, allow({ ca: 'staff' }), { ...allow({ ca: 'twin', commonName: 'nobody' }), name: 't' })
      for (const pair of [twin.issue(), behind(twin.issue(), staff), behind(twin.issue(), twin, staff)])
        await denied(DENIED, pair)
      await any()
    })
  })

  it('row 86: the victim’s certificate behind the attacker’s', async () => {
    const evil = OpensslCa.root(at('evil'), '/CN=Evil')
    await denied(LOGIN, behind(evil.issue(), ann, staff))
    // Of the same CA, and somebody else: it is who it is.
    const bob = staff.issue({ subject: '/CN=Bob' })
    await world.rules(WEB, allow({ email: 'ann@example.com' }))
    await denied(DENIED, behind(bob, ann))
    await denied(DENIED, behind(bob, ann, staff), behind(ann, bob))
    // A certificate without its key is nobody’s.
    const { status } = await world.visit(WEB, { pair: { cert: ann.cert, key: bob.key } }).catch(() => ({ status: 0 }))
    expect(status).toBe(0)
    await any()
  })

  describe('row 87: a certificate that is not good now', () => {
    it('has ended, or has not begun', async () => {
      const ended = staff.issue({ notBefore: Date.now() - 3 * HOUR, notAfter: Date.now() - 2 * HOUR })
      const early = staff.issue({ notBefore: Date.now() + 2 * HOUR, notAfter: Date.now() + 3 * HOUR })
      for (const pair of [ended, early]) await denied({ status: 403, code: 'CERTIFICATE_EXPIRED' }, pair)
      const { visit, token } = world
      await world.rules(WEB, allow({ ca: 'staff' }), {
        name: 't',
        action: 'allow',
        include: [{ serviceToken: token.id }],
      })
      expect(await visit(WEB, { headers: token.headers })).toMatchObject({ status: 200 })
      expect(await visit(WEB, { headers: token.headers, pair: ended })).toMatchObject({ status: 403 })
      await any()
    })

    it('is in the list of its own CA, made by openssl', async () => {
      const [gone, stays] = [staff.issue(), staff.issue()]
      await denied(LOGIN, undefined, gone)
      const params = { ca: 'staff' }
      const list = staff.revoke(gone)
      await world.site.edge.administration.call('crl.put', { params, body: { crl: list } } as never)
      await denied({ status: 403, code: 'CERTIFICATE_REVOKED' }, gone, stays)
      await world.site.edge.administration.call('crl.delete', { params } as never)
    })
  })

  describe('row 88: a certificate in a header', () => {
    it.each([
      'Client-Cert',
      'client_cert',
      'X-Forwarded-Client-Cert',
      'X-SSL-Client-Verify',
      'ssl-client-cert',
      'X-ARR-ClientCert',
    ])('%s: refused without one, with one, and with another one', async name => {
      const bob = staff.issue({ subject: '/CN=Bob' })
      for (const pair of [undefined, ann, bob]) {
        const before = world.web.connections
        const headers = { [name]: name.includes('Verify') ? 'SUCCESS' : `:${derOf(ann)}:` }
        expect(await world.visit(WEB, { pair, headers })).toMatchObject({ status: 400, code: 'BAD_USAGE' })
        expect(world.web.connections).toBe(before)
      }
      // What the origin is told is of the one that was proved.
      expect(await world.visit(WEB, { pair: bob })).toMatchObject({ status: 200, body: `:${derOf(bob)}:` })
    })
  })

  describe('row 89: names', () => {
    const san = (names: string) => `${LEAF}subjectAltName=${names}\n`
    const hex = (value: number) => value.toString(16).padStart(2, '0')
    const bytes = (text: string) => [...Buffer.from(text, 'latin1')].map(hex).join(':')
    const sequence = (tag: string, text: string) =>
      `DER:30:${hex(text.length + 2)}:${tag}:${hex(text.length)}:${bytes(text)}`

    it('an address with a NUL or a line end: a certificate that nobody can read', async () => {
      await world.rules(WEB, allow({ email: 'ann@example.com' }))
      for (const text of ['ann@example.com\0', 'ann@example.com\0.evil.example', 'ann@example.com\n'])
        await denied(
          { status: 403, code: 'CERTIFICATE_REJECTED' },
          staff.issue({ extensions: san(sequence('81', text)) }),
        )
      await denied(DENIED, staff.issue({ extensions: san(sequence('81', 'ann@example.com x')) }), ann)
      // The same bytes without it are Ann’s, however her capitals are.
      const capitals = staff.issue({ extensions: san(sequence('81', 'Ann@EXAMPLE.com')) })
      await denied(DENIED, staff.issue({ extensions: san('email:ann@example.com.evil.example') }), capitals)
    })

    it('a name of another type, or in the common name', async () => {
      await world.rules(WEB, allow({ dns: 'build.example.com' }))
      const right = staff.issue({ extensions: san('DNS:build.example.com') })
      await denied(DENIED, staff.issue({ subject: '/CN=build.example.com' }), right)
      for (const names of [
        'DNS:*.example.com',
        'URI:https://build.example.com/',
        'email:x@build.example.com',
        'DNS:build.example.com.evil.example',
      ])
        await denied(DENIED, staff.issue({ extensions: san(names) }), right)
      await world.rules(WEB, allow({ commonName: 'build.example.com' }))
      await denied(DENIED, right, staff.issue({ subject: '/CN=build.example.com' }))
      await any()
    })

    it('a comma, a quote, a slash and a plus in a subject change nobody’s name', async () => {
      await world.rules(WEB, allow({ commonName: 'Ann' }))
      const tricky = [
        '/CN=Ann,O=Staff',
        '/O=x,CN=Ann/CN=Eve',
        '/CN="Ann"',
        '/CN=Ann\\/CN=Eve',
        '/CN=Ann\\+O=x',
        '/CN=ann',
      ]
      for (const subject of tricky) await denied(DENIED, staff.issue({ subject }))
      await any()
    })

    it('names without end', async () => {
      const many = (count: number) =>
        san(Array.from({ length: count }, (_, one) => `DNS:n${one}.example.com`).join(','))
      await denied(
        { status: 403, code: 'CERTIFICATE_REJECTED' },
        staff.issue({ extensions: many(150) }),
        staff.issue({ extensions: many(20) }),
      )
      // A handshake that is too large is none.
      const { status } = await world.visit(WEB, { pair: staff.issue({ extensions: many(10_000) }) })
      expect([0, 403]).toContain(status)
      expect(await world.visit(WEB, { pair: ann })).toMatchObject({ status: 200 })
    })
  })

  it('the edge never reads a certificate of what it was not asked for: a hostname without such rules', async () => {
    await world.rules('plain.localhost', { name: 'p', action: 'allow', include: [{ serviceToken: world.token.id }] })
    const before = world.web.requests.length
    expect(await world.visit('plain.localhost', { pair: ann })).toMatchObject(LOGIN)
    expect(world.web.requests.length).toBe(before)
    expect(await world.visit('plain.localhost', { pair: ann, headers: world.token.headers })).toEqual({
      status: 200,
      code: undefined,
      body: 'nobody',
    })
  })
})
