import { timingSafeEqual } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hashId, hashSecret, verifySecret, verifySecretWith } from '../src/secret.ts'
import { createServiceToken, isServiceTokenId } from '../src/service-token.ts'
import { createTunnelToken, isTunnelId, readTunnelToken } from '../src/tunnel-token.ts'

describe('secrets', () => {
  test('a hash has a short name, the same each time', () => {
    const hash = `sha256$${'A'.repeat(22)}$${'A'.repeat(43)}`
    expect(hashId(hash)).toBe('0adb93f271e57fa1')
    expect(hashId(createServiceToken().hash)).toMatch(/^[0-9a-f]{16}$/)
    expect(hashId(hashSecret('x'))).not.toBe(hashId(hashSecret('x')))
  })

  test('the right secret verifies, a wrong one and an unknown id do not', () => {
    const { secret, hash } = createServiceToken()
    expect(verifySecret(secret, hash)).toBe(true)
    expect(verifySecret(createServiceToken().secret, hash)).toBe(false)
    expect(verifySecret(secret, undefined)).toBe(false)
    expect(verifySecret('', hash)).toBe(false)
  })

  test('hashes are salted and hold nothing of the secret', () => {
    const { secret } = createServiceToken()
    const [a, b] = [hashSecret(secret), hashSecret(secret)]
    expect(a).not.toBe(b)
    expect(a).not.toContain(secret.slice(5, 20))
    expect(verifySecret(secret, a)).toBe(true)
    expect(verifySecret(secret, b)).toBe(true)
  })

  test('row 28: the comparer always sees two digests of 32 bytes, whatever is presented or known', () => {
    const { secret, hash } = createServiceToken()
    const lengths: string[] = []
    const compare = (a: Uint8Array, b: Uint8Array) => {
      lengths.push(`${a.length}/${b.length}`)
      return timingSafeEqual(a, b)
    }
    const secrets = [secret, '', 'x', secret.slice(0, 8), `${secret}x`, 'é'.repeat(10_000), '\0'.repeat(1 << 20)]
    const hashes = [hash, undefined, '', 'sha256$$', 'sha256$a$b', hash.slice(0, -1), `${hash}x`, 'md5$x$y']
    for (const s of secrets) for (const h of hashes) verifySecretWith(compare, s, h)
    expect(lengths).toHaveLength(secrets.length * hashes.length)
    expect(new Set(lengths)).toEqual(new Set(['32/32']))
  })

  test('a comparer that always says yes does not open an unknown id or a broken hash', () => {
    const { secret, hash } = createServiceToken()
    expect(verifySecretWith(() => true, secret, hash)).toBe(true)
    expect(verifySecretWith(() => true, secret, undefined)).toBe(false)
    expect(verifySecretWith(() => true, secret, `${hash}\n`)).toBe(false)
  })

  test('what is longer than any secret never verifies, even when its beginning does', () => {
    const long = 'a'.repeat(300)
    expect(verifySecret(long, hashSecret(long.slice(0, 256)))).toBe(false)
    expect(verifySecret(long.slice(0, 256), hashSecret(long.slice(0, 256)))).toBe(true)
  })
})

describe('service tokens', () => {
  test('have the documented form', () => {
    const { id, secret } = createServiceToken()
    expect(id).toMatch(/^pst_[0-9a-f]{24}$/)
    expect(secret).toMatch(/^psts_[A-Za-z0-9_-]{43}$/)
    expect(isServiceTokenId(id)).toBe(true)
  })

  test.each([
    '',
    'pst_',
    'pst_XYZ',
    '__proto__',
    `pst_${'a'.repeat(25)}`,
    `pst_${'A'.repeat(24)}`,
    `pst_${'a'.repeat(23)}\n`,
  ])('%j is no id', word => {
    expect(isServiceTokenId(word)).toBe(false)
  })
})

describe('tunnel tokens', () => {
  test('round trip', () => {
    const { token, hash } = createTunnelToken('home')
    const parts = readTunnelToken(token)
    expect(parts?.tunnelId).toBe('home')
    expect(verifySecret(parts?.secret ?? '', hash)).toBe(true)
    expect(readTunnelToken(createTunnelToken('a'.repeat(63)).token)?.tunnelId).toHaveLength(63)
  })

  test('are refused when spelled otherwise', () => {
    const { token } = createTunnelToken('home')
    const encode = (value: unknown) => `ptt_${Buffer.from(JSON.stringify(value)).toString('base64url')}`
    const s = readTunnelToken(token)?.secret
    expect(readTunnelToken(encode({ t: 'home', s }))).toBeDefined()
    const refused = [
      '',
      'ptt_',
      token.slice(1),
      ` ${token}`,
      `${token}=`,
      `${token}\n`,
      encode({ s, t: 'home' }),
      encode({ t: 'home', s, x: 1 }),
      encode({ t: 'Home', s }),
      encode({ t: '../etc', s }),
      encode({ t: '', s }),
      encode({ t: 'home', s: 'short' }),
      encode({ t: 'home', s: [s] }),
      encode([]),
      encode(null),
      `ptt_${Buffer.from('{').toString('base64url')}`,
      `ptt_${'A'.repeat(1 << 20)}`,
    ]
    for (const word of refused) expect(readTunnelToken(word), word.slice(0, 80)).toBeUndefined()
  })

  test('no word but a token reads as one, and reading never throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ maxLength: 300 }),
          fc.base64String().map(t => `ptt_${t}`),
        ),
        word => {
          const parts = readTunnelToken(word)
          if (parts !== undefined) expect(isTunnelId(parts.tunnelId)).toBe(true)
        },
      ),
    )
  })

  test('a tunnel id is checked when a token is made', () => {
    for (const id of ['', '-x', 'UP', 'a b', 'a'.repeat(64), 'x\n'])
      expect(() => createTunnelToken(id)).toThrow(RangeError)
  })
})
