import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { beforeAll, describe, expect, test } from 'vitest'
import { createAuthority } from '../src/authority.ts'
import { issueCertificate } from '../src/issue.ts'
import { makeKey } from '../src/keys.ts'
import { readPkcs12 } from '../src/pkcs12.ts'
import { createCertificateRequest, readCertificateRequest } from '../src/request.ts'
import { file, noOpenssl, openssl } from './forged.ts'

const WORD = 'cörrect horse'
const unreadable = { code: 'FILE_UNREADABLE' }
const rejected = { code: 'AUTH_REJECTED' }

interface Made {
  readonly key: string
  readonly leaf: string
  readonly middle: string
  readonly root: string
}
const made: Record<string, Made> = {}

async function make(type: 'ec' | 'rsa'): Promise<Made> {
  const root = await createAuthority({ commonName: 'Root', days: 9, keyType: type, pathLength: 1 })
  const [middleKey, key] = [await makeKey(type), await makeKey(type)]
  const publicOf = async (key: string) => (await readCertificateRequest(await createCertificateRequest(key))).publicKey
  const common = { san: [], seconds: 3600 }
  const middle = await issueCertificate(root, {
    ...common,
    commonName: 'Middle',
    usage: 'connector-authority',
    publicKey: await publicOf(middleKey),
  })
  const by = { cert: middle.cert, key: middleKey }
  const leaf = await issueCertificate(by, {
    ...common,
    commonName: 'ann',
    usage: 'client',
    publicKey: await publicOf(key),
  })
  return { key, leaf: leaf.cert, middle: middle.cert, root: root.cert }
}

beforeAll(async () => {
  made.ec = await make('ec')
  made.rsa = await make('rsa')
})

const NEW: readonly string[] = []
const OLD = ['-legacy'] as const
const TRIPLE = ['-legacy', '-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1'] as const

/** What openssl writes, in an order of its own: the leaf is not first among the others. */
async function exported(of: Made, word: string, ...more: readonly string[]): Promise<Uint8Array> {
  const out = file()
  const args = ['-inkey', file(of.key), '-in', file(of.leaf), '-certfile', file(of.root + of.middle), '-out', out]
  await openssl('pkcs12', '-export', '-passout', word ? `file:${file(word)}` : 'pass:', ...args, ...more)
  return readFileSync(out)
}

const of = (type: string): Made => made[type] as Made

describe.skipIf(noOpenssl)('PKCS#12 of openssl', () => {
  test.each([
    ['ec', 'AES', NEW],
    ['rsa', 'AES', NEW],
    ['ec', 'RC2 and 3DES', OLD],
    ['rsa', 'RC2 and 3DES', OLD],
    ['rsa', '3DES', TRIPLE],
    ['ec', 'AES, SHA-512 and many rounds', ['-macalg', 'sha512', '-iter', '10000']],
    ['rsa', 'nothing encrypted', ['-keypbe', 'NONE', '-certpbe', 'NONE']],
    ['rsa', 'no code over it', ['-nomac']],
  ] as const)('%s, %s: key, chain, root', async (type, _, more) => {
    const { key, leaf, middle, root } = of(type)
    expect(await readPkcs12(await exported(of(type), WORD, ...more), WORD)).toEqual({
      key,
      cert: leaf + middle,
      ca: [root],
    })
  })

  test.each([
    ['ec', NEW],
    ['rsa', NEW],
    ['ec', OLD],
    ['rsa', TRIPLE],
    ['rsa', ['-nomac']],
  ] as const)('%s %j: a wrong passphrase, none, and an empty one', async (type, more) => {
    const bytes = await exported(of(type), WORD, ...more)
    for (const word of ['wrong', 'wröng', '', undefined])
      await expect(readPkcs12(bytes, word)).rejects.toMatchObject(rejected)
    await expect(readPkcs12(bytes, WORD)).resolves.toBeDefined()
  })

  test.each([
    ['ec', NEW],
    ['rsa', OLD],
  ] as const)('%s %j: a passphrase of plain letters', async (type, more) => {
    const bytes = await exported(of(type), 'plain', ...more)
    expect((await readPkcs12(bytes, 'plain')).key).toBe(of(type).key)
    await expect(readPkcs12(bytes, 'Plain')).rejects.toMatchObject(rejected)
  })

  test('without a passphrase', async () => {
    const bytes = await exported(of('ec'), '')
    expect((await readPkcs12(bytes, undefined)).key).toBe(of('ec').key)
    expect((await readPkcs12(bytes, '')).key).toBe(of('ec').key)
    await expect(readPkcs12(bytes, 'one')).rejects.toMatchObject(rejected)
  })

  test('no key, no certificate of its key, another thing, too large', async () => {
    const { leaf, key } = of('ec')
    const out = file()
    await openssl('pkcs12', '-export', '-nokeys', '-in', file(leaf), '-passout', 'pass:', '-out', out)
    await expect(readPkcs12(readFileSync(out), '')).rejects.toMatchObject(unreadable)
    await openssl('pkcs12', '-export', '-nocerts', '-inkey', file(key), '-passout', 'pass:', '-out', out)
    await expect(readPkcs12(readFileSync(out), '')).rejects.toMatchObject(unreadable)
    const whole = await exported(of('ec'), WORD)
    for (const bytes of [
      Buffer.from(leaf),
      new Uint8Array(),
      Buffer.from('3000', 'hex'),
      new Uint8Array(2 ** 20 + 1),
      whole.subarray(0, 300),
    ])
      await expect(readPkcs12(bytes, WORD)).rejects.toMatchObject(unreadable)
  })

  test('a certificate comes out byte for byte, and TLS takes what came out', async () => {
    const { root } = of('rsa')
    const { cert, key } = await readPkcs12(await exported(of('rsa'), WORD), WORD)
    expect(new X509Certificate(cert).fingerprint256).toBe(new X509Certificate(of('rsa').leaf).fingerprint256)
    const server = createServer({ cert, key, ca: root, requestCert: true }, socket => socket.end('in'))
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const { port } = server.address() as AddressInfo
    const socket: TLSSocket = connect({ port, host: '127.0.0.1', cert, key, rejectUnauthorized: false })
    const [data] = await once(socket, 'data')
    expect(String(data)).toBe('in')
    socket.destroy()
    server.close()
  })
})
