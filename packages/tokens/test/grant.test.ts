import { randomUUID } from 'node:crypto'
import type { Identity } from '@postern/interface'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GRANT_TYP, type Grant, KeyRing, readGrant, readJwks, rememberUntil, signGrant } from '../src/index.ts'
import { forge, goodHeader, signedBy } from './forge.ts'

const ring = KeyRing.create()
const keys = readJwks(ring.jwks())
const CONNECTOR = randomUUID()
const ME = { tunnel: 'office', connector: CONNECTOR }
const ANN: Identity = {
  kind: 'user',
  issuer: 'https://idp',
  subject: 'ann',
  claims: { a: 1 },
  revokeKeys: ['user:ann'],
}
const NOW = 1_700_000_000_000

function given(more: Partial<Grant> = {}): Omit<Grant, 'exp' | 'mode'> {
  return {
    aud: ME,
    jti: 'j-1',
    sid: 's-1',
    hostname: 'db.example.com',
    identities: [ANN],
    permit: { readOnly: true },
    cnf: `sha256:${'ab'.repeat(32)}`,
    ...more,
  }
}

/** The claims that {@link signGrant} writes, to be altered one by one. */
function claims(more: Record<string, unknown> = {}): Record<string, unknown> {
  const { aud: _, ...rest } = given()
  const iat = NOW / 1000
  const own = { iss: 'postern:edge', aud: `postern:connector:office:${CONNECTOR}`, iat, exp: iat + 60 }
  return { ...rest, mode: 'end-to-end', ...own, ...more }
}

const header = { ...goodHeader(ring), typ: GRANT_TYP }
const forged = (more: Record<string, unknown>, head: object = header) => forge(head, claims(more), signedBy(ring))
const read = (token: unknown, now = NOW) => readGrant(token, keys, { ...ME, now })

