import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { queryObjects } from 'node:v8'
import {
  type ApplicationClient,
  createApplicationClient,
  type EndToEnd,
  type NamedTransport,
  type SessionNews,
} from '@postern/client'
import { keyFingerprint } from '@postern/connector'
import { createConnector, createIdentity, createSetupAuthority, signConnector } from '@postern/connector/issue'
import { makeSessionKey } from '@postern/end-to-end/session-key'
import { secureAsClient } from '@postern/end-to-end/tls'
import {
  type Call,
  type Dialled,
  type DialRequest,
  type Pipe,
  PosternError,
  type ProtocolServer,
  type Transport,
} from '@postern/interface'
import tcp from '@postern/protocol-tcp/origin'
import { leftOpen, memoryPair, openOrigin, recordingLog, resources, type TestOrigin } from '@postern/testkit'
import { type Grant, KeyRing, signGrant, signGrantKeys } from '@postern/tokens'
import { type HostMessage, Memory, pump, type ReportMessage, Shares, startTunnel, type Tunnel } from '@postern/tunnel'
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { FailureLog } from '../src/failure-log.ts'
import { type JoinIdentity, Joins, joinIdentity } from '../src/joins.ts'
import { Rules } from '../src/rules.ts'
import type { ServedRule } from '../src/serve.ts'

const log = recordingLog()
const call: Call = { signal: AbortSignal.timeout(60_000), log }
const APP = 'db.example.com'
const ring = KeyRing.create()
const ANN = { kind: 'user', issuer: 'https://idp', subject: 'ann', claims: {}, revokeKeys: ['user:ann'] } as const
const later = () => Date.now() - 300_000

let own: JoinIdentity
let identityPem: string
beforeAll(async () => {
  const made = await createIdentity('home')
  identityPem = made.cert
  own = await daemonOf(made)
})

async function daemonOf(identity: { cert: string; key: string }, tunnel = 'home'): Promise<JoinIdentity> {
  const one = await createConnector()
  const certificate = await signConnector(identity, tunnel, one)
  const credentials = { version: 1, edge: 'https://e', token: 't', tunnel, connector: one.id, certificate } as const
  const more = { key: one.key, identity: identity.cert, grantKeys: ring.jwks() }
  const found = joinIdentity({ ...credentials, ...more }, call)
  if (!found) throw new Error('no identity')
  return found
}

