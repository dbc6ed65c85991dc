import { X509Certificate } from 'node:crypto'
import type { EnrolledConnector } from '@postern/admin'
import { certificateFingerprint, keyFingerprint } from '@postern/connector'
import {
  createConnector,
  createIdentity,
  createSetupAuthority,
  type NewConnector,
  signConnector,
} from '@postern/connector/issue'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { endRestored } from '../src/sign-in/restored.ts'
import { call, startWorld, type World } from './world.ts'

type Identity = Awaited<ReturnType<typeof createIdentity>>
let world: World
let identity: Identity
let other: Identity
beforeAll(async () => {
  identity = await createIdentity('home')
  other = await createIdentity('home')
})
const at = () => ({ params: { name: 'home' } })
const ask: World['edge']['administration']['call'] = (...asked) => world.edge.administration.call(...asked)
const sign = async (by: Identity = identity, one?: NewConnector, tunnel = 'home') =>
  signConnector(by, tunnel, one ?? (await createConnector()))
const enrol = async () => ask('connector.enrol', { ...at(), body: { certificate: await sign(), host: 'here' } })
const put = (certificate: string, replace = false) =>
  ask('tunnel-identity.put', { ...at(), body: { certificate, replace } })
const retire = (id: string) => ask('connector.retire', { params: { name: 'home', id }, body: { overlapSeconds: 3600 } })
const enrolledOf = async (id: string) => (await ask('tunnel.get', at())).enrolled.find(one => one.id === id)
const live = (one: EnrolledConnector | undefined) => one !== undefined && one.revokedAt === undefined
const connectors = () => world.edge.counts().connectors

describe('a tunnel’s identity', () => {
  beforeEach(async () => {
    world = await startWorld({}, [], 0)
    return () => world[Symbol.asyncDispose]()
  })

  test('is registered once, and shown with its fingerprint', async () => {
    expect((await ask('tunnel.get', at())).identity).toBeUndefined()
    await expect(enrol()).rejects.toMatchObject({ code: 'CONFLICT', next: expect.stringContaining('tunnel rotate') })
    const shown = await put(identity.cert)
    expect(shown.identity).toEqual({ fingerprint: keyFingerprint(identity.key), certificate: identity.cert })
    await expect(put(other.cert)).rejects.toMatchObject({ code: 'CONFLICT' })
    expect((await ask('tunnel.get', at())).identity).toEqual(shown.identity)
    for (const wrong of [identity.key, identity.cert + identity.key, identity.cert + other.cert, await sign()])
      await expect(put(wrong, true)).rejects.toMatchObject({ code: 'BAD_USAGE' })
  })

  test('is no reason to ask daemons for more, until the first is enrolled; who came by a token alone is cut then', async () => {
    await put(identity.cert)
    await world.daemon()
    expect(connectors()).toBe(1)
    expect((await ask('tunnel.get', at())).needsCertificate).toBe(false)
    await enrol()
    await expect.poll(connectors).toBe(0)
    await expect(world.daemon()).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect((await ask('tunnel.get', at())).needsCertificate).toBe(true)
    // A token more or less changes nothing about that.
    await ask('tunnel-token.create', { ...at(), body: {} })
    await ask('tunnel-token.rotate', { ...at(), body: {} })
    expect(await ask('tunnel.get', at())).toMatchObject({ needsCertificate: true, enrolled: [expect.anything()] })
  })

  test('another one ends all tokens and certificates, and cuts every daemon', async () => {
    await put(identity.cert)
    await world.daemon()
    await put(other.cert, true)
    await expect.poll(connectors).toBe(0)
    await expect(world.daemon()).rejects.toMatchObject({ code: 'TOKEN_REVOKED' })
    await expect(enrol()).rejects.toMatchObject({ code: 'BAD_USAGE' })
    const certificate = await sign(other)
    await expect(ask('connector.enrol', { ...at(), body: { certificate } })).resolves.toBeDefined()
  })
})

