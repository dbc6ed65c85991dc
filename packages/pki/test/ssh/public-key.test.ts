import { createECDH, generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createSshKey, publicKeyOf } from '../../src/ssh/key.ts'
import { readSshPublicKey, showSshPublicKey } from '../../src/ssh/public-key.ts'

const string = (value: string | Uint8Array) => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(Buffer.byteLength(value))
  return Buffer.concat([length, Buffer.from(value)])
}
const line = (type: string, ...fields: (string | Uint8Array)[]) =>
  `${type} ${Buffer.concat([string(type), ...fields.map(string)]).toString('base64')}`
const number = (hex: string) => Buffer.from(hex, 'hex')

const raw = Buffer.alloc(32, 7)
const good = line('ssh-ed25519', raw)
const p256 = createECDH('prime256v1').generateKeys()
const offCurve = Buffer.from(p256)
offCurve[64] = (offCurve[64] ?? 0) ^ 1
const modulus = (bits: number) =>
  Buffer.from(
    generateKeyPairSync('rsa', { modulusLength: bits }).publicKey.export({ format: 'jwk' }).n ?? '',
    'base64url',
  )
const rsa = (n: Uint8Array, e = '010001') => line('ssh-rsa', number(e), Buffer.concat([Buffer.from([0]), n]))
const n2048 = modulus(2048)
const even = Buffer.from(n2048)
even[255] = (even[255] ?? 0) & 0xfe

describe('a user’s public key', () => {
  it.each([
    ['alone', good],
    ['with a comment', `${good} ann’s laptop, the old one`],
    ['with a line end', `${good} ann\n`],
    ['with a line end of Windows', `${good} ann\r\n`],
    ['on P-256', line('ecdsa-sha2-nistp256', 'nistp256', p256)],
    ['RSA of 2048 bits', rsa(n2048)],
    ['on hardware', line('sk-ssh-ed25519@openssh.com', raw, 'ssh:')],
  ])('is read: %s', (_what, text) => {
    const key = readSshPublicKey(text)
    expect(showSshPublicKey(key)).toBe(text.trim().split(' ').slice(0, 2).join(' '))
  })

  it.each([
    ['nothing', ''],
    ['options in front', `command="id" ${good}`],
    ['two lines', `${good}\n${good}`],
    ['a line in its comment', `${good} ann\nssh-rsa AAAA`],
    ['a NUL', `${good} ann\0`],
    ['two spaces', good.replace(' ', '  ')],
    ['a space in front', ` ${good}`],
    ['base64 of the web', line('ssh-ed25519', Buffer.alloc(32, 0xff)).replaceAll('/', '_')],
    ['base64 without its end', line('ssh-ed25519', raw, 'x').replace(/=+$/, '')],
    ['base64 in another form', good.replace(/.$/, one => (one === 'A' ? 'B' : `${one}A`))],
    ['a byte too many', line('ssh-ed25519', raw, '')],
    ['a byte too few', line('ssh-ed25519', raw.subarray(1))],
    [
      'a length that lies',
      `ssh-ed25519 ${Buffer.from('0000000b7373682d65643235353139ffffffff00', 'hex').toString('base64')}`,
    ],
    ['another type than it says', good.replace('ssh-ed25519', 'ssh-rsa')],
    ['a type that is none', line('ssh-ed448', raw)],
    ['a name that objects have', line('constructor', raw)],
    ['DSA', line('ssh-dss', raw, raw, raw, raw)],
    ['a certificate', line('ssh-ed25519-cert-v01@openssh.com', raw, raw)],
    ['a certificate by another type', line('ssh-rsa', 'ssh-ed25519-cert-v01@openssh.com', raw)],
    ['a point off its curve', line('ecdsa-sha2-nistp256', 'nistp256', offCurve)],
    [
      'a compressed point',
      line('ecdsa-sha2-nistp256', 'nistp256', createECDH('prime256v1').generateKeys(null, 'compressed')),
    ],
    ['the point at infinity', line('ecdsa-sha2-nistp256', 'nistp256', Buffer.from([0]))],
    ['another curve', line('ecdsa-sha2-nistp256', 'nistp384', p256)],
    ['a key on hardware for nothing', line('sk-ssh-ed25519@openssh.com', raw)],
    ['a key on hardware with a control character', line('sk-ssh-ed25519@openssh.com', raw, 'ssh:\u0007')],
    ['megabytes', `ssh-ed25519 ${'A'.repeat(4_000_000)}`],
  ])('is refused: %s', (_what, text) => {
    expect(() => readSshPublicKey(text)).toThrow(expect.objectContaining({ code: 'BAD_USAGE' }))
    expect(readSshPublicKey(good).type).toBe('ssh-ed25519')
  })

  it.each([
    ['of 1024 bits', rsa(modulus(1024))],
    ['of 2047 bits', rsa(number(`7f${'ff'.repeat(255)}`))],
    ['with the exponent 1', rsa(n2048, '01')],
    ['with the exponent 3', rsa(n2048, '03')],
    ['with an even exponent', rsa(n2048, '010002')],
    ['with an exponent of a hundred bytes', rsa(n2048, `01${'00'.repeat(98)}01`)],
    ['with an even modulus', rsa(even)],
    ['with a negative modulus', line('ssh-rsa', number('010001'), n2048)],
    ['with a modulus longer than it is', line('ssh-rsa', number('010001'), Buffer.concat([Buffer.alloc(2), n2048]))],
    ['without a modulus', line('ssh-rsa', number('010001'), '')],
  ])('row 94: RSA %s is refused', (_what, text) => {
    expect(() => readSshPublicKey(text)).toThrow(expect.objectContaining({ code: 'BAD_USAGE' }))
    expect(readSshPublicKey(rsa(n2048)).type).toBe('ssh-rsa')
  })

  it('a private key is refused, and not repeated', async () => {
    const text = await createSshKey('ann')
    const thrown = await Promise.resolve()
      .then(() => readSshPublicKey(text))
      .catch((error: Error) => error)
    expect(String(thrown)).toMatch(/private key/)
    expect(String(thrown)).not.toContain(text.split('\n')[2])
    expect(readSshPublicKey(publicKeyOf(text)).type).toBe('ssh-ed25519')
  })
})
