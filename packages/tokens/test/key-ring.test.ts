// Numbers are rows of the catalogue in docs/security.md.
import { generateKeyPairSync } from 'node:crypto'
import { inspect } from 'node:util'
import { calculateJwkThumbprint, createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import { KeyRing, readJwks, type StoredKeyRing, verifyToken } from '../src/index.ts'
import { AUDIENCE, currentOf, EXPECTED, ISSUER, SIGNING } from './forge.ts'

const T0 = Date.UTC(2026, 0, 1)
const HOUR = 3_600_000
const INVALID = { code: 'OPTION_INVALID' }

describe('23: rotation', () => {
  const first = KeyRing.create({ overlapSeconds: 3600, now: T0 })
  const second = first.rotate(T0 + HOUR)
  const sign = (ring: KeyRing, now: number) => ring.sign({ sub: 'ann' }, { ...SIGNING, lifetimeSeconds: 3600, now })
  const verify = (ring: KeyRing, token: string, now: number) => ring.verify(token, { ...EXPECTED, now })

  test('a key is published before it signs', () => {
    const kids = first.jwks(T0).keys.map(key => key.kid)
    expect(kids).toHaveLength(2)
    expect(kids).toContain(currentOf(second).kid)
    expect(currentOf(second).kid).not.toBe(currentOf(first).kid)
  })

  test('both verify during the overlap, by the ring and by anybody who has the JWKS', async () => {
    const now = T0 + HOUR
    const tokens = [await sign(first, now - 1000), await sign(second, now)]
    const jwks = second.jwks(now)
    expect(jwks.keys).toHaveLength(3)
    const found = readJwks(JSON.parse(JSON.stringify(jwks)))
    for (const token of tokens) {
      await expect(verify(second, token, now)).resolves.toMatchObject({ claims: { sub: 'ann' } })
      await expect(verifyToken(token, kid => found.get(kid), { ...EXPECTED, now })).resolves.toBeDefined()
      const set = createLocalJWKSet(jwks as unknown as JSONWebKeySet)
      const options = { issuer: ISSUER, audience: AUDIENCE, algorithms: ['ES256'], currentDate: new Date(now) }
      await expect(jwtVerify(token, set, options)).resolves.toBeDefined()
    }
  })

  test('an edge that has not seen the rotation yet accepts what the new key signed', async () => {
    const now = T0 + HOUR
    await expect(verify(first, await sign(second, now), now)).resolves.toBeDefined()
  })

  test('after the overlap the old key is gone, also from what is published', async () => {
    const old = await sign(first, T0 + HOUR - 1000)
    const end = T0 + 2 * HOUR
    await expect(verify(second, old, end - 2000)).resolves.toBeDefined()
    await expect(verify(second, old, end)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect(second.jwks(end - 1).keys).toHaveLength(3)
    expect(second.jwks(end).keys).toHaveLength(2)
    const third = second.rotate(end)
    expect(third.list().map(key => key.state)).toEqual(['next', 'current', 'previous'])
    expect(third.list().map(key => key.kid)).not.toContain(currentOf(first).kid)
  })

  test('no token outlives the overlap', async () => {
    await expect(first.sign({}, { ...SIGNING, lifetimeSeconds: 3601 })).rejects.toMatchObject(INVALID)
    await expect(first.sign({}, { ...SIGNING, lifetimeSeconds: 3600 })).resolves.toBeDefined()
    for (const lifetimeSeconds of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
      await expect(first.sign({}, { ...SIGNING, lifetimeSeconds })).rejects.toMatchObject(INVALID)
  })

  test('many rotations keep few keys', () => {
    let ring = first
    for (let day = 1; day <= 50; day += 1) ring = ring.rotate(T0 + day * 24 * HOUR)
    expect(ring.list()).toHaveLength(3)
  })

  test('leaves the ring it came from as it was', () => {
    expect(first.list().map(key => key.state)).toEqual(['current', 'next'])
  })
})

describe('24: emergency removal', () => {
  test('nothing the key signed verifies any more; the others are as before', async () => {
    const first = KeyRing.create()
    const second = first.rotate()
    const old = await first.sign({ sub: 'ann' }, SIGNING)
    const fresh = await second.sign({ sub: 'ann' }, SIGNING)
    await expect(second.verify(old, EXPECTED)).resolves.toMatchObject({ kid: currentOf(first).kid })
    const cleaned = second.remove(currentOf(first).kid)
    await expect(cleaned.verify(old, EXPECTED)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await expect(cleaned.verify(fresh, EXPECTED)).resolves.toBeDefined()
    expect(cleaned.jwks().keys).toHaveLength(2)
  })

  test('of the key that signs: the next one does', async () => {
    const ring = KeyRing.create()
    const next = ring.list().find(key => key.state === 'next')!
    const token = await ring.sign({}, SIGNING)
    const cleaned = ring.remove(currentOf(ring).kid)
    expect(currentOf(cleaned).kid).toBe(next.kid)
    await expect(cleaned.verify(token, EXPECTED)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await expect(ring.verify(token, EXPECTED)).resolves.toBeDefined()
    await expect(cleaned.verify(await cleaned.sign({}, SIGNING), EXPECTED)).resolves.toBeDefined()
    expect(cleaned.jwks().keys.map(key => key.kid)).not.toContain(currentOf(ring).kid)
    expect(cleaned.jwks().keys).toHaveLength(2)
  })

  test('of the next key: another one is made', () => {
    const ring = KeyRing.create()
    const next = ring.list().find(key => key.state === 'next')!
    const cleaned = ring.remove(next.kid)
    expect(currentOf(cleaned).kid).toBe(currentOf(ring).kid)
    expect(cleaned.list().map(key => key.kid)).not.toContain(next.kid)
    expect(cleaned.jwks().keys).toHaveLength(2)
  })

  test('of a key that is not there says so', () => {
    const ring = KeyRing.create()
    for (const kid of ['nobody', '__proto__', ''])
      expect(() => ring.remove(kid)).toThrow(expect.objectContaining({ code: 'CONFLICT' }))
  })
})

describe('7: a ring that cannot verify', () => {
  const good = KeyRing.create().exportSecret()
  const withKeys = (keys: unknown): StoredKeyRing => ({ ...good, keys: keys as StoredKeyRing['keys'] })
  const [current, next] = good.keys as [StoredKeyRing['keys'][0], StoredKeyRing['keys'][0]]

  test('the allow twin: what was kept is a ring again', async () => {
    const ring = KeyRing.from(JSON.parse(JSON.stringify(good)))
    await expect(ring.verify(await KeyRing.from(good).sign({}, SIGNING), EXPECTED)).resolves.toBeDefined()
  })

  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['empty object', {}],
    ['text', ''],
    ['no keys', withKeys([])],
    ['missing keys', withKeys(undefined)],
    ['null keys', withKeys(null)],
    ['a null key', withKeys([current, next, null])],
    ['an empty key', withKeys([current, next, {}])],
    ['only a current key', withKeys([current])],
    ['only a next key', withKeys([next])],
    ['two current keys', withKeys([current, { ...next, state: 'current' }])],
    ['one key twice', withKeys([current, { ...current, state: 'next' }])],
    ['a kid that is not the thumbprint', withKeys([current, { ...next, kid: 'mine' }])],
    ['an empty private part', withKeys([current, { ...next, privateJwk: {} }])],
    ['no private part', withKeys([current, { ...next, privateJwk: undefined }])],
    ['a symmetric key', withKeys([current, { ...next, privateJwk: { kty: 'oct', k: 'AAAA' } }])],
    ['only the public part', withKeys([current, { ...next, privateJwk: { ...next.privateJwk, d: undefined } }])],
    [
      'halves of two keys',
      withKeys([current, { ...next, privateJwk: { ...next.privateJwk, d: current.privateJwk.d } }]),
    ],
    ['another algorithm', withKeys([current, { ...next, alg: 'RS256' }])],
    ['no such algorithm', withKeys([current, { ...next, alg: 'HS256' }])],
    ['an unknown state', withKeys([current, next, { ...next, state: 'old' }])],
    ['an unknown version', { ...good, version: 2 }],
    ['no overlap', { ...good, overlapSeconds: 0 }],
    ['an overlap that is no number', { ...good, overlapSeconds: '3600' }],
  ])('is not made: %s', (_name, stored) => {
    expect(() => KeyRing.from(stored as StoredKeyRing)).toThrow(expect.objectContaining(INVALID))
  })

  test('nor one of RSA halves that are of two keys', () => {
    const stored = KeyRing.create({ alg: 'RS256' }).exportSecret()
    const [one, two] = stored.keys as [StoredKeyRing['keys'][0], StoredKeyRing['keys'][0]]
    const { d = '', dp = '' } = two.privateJwk // OpenSSL takes these in without a look; what they sign verifies nowhere
    const mixed = { ...one, privateJwk: { ...one.privateJwk, d, dp } }
    expect(() => KeyRing.from({ ...stored, keys: [mixed, two] })).toThrow(expect.objectContaining(INVALID))
  })

  test('nor one of weak keys', () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const weak = { ...next, alg: 'RS256', privateJwk: privateKey.export({ format: 'jwk' }) }
    expect(() => KeyRing.from(withKeys([current, weak]))).toThrow(expect.objectContaining(INVALID))
    expect(() => KeyRing.create({ alg: 'HS256' as 'ES256' })).toThrow(expect.objectContaining(INVALID))
  })

  test('an expectation that says nothing is a mistake, not a wildcard', async () => {
    const ring = KeyRing.from(good)
    const token = await ring.sign({}, SIGNING)
    for (const wrong of [
      { audience: '' },
      { issuer: '' },
      { typ: '' },
      { audience: undefined },
      { clockToleranceSeconds: 61 },
      { clockToleranceSeconds: Number.NaN },
      { clockToleranceSeconds: -1 },
    ])
      await expect(ring.verify(token, { ...EXPECTED, ...wrong } as typeof EXPECTED)).rejects.toMatchObject(INVALID)
  })
})

describe('what is shown', () => {
  test.each(['ES256', 'RS256'] as const)('%s: JWKS and lists hold public members only', async alg => {
    const ring = KeyRing.create({ alg })
    const members =
      alg === 'ES256' ? ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'] : ['alg', 'e', 'kid', 'kty', 'n', 'use']
    for (const key of ring.jwks().keys) {
      expect(Object.keys(key).sort()).toEqual(members)
      expect(key.kid).toBe(await calculateJwkThumbprint(key, 'sha256'))
    }
    const secrets = ring.exportSecret().keys.map(key => key.privateJwk.d ?? '')
    const shown = [
      inspect(ring, { depth: 9, showHidden: true }),
      JSON.stringify(ring),
      JSON.stringify(ring.list()),
      JSON.stringify(ring.jwks()),
    ]
    for (const secret of secrets) {
      expect(secret.length).toBeGreaterThan(40)
      for (const text of shown) expect(text).not.toContain(secret)
    }
  })

  test('what was given or exported can be changed without changing the ring', () => {
    type Open = { keys: { state: string }[] }
    const given = KeyRing.create().exportSecret()
    const ring = KeyRing.from(given)
    for (const outside of [given, ring.exportSecret()] as unknown as Open[]) {
      outside.keys[0]!.state = 'previous'
      outside.keys.length = 1
    }
    expect(ring.list().map(key => key.state)).toEqual(['current', 'next'])
  })
})

describe('published sets', () => {
  const { keys } = KeyRing.create().jwks()
  const rsa = (modulusLength: number, publicExponent: number) =>
    generateKeyPairSync('rsa', { modulusLength, publicExponent }).publicKey.export({ format: 'jwk' })

  test('have at most 64 keys', () => {
    const more = (count: number) => Array.from({ length: count }, (_, index) => ({ kid: `${index}`, kty: 'oct' }))
    expect(readJwks({ keys: [...keys, ...more(62)] }).size).toBe(2)
    expect(() => readJwks({ keys: [...keys, ...more(63)] })).toThrow(expect.objectContaining(INVALID))
  })

  test('RSA of 2048 bits with the usual exponent is used; with another, or of an absurd size, it is not', () => {
    const good = rsa(2048, 65537)
    expect([...readJwks({ keys: [{ ...good, kid: 'r' }] }).values()]).toMatchObject([{ kid: 'r', alg: 'RS256' }])
    const huge = Buffer.alloc(1025, 0xff).toString('base64url')
    for (const weak of [
      rsa(1024, 65537),
      rsa(2048, 3),
      { ...good, e: 'AQ' },
      { ...good, n: huge },
      { ...good, kty: 'oct' },
    ])
      expect(() => readJwks({ keys: [{ ...weak, kid: 'r' }] })).toThrow(expect.objectContaining(INVALID))
  })
})

describe('signing', () => {
  test('claims that verification decides on come from the options alone', async () => {
    const ring = KeyRing.create()
    for (const name of ['iss', 'aud', 'exp', 'iat', 'nbf'])
      await expect(ring.sign({ [name]: 1 }, SIGNING)).rejects.toMatchObject(INVALID)
    for (const missing of ['typ', 'issuer', 'audience'])
      await expect(ring.sign({}, { ...SIGNING, [missing]: '' })).rejects.toMatchObject(INVALID)
  })

  test('whatever JSON the claims are, they come back the same', async () => {
    const ring = KeyRing.create()
    const claims = { sub: 'ann\ud800', 2: 'b', 1: [1.5e300, -0.1, null, { deep: ['ü', '\u2028'] }], empty: {} }
    const { claims: back } = await ring.verify(await ring.sign(claims, SIGNING), EXPECTED)
    expect(back).toMatchObject(claims)
  })
})