describe('daemons that are enrolled', () => {
  beforeAll(async () => {
    world = await startWorld({}, [], 0)
    await put(identity.cert)
  })
  afterAll(() => world[Symbol.asyncDispose]())

  test('each has a token of its own, and is known by its certificate', async () => {
    const certificate = await sign()
    const made = await ask('connector.enrol', { ...at(), body: { certificate, host: 'here' } })
    expect(made).toMatchObject({
      tunnel: 'home',
      fingerprint: certificateFingerprint(new X509Certificate(certificate)),
    })
    expect(await enrolledOf(made.id)).toMatchObject({
      fingerprint: made.fingerprint,
      host: 'here',
      expiresAt: made.expiresAt,
    })
    expect((await ask('tunnel.get', at())).tokens.map(({ id }) => id)).toContain(made.tokenId)
    await expect(ask('connector.enrol', { ...at(), body: { certificate } })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    })
    const rows = await world.edge.store.readAudit({ most: 10, action: 'connector.enrol' })
    expect(JSON.stringify(rows)).not.toContain(made.token)
  })

  test('row 101: by another identity, or for another tunnel, nobody is enrolled', async () => {
    await ask('tunnel.create', { body: { name: 'far', identity: identity.cert } })
    for (const certificate of [await sign(other), await sign(identity, undefined, 'far'), identity.cert])
      await expect(ask('connector.enrol', { ...at(), body: { certificate } })).rejects.toMatchObject({
        code: 'BAD_USAGE',
      })
    // The allow twin.
    const certificate = await sign(identity, undefined, 'far')
    await expect(ask('connector.enrol', { params: { name: 'far' }, body: { certificate } })).resolves.toBeDefined()
  })

  test('one is put out with its token; the others stay', async () => {
    const [one, two] = [await enrol(), await enrol()]
    await ask('connector.evict', { params: { name: 'home', id: one.id } })
    expect([live(await enrolledOf(one.id)), live(await enrolledOf(two.id))]).toEqual([false, true])
    const { tokens } = await ask('tunnel.get', at())
    const endOf = (id: string) => tokens.find(token => token.id === id)?.revokedAt
    expect([endOf(one.tokenId), endOf(two.tokenId)]).toEqual([expect.any(String), undefined])
    const again = ask('connector.evict', { params: { name: 'home', id: one.id } })
    await expect(again).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('one takes the place of another, which is good for an hour more', async () => {
    const one = await enrol()
    const two = await enrol()
    await retire(one.id)
    const end = Date.parse((await enrolledOf(one.id))?.revokedAt ?? '') - Date.now()
    expect(end).toBeGreaterThan(3_000_000)
    expect(end).toBeLessThanOrEqual(3_600_000)
    expect(live(await enrolledOf(two.id))).toBe(true)
  })

  test('that hour is not begun anew by who logs in a second time', async () => {
    const one = await enrol()
    await retire(one.id)
    const keys = [`connector:home:${one.id}`, `tunnel-token:home:${one.tokenId}`]
    const ends = () => keys.map(key => world.edge.store.snapshot.revocations.get(key)?.at)
    const before = ends()
    expect(before).toEqual([expect.any(Number), before[0]])
    // Another millisecond at least.
    await expect.poll(() => Date.now() + 3_600_000).toBeGreaterThan(before[0] ?? 0)
    await retire(one.id)
    expect(ends()).toEqual(before)
    await ask('connector.evict', { params: { name: 'home', id: one.id } })
    expect(ends()).toEqual([undefined, undefined])
    await expect(retire(one.id)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('no more daemons are enrolled than the verifier looks at: one too many would shut out all', async () => {
    const params = { name: 'full' }
    await ask('tunnel.create', { body: { name: 'full', identity: identity.cert } })
    const { store } = world.edge
    const expiresAt = Date.now() + 60_000
    const known = (n: number) => ({ id: crypto.randomUUID(), fingerprint: `sha256:${n}`, expiresAt, createdAt: 1 })
    const value = { hashes: [], connectors: Array.from({ length: 64 }, (_, n) => known(n)) }
    await store.apply([{ put: 'record', namespace: 'tunnel-token', id: 'full', value }], {
      action: 'test',
      actor: 'test',
    })
    const body = async () => ({ certificate: await sign(identity, undefined, 'full') })
    await expect(ask('connector.enrol', { params, body: await body() })).rejects.toMatchObject({
      code: 'LIMIT_EXCEEDED',
    })
    await ask('connector.evict', { params: { name: 'full', id: value.connectors[0]?.id ?? '' } })
    await expect(ask('connector.enrol', { params, body: await body() })).resolves.toBeDefined()
    expect((await ask('tunnel.get', { params })).enrolled).toHaveLength(64)
  })

  test('a setup token is gone with its tunnel, and useless under another identity', async () => {
    await ask('tunnel.create', { body: { name: 'gone', identity: identity.cert } })
    const one = await createConnector()
    const authority = await createSetupAuthority(identity, 'gone', one.id)
    const create = () =>
      ask('connector-setup.create', { params: { name: 'gone' }, body: { authority: authority.cert } })
    const { id } = await create()
    const caller = { kind: 'connector-setup', id } as const
    const certificate = await sign(authority, one, 'gone')
    await ask('tunnel-identity.put', { params: { name: 'gone' }, body: { certificate: other.cert, replace: true } })
    await expect(ask('connector-setup.use', { body: { certificate } }, caller)).rejects.toMatchObject({
      code: 'BAD_USAGE',
    })
    await expect(create()).rejects.toMatchObject({ code: 'BAD_USAGE' })
    await ask('tunnel-identity.put', { params: { name: 'gone' }, body: { certificate: identity.cert, replace: true } })
    await ask('tunnel.delete', { params: { name: 'gone' } })
    await ask('tunnel.create', { body: { name: 'gone', identity: identity.cert } })
    await expect(ask('connector-setup.use', { body: { certificate } }, caller)).rejects.toMatchObject({
      code: 'AUTH_REJECTED',
    })
  })

  test('row 97: of one setup token there are not two daemons, however fast they come', async () => {
    const one = await createConnector()
    const authority = await createSetupAuthority(identity, 'home', one.id)
    const { id } = await ask('connector-setup.create', { ...at(), body: { authority: authority.cert } })
    const caller = { kind: 'connector-setup', id } as const
    const certificates = await Promise.all(Array.from({ length: 4 }, () => sign(authority, one)))
    const uses = certificates.map(certificate => ask('connector-setup.use', { body: { certificate } }, caller))
    const done = await Promise.allSettled(uses)
    expect(done.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    const refused = done.flatMap(one => (one.status === 'rejected' ? [one.reason.code] : []))
    expect(refused).toEqual(['TOKEN_REVOKED', 'TOKEN_REVOKED', 'TOKEN_REVOKED'])
  })

  test('row 101: a setup token is for one connector, which its authority names, and for a day at most', async () => {
    const one = await createConnector()
    const authority = await createSetupAuthority(identity, 'home', one.id)
    const create = (cert: string, more: object = {}) =>
      ask('connector-setup.create', { ...at(), body: { authority: cert, ...more } })
    const refusal = { code: 'BAD_USAGE' }
    // An authority for another tunnel, of another identity, and what is none.
    await expect(create((await createSetupAuthority(identity, 'far', one.id)).cert)).rejects.toMatchObject(refusal)
    await expect(create((await createSetupAuthority(other, 'home', one.id)).cert)).rejects.toMatchObject(refusal)
    for (const cert of [identity.cert, await sign(identity)]) await expect(create(cert)).rejects.toMatchObject(refusal)
    for (const expiresInSeconds of [86_401, 59])
      await expect(create(authority.cert, { expiresInSeconds })).rejects.toMatchObject(refusal)
    const { id, expiresAt } = await create(authority.cert)
    expect(Date.parse(expiresAt)).toBeLessThanOrEqual(Date.now() + 86_400_000)
    const caller = { kind: 'connector-setup', id } as const
    const use = async (by: Parameters<typeof sign>[0], daemon?: Parameters<typeof sign>[1]) =>
      ask('connector-setup.use', { body: { certificate: await sign(by, daemon) } }, caller)
    await expect(use(authority)).rejects.toMatchObject({
      ...refusal,
      message: expect.stringContaining('another connector'),
    })
    // The identity's own signature is for who has the identity, and not for a setup token.
    await expect(use(identity, one)).rejects.toMatchObject(refusal)
    await expect(use(authority, one)).resolves.toMatchObject({ tunnel: 'home', id: one.id })
  })

  test('a key is signed for the one that asked, and for no other', async () => {
    const one = await createConnector()
    const body = { connector: one.id, publicKey: one.publicKey, host: 'far' }
    const asked = await ask('signing-request.create', { ...at(), body })
    expect(asked.fingerprint).toBe(keyFingerprint(one.key))
    const params = { name: 'home', id: asked.id }
    const another = await createConnector()
    for (const wrong of [another, { ...another, id: one.id }, { ...one, id: another.id }])
      await expect(
        ask('signing-request.sign', { params, body: { certificate: await sign(identity, wrong) } }),
      ).rejects.toMatchObject({ code: 'BAD_USAGE' })
    const certificate = await sign(identity, one)
    expect(await ask('signing-request.sign', { params, body: { certificate } })).toMatchObject({ certificate })
    const elsewhere = { name: 'far', id: asked.id }
    await expect(ask('signing-request.get', { params: elsewhere })).rejects.toMatchObject({ code: 'NOT_FOUND' })
    // Who sends a private key by mistake is not asked to have it kept.
    for (const publicKey of [one.key, identity.cert, 'BEGIN', one.publicKey + one.key])
      await expect(ask('signing-request.create', { ...at(), body: { ...body, publicKey } })).rejects.toMatchObject({
        code: 'BAD_USAGE',
      })
  })

  test('row 112: nor the identity that another one took the place of since', async () => {
    const { store } = world.edge
    for (const name of ['stolen', 'kept']) await ask('tunnel.create', { body: { name, identity: identity.cert } })
    const copy = {
      restored: { from: 2, was: 1, missed: ['tunnel-token:stolen', 'tunnel-token:kept:0123456789abcdef'] },
      snapshot: store.snapshot,
      apply: (...change: Parameters<typeof store.apply>) => store.apply(...change),
    } as unknown as typeof store
    await endRestored(copy, call.log)
    const identityOf = async (name: string) => (await ask('tunnel.get', { params: { name } })).identity
    expect(await identityOf('stolen')).toBeUndefined()
    expect((await identityOf('kept'))?.certificate).toBe(identity.cert)
    const certificate = await sign(identity, undefined, 'stolen')
    await expect(ask('connector.enrol', { params: { name: 'stolen' }, body: { certificate } })).rejects.toMatchObject({
      code: 'CONFLICT',
    })
  })

  test('row 112: an older copy of the database brings nobody back who was put out', async () => {
    const [one, two] = [await enrol(), await enrol()]
    const missed = [`connector:home:${one.id}`, `tunnel-token:home:${one.tokenId}`, `tunnel-token:home:${two.tokenId}`]
    const { store } = world.edge
    const copy = {
      restored: { from: 2, was: 1, missed },
      snapshot: store.snapshot,
      apply: (...change: Parameters<typeof store.apply>) => store.apply(...change),
    } as unknown as typeof store
    await endRestored(copy, call.log)
    const { tokens } = await ask('tunnel.get', at())
    const isRevoked = (id: string) => tokens.find(token => token.id === id)?.revokedAt !== undefined
    expect([live(await enrolledOf(one.id)), live(await enrolledOf(two.id))]).toEqual([false, true])
    expect([isRevoked(one.tokenId), isRevoked(two.tokenId)]).toEqual([true, true])
  })
})
