import type { ApplicationRecord, Snapshot } from '@postern/store'
import { createServiceToken, hashId } from '@postern/tokens'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Live } from '../src/live.ts'
import { echo, header, refuse, startWorld, textOf, type World } from './world.ts'

let world: World
beforeEach(async () => {
  world = await startWorld()
})
afterEach(() => world[Symbol.asyncDispose]())

const patience = () => ({ signal: AbortSignal.timeout(15_000), log: console })
/** How a stream ended: the code of its error, or `end`. */
const endOf = (stream: NodeJS.ReadableStream) =>
  new Promise<string>(resolve => {
    stream.on('error', (error: { code?: string }) => resolve(String(error.code)))
    stream.on('end', () => resolve('end'))
    stream.resume()
  })

/** Why streams ended, as the audit has it. */
const whyIn = async ({ edge }: World) => {
  const { rows } = await edge.administration.call('audit.list', { query: { action: 'stream.end' } })
  return rows.flatMap(({ detail }) => (detail as { why?: string }).why ?? [])
}

const hashesOf = ({ edge }: World, tunnel: string) => {
  const record = edge.store.snapshot.records.get('tunnel-token')?.get(tunnel)
  return (record as { hashes: { hash: string }[] }).hashes
}

test('a decision is made anew where the application was changed, not for everybody at every change', async () => {
  let asked = 0
  const allow = { name: 'any', action: 'allow' as const, include: [{ anyServiceToken: true as const }] }
  const rules = [allow]
  const [issuer, subject] = ['postern:service-token', 'pst_x']
  const identity = {
    get kind() {
      asked += 1
      return 'service' as const
    },
  }
  const identities = [Object.assign(identity, { issuer, subject, claims: {}, revokeKeys: ['k'] })]
  const application = { id: '1', hostname: 'db.localhost', tunnelId: 'home', protocols: ['tcp'], rules }
  const admission = {
    requestId: 'r',
    hostname: 'db.localhost',
    remoteAddress: '',
    identities,
    version: 1,
    application,
    permit: null,
  }
  const heard = Promise.withResolvers<() => void>()
  const onChange = (listener: () => void) => {
    heard.resolve(listener)
    return () => {}
  }
  const none = { settings: new Map(), tunnels: new Map(), groups: {}, records: new Map(), revocations: new Map() }
  const withApplication = (one: ApplicationRecord, version: number): Snapshot => ({
    ...none,
    version,
    applications: new Map([[one.hostname, one]]),
  })
  const store = { snapshot: withApplication(application, 1), onChange }
  using live = new Live(store, { take: identities => identities })
  const cut: string[] = []
  for (let n = 0; n < 500; n += 1) live.keepAccess(admission, ({ message }) => cut.push(message))
  const change = async (one: ApplicationRecord) => {
    store.snapshot = withApplication(one, store.snapshot.version + 1)
    ;(await heard.promise)()
  }
  for (let n = 0; n < 1000; n += 1) await change(application)
  expect([asked, cut]).toEqual([0, []])
  await change({ ...application })
  expect(cut).toEqual([])
  expect(asked).toBeGreaterThanOrEqual(500)
  await change({ ...application, rules: [] })
  expect(new Set(cut)).toEqual(new Set(['the policy does not let you in any more']))
  expect([cut.length, live.count]).toEqual([500, 0])
})

