import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthority } from '../src/authority.ts'
import { issueCertificate } from '../src/issue.ts'
import { makeKey } from '../src/keys.ts'
import type { KeyAndCertificate } from '../src/pem.ts'
import {
  alternatives,
  certificate,
  der,
  extension,
  file,
  integer,
  keys,
  name,
  noOpenssl,
  openssl,
  pemOf,
  seq,
  text,
  YES,
} from './forged.ts'

// What the handshake of node:tls says of a client’s certificate: the only verdict there is. What it must refuse is made here.

const key = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
const caKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const CLIENT = extension('551d25', seq(der(0x06, Buffer.from('2b06010505070302', 'hex'))))
const SERVER = extension('551d25', seq(der(0x06, Buffer.from('2b06010505070301', 'hex'))))
const isCa = (pathLength?: string) => extension('551d13', seq(YES, ...(pathLength ? [integer(pathLength)] : [])), true)
const caFacts = { subject: name('CA'), publicKey: caKeys.publicKey, signer: caKeys.privateKey }
const asPem = (bytes: Uint8Array) => pemOf(bytes, 'CERTIFICATE')
const ca = asPem(certificate({ ...caFacts, extensions: [isCa()] }))
const leaf = (facts: Parameters<typeof certificate>[0] = {}) =>
  asPem(certificate({ issuer: name('CA'), signer: caKeys.privateKey, extensions: [CLIENT], ...facts }))

/** Node has no word for what OpenSSL says of critical extensions and of name constraints. */
const UNNAMED = 'UNSPECIFIED'

let server: Server
let context: { readonly cert: string; readonly key: string }
beforeAll(async () => {
  const authority = await createAuthority({ commonName: 'Host', days: 1 })
  const own = await makeKey()
  const publicKey = createPublicKey(own).export({ type: 'spki', format: 'pem' }).toString()
  const host = { publicKey, san: [{ type: 'dns', value: 'localhost' }], seconds: 3600, usage: 'server' } as const
  const { cert } = await issueCertificate(authority, host)
  context = { cert, key: own }
  server = createServer({ ...context, requestCert: true, rejectUnauthorized: false })
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', () => socket.destroy())
    socket.end(String(socket.authorizationError ?? (socket.authorized ? 'good' : 'none')))
  })
  server.on('tlsClientError', () => {})
  await once(server.listen(0, '127.0.0.1'), 'listening')
})
afterAll(() => void server.close())

/** The client shows even what its own OpenSSL thinks weak. */
const ANY = 'DEFAULT@SECLEVEL=0'