let before = resources()
let origin: TestOrigin
let other: TestOrigin
let server: ProtocolServer
let rules: Rules<ServedRule>
let world: World
beforeEach(async () => {
  before = resources()
  origin = await openOrigin()
  other = await openOrigin()
  server = await tcp.create({}, {} as never)
  rules = new Rules([rule(APP, origin), rule('other.example.com', other)])
  world = new World()
})
afterEach(async () => {
  await world[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
  await other[Symbol.asyncDispose]()
  expect(await leftOpen(before)).toEqual([])
})

function rule(hostname: string, { port }: TestOrigin, mode?: ServedRule['mode']): ServedRule {
  return { hostname, service: new URL(`tcp://127.0.0.1:${port}`), server, ...(mode && { mode }) }
}

/** An edge that joins, a daemon and clients, all in this process. What it does wrong, a test says. */
class World implements AsyncDisposable {
  readonly told: HostMessage[] = []
  readonly clients: ApplicationClient[] = []
  readonly news: SessionNews[] = []
  /** What goes through the edge: to look for words in. */
  readonly seen: Buffer[] = []
  readonly grants: string[] = []
  readonly pipes: Duplex[] = []
  grant: Partial<Grant> = {}
  sid = 's-1'
  /** What the edge calls the next client by. */
  visitor: string | undefined
  signedAt: number | undefined
  grantInstead: string | undefined
  identity = identityPem
  mode = 'end-to-end'
  /** What becomes of the next pipes of clients, each a bare connection, before the daemon is there. */
  raced: ('cut' | 'silent')[] = []
  #ticket = 0
  readonly #coming = new Map<string, PromiseWithResolvers<Pipe>>()
  readonly #hop: Tunnel[] = []
  readonly failures = new FailureLog(log)
  readonly joins: Joins

  constructor(identity: JoinIdentity = own) {
    const dial = async (_by: NamedTransport, ticket: string) => {
      const [edge, daemon] = memoryPair()
      this.pipes.push(edge, daemon)
      this.#coming.get(ticket)?.resolve(edge)
      return daemon
    }
    const transports = [{ name: 'memory', transport: this.transport }]
    const memory = new Memory()
    const tell = (message: HostMessage) => void this.told.push(message) === undefined
    this.joins = new Joins(
      { identity, rules, failures: this.failures, observer: {}, memory, transports, dial, tell },
      call,
    )
  }

  readonly transport: Transport = {
    dial: async ({ headers, purpose, host }): Promise<Dialled> => {
      const [client, edge] = memoryPair()
      this.pipes.push(client, edge)
      if (purpose === 'session' || this.mode === 'hop') {
        const onStream = () => {}
        const options = { role: 'server', log, onStream } as const
        void startTunnel(edge, options, call).then(
          tunnel => this.#hop.push(tunnel),
          () => {}, // who does not want it leaves
        )
        return { pipe: client, answer: { 'postern-mode': ['hop'] } }
      }
      const raced = this.raced.shift()
      if (raced) {
        for (const end of [client, edge]) end.on('error', () => {})
        if (raced === 'cut') edge.once('data', () => edge.destroy())
        return { pipe: client, answer: await this.#answer(headers), serverName: 'ticket.edge.example.com' }
      }
      const ticket = `t${this.#ticket++}`
      const coming = Promise.withResolvers<Pipe>()
      this.#coming.set(ticket, coming)
      const { sid: requestId, visitor } = this
      void this.joins.take({ type: 'join', ticket, requestId, hostname: host, ...(visitor && { visitor }) })
      const answer = await this.#answer(headers)
      edge.on('data', chunk => this.seen.push(chunk)).pause()
      const leg = await coming.promise
      leg.on('data', chunk => this.seen.push(chunk)).pause()
      void pump(edge, leg).catch(() => {})
      return { pipe: client, answer }
    },
  }

  async #answer(headers: DialRequest['headers']): Promise<Dialled['answer']> {
    const identity = Buffer.from(this.identity.replace(/-----[^-]+-----|\s/g, ''), 'base64').toString('base64')
    return {
      'postern-mode': [this.mode],
      'postern-grant': [await this.sign(String(headers['postern-key']))],
      'postern-tunnel-identity': [identity],
    }
  }

  async sign(cnf: string): Promise<string> {
    const { tunnel, connector } = own
    const all = {
      aud: { tunnel, connector },
      jti: crypto.randomUUID(),
      sid: this.sid,
      hostname: APP,
      identities: [ANN],
    }
    const grant =
      this.grantInstead ?? (await signGrant(ring, { ...all, permit: null, cnf, ...this.grant }, this.signedAt))
    this.grants.push(grant)
    return grant
  }

  client(endToEnd: EndToEnd = { pin: own.fingerprint }, hostname = APP, names = ['memory']): ApplicationClient {
    const auth = [{ authenticate: async () => ({}) }]
    const transports = names.map(name => ({ name, transport: this.transport }))
    const onSession = (news: SessionNews) => void this.news.push(news)
    const made = createApplicationClient({ hostname, auth, transports, endToEnd, onSession })
    this.clients.push(made)
    return made
  }

  get reports(): readonly ReportMessage[] {
    return this.told.filter(one => one.type === 'report')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) await client[Symbol.asyncDispose]()
    await this.joins[Symbol.asyncDispose]()
    this.failures[Symbol.dispose]()
    for (const tunnel of this.#hop) await tunnel.close()
    for (const pipe of this.pipes) pipe.on('error', () => {}).destroy()
  }
}

/** @returns what came back, or the code of what was refused or cut */
async function echoed(opening: Promise<Duplex>, text = 'hello'): Promise<string> {
  try {
    const stream = await opening
    stream.end(text)
    let back = ''
    stream.on('data', chunk => (back += chunk))
    await once(stream, 'end')
    return back
  } catch (error) {
    return PosternError.from(error).code
  }
}

describe('a bare connection that somebody else came to first', () => {
  const goesBy = (...names: string[]) => world.client({ pin: own.fingerprint }, APP, names)
  it('costs one more go', async () => {
    world.raced = ['cut']
    expect(await echoed(goesBy('bare', 'other').open(call))).toBe('hello')
    expect([world.grants.length, world.news[0]]).toEqual([
      2,
      { state: 'connected', transport: 'bare', mode: 'end-to-end' },
    ])
  })

  it('twice costs the transport, and never the mode', async () => {
    world.raced = ['cut', 'cut']
    expect(await echoed(goesBy('bare', 'other').open(call))).toBe('hello')
    expect([world.grants.length, world.news[0]]).toEqual([
      3,
      { state: 'connected', transport: 'other', mode: 'end-to-end' },
    ])
  })

  it('twice is told where there is no other transport', async () => {
    world.raced = ['cut', 'cut']
    expect(await echoed(goesBy('bare').open(call))).toBe('STREAM_CUT')
    expect(world.grants).toHaveLength(2)
  })

  it('and on which nobody answers, costs the transport at once', async () => {
    world.raced = ['silent']
    expect(await echoed(goesBy('bare', 'other').open(call))).toBe('hello')
    expect([world.grants.length, world.news[0]]).toEqual([
      2,
      { state: 'connected', transport: 'other', mode: 'end-to-end' },
    ])
  })
})

describe('an end-to-end session', () => {
  it('carries streams to the service, which the edge is told of and cannot read', async () => {
    const client = world.client()
    const words = 'the marker that nobody between may read'
    expect(await echoed(client.open(call), words)).toBe(words)
    expect(await echoed(client.open(call), 'again')).toBe('again')
    await expect.poll(() => world.reports.length).toBe(2)
    const size = words.length
    expect(world.reports[0]).toMatchObject({ sid: 's-1', service: 'tcp', up: size, down: size })
    expect(world.reports[0]).not.toHaveProperty('code')
    const seen = Buffer.concat(world.seen)
    expect([seen.length > 1000, seen.includes('marker'), seen.includes(APP)]).toEqual([true, false, false])
    expect(world.grants).toHaveLength(1)
  })

  it('ends with the edge’s reason where the edge says it; another session’s changes nothing', async () => {
    const client = world.client()
    const stream = await client.open(call)
    const cut = once(stream.resume(), 'error')
    world.joins.cut({ type: 'join-cut', sid: 's-2', code: 'ACCESS_ENDED', message: 'another one' })
    expect(await echoed(client.open(call))).toBe('hello')
    world.joins.cut({ type: 'join-cut', sid: 's-1', code: 'ACCESS_ENDED', message: 'the credential was revoked' })
    const told = { code: 'ACCESS_ENDED', message: 'the credential was revoked', speaker: 'edge', requestId: 's-1' }
    expect(await cut).toMatchObject([told])
    await expect.poll(() => world.reports.map(({ code }) => code)).toContain('ACCESS_ENDED')
  })

  it('ends without one where the edge’s is not known here', async () => {
    const stream = await world.client().open(call)
    const ended = once(stream.resume(), 'error')
    world.joins.cut({ type: 'join-cut', sid: 's-1', code: 'OF_A_LATER_VERSION' })
    expect(await ended).toMatchObject([{ code: 'STREAM_CUT', speaker: 'edge' }])
  })

  it('is served as whom the grant says, whatever the client says of itself', async () => {
    let asked: unknown
    const seen: ProtocolServer = {
      serve: async (_offered, { identities, permit }) => {
        asked = { identities, permit }
        throw new PosternError('ORIGIN_REFUSED', 'enough')
      },
    }
    rules.replace([{ ...rule(APP, origin), server: seen }])
    world.grant = { permit: { readOnly: true } }
    expect(await echoed(world.client().open(call))).toBe('ORIGIN_REFUSED')
    expect(asked).toEqual({ identities: [ANN], permit: { readOnly: true } })
    await expect.poll(() => world.reports).toMatchObject([{ code: 'ORIGIN_REFUSED' }])
  })

  it('keeps a pin at first use, and holds the tunnel to it', async () => {
    const kept = new Map<string, string>()
    const pins = {
      get: async (name: string) => kept.get(name),
      keep: async (name: string, pin: string) => void kept.set(name, pin),
    }
    expect(await echoed(world.client({ pins }).open(call))).toBe('hello')
    expect([...kept]).toEqual([[APP, own.fingerprint]])
    expect(log.text()).toContain(own.fingerprint)
    kept.set(APP, `sha256:${'0'.repeat(64)}`)
    const failed = world.client({ pins }).connect(call)
    await expect(failed).rejects.toMatchObject({ code: 'TUNNEL_KEY_CHANGED' })
    await expect(failed).rejects.toThrow(`${own.fingerprint}, and sha256:000`)
  })

  it('a rule that goes cuts its streams, and leaves the others', async () => {
    const stream = await world.client().open(call)
    stream.resume()
    const failed = once(stream, 'error')
    rules.replace([rule('other.example.com', other)])
    expect((await failed)[0]).toMatchObject({ code: 'INGRESS_NOT_FOUND' })
  })

  it('the mode of a rule is held to at the daemon, and a rule that becomes hop cuts what is open', async () => {
    rules.replace([rule(APP, origin, 'hop')])
    await world.joins.take({ type: 'join', ticket: 'a'.repeat(26), requestId: 'r', hostname: APP })
    expect(world.told).toEqual([{ type: 'decline', ticket: 'a'.repeat(26) }])
    rules.replace([rule(APP, origin, 'end-to-end')])
    const stream = await world.client().open(call)
    stream.resume()
    const failed = once(stream, 'error')
    rules.replace([rule(APP, origin, 'hop')])
    expect((await failed)[0]).toMatchObject({ code: 'MODE_FORBIDDEN' })
  })

  it('row 134: who lets clients stand before their TLS has a quarter of those that may come, and others the rest', async () => {
    const comes = async (visitor?: string) => {
      const ticket = `s${world.told.length}`.padEnd(26, 'a')
      await world.joins.take({ type: 'join', ticket, requestId: 'r', hostname: APP, ...(visitor && { visitor }) })
      return world.told.at(-1)?.type
    }
    const all = async (count: number, visitor?: string) => {
      const types: unknown[] = []
      for (let n = 0; n < count; n++) types.push(await comes(visitor))
      return types
    }
    expect(await all(16, 'mallory')).toEqual(Array(16).fill('coming'))
    expect(await all(3, 'mallory')).toEqual(Array(3).fill('decline'))
    expect(await comes('ann')).toBe('coming')
    expect(await all(47)).toEqual(Array(47).fill('coming')) // of an older edge: all that there are
    expect([await comes(), await comes('ann')]).toEqual(['decline', 'decline'])
    // Who goes makes room.
    for (const pipe of world.pipes.splice(0)) pipe.on('error', () => {}).destroy()
    await expect.poll(() => comes('mallory')).toBe('coming')
  })

  it('row 134: who agrees on TLS and then says nothing counts as one who stands, until its session has begun', async () => {
    const { tunnel, connector, fingerprint: pin } = own
    const comes = async (visitor: string) => {
      await world.joins.take({ type: 'join', ticket: 'a'.repeat(26), requestId: 'r', hostname: APP, visitor })
      return world.told.at(-1)?.type
    }
    world.visitor = 'mallory'
    for (let n = 0; n < 15; n++) {
      const key = await makeSessionKey()
      const headers = { 'postern-key': key.fingerprint }
      const { pipe } = await world.transport.dial(
        { purpose: 'join', host: APP, headers } as unknown as DialRequest,
        call,
      )
      await secureAsClient(pipe, { identity: identityPem, pin, tunnel, connector }, key, call)
    }
    expect(await echoed(world.client().open(call))).toBe('hello') // begun, it counts no more
    expect([await comes('mallory'), await comes('mallory'), await comes('ann')]).toEqual([
      'coming',
      'decline',
      'coming',
    ])
    for (const pipe of world.pipes.splice(0)) pipe.on('error', () => {}).destroy()
    await expect.poll(() => comes('mallory')).toBe('coming')
  })

  it('drains: what is open goes on, and nothing new comes', async () => {
    const stream = await world.client().open(call)
    const drained = world.joins.drain(call)
    await world.joins.take({ type: 'join', ticket: 'a'.repeat(26), requestId: 'r', hostname: APP })
    expect(world.told.at(-1)).toEqual({ type: 'decline', ticket: 'a'.repeat(26) })
    stream.end('still')
    expect(String((await once(stream, 'data'))[0])).toBe('still')
    stream.resume()
    await drained
  })
})

describe('an edge that lies to the client', () => {
  it('strips the mode: who wants end-to-end, or has a pin, is not served through the edge', async () => {
    world.mode = 'hop'
    await expect(world.client({ required: true }).connect(call)).rejects.toMatchObject({ code: 'MODE_FORBIDDEN' })
    await expect(world.client().connect(call)).rejects.toMatchObject({ code: 'MODE_FORBIDDEN' })
    await world.client({}).connect(call) // the twin: nobody insists
  })

  it('swaps the tunnel’s identity for its own, with a daemon of its own', async () => {
    const forged = await createIdentity('home')
    world.identity = forged.cert
    await expect(world.client().connect(call)).rejects.toMatchObject({ code: 'TUNNEL_KEY_CHANGED' })
  })

  it('puts a daemon of its own behind the right identity', async () => {
    const mine = await daemonOf(await createIdentity('home'))
    await using bad = new World(mine)
    await expect(bad.client().connect(call)).rejects.toMatchObject({ code: 'DAEMON_UNTRUSTED' })
  })
})

describe('a grant that is not for this', () => {
  /** What the daemon answers to a session with such a grant. */
  const refused = async (): Promise<string> => echoed(world.client().open(call))

  it('the allow twin', async () => {
    expect(await refused()).toBe('hello')
  })

  it('was used: a replay at the same daemon', async () => {
    const jti = 'once'
    world.grant = { jti }
    expect(await refused()).toBe('hello')
    expect(await refused()).toBe('AUTH_REJECTED')
  })

  it('is for another key: a stolen grant', async () => {
    await refused()
    world.grantInstead = world.grants[0]
    expect(await refused()).toBe('AUTH_REJECTED')
  })

  it('is of another admission: somebody who was put out, in the pipe of somebody who was not', async () => {
    world.grant = { sid: 's-2' }
    expect(await refused()).toBe('AUTH_REJECTED')
  })

  it('is for a sibling connector', async () => {
    world.grant = { aud: { tunnel: 'home', connector: crypto.randomUUID() } }
    await expect(world.client().connect(call)).rejects.toMatchObject({ code: 'DAEMON_UNTRUSTED' })
  })

  it('is old, or signed by a key that is not the edge’s, or is none', async () => {
    world.signedAt = later()
    expect(await refused()).toBe('TOKEN_EXPIRED')
    world.signedAt = undefined
    const { tunnel, connector } = own
    const parts = { jti: 'x', sid: 's', hostname: APP, identities: [], permit: null, cnf: own.fingerprint }
    world.grantInstead = await signGrant(KeyRing.create(), { aud: { tunnel, connector }, ...parts })
    expect(await refused()).toBe('AUTH_REJECTED')
  })

  it('opens one application: a stream for another is refused, and told', async () => {
    const client = world.client({ pin: own.fingerprint }, 'other.example.com')
    expect(await echoed(client.open(call))).toBe('DESTINATION_FORBIDDEN')
    await expect.poll(() => world.reports).toMatchObject([{ code: 'DESTINATION_FORBIDDEN', service: 'none' }])
  })
})

it('row 134: two who are anonymous have a share each; of an older edge, whoever is the same in the grant has one', async () => {
  const begin = vi.spyOn(Shares.prototype, 'begin')
  world.grant = { identities: [] }
  for (const visitor of ['one', 'other', undefined]) {
    world.visitor = visitor
    expect(await echoed(world.client().open(call))).toBe('hello')
  }
  world.grant = {}
  expect(await echoed(world.client().open(call))).toBe('hello')
  expect(begin.mock.calls.map(([{ visitor }]) => visitor)).toEqual(['one', 'other', '', 'https://idp ann'])
  begin.mockRestore()
})

it('a session that is refused past a visitor’s share is not kept', async () => {
  const ends = memoryPair()
  const [some, other] = await Promise.all(
    ends.map((end, at) => startTunnel(end, { role: at === 0 ? 'client' : 'server', log, onStream: () => {} }, call)),
  )
  const count = () => Number(queryObjects(some?.constructor as new () => object, { format: 'count' }))
  await Promise.all([some?.close(), other?.close()])
  expect(await echoed(world.client().open(call))).toBe('hello') // the twin
  const before = count()
  const begin = vi.spyOn(Shares.prototype, 'begin').mockImplementation(() => {
    throw new PosternError('LIMIT_EXCEEDED', 'enough', { speaker: 'daemon' })
  })
  for (let round = 0; round < 8; round++) {
    world.sid = `s-${round + 2}`
    await using client = world.client()
    expect(await echoed(client.open(call))).toBe('LIMIT_EXCEEDED')
    world.clients.pop()
  }
  begin.mockRestore()
  await expect.poll(() => count() - before).toBeLessThan(4)
})

it('a daemon that was away for two rotations declines, so that nobody’s grant is refused', async () => {
  const identity = await daemonOf(await createIdentity('home'))
  const away = new World(identity)
  const replaced = ring.rotate().rotate()
  const { tunnel, connector } = identity
  const told = { sequence: Date.now(), jwks: replaced.jwks() }
  // In one breath: what is told first counts for what is asked behind it.
  identity.grantKeys.hear(await signGrantKeys(replaced, { tunnel, connector }, told))
  const ticket = 'a'.repeat(26)
  await away.joins.take({ type: 'join', ticket, requestId: 'r', hostname: APP })
  rules.replace([rule(APP, origin, 'end-to-end')])
  await away.joins.take({ type: 'join', ticket, requestId: 'r', hostname: APP })
  const declined = { type: 'decline', ticket }
  expect(away.told).toEqual([declined, { ...declined, code: 'MODE_FORBIDDEN' }])
  await away[Symbol.asyncDispose]()
})

it('a daemon of a setup token serves end-to-end, by the authority that signed it', async () => {
  const identity = await createIdentity('home')
  const one = await createConnector()
  const setup = await createSetupAuthority(identity, 'home', one.id)
  const certificate = await signConnector(setup, 'home', one)
  const left = { version: 1, edge: 'https://e', token: 't', tunnel: 'home', connector: one.id, certificate } as const
  const more = { key: one.key, identity: identity.cert, grantKeys: ring.jwks() }
  const other = new World(joinIdentity({ ...left, ...more, authority: setup.cert }, call))
  other.identity = identity.cert
  other.grant = { aud: { tunnel: 'home', connector: one.id } }
  const client = other.client({ pin: keyFingerprint(identity.key) })
  expect(await echoed(client.open(call))).toBe('hello')
  await other[Symbol.asyncDispose]()
  // Without the authority, or with one for another connector, it is found at start.
  const another = await createSetupAuthority(identity, 'home')
  for (const authority of [undefined, another.cert])
    expect(() => joinIdentity({ ...left, ...more, ...(authority && { authority }) }, call)).toThrow('cannot be used')
})

it('what an older setup token or login left is not enough for end-to-end', async () => {
  const { cert, key } = await createIdentity('home')
  const one = await createConnector()
  const certificate = await signConnector({ cert, key }, 'home', one)
  const left = { version: 1, edge: 'https://e', token: 't', tunnel: 'home', connector: one.id, certificate } as const
  expect(joinIdentity({ ...left, key: one.key }, call)).toBeUndefined()
  expect(joinIdentity(undefined, call)).toBeUndefined()
  const strange = { ...left, key: one.key, identity: identityPem, grantKeys: ring.jwks() }
  expect(() => joinIdentity(strange, call)).toThrow(/cannot be used for end-to-end sessions/)
})
