import { createHash } from 'node:crypto'
import { fakeEdgeHost, recordingLog, testAuthority } from '@postern/compliance'
import type { Call, Identity, Json, Presented } from '@postern/interface'
import { beforeAll, describe, expect, it } from 'vitest'
import plugin from '../src/edge.ts'
import { CA_ID, type Made, TestCa, type Wanted } from './authority.ts'

const log = recordingLog()
const call = (): Call => ({ signal: AbortSignal.timeout(20_000), log })
const derOf = (pem: string) => new Uint8Array(Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64'))

let ca: TestCa
let ann: Made
beforeAll(async () => {
  ca = await TestCa.make()
  ann = await ca.issue()
})

const shown = (made: Made, more: Partial<Presented> = {}): Presented => ({
  method: 'GET',
  url: '/',
  headers: { host: ['app.example.com'] },
  remoteAddress: '192.0.2.1',
  peerCertificate: derOf(made.cert),
  peerCertificateChain: [derOf(ca.pair.cert)],
  ...more,
})

/** With the CA, and what else is kept. */
function world(rows: Record<string, Json> = {}) {
  const host = fakeEdgeHost()
  for (const [id, value] of Object.entries({ [`ca.${CA_ID}`]: ca.record, ...rows })) host.rows.set(id, value)
  const verifier = Promise.resolve(plugin.create({}, host))
  const verify = async (presented: Presented): Promise<Identity | undefined> => {
    const verdict = await (await verifier).verify(presented, call())
    return verdict && 'identity' in verdict ? verdict.identity : undefined
  }
  return { host, verify }
}

async function subjectOf(wanted: Wanted): Promise<Identity> {
  const identity = await world().verify(shown(await ca.issue(wanted)))
  if (identity === undefined) throw new Error('nobody')
  return identity
}

describe('an identity', () => {
  it('says what the certificate says, and what ends it', async () => {
    const { serial, fingerprint, notAfter } = ann.issued
    expect(await world().verify(shown(ann))).toEqual({
      kind: 'certificate',
      issuer: 'postern:mtls',
      subject: 'staff/email:ann@example.com',
      claims: {
        ca: 'staff',
        fingerprint,
        serial,
        issuer: 'CN=Staff CA',
        commonName: 'Ann',
        san: { dns: [], email: ['ann@example.com'], uri: [], ip: [] },
      },
      expiresAt: notAfter,
      revokeKeys: [
        `certificate:${CA_ID}:${serial}`,
        `certificate-authority:${CA_ID}`,
        `certificate-authority:${CA_ID}:${createHash('sha256').update(derOf(ca.pair.cert)).digest('hex')}`,
      ],
    })
  })

  it('row 89: is called by its first name of a type, never by its common name', async () => {
    const named = await subjectOf({
      commonName: 'ann@example.com',
      san: [
        { type: 'uri', value: 'urn:x' },
        { type: 'dns', value: '*.Example.com' },
        { type: 'ip', value: '2001:DB8::0:1' },
      ],
    })
    expect(named).toMatchObject({
      subject: 'staff/uri:urn:x',
      claims: { san: { dns: ['*.Example.com'], email: [], uri: ['urn:x'], ip: ['2001:db8::1'] } },
    })
    const { subject, claims } = await subjectOf({ commonName: 'ann@example.com', san: [] })
    expect(subject).toBe(`staff/sha256:${claims.fingerprint}`)
  })

  it('row 89: is never larger than the host takes, whatever is how long in the certificate', async () => {
    // A CA of another program, that knows no measure.
    const theirs = testAuthority('Theirs')
    const { verify } = world({ 'ca.ffff': { ...ca.record, name: 'theirs', certificates: [theirs.ca] } })
    const come = (length: number) =>
      verify({
        ...shown(ann),
        peerCertificate: derOf(theirs.issue({ commonName: 'x'.repeat(length) }).cert),
        peerCertificateChain: [derOf(theirs.ca)],
      })
    expect(JSON.stringify(await come(5500)).length).toBeLessThan(8192)
    await expect(come(7800)).rejects.toMatchObject({ code: 'CERTIFICATE_REJECTED' })
  })

  it('ends with whoever asked for the certificate', async () => {
    const holder = { issuer: 'https://team.example', subject: 'u1' }
    const row = `issued.${CA_ID}.${ann.issued.serial}`
    const identity = await world({ [row]: { holder } }).verify(shown(ann))
    expect(identity?.revokeKeys).toContain('user:https://team.example u1')
    for (const other of [{}, { holder: 'ann' }, { holder: { issuer: 1 } }, null])
      expect((await world({ [row]: other }).verify(shown(ann)))?.revokeKeys).toHaveLength(3)
  })
})

describe('row 87: what is good no more', () => {
  it('was revoked by its serial', async () => {
    const { host, verify } = world()
    expect(await verify(shown(ann))).toBeDefined()
    host.rows.set(`revoked.${CA_ID}.${ann.issued.serial}`, { at: 1 })
    await expect(verify(shown(ann))).rejects.toMatchObject({ code: 'CERTIFICATE_REVOKED' })
    expect(await verify(shown(await ca.issue()))).toBeDefined()
  })

  it('is in the list of its CA, or the list is too old', async () => {
    const list = (serials: Json, more: object = {}) => world({ [`crl.${CA_ID}`]: { thisUpdate: 1, serials, ...more } })
    const { serial } = ann.issued
    expect(await list(['0a', `${serial}00`]).verify(shown(ann))).toBeDefined()
    await expect(list(['0a', serial]).verify(shown(ann))).rejects.toMatchObject({ code: 'CERTIFICATE_REVOKED' })
    const soon = list([], { nextUpdate: Date.now() + 60_000 })
    expect(await soon.verify(shown(ann))).toBeDefined()
    const rejected = { code: 'CERTIFICATE_REJECTED' }
    await expect(list([], { nextUpdate: Date.now() - 1 }).verify(shown(ann))).rejects.toMatchObject(rejected)
    expect(log.text()).toContain('the revocation list of a CA has ended')
    for (const odd of ['x', [1], null]) await expect(list(odd).verify(shown(ann))).rejects.toMatchObject(rejected)
  })

  it('is of a CA whose list has ended: that is said once, however often somebody comes', async () => {
    const { verify } = world({ [`crl.${CA_ID}`]: { thisUpdate: 1, nextUpdate: 2, serials: [] } })
    const words = () => log.lines.filter(({ message }) => message.includes('list of a CA has ended')).length
    const before = words()
    for (let times = 0; times < 20; times += 1)
      await expect(verify(shown(ann))).rejects.toMatchObject({ code: 'CERTIFICATE_REJECTED' })
    expect(words() - before).toBe(1)
  })

  it('has ended since the handshake', async () => {
    const short = await ca.issue({ seconds: 60 })
    const presented = shown(short)
    const { verify } = world()
    expect(await verify(presented)).toBeDefined()
    const past = new Date(short.issued.notAfter + 1)
    const { now } = Date
    try {
      Date.now = () => past.getTime()
      await expect(verify(presented)).rejects.toMatchObject({ code: 'CERTIFICATE_EXPIRED' })
    } finally {
      Date.now = now
    }
  })

  it.each([
    ['CERT_HAS_EXPIRED', 'CERTIFICATE_EXPIRED'],
    ['CERT_NOT_YET_VALID', 'CERTIFICATE_EXPIRED'],
    ['CERT_REVOKED', 'CERTIFICATE_REVOKED'],
    ['INVALID_PURPOSE', 'CERTIFICATE_REJECTED'],
    ['__proto__', 'CERTIFICATE_REJECTED'],
    ['', 'CERTIFICATE_REJECTED'],
  ])('row 84: was not good at the handshake: %s', async (peerCertificateError, code) => {
    await expect(world().verify(shown(ann, { peerCertificateError }))).rejects.toMatchObject({ code })
  })
})

describe('a certificate is as if absent', () => {
  it('where its CA means nothing here, whatever OpenSSL said', async () => {
    const { verify } = world()
    const other = await TestCa.make()
    for (const peerCertificateChain of [[], [derOf(other.pair.cert)]]) {
      expect(await verify(shown(ann, { peerCertificateChain }))).toBeUndefined()
      const peerCertificateError = 'CERT_HAS_EXPIRED'
      expect(await verify(shown(ann, { peerCertificateChain, peerCertificateError }))).toBeUndefined()
    }
    expect(await verify(shown(ann))).toBeDefined()
  })

  it('where the CA was removed, or its row cannot be read', async () => {
    const { host, verify } = world()
    expect(await verify(shown(ann))).toBeDefined()
    for (const row of [
      { name: 'staff' },
      { name: 7, certificates: [ca.pair.cert] },
      { name: 'x', certificates: ['x'] },
    ]) {
      host.rows.set(`ca.${CA_ID}`, row)
      expect(await verify(shown(ann))).toBeUndefined()
    }
    host.rows.delete(`ca.${CA_ID}`)
    expect(await verify(shown(ann))).toBeUndefined()
  })
})

describe('a chain', () => {
  it('ends with what stands in it, too', async () => {
    const root = await TestCa.make('Root', 1)
    const between = await root.issue({ commonName: 'Between', san: [], usage: 'connector-authority', seconds: 3600 })
    const leaf = await new TestCa({ cert: between.cert, key: between.key }).issue({ seconds: 3600 })
    const rows = { [`ca.${CA_ID}`]: { ...root.record, name: 'root' } }
    const presented = shown(leaf, { peerCertificateChain: [derOf(between.cert), derOf(root.pair.cert)] })
    const identity = await world(rows).verify(presented)
    expect(identity).toMatchObject({ claims: { ca: 'root' }, expiresAt: between.issued.notAfter })
    expect(identity?.revokeKeys).toContain(`certificate:${CA_ID}:${between.issued.serial}`)
    const revoked = { code: 'CERTIFICATE_REVOKED' }
    const row = { [`revoked.${CA_ID}.${between.issued.serial}`]: { at: 1 } }
    await expect(world({ ...rows, ...row }).verify(presented)).rejects.toMatchObject(revoked)
    // The CA’s own list is about what the CA itself issued: a serial of one below it is another one’s.
    const list = (serial: string) => world({ ...rows, [`crl.${CA_ID}`]: { thisUpdate: 1, serials: [serial] } })
    await expect(list(between.issued.serial).verify(presented)).rejects.toMatchObject(revoked)
    expect(await list(leaf.issued.serial).verify(presented)).toBeDefined()
  })
})

it('answers for 100,000 revoked certificates as for none', async () => {
  const { host, verify } = world()
  const serials = Array.from({ length: 100_000 }, (_, at) => (at + 4096).toString(16).padStart(32, '1'))
  for (const serial of serials) host.rows.set(`revoked.${CA_ID}.${serial}`, { at: 1 })
  const reads = host.reads
  expect(await verify(shown(ann))).toBeDefined()
  // The list of CAs, that of its CA, the serial, and who asked for it.
  expect(host.reads - reads).toBe(4)
})