/** What the server’s OpenSSL says of it, with these CAs; `closed` where the handshake does not come to its end. */
async function verdict(shown: { cert: string; key?: string } | undefined, authorities = ca): Promise<string> {
  server.setSecureContext({ ...context, ca: authorities })
  const { port } = server.address() as AddressInfo
  const socket = connect({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ciphers: ANY,
    ...(shown && { key, ...shown }),
  })
  const said: Buffer[] = []
  socket.on('data', (data: Buffer) => said.push(data))
  const end = await Promise.race([once(socket, 'end'), once(socket, 'error')]).catch(() => undefined)
  socket.destroy()
  return end && said.length > 0 ? Buffer.concat(said).toString() : 'closed'
}
describe('row 84: what the handshake says', () => {
  test('good ones, of each key; one without a certificate', async () => {
    expect(await verdict({ cert: leaf() })).toBe('good')
    expect(await verdict(undefined)).not.toBe('good')
    for (const keyType of ['ec', 'rsa'] as const) {
      const authority = await createAuthority({ commonName: 'Team', days: 1, keyType })
      for (const type of ['ec', 'rsa'] as const)
        expect(await verdict(await issued(authority, await makeKey(type)), authority.cert)).toBe('good')
      const ed = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
      expect(await verdict(await issued(authority, ed), authority.cert)).toBe('good')
    }
  })

  async function issued(authority: KeyAndCertificate, own: string, usage: 'client' | 'server' = 'client') {
    const publicKey = createPublicKey(own).export({ type: 'spki', format: 'pem' }).toString()
    const { cert } = await issueCertificate(authority, { publicKey, commonName: 'ann', san: [], seconds: 3600, usage })
    return { cert, key: own }
  }

  test('ours for servers only', async () => {
    const authority = await createAuthority({ commonName: 'Team', days: 1 })
    expect(await verdict(await issued(authority, await makeKey(), 'server'), authority.cert)).toBe('INVALID_PURPOSE')
  })

  test('a leaf that signs a leaf, with and without basic constraints', async () => {
    for (const extensions of [[CLIENT], [CLIENT, extension('551d13', seq(), true)]]) {
      const above = leaf({ subject: name('ann'), extensions })
      const below = asPem(certificate({ issuer: name('ann'), subject: name('root'), extensions: [CLIENT] }))
      expect(await verdict({ cert: below + above })).not.toBe('good')
      expect(await verdict({ cert: above })).toBe('good')
      // Its twin: by a CA between them.
      const middle = leaf({ subject: name('ann'), extensions: [isCa()] })
      expect(await verdict({ cert: below + middle })).toBe('good')
    }
  })

  test('a path longer than its CA allows', async () => {
    const strict = asPem(certificate({ ...caFacts, extensions: [isCa('00')] }))
    const middle = leaf({ subject: name('middle'), extensions: [isCa()] })
    const below = asPem(certificate({ issuer: name('middle'), extensions: [CLIENT] }))
    expect(await verdict({ cert: below + middle }, strict)).toBe('PATH_LENGTH_EXCEEDED')
    expect(await verdict({ cert: leaf() }, strict)).toBe('good')
  })

  test('the CA’s name, another key; expired; for servers; signs, but may not', async () => {
    expect(await verdict({ cert: leaf({ signer: keys.privateKey }) })).not.toBe('good')
    expect(await verdict({ cert: leaf({ notAfter: Date.now() - 60_000 }) })).toBe('CERT_HAS_EXPIRED')
    expect(await verdict({ cert: leaf({ notAfter: Date.now() + 9e9 }) })).toBe('CERT_NOT_YET_VALID')
    expect(await verdict({ cert: leaf({ extensions: [SERVER] }) })).toBe('INVALID_PURPOSE')
    expect(await verdict({ cert: leaf({ extensions: [] }) })).toBe('good')
  })

  test('what is critical and not known; not critical, it is passed over', async () => {
    const odd = (isCritical: boolean) => extension('2a0304', Buffer.from('0500', 'hex'), isCritical)
    expect(await verdict({ cert: leaf({ extensions: [CLIENT, odd(true)] }) })).toBe(UNNAMED)
    expect(await verdict({ cert: leaf({ extensions: [CLIENT, odd(false)] }) })).toBe('good')
  })

  test('names that its CA may not speak for', async () => {
    const permitted = seq(der(0xa0, seq(text(0x81, 'example.com'))))
    const bound = asPem(certificate({ ...caFacts, extensions: [isCa(), extension('551d1e', permitted, true)] }))
    const of = (email: string) => leaf({ extensions: [CLIENT, alternatives([0x81, email])] })
    expect(await verdict({ cert: of('ann@other.example') }, bound)).toBe(UNNAMED)
    expect(await verdict({ cert: of('ann@example.com') }, bound)).toBe('good')
  })

  test('a weak key, and SHA-1', async () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const own = weak.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    expect(await verdict({ cert: leaf({ publicKey: weak.publicKey }), key: own })).not.toBe('good')
    const strong = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const strongKey = strong.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    expect(await verdict({ cert: leaf({ publicKey: strong.publicKey }), key: strongKey })).toBe('good')
  })

  test('row 89: alternative names that are there twice', async () => {
    const [a, b] = [alternatives([0x82, 'a.example']), alternatives([0x82, 'b.example'])]
    expect(await verdict({ cert: leaf({ extensions: [CLIENT, a, b] }) })).not.toBe('good')
    expect(await verdict({ cert: leaf({ extensions: [CLIENT, a] }) })).toBe('good')
  })

  test('a list of certificates in which another’s stands behind one’s own: the first is who it is', async () => {
    const own = asPem(certificate({ subject: name('mallory'), extensions: [CLIENT] }))
    expect(await verdict({ cert: own + leaf({ subject: name('ann') }) })).not.toBe('good')
  })
})

describe.skipIf(noOpenssl)('row 84: made with openssl', () => {
  test('signed with SHA-1, or as of old (version 1) by a CA', async () => {
    const signing = caKeys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    const [caFile, caKey, request, own] = [file(ca), file(signing), file(), file(key)]
    await openssl('req', '-new', '-key', own, '-subj', '/CN=ann', '-out', request)
    const sign = async (...more: readonly string[]) => {
      const out = file()
      await openssl('x509', '-req', '-in', request, '-CA', caFile, '-CAkey', caKey, '-days', '1', '-out', out, ...more)
      return openssl('x509', '-in', out)
    }
    const client = file('extendedKeyUsage=clientAuth')
    expect(await verdict({ cert: await sign('-extfile', client) })).toBe('good')
    expect(await verdict({ cert: await sign('-extfile', client, '-sha1') })).not.toBe('good')
    const old = await sign()
    const below = asPem(certificate({ issuer: name('ann'), extensions: [CLIENT] }))
    expect(await verdict({ cert: below + old })).not.toBe('good')
  })
})
