import type { Call, EdgeHost, Identity, Json, Presented } from '@postern/interface'
import { createServiceToken, hashId } from '@postern/tokens'
import { describe, expect, test } from 'vitest'
import client from '../src/client.ts'
import edge from '../src/edge.ts'

const logged: string[] = []
const say = (message: string): void => void logged.push(message)
const call: Call = { signal: new AbortController().signal, log: { debug: say, info: say, warn: say, error: say } }
const app = { hostname: 'db.localhost', id: 'a', teamDomain: 'localhost', protocols: [] }

function host(rows: Record<string, Json>) {
  const failures: string[] = []
  const asked: string[] = []
  const limits = { allow: true }
  const lent = {
    records: {
      get: async (id: string) => {
        asked.push(id)
        return Object.hasOwn(rows, id) ? rows[id] : undefined
      },
    },
    attempts: {
      allow: async () => limits.allow,
      failed: async (key: string) => void failures.push(key),
    },
  } as unknown as EdgeHost
  return { lent, failures, asked, limits }
}

function presented(headers: Record<string, string | string[]>, url = '/'): Presented {
  const received = Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value : [value]])
  return { method: 'GET', url, headers: Object.fromEntries(received), remoteAddress: '192.0.2.1' }
}

const token = createServiceToken()
const other = createServiceToken()
const row = (more: Record<string, Json> = {}): Json => ({ name: 'ci', hash: token.hash, ...more })
const pair = { 'postern-client-id': token.id, 'postern-client-secret': token.secret }

async function verify(what: Presented, rows: Record<string, Json> = { [token.id]: row() }) {
  return (await edge.create({}, host(rows).lent)).verify(what, call)
}

describe('the client', () => {
  test('presents both words, in headers', async () => {
    const provider = await client.create({ id: token.id, secret: token.secret }, {} as never)
    expect(await provider.authenticate({ purpose: 'access', app }, call)).toEqual({ headers: pair })
  })

  test('cannot answer a refusal', async () => {
    const provider = await client.create({ id: token.id, secret: token.secret }, {} as never)
    const refused = { status: 401, headers: {}, credential: {} }
    const failed = provider.authenticate({ purpose: 'access', app, refused }, call)
    await expect(failed).rejects.toMatchObject({ code: 'AUTH_REJECTED', refusal: { status: 401 } })
  })

  test('an abort rejects with its reason', async () => {
    const provider = await client.create({ id: token.id, secret: token.secret }, {} as never)
    const reason = new Error('enough')
    const aborted = { ...call, signal: AbortSignal.abort(reason) }
    await expect(provider.authenticate({ purpose: 'access', app }, aborted)).rejects.toBe(reason)
  })

  test.each(['', 'two words', 'line\nbreak', 'ümlaut', 'x'.repeat(1025)])(
    'refuses %j without repeating it',
    async secret => {
      const failed = (async () => client.create({ id: token.id, secret }, {} as never))()
      await expect(failed).rejects.toMatchObject({ code: 'OPTION_INVALID' })
      if (secret) await expect(failed).rejects.not.toThrow(secret)
    },
  )
})