describe('a grant', () => {
  test('is read by the daemon it is for as it was signed', async () => {
    const grant = await read(await signGrant(ring, given(), NOW))
    expect(grant).toEqual({ ...given(), mode: 'end-to-end', exp: NOW / 1000 + 60 })
    expect(rememberUntil(grant)).toBe(NOW + 120_000)
  })

  test('whatever it holds', async () => {
    const word = fc.stringMatching(/^[\x21-\x7e]{1,40}$/)
    const identity = fc.record({
      kind: fc.constantFrom<Identity['kind']>('user', 'service', 'certificate'),
      issuer: fc.string({ minLength: 1, maxLength: 30, unit: 'binary' }),
      subject: fc.string({ minLength: 1, maxLength: 30, unit: 'binary' }),
      groups: fc.array(fc.string({ maxLength: 9 }), { maxLength: 4 }),
      claims: fc.dictionary(fc.string({ maxLength: 8 }), fc.integer(), { maxKeys: 4, noNullPrototype: true }),
      revokeKeys: fc.array(word, { maxLength: 4 }),
    })
    const hostname = fc.stringMatching(/^[a-z0-9]{1,12}(\.[a-z0-9]{1,12}){1,3}$/)
    const identities = fc.array(identity, { maxLength: 4 })
    const digits = fc.stringMatching(/^[0-9a-f]{64}$/).map(hex => `sha256:${hex}`)
    const permit = fc.jsonValue({ maxDepth: 3 }).map(value => JSON.parse(JSON.stringify(value)) as Grant['permit'])
    const some = fc.record({ jti: word, sid: word, hostname, identities, permit, cnf: digits })
    await fc.assert(
      fc.asyncProperty(some, async more => {
        const signed = given(more)
        expect(await read(await signGrant(ring, signed, NOW))).toEqual({
          ...signed,
          mode: 'end-to-end',
          exp: NOW / 1000 + 60,
        })
      }),
      { numRuns: 150 },
    )
  })

  test('the allow twin of all below: made by hand, it is read', async () => {
    await expect(read(forged({}))).resolves.toMatchObject({ hostname: 'db.example.com' })
  })

  test.each<[string, Record<string, unknown>]>([
    ['for a sibling connector', { aud: `postern:connector:office:${randomUUID()}` }],
    ['for another tunnel', { aud: `postern:connector:home:${CONNECTOR}` }],
    ['for a list of connectors', { aud: [`postern:connector:office:${CONNECTOR}`] }],
    ['of another issuer', { iss: 'https://edge.example.com' }],
    ['of the mode hop', { mode: 'hop' }],
    ['without a mode', { mode: undefined }],
    ['without a jti', { jti: undefined }],
    ['with an empty jti', { jti: '' }],
    ['without a sid', { sid: undefined }],
    ['without a hostname', { hostname: undefined }],
    ['of a hostname in capitals', { hostname: 'DB.example.com' }],
    ['of a hostname with a wildcard', { hostname: '*.example.com' }],
    ['without identities', { identities: undefined }],
    ['of too many identities', { identities: Array.from({ length: 17 }, () => ANN) }],
    ['of an identity of no kind', { identities: [{ ...ANN, kind: 'root' }] }],
    ['of an identity without a subject', { identities: [{ ...ANN, subject: '' }] }],
    ['without a permit', { permit: undefined }],
    ['without a key', { cnf: undefined }],
    ['with half a key', { cnf: 'sha256:abcd' }],
    ['with a key in capitals', { cnf: `sha256:${'AB'.repeat(32)}` }],
    ['that lives for an hour', { exp: NOW / 1000 + 3600 }],
    ['with a claim of a later version', { onlyFrom: '192.0.2.1' }],
    ['from a clock two minutes ahead', { iat: NOW / 1000 + 120, exp: NOW / 1000 + 180 }],
  ])('%s is refused', async (_name, more) => {
    await expect(read(forged(more))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('expires, a minute late for the sake of clocks', async () => {
    const token = await signGrant(ring, given(), NOW)
    await expect(read(token, NOW + 119_000)).resolves.toMatchObject({ jti: 'j-1' })
    await expect(read(token, NOW + 120_000)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
    await expect(read(token, NOW - 60_000)).resolves.toMatchObject({ jti: 'j-1' })
    await expect(read(token, NOW - 61_000)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('of another kind of token, with the same claims, is none', async () => {
    await expect(read(forged({}, { ...header, typ: 'at+jwt' }))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await expect(read(forged({}, { ...header, typ: 'JWT' }))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('by an unknown key, or an RSA key, is refused; by either of two keys of an overlap it is read', async () => {
    const other = KeyRing.create()
    await expect(read(await signGrant(other, given(), NOW))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    const rsa = KeyRing.create({ alg: 'RS256' })
    const byRsa = await signGrant(rsa, given(), NOW)
    await expect(readGrant(byRsa, readJwks(rsa.jwks()), { ...ME, now: NOW })).rejects.toMatchObject({
      code: 'AUTH_REJECTED',
    })
    const rotated = ring.rotate(NOW)
    await expect(read(await signGrant(rotated, given(), NOW))).resolves.toMatchObject({ jti: 'j-1' })
  })

  test('whatever letter of it is changed, it is refused', async () => {
    const token = await signGrant(ring, given(), NOW)
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.constantFrom('A', 'b', '7', '_', '.'), async (at, letter) => {
        fc.pre(token[at] !== letter)
        const changed = token.slice(0, at) + letter + token.slice(at + 1)
        await expect(read(changed)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
      }),
      { numRuns: 200 },
    )
  })

  test('that no daemon would take is not signed', async () => {
    await expect(signGrant(ring, given({ hostname: '*.example.com' }))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await expect(signGrant(ring, given({ cnf: 'x' }))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await expect(signGrant(ring, given({ aud: { tunnel: 'a:b', connector: 'c' } }))).rejects.toMatchObject({
      code: 'AUTH_REJECTED',
    })
    const long = given({ permit: 'x'.repeat(8192) })
    await expect(signGrant(ring, long)).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })
})
