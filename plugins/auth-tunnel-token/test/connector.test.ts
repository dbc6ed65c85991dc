import { createHash } from 'node:crypto'
import type { Call, EdgeHost, Json, Presented } from '@postern/interface'
import { createTunnelToken } from '@postern/tokens'
import { describe, expect, test } from 'vitest'
import client from '../src/client.ts'
import edge from '../src/edge.ts'

const logged: string[] = []
const quiet = { debug() {}, info() {}, error() {}, warn: (message: string) => void logged.push(message) }
const call: Call = { signal: new AbortController().signal, log: quiet }

const ours = createTunnelToken('home')
const certificate = Buffer.from('the DER of a certificate')
const another = Buffer.from('the DER of another one')
const fingerprintOf = (der: Buffer) => `sha256:${createHash('sha256').update(der).digest('hex')}`
const soon = Date.now() + 60_000
const past = Date.now() - 1

const enrolled = { id: 'one', fingerprint: fingerprintOf(certificate), expiresAt: soon }
const tunnel = (...connectors: Json[]): Json => ({ hashes: [{ hash: ours.hash }], connectors })

function shows(peerCertificate?: Buffer, more: Partial<Presented> = {}): Presented {
  const headers = { 'postern-tunnel-token': [ours.token] }
  return {
    method: 'GET',
    url: '/',
    headers,
    remoteAddress: '192.0.2.1',
    ...(peerCertificate && { peerCertificate }),
    ...more,
  }
}

async function verify(what: Presented, row: Json = tunnel(enrolled)) {
  const host = {
    records: { get: async () => row },
    attempts: { allow: async () => true, failed: async () => {} },
  } as unknown as EdgeHost
  return (await edge.create({}, host)).verify(what, call)
}

describe('row 101: a tunnel whose daemons have certificates', () => {
  test('lets in who has the token and proved the certificate', async () => {
    expect(await verify(shows(certificate))).toMatchObject({
      identity: {
        subject: 'home',
        claims: { connector: 'one', certificate: enrolled.fingerprint },
        expiresAt: soon,
        revokeKeys: ['tunnel-token:home', expect.stringMatching(/^tunnel-token:home:/), 'connector:home:one'],
      },
    })
  })

  test('a stolen token alone is not enough, and leaves a warning', async () => {
    logged.length = 0
    await expect(verify(shows())).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect(logged).toEqual([expect.stringContaining('without the certificate')])
  })

  test('nor is it with a certificate that was not enrolled, or that a header names', async () => {
    await expect(verify(shows(another))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    const headers = { 'postern-tunnel-token': [ours.token], 'client-cert': [`:${certificate.toString('base64')}:`] }
    await expect(verify(shows(undefined, { headers }))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('the certificate alone is not enough either', async () => {
    expect(await verify(shows(certificate, { headers: {} }))).toBeUndefined()
    const headers = { 'postern-tunnel-token': [createTunnelToken('home').token] }
    await expect(verify(shows(certificate, { headers }))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('nor is one daemon’s token with the certificate of another', async () => {
    const row = (connector: string): Json => ({
      hashes: [{ hash: ours.hash, connector }],
      connectors: [enrolled, { ...enrolled, id: 'two', fingerprint: fingerprintOf(another) }],
    })
    await expect(verify(shows(another), row('one'))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await expect(verify(shows(another), row('two'))).resolves.toMatchObject({ identity: { subject: 'home' } })
    // One that was made for no daemon is good for all of them.
    await expect(
      verify(shows(another), tunnel(enrolled, { ...enrolled, fingerprint: fingerprintOf(another) })),
    ).resolves.toBeDefined()
  })

  test('who has the token alone fills no log, however often they come', async () => {
    logged.length = 0
    const host = {
      records: { get: async () => tunnel(enrolled) },
      attempts: { allow: async () => true, failed: async () => {} },
    } as unknown as EdgeHost
    const verifier = await edge.create({}, host)
    for (let n = 0; n < 5; n += 1)
      await expect(verifier.verify(shows(), call)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect(logged).toHaveLength(1)
  })

  test('what OpenSSL holds against it does not matter: it is compared, and not traced to an authority', async () => {
    const peerCertificateError = 'DEPTH_ZERO_SELF_SIGNED_CERT'
    await expect(verify(shows(certificate, { peerCertificateError }))).resolves.toBeDefined()
  })

  test.each<[string, object, string]>([
    ['revoked', { revokedAt: past }, 'TOKEN_REVOKED'],
    ['expired', { expiresAt: past }, 'TOKEN_EXPIRED'],
  ])('a certificate that was %s is told so, to who proved it', async (_how, more, code) => {
    const row = tunnel({ ...enrolled, ...more })
    await expect(verify(shows(certificate), row)).rejects.toMatchObject({ code })
    await expect(verify(shows(another), row)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('one that will be revoked ends then', async () => {
    const revokedAt = Date.now() + 30_000
    const verdict = await verify(shows(certificate), tunnel({ ...enrolled, revokedAt }))
    expect(verdict).toMatchObject({ identity: { expiresAt: revokedAt } })
  })

  test('when the last one is gone, a token alone is still not enough', async () => {
    await expect(verify(shows(), tunnel())).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test.each<[string, Json]>([
    ['connectors that are no list', { hashes: [{ hash: ours.hash }], connectors: {} }],
    ['connectors that are null', { hashes: [{ hash: ours.hash }], connectors: null }],
    ['one without an end', tunnel({ id: 'one', fingerprint: enrolled.fingerprint })],
    ['one without a fingerprint', tunnel({ id: 'one', expiresAt: soon }, enrolled)],
    ['too many', tunnel(...Array.from({ length: 65 }, () => enrolled))],
  ])('a record with %s lets nobody in', async (_name, row) => {
    await expect(verify(shows(certificate), row)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await expect(verify(shows(), row)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })
})

describe('a daemon with a certificate', () => {
  const options = { token: ours.token, connectorCertificate: 'CERTIFICATE', connectorKey: 'KEY' }

  test('presents it beside the token', async () => {
    const provider = await client.create(options, {} as never)
    expect(await provider.authenticate({ purpose: 'connector', teamDomain: 'localhost' }, call)).toEqual({
      headers: { 'postern-tunnel-token': ours.token },
      tls: { cert: 'CERTIFICATE', key: 'KEY' },
    })
  })

  test('needs its key, too', async () => {
    const create = async () =>
      client.create({ token: ours.token, connectorCertificate: 'CERTIFICATE', connectorKey: undefined }, {} as never)
    await expect(create()).rejects.toMatchObject({ code: 'OPTION_MISSING' })
  })
})