describe('the edge', () => {
  test('knows the right pair, in either spelling', async () => {
    const identity: Identity = {
      kind: 'service',
      issuer: 'postern:service-token',
      subject: token.id,
      claims: { name: 'ci' },
      revokeKeys: [`service-token:${token.id}`, `service-token:${token.id}:${hashId(token.hash)}`],
    }
    expect(await verify(presented(pair))).toEqual({ identity })
    const aliased = { 'cf-access-client-id': token.id, 'cf-access-client-secret': token.secret }
    expect(await verify(presented(aliased))).toEqual({ identity })
  })

  test('hands the expiry on', async () => {
    const expiresAt = Date.now() + 60_000
    expect(await verify(presented(pair), { [token.id]: row({ expiresAt }) })).toMatchObject({ identity: { expiresAt } })
  })

  test('is not concerned where nothing was presented, also not by query, cookie or Authorization', async () => {
    const query = `/?postern-client-id=${token.id}&postern-client-secret=${token.secret}`
    const cookie = `postern-client-id=${token.id}; postern-client-secret=${token.secret}`
    const authorization = `Basic ${Buffer.from(`${token.id}:${token.secret}`).toString('base64')}`
    expect(await verify(presented({ cookie, authorization }, query))).toBeUndefined()
  })

  test.each<[string, Record<string, string | string[]>, string]>([
    ['a wrong secret', { ...pair, 'postern-client-secret': other.secret }, 'AUTH_REJECTED'],
    ['an unknown id', { ...pair, 'postern-client-id': other.id }, 'AUTH_REJECTED'],
    ['an id of no form', { ...pair, 'postern-client-id': '__proto__' }, 'AUTH_REJECTED'],
    ['two words in one id', { ...pair, 'postern-client-id': `${token.id}, ${token.id}` }, 'AUTH_REJECTED'],
    ['an empty secret', { ...pair, 'postern-client-secret': '' }, 'AUTH_REJECTED'],
    ['the hash as the secret', { ...pair, 'postern-client-secret': token.hash }, 'AUTH_REJECTED'],
    ['the id alone', { 'postern-client-id': token.id }, 'AUTH_REJECTED'],
    ['the secret alone', { 'cf-access-client-secret': token.secret }, 'AUTH_REJECTED'],
    ['the id twice', { ...pair, 'postern-client-id': [token.id, token.id] }, 'BAD_USAGE'],
    ['the secret twice, once wrong', { ...pair, 'postern-client-secret': [token.secret, 'x'] }, 'BAD_USAGE'],
    [
      'an alias twice',
      { 'cf-access-client-id': [token.id, 'x'], 'cf-access-client-secret': token.secret },
      'BAD_USAGE',
    ],
    [
      'both spellings',
      { ...pair, 'cf-access-client-id': token.id, 'cf-access-client-secret': token.secret },
      'BAD_USAGE',
    ],
    [
      'a pair of mixed spelling',
      { 'postern-client-id': token.id, 'cf-access-client-secret': token.secret },
      'BAD_USAGE',
    ],
  ])('%s', async (_name, headers, code) => {
    await expect(verify(presented(headers))).rejects.toMatchObject({ code })
  })

  test('only who has the right secret is told of expiry and revocation', async () => {
    const wrong = presented({ ...pair, 'postern-client-secret': other.secret })
    for (const [more, code] of [
      [{ expiresAt: Date.now() - 1 }, 'TOKEN_EXPIRED'],
      [{ revokedAt: Date.now() - 1 }, 'TOKEN_REVOKED'],
      [{ revokedAt: Date.now() - 1, expiresAt: Date.now() - 1 }, 'TOKEN_REVOKED'],
    ] as const) {
      const rows = { [token.id]: row(more) }
      await expect(verify(presented(pair), rows)).rejects.toMatchObject({ code })
      await expect(verify(wrong, rows)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    }
  })

  test.each<[string, Json]>([
    ['no hash', { name: 'ci' }],
    ['an expiry that is no number', row({ expiresAt: 'never' })],
    ['a revocation that is no number', row({ revokedAt: 'yesterday' })],
    ['a list', [token.hash]],
    ['null', null],
  ])('a record with %s lets nobody in', async (_name, value) => {
    await expect(verify(presented(pair), { [token.id]: value })).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  describe('row 98: while one secret replaces another', () => {
    const soon = Date.now() + 60_000
    const rotated = (expiresAt: number, more: Record<string, Json> = {}): Record<string, Json> => ({
      [token.id]: row({ hash: other.hash, createdAt: 1, previous: { hash: token.hash, expiresAt }, ...more }),
    })
    const replacing = presented({ ...pair, 'postern-client-secret': other.secret })
    const keys = (hash: string) => [`service-token:${token.id}`, `service-token:${token.id}:${hashId(hash)}`]

    test('both are good, each known by its own key, and the old one ends with the overlap', async () => {
      const old = await verify(presented(pair), rotated(soon))
      expect(old).toMatchObject({ identity: { expiresAt: soon, revokeKeys: keys(token.hash) } })
      const next = await verify(replacing, rotated(soon))
      expect(next).toMatchObject({ identity: { revokeKeys: keys(other.hash) } })
      expect(next).not.toHaveProperty('identity.expiresAt')
    })

    test('the token’s own end comes first where it is earlier', async () => {
      const early = soon - 30_000
      for (const what of [presented(pair), replacing])
        expect(await verify(what, rotated(soon, { expiresAt: early }))).toMatchObject({
          identity: { expiresAt: early },
        })
    })

    test('after the overlap the old one has expired, the new one is good', async () => {
      await expect(verify(presented(pair), rotated(Date.now() - 1))).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
      await expect(verify(replacing, rotated(Date.now() - 1))).resolves.toBeDefined()
    })

    test('a revocation takes both; a third secret is nobody’s', async () => {
      for (const what of [presented(pair), replacing])
        await expect(verify(what, rotated(soon, { revokedAt: 1 }))).rejects.toMatchObject({ code: 'TOKEN_REVOKED' })
      const third = presented({ ...pair, 'postern-client-secret': createServiceToken().secret })
      await expect(verify(third, rotated(soon))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    })

    test.each<[string, Json]>([
      ['no object', token.hash],
      ['without an end', { hash: token.hash }],
      ['without a hash', { expiresAt: soon }],
    ])('a previous secret that is %s lets nobody in', async (_name, previous) => {
      const rows = { [token.id]: row({ previous }) }
      await expect(verify(presented(pair), rows)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    })
  })

  test('counts failures by address only, limits them, and never locks out the right secret', async () => {
    const { lent, failures, limits } = host({ [token.id]: row() })
    const verifier = await edge.create({}, lent)
    const wrong = presented({ ...pair, 'postern-client-secret': other.secret })
    await expect(verifier.verify(wrong, call)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await verifier.verify(presented(pair), call)
    expect(failures).toEqual(['192.0.2.1'])
    limits.allow = false
    await expect(verifier.verify(wrong, call)).rejects.toMatchObject({ code: 'RATE_LIMITED' })
    await expect(verifier.verify(presented(pair), call)).resolves.toBeDefined()
  })

  test('asks the store for well-formed ids only', async () => {
    const { lent, asked } = host({})
    const verifier = await edge.create({}, lent)
    for (const id of ['x'.repeat(10_000), '', other.id])
      await verifier.verify(presented({ ...pair, 'postern-client-id': id }), call).catch(() => {})
    expect(asked).toEqual([other.id])
  })

  test('no secret reaches the log', () => {
    expect(logged.join()).not.toContain(token.secret)
    expect(logged.join()).not.toContain(other.secret)
  })
})
