import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { GRANT_KEYS_TYP, KeyRing, readGrant, readGrantKeys, readJwks, signGrant, signGrantKeys } from '../src/index.ts'
import { forge, goodHeader, signedBy } from './forge.ts'

const ring = KeyRing.create()
const keys = readJwks(ring.jwks())
const CONNECTOR = randomUUID()
const ME = { tunnel: 'office', connector: CONNECTOR }
const NOW = 1_700_000_000_000
const SET = { sequence: 7, jwks: KeyRing.create().jwks() }

const header = { ...goodHeader(ring), typ: GRANT_KEYS_TYP }
function claims(more: Record<string, unknown> = {}): Record<string, unknown> {
  const iat = NOW / 1000
  const own = { iss: 'postern:edge', aud: `postern:connector:office:${CONNECTOR}`, iat, exp: iat + 60 }
  return { sequence: SET.sequence, keys: SET.jwks.keys, ...own, ...more }
}
const forged = (more: Record<string, unknown>, head: object = header) => forge(head, claims(more), signedBy(ring))
const read = (token: unknown, now = NOW, of = keys, me = ME) => readGrantKeys(token, of, { ...me, now })

describe('new keys for grants', () => {
  test('are read by the daemon they are for, as they were signed', async () => {
    expect(await read(await signGrantKeys(ring, ME, SET, NOW))).toEqual(SET)
  })

  test('by whom nobody here knows, are none: two rotations were missed, or somebody else is an edge', async () => {
    const foreign = await signGrantKeys(KeyRing.create(), ME, SET, NOW)
    expect(await read(foreign)).toBeUndefined()
    const once = ring.rotate(NOW)
    expect(await read(await signGrantKeys(once, ME, { sequence: 8, jwks: once.jwks() }, NOW))).toBeDefined()
    const twice = once.rotate(NOW)
    expect(await read(await signGrantKeys(twice, ME, { sequence: 9, jwks: twice.jwks() }, NOW))).toBeUndefined()
  })

  test('are for one connector of one tunnel, and for a minute', async () => {
    const token = await signGrantKeys(ring, ME, SET, NOW)
    const refused = { code: 'AUTH_REJECTED' }
    await expect(read(token, NOW, keys, { ...ME, connector: randomUUID() })).rejects.toMatchObject(refused)
    await expect(read(token, NOW, keys, { ...ME, tunnel: 'home' })).rejects.toMatchObject(refused)
    await expect(read(token, NOW + 121_000)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
    await expect(read(token, NOW - 121_000)).rejects.toMatchObject(refused)
    expect(await read(token, NOW + 119_000)).toEqual(SET)
  })

  test('are no grant, nor is a grant such keys', async () => {
    const parts = { aud: ME, jti: 'j', sid: 's', hostname: 'a.b', identities: [], permit: null }
    const grant = await signGrant(ring, { ...parts, cnf: `sha256:${'ab'.repeat(32)}` }, NOW)
    await expect(read(grant)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    const token = await signGrantKeys(ring, ME, SET, NOW)
    await expect(readGrant(token, keys, { ...ME, now: NOW })).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test.each<[string, Record<string, unknown>]>([
    ['no sequence', { sequence: undefined }],
    ['a sequence of nothing', { sequence: 0 }],
    ['a sequence past counting', { sequence: 2 ** 60 }],
    ['no keys', { keys: [] }],
    ['keys that are none', { keys: [{ kty: 'oct', k: 'AAAA', kid: 'a' }] }],
    ['too many', { keys: Array.from({ length: 9 }, (_, n) => ({ kid: `k${n}` })) }],
    ['a longer life', { exp: NOW / 1000 + 3600 }],
    ['something that this version does not know', { only: 'db.example.com' }],
    ['another issuer', { iss: 'https://edge.example.com' }],
  ])('with %s are refused', async (_what, more) => {
    await expect(read(forged(more))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('whose signature is another’s under a key’s name are refused; the allow twin', async () => {
    const stolen = forge(header, claims(), signedBy(KeyRing.create()))
    await expect(read(stolen)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect(await read(forged({}))).toEqual(SET)
  })
})
