import { createPublicKey } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeKey } from '../src/keys.ts'
import { readPem } from '../src/pem.ts'
import { createCertificateRequest, readCertificateRequest } from '../src/request.ts'
import { der, file, integer, keys, name, noOpenssl, openssl, pemOf, seq, signed } from './forged.ts'

const refusal = { code: 'BAD_USAGE' }
const LABEL = 'CERTIFICATE REQUEST'
const publicOf = (key: string) => createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()

describe('a request', () => {
  test.each(['ec', 'rsa'] as const)('%s: made, and read: its key, which nobody sent', async type => {
    const key = await makeKey(type)
    const pem = await createCertificateRequest(key, { commonName: 'ann' })
    expect(await readCertificateRequest(pem)).toEqual({ publicKey: publicOf(key) })
    expect(pem).not.toContain('PRIVATE')
  })

  test('row 94: signed by another key than its own is refused; its twin is not', async () => {
    const make = (signer = keys.privateKey) => {
      const spki = keys.publicKey.export({ type: 'spki', format: 'der' })
      return pemOf(signed(seq(integer('00'), name('ann'), spki, der(0xa0)), signer), LABEL)
    }
    expect(await readCertificateRequest(make())).toBeDefined()
    const { createPrivateKey } = await import('node:crypto')
    await expect(readCertificateRequest(make(createPrivateKey(await makeKey())))).rejects.toMatchObject(refusal)
  })

  test('none, two, a large one, another thing', async () => {
    const good = await createCertificateRequest(await makeKey())
    const [bytes] = readPem(good, LABEL)
    const cut = pemOf((bytes ?? new Uint8Array()).subarray(0, -1), LABEL)
    const more = pemOf(Buffer.concat([bytes ?? new Uint8Array(), Buffer.from([0])]), LABEL)
    for (const text of [
      '',
      good + good,
      good + 'x'.repeat(16_384),
      cut,
      more,
      pemOf(seq(), LABEL),
      pemOf(seq(seq(), seq(), der(3)), LABEL),
    ])
      await expect(readCertificateRequest(text)).rejects.toMatchObject(refusal)
    await expect(readCertificateRequest(good)).resolves.toBeDefined()
  })

  test('one byte changed: never another key', async () => {
    const key = await makeKey()
    const [good = new Uint8Array()] = readPem(await createCertificateRequest(key), LABEL)
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Uint8Array.from(good)
        bytes[at] = (bytes[at] ?? 0) ^ flip
        const read = await readCertificateRequest(pemOf(bytes, LABEL)).catch((error: unknown) => error)
        if (read instanceof Error) expect(read).toMatchObject(refusal)
        else expect(read).toEqual({ publicKey: publicOf(key) })
      }),
      { numRuns: 500 },
    )
  })
})

describe.skipIf(noOpenssl)('requests and openssl', () => {
  const make = async (key: readonly string[], ...more: readonly string[]) => {
    const pem = file()
    await openssl('genpkey', '-quiet', ...key, '-out', pem)
    return openssl('req', '-new', '-key', pem, '-subj', '/CN=ann', ...more)
  }
  const rsa = (bits: number, e = 65_537) =>
    ['-algorithm', 'RSA', '-pkeyopt', `rsa_keygen_bits:${bits}`, '-pkeyopt', `rsa_keygen_pubexp:${e}`] as const

  test('openssl takes ours', async () => {
    const request = file(await createCertificateRequest(await makeKey(), { commonName: 'Zoë' }))
    expect(await openssl('req', '-in', request, '-noout', '-verify', '-subject')).toMatch(/verify OK/)
  })

  test.each([
    ['RSA 2048', rsa(2048), []],
    ['RSA 3072, SHA-512', rsa(3072), ['-sha512']],
    ['P-384', ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'], []],
    ['Ed25519', ['-algorithm', 'ED25519'], []],
    ['what it asks for is passed over', rsa(2048), ['-addext', 'basicConstraints=critical,CA:TRUE']],
    ['written as of old', rsa(2048), ['-newhdr']],
  ] as const)('%s is taken', async (_, key, more) => {
    expect((await readCertificateRequest(await make(key, ...more))).publicKey).toContain('BEGIN PUBLIC KEY')
  })

  test.each([
    ['RSA 1024', rsa(1024), []],
    ['the exponent 3', rsa(2048, 3), []],
    ['SHA-1', rsa(2048), ['-sha1']],
    ['secp256k1', ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:secp256k1'], []],
    ['P-224', ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:secp224r1'], []],
    ['X25519 cannot sign, Ed448 is not known', ['-algorithm', 'ED448'], []],
  ] as const)('row 94: %s is refused', async (_, key, more) => {
    await expect(readCertificateRequest(await make(key, ...more))).rejects.toMatchObject(refusal)
  })
})
