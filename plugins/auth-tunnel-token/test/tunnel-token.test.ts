import type { Call, EdgeHost, Json, Presented } from '@postern/interface'
import { createTunnelToken, hashId } from '@postern/tokens'
import { describe, expect, test } from 'vitest'
import client from '../src/client.ts'
import edge from '../src/edge.ts'

const logged: string[] = []
const say = (message: string): void => void logged.push(message)
const call: Call = { signal: new AbortController().signal, log: { debug: say, info: say, warn: say, error: say } }

function host(rows: Record<string, Json>) {
  const failures: string[] = []
  const limits = { allow: true }
  const lent = {
    records: { get: async (id: string) => (Object.hasOwn(rows, id) ? rows[id] : undefined) },
    attempts: { allow: async () => limits.allow, failed: async (key: string) => void failures.push(key) },
  } as unknown as EdgeHost
  return { lent, failures, limits }
}

function presented(headers: Record<string, string[]>, url = '/'): Presented {
  return { method: 'GET', url, headers, remoteAddress: '192.0.2.1' }
}

const ours = createTunnelToken('home')
const next = createTunnelToken('home')
const other = createTunnelToken('other')
const header = (token: string): Presented => presented({ 'postern-tunnel-token': [token] })
const rows = (...hashes: Json[]): Record<string, Json> => ({ home: { hashes } })
const past = Date.now() - 1

async function verify(what: Presented, stored = rows({ hash: ours.hash })) {
  return (await edge.create({}, host(stored).lent)).verify(what, call)
}

describe('the client', () => {
  test('presents its token', async () => {
    const provider = await client.create(
      { token: ours.token, connectorCertificate: undefined, connectorKey: undefined },
      {} as never,
    )
    const credential = await provider.authenticate({ purpose: 'connector', teamDomain: 'localhost' }, call)
    expect(credential).toEqual({ headers: { 'postern-tunnel-token': ours.token } })
  })

  test('cannot answer a refusal', async () => {
    const provider = await client.create(
      { token: ours.token, connectorCertificate: undefined, connectorKey: undefined },
      {} as never,
    )
    const refused = { status: 401, headers: {}, credential: {} }
    const failed = provider.authenticate({ purpose: 'connector', teamDomain: 'localhost', refused }, call)
    await expect(failed).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test.each(['', 'ptt_x', ours.token.slice(0, -2), `${ours.token}\n`])(
    'refuses %j without repeating it',
    async token => {
      const failed = (async () =>
        client.create({ token, connectorCertificate: undefined, connectorKey: undefined }, {} as never))()
      await expect(failed).rejects.toMatchObject({ code: 'OPTION_INVALID' })
      if (token) await expect(failed).rejects.not.toThrow(token)
    },
  )
})

describe('the edge', () => {
  test('knows the right token, and an older one beside a newer', async () => {
    const identityOf = (hash: string) => ({
      kind: 'service',
      issuer: 'postern:tunnel-token',
      subject: 'home',
      claims: {},
      revokeKeys: ['tunnel-token:home', `tunnel-token:home:${hashId(hash)}`],
    })
    expect(await verify(header(ours.token))).toEqual({ identity: identityOf(ours.hash) })
    const both = rows({ hash: ours.hash, createdAt: 1, expiresAt: Date.now() + 60_000 }, { hash: next.hash })
    expect(await verify(header(ours.token), both)).toMatchObject({ identity: { expiresAt: expect.any(Number) } })
    expect(await verify(header(next.token), both)).toEqual({ identity: identityOf(next.hash) })
    const over = rows({ hash: ours.hash, expiresAt: past }, { hash: next.hash })
    await expect(verify(header(ours.token), over)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
    await expect(verify(header(next.token), over)).resolves.toBeDefined()
  })

  test('is not concerned where nothing was presented, also not by query or cookie', async () => {
    const cookie = [`postern-tunnel-token=${ours.token}`]
    expect(await verify(presented({ cookie }, `/?postern-tunnel-token=${ours.token}`))).toBeUndefined()
  })

  test.each<[string, Presented, string]>([
    ['another secret of the tunnel', header(next.token), 'AUTH_REJECTED'],
    ['a tunnel that is not known', header(other.token), 'AUTH_REJECTED'],
    ['a word that is no token', header('ptt_'), 'AUTH_REJECTED'],
    ['nothing', header(''), 'AUTH_REJECTED'],
    ['something very long', header('x'.repeat(16_000)), 'AUTH_REJECTED'],
    ['two tokens in one header', header(`${ours.token}, ${ours.token}`), 'AUTH_REJECTED'],
    ['the header twice', presented({ 'postern-tunnel-token': [ours.token, ours.token] }), 'BAD_USAGE'],
  ])('%s', async (_name, what, code) => {
    await expect(verify(what)).rejects.toMatchObject({ code })
  })

  test('only who has the right secret is told of expiry and revocation', async () => {
    for (const [more, code] of [
      [{ expiresAt: past }, 'TOKEN_EXPIRED'],
      [{ revokedAt: past }, 'TOKEN_REVOKED'],
    ] as const) {
      const stored = rows({ hash: ours.hash, ...more })
      await expect(verify(header(ours.token), stored)).rejects.toMatchObject({ code })
      await expect(verify(header(next.token), stored)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    }
  })

  test('revoking one token leaves the other good', async () => {
    const stored = rows({ hash: ours.hash, revokedAt: past }, { hash: next.hash })
    await expect(verify(header(ours.token), stored)).rejects.toMatchObject({ code: 'TOKEN_REVOKED' })
    await expect(verify(header(next.token), stored)).resolves.toBeDefined()
  })

  test.each<[string, Json]>([
    ['no hashes', {}],
    ['hashes that are no list', { hashes: ours.hash }],
    ['a hash that is no object', { hashes: [ours.hash] }],
    ['a time that is none', { hashes: [{ hash: ours.hash, revokedAt: 'yesterday' }] }],
    ['too many hashes', { hashes: Array.from({ length: 17 }, () => ({ hash: ours.hash })) }],
    ['null', null],
  ])('a record with %s lets nobody in', async (_name, value) => {
    await expect(verify(header(ours.token), { home: value })).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('counts failures by address only, limits them, and never locks out the right token', async () => {
    const { lent, failures, limits } = host(rows({ hash: ours.hash }))
    const verifier = await edge.create({}, lent)
    for (const token of [next.token, other.token, 'x'])
      await expect(verifier.verify(header(token), call)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await verifier.verify(header(ours.token), call)
    expect(failures).toEqual(['192.0.2.1', '192.0.2.1', '192.0.2.1'])
    limits.allow = false
    await expect(verifier.verify(header(next.token), call)).rejects.toMatchObject({ code: 'RATE_LIMITED' })
    await expect(verifier.verify(header(ours.token), call)).resolves.toBeDefined()
  })

  test('no token reaches the log', () => {
    for (const { token } of [ours, next, other]) expect(logged.join()).not.toContain(token)
  })
})