describe('row 98: what ends access cuts what is open', () => {
  const causes: [string, (world: World) => Promise<unknown>][] = [
    [
      'the token is revoked',
      ({ edge, token }) => edge.administration.call('service-token.revoke', { params: { token: token.id } }),
    ],
    [
      'the rule is taken away',
      ({ edge }) =>
        edge.administration.call('policy.put', { params: { hostname: 'db.localhost' }, body: { rules: [] } }),
    ],
    [
      'the application is moved to another tunnel, and back at once',
      async ({ edge: { administration } }) => {
        await administration.call('tunnel.create', { body: { name: 'away' } })
        for (const tunnel of ['away', 'home']) {
          const { rules } = await administration.call('application.get', { params: { hostname: 'db.localhost' } })
          const body = { tunnel, protocols: ['ssh', 'tcp'], rules }
          await administration.call('application.put', { params: { hostname: 'db.localhost' }, body })
        }
      },
    ],
    [
      'the application is removed',
      ({ edge }) => edge.administration.call('application.delete', { params: { hostname: 'db.localhost' } }),
    ],
  ]
  test.each(causes)('%s', async (_, cause) => {
    const session = await world.session()
    const stream = await session.open(header(), patience())
    const raw = await world.dial('db.localhost', 'raw', world.headers())
    stream.write('x')
    raw.write('y')
    const ends = Promise.all([endOf(stream), endOf(raw)])
    // The allow twin: a change that has nothing to do with it leaves it open.
    await world.edge.administration.call('service-token.create', { body: { name: 'another' } })
    await new Promise(resolve => setTimeout(resolve, 1500))
    expect([stream.destroyed, raw.destroyed]).toEqual([false, false])
    await cause(world)
    const [ofStream, ofRaw] = await ends
    expect(ofStream).toBe('ACCESS_ENDED')
    expect(ofRaw).toBe('STREAM_CUT')
    // With the reason, which is the edge's own word.
    const why = await session.closed
    expect([why?.code, why?.speaker]).toEqual(['ACCESS_ENDED', 'edge'])
    expect(why?.message).toMatch(/^the (credential was revoked|policy does not|application was )/)
    await expect.poll(() => world.edge.counts().sessions, { timeout: 10_000 }).toBe(0)
  })

  test('the token expires', async () => {
    const token = await world.edge.administration.call('service-token.create', {
      body: { name: 'short', expiresInSeconds: 2 },
    })
    await world.edge.administration.call('policy.put', {
      params: { hostname: 'db.localhost' },
      body: { rules: [{ name: 'any', action: 'allow', include: [{ anyServiceToken: true }] }] },
    })
    const session = await world.session(world.headers(token))
    const lasting = await world.session()
    const stream = await session.open(header(), patience())
    expect(await endOf(stream)).toBe('ACCESS_ENDED')
    await expect.poll(() => whyIn(world), { timeout: 10_000 }).toEqual(['the credential has expired'])
    const other = await lasting.open(header(), patience())
    other.end('still here')
    expect(await textOf(other)).toBe('still here')
  })

  test('the secret is replaced: who came with the old one is cut at the end of the overlap, the new one lives on', async () => {
    const { store } = world.edge
    const { id } = world.token
    const old = store.snapshot.records.get('service-token')?.get(id) as { hash: string }
    const next = createServiceToken()
    const before = await (await world.session()).open(header(), patience())
    const at = Date.now() + 2000
    const value = { name: 'first token', hash: next.hash, previous: { hash: old.hash, expiresAt: at } }
    await store.apply(
      [
        { put: 'record', namespace: 'service-token', id, value },
        { revoke: `service-token:${id}:${hashId(old.hash)}`, at },
      ],
      { action: 'service-token.rotate', actor: 'test' },
    )
    const within = await (await world.session()).open(header(), patience())
    const renewed = { id, secret: next.secret }
    const after = await (await world.session(world.headers(renewed))).open(header(), patience())
    expect([before.destroyed, within.destroyed]).toEqual([false, false])
    expect(await Promise.all([before, within].map(endOf))).toEqual(['ACCESS_ENDED', 'ACCESS_ENDED'])
    expect(Date.now()).toBeGreaterThanOrEqual(at)
    await expect(world.session()).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
    after.end('lives on')
    expect(await textOf(after)).toBe('lives on')
    const again = await (await world.session(world.headers(renewed))).open(header(), patience())
    const end = endOf(again)
    await world.edge.administration.call('service-token.revoke', { params: { token: id } })
    expect(await end).toBe('ACCESS_ENDED')
  })

  test('row 101: one token of a tunnel is replaced, then only the daemons that came with it are cut', async () => {
    const { store } = world.edge
    const [old] = hashesOf(world, 'home')
    const { token } = await world.edge.administration.call('tunnel-token.create', {
      params: { name: 'home' },
      body: {},
    })
    const kept = await world.daemon(echo, { 'postern-tunnel-token': token })
    const at = Date.now() + 1500
    const hashes = hashesOf(world, 'home').map(one => (one.hash === old?.hash ? { ...one, expiresAt: at } : one))
    await store.apply(
      [
        { put: 'record', namespace: 'tunnel-token', id: 'home', value: { hashes } },
        { revoke: `tunnel-token:home:${hashId(old?.hash ?? '')}`, at },
      ],
      { action: 'tunnel-token.rotate', actor: 'test' },
    )
    const late = await world.daemon()
    expect(world.edge.counts().connectors).toBe(3)
    expect((await late.closed)?.code).toBe('ACCESS_ENDED')
    await expect.poll(() => world.edge.counts().connectors, { timeout: 10_000 }).toBe(1)
    await expect(world.daemon()).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
    const stream = await (await world.session()).open(header(), patience())
    stream.end('by the new one')
    expect(await textOf(stream)).toBe('by the new one')
    await kept.close()
  })

  test('row 101: the tunnel’s tokens are revoked, then its daemons are gone and a new token works', async () => {
    expect(world.edge.counts().connectors).toBe(1)
    await world.edge.administration.call('tunnel-token.rotate', { params: { name: 'home' }, body: {} })
    await expect.poll(() => world.edge.counts().connectors, { timeout: 10_000 }).toBe(0)
    await expect(world.daemon()).rejects.toMatchObject({ code: 'TOKEN_REVOKED' })
    const { token } = await world.edge.administration.call('tunnel-token.create', {
      params: { name: 'home' },
      body: {},
    })
    const pipe = await world.dial('edge.localhost', 'connector', { 'postern-tunnel-token': token })
    pipe.on('error', () => {}).destroy()
  })
})

describe('behind the edge', () => {
  test('no daemon: TUNNEL_OFFLINE before anything is accepted, and again with one', async () => {
    await using alone = await startWorld({}, [], 0)
    await expect(alone.session()).rejects.toMatchObject({ code: 'TUNNEL_OFFLINE' })
    await expect(alone.dial('db.localhost', 'raw', alone.headers())).rejects.toMatchObject({ code: 'TUNNEL_OFFLINE' })
    const daemon = await alone.daemon()
    const session = await alone.session()
    await daemon.close()
    await expect.poll(() => alone.edge.counts().connectors).toBe(0)
    await expect(session.open(header(), patience())).rejects.toMatchObject({ code: 'TUNNEL_OFFLINE' })
    await alone.daemon()
    const stream = await session.open(header(), patience())
    stream.end('x')
    expect(await textOf(stream)).toBe('x')
  })

  test.each(['INGRESS_NOT_FOUND', 'ORIGIN_REFUSED', 'ORIGIN_TIMEOUT'] as const)(
    'row 144: %s reaches the visitor, before 101 where there is no session',
    async code => {
      await using broken = await startWorld({}, [], 0)
      await broken.daemon(refuse(code))
      const session = await broken.session()
      await expect(session.open(header(), patience())).rejects.toMatchObject({ code, speaker: 'daemon' })
      await expect(broken.dial('db.localhost', 'raw', broken.headers())).rejects.toMatchObject({ code })
    },
  )

  test('connections take turns, and a dead one is passed over', async () => {
    const second = await world.daemon()
    const session = await world.session()
    const say = async () => {
      const stream = await session.open(header(), patience())
      stream.end('x')
      return textOf(stream)
    }
    for (let n = 0; n < 4; n += 1) expect(await say()).toBe('x')
    second.cut(new (await import('@postern/interface')).PosternError('STREAM_CUT', 'test'))
    for (let n = 0; n < 4; n += 1) expect(await say()).toBe('x')
  })

  test('a daemon that is cut cuts its streams: never an end', async () => {
    const session = await world.session()
    const stream = await session.open(header(), patience())
    stream.write('x')
    await new Promise(resolve => stream.once('data', resolve))
    const end = endOf(stream)
    await world.edge.administration.call('tunnel-token.rotate', { params: { name: 'home' }, body: {} })
    expect(await end).not.toBe('end')
  })
})

describe('raw', () => {
  test('the service’s end closes cleanly after its last byte; the client’s clean close is an end for the service', async () => {
    await using far = await startWorld({}, [], 0)
    const ends: string[] = []
    await far.daemon(offered => {
      const stream = offered.accept()
      stream.on('error', (error: { code?: string }) => ends.push(String(error.code)))
      stream.on('end', () => {
        ends.push('end')
        stream.end()
      })
      stream.on('data', chunk => {
        if (String(chunk) === 'bye') stream.end('x'.repeat(300_000))
      })
    })
    const one = await far.dial('db.localhost', 'raw', far.headers())
    one.write('bye')
    expect(await textOf(one)).toHaveLength(300_000)
    const two = await far.dial('db.localhost', 'raw', far.headers())
    two.end('hello')
    two.resume()
    await expect.poll(() => ends.length, { timeout: 10_000 }).toBe(2)
    const three = await far.dial('db.localhost', 'raw', far.headers())
    three.write('hello')
    await new Promise(resolve => setTimeout(resolve, 200))
    three.destroy()
    await expect.poll(() => ends.length, { timeout: 10_000 }).toBe(3)
    expect(ends.slice(0, 2)).toEqual(['end', 'end'])
    expect(ends[2]).not.toBe('end')
  })
})

describe('row 111: without an audit log', () => {
  test('nobody new is let in, and what is open goes on', async () => {
    const session = await world.session()
    const stream = await session.open(header(), patience())
    Object.defineProperty(world.edge.store, 'auditable', { value: false, configurable: true })
    await expect(world.session()).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' })
    await expect(session.open(header(), patience())).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' })
    await expect(world.dial('db.localhost', 'raw', world.headers())).rejects.toMatchObject({
      code: 'AUDIT_UNAVAILABLE',
    })
    stream.end('goes on')
    expect(await textOf(stream)).toBe('goes on')
    Reflect.deleteProperty(world.edge.store, 'auditable')
    await world.session()
  })
})

describe('stopping', () => {
  test('lets an open stream finish, and nobody new in', async () => {
    await using slow = await startWorld({ grace: 15_000 })
    const session = await slow.session()
    const stream = await session.open(header(), patience())
    stream.write('a')
    const closing = slow.edge.close()
    await expect(session.open(header(), patience())).rejects.toBeDefined()
    await expect(slow.session()).rejects.toBeDefined()
    stream.end('b')
    expect(await textOf(stream)).toBe('ab')
    await closing
    expect(slow.edge.counts()).toEqual({ sessions: 0, connectors: 0, sockets: 0, admitted: 0 })
  })

  test('ends what does not finish, saying so; a second call does not wait', async () => {
    const session = await world.session()
    const stream = await session.open(header(), patience())
    const end = endOf(stream)
    await world.edge.close()
    expect(await end).toBe('DRAINING')
    await using patient = await startWorld({ grace: 600_000 })
    const open = await (await patient.session()).open(header(), patience())
    open.on('error', () => {})
    void patient.edge.close()
    await patient.edge.close()
  })
})
