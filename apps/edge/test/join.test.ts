import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { keyFingerprint } from '@postern/connector'
import { readGrant, readGrantKeys, readJwks } from '@postern/tokens'
import { startTunnel } from '@postern/tunnel'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  type Daemon,
  type Enrolled,
  fateOf,
  grantOf,
  type JoinWorld,
  KEY,
  read,
  said,
  startJoinWorld,
} from './join-world.ts'
import { call, header, quiet, textOf } from './world.ts'

let joins: JoinWorld
let who: Enrolled
const counts = () => joins.world.edge.counts()
const REPORT = { type: 'report', event: 'stream.end', service: 'tcp', up: 3, down: 4, ms: 5 } as const

/** A daemon that does nothing when it is told, and the ticket it was told next. */
async function idle(one: Enrolled = who): Promise<Daemon & { ticket(): Promise<string> }> {
  const daemon = await joins.daemon(one, () => {})
  let taken = 0
  const ticket = async () => {
    await expect.poll(() => daemon.told.length).toBeGreaterThan(taken)
    return daemon.told[taken++]!.ticket
  }
  return { ...daemon, ticket }
}

const stop = (daemon: Daemon) => daemon.tunnel.close()

describe('a client and a daemon that can', () => {
  beforeAll(async () => {
    joins = await startJoinWorld()
    who = await joins.enrol()
  })
  afterAll(() => joins[Symbol.asyncDispose]())

  test('are joined: the answer has the grant, what vouches for the daemon, and the application', async () => {
    const daemon = await joins.daemon(who)
    const dialled = await joins.client()
    expect(said(dialled, 'postern-mode')).toBe('end-to-end')
    expect(JSON.parse(said(dialled, 'postern-application') ?? '')).toMatchObject({ hostname: 'db.localhost' })
    const requestId = said(dialled, 'postern-request-id')
    const grant = await grantOf(dialled, who)
    expect(grant).toMatchObject({ sid: requestId, hostname: 'db.localhost', cnf: KEY, mode: 'end-to-end' })
    expect(grant.aud).toEqual({ tunnel: 'home', connector: who.id })
    expect(grant.identities).toMatchObject([{ kind: 'service', subject: joins.world.token.id }])
    const identity = new X509Certificate(Buffer.from(said(dialled, 'postern-tunnel-identity') ?? '', 'base64'))
    const { identity: shown } = await joins.world.edge.administration.call('tunnel.get', { params: { name: 'home' } })
    expect(keyFingerprint(identity.publicKey)).toBe(shown?.fingerprint)
    expect(daemon.told).toMatchObject([{ hostname: 'db.localhost', requestId }])
    expect(counts().sessions).toBe(1)

    dialled.pipe.write('there and back')
    expect(await read(dialled.pipe, 14)).toBe('there and back')
    dialled.pipe.end()
    expect(await fateOf(dialled.pipe)).toBeUndefined()
    await expect.poll(() => counts().sessions).toBe(0)
    await expect.poll(() => joins.rows('session.end')).toHaveLength(1)
    const [row] = await joins.rows('session.end')
    expect(row).toMatchObject({ requestId, detail: { mode: 'end-to-end', sent: 14, received: 14, connector: who.id } })
    expect(row?.code ?? undefined).toBeUndefined()
    await stop(daemon)
  })

  test('every grant has a name of its own', async () => {
    const daemon = await joins.daemon(who)
    const all = await Promise.all([joins.client(), joins.client(), joins.client()])
    const names = await Promise.all(all.map(async one => (await grantOf(one, who)).jti))
    expect(new Set(names).size).toBe(3)
    for (const { pipe } of all) pipe.destroy()
    await stop(daemon)
  })

  test('a grant for one connector is none for its sibling', async () => {
    const sibling = await joins.enrol()
    const daemon = await joins.daemon(who)
    const dialled = await joins.client()
    await expect(grantOf(dialled, sibling)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await expect(grantOf(dialled, who)).resolves.toBeDefined()
    dialled.pipe.destroy()
    await stop(daemon)
  })

  test('an end of either is an end for the other, a cut of either a cut', async () => {
    const daemon = await idle()
    const joined = async (): Promise<readonly [Duplex, Duplex]> => {
      const asked = joins.client()
      const leg = await daemon.leg(await daemon.ticket())
      return [(await asked).pipe, leg]
    }
    const [one, far] = await joined()
    one.end('last words')
    expect(await textOf(far)).toBe('last words')
    const [near, other] = await joined()
    other.end('of the daemon')
    expect(await textOf(near)).toBe('of the daemon')
    for (const which of [0, 1] as const) {
      const pair = await joined()
      const fate = fateOf(pair[1 - which]!)
      pair[which].destroy()
      expect(await fate).toMatchObject({ code: 'STREAM_CUT' })
    }
    await expect.poll(() => counts().sessions).toBe(0)
    await stop(daemon)
  })

  test('of two connections of daemons, each has its turn', async () => {
    const [one, two] = [await joins.daemon(who), await joins.daemon(await joins.enrol())]
    const all = await Promise.all(Array.from({ length: 4 }, () => joins.client()))
    expect([one.told.length, two.told.length]).toEqual([2, 2])
    for (const { pipe } of all) pipe.destroy()
    await Promise.all([stop(one), stop(two)])
  })
})

describe('through the edge it goes', () => {
  beforeAll(async () => {
    joins = await startJoinWorld()
    who = await joins.enrol()
  })
  afterAll(() => joins[Symbol.asyncDispose]())

  async function isHop(): Promise<void> {
    const dialled = await joins.client()
    expect(said(dialled, 'postern-mode')).toBe('hop')
    expect(said(dialled, 'postern-grant')).toBeUndefined()
    expect(said(dialled, 'postern-tunnel-identity')).toBeUndefined()
    const tunnel = await startTunnel(dialled.pipe, { role: 'client', log: quiet }, call)
    const stream = await tunnel.open(header(), call)
    stream.end('as ever')
    expect(await textOf(stream)).toBe('as ever')
    await tunnel.close()
  }

  test('where no daemon says that it joins; the twin says so', async () => {
    const daemon = await joins.daemon(who, undefined, { connector: who.id, connection: 0 })
    await isHop()
    expect(daemon.told).toEqual([])
    await stop(daemon)
    const later = await joins.daemon(who, undefined, { join: 2 })
    await isHop()
    await stop(later)
    const twin = await joins.daemon(who)
    const { pipe, answer } = await joins.client()
    expect(answer['postern-mode']).toEqual(['end-to-end'])
    pipe.destroy()
    await stop(twin)
  })

  test('where the daemon declines', async () => {
    const daemon = await joins.daemon(who, ({ tunnel }, { ticket }) => void tunnel.tell({ type: 'decline', ticket }))
    await isHop()
    expect(daemon.told).toHaveLength(1)
    // What it declined is nobody's any more.
    await expect(daemon.leg(daemon.told[0]!.ticket)).rejects.toMatchObject({ code: 'CONFLICT' })
    await stop(daemon)
  })

  test('not where another daemon comes: one that declines, or does not join, is not asked to the end', async () => {
    const declines = ({ tunnel }: Daemon, { ticket }: { ticket: string }) =>
      void tunnel.tell({ type: 'decline', ticket })
    const older = await joins.enrol()
    const all = [
      await joins.daemon(who, declines),
      await joins.daemon(who, declines),
      await joins.daemon(older, undefined, { connector: older.id, connection: 0 }),
      await joins.daemon(await joins.enrol()),
    ]
    for (let n = 0; n < 8; n += 1) {
      const { pipe, answer } = await joins.client()
      expect(answer['postern-mode']).toEqual(['end-to-end'])
      pipe.destroy()
    }
    expect(all[2]?.told).toEqual([])
    // Of the daemon that declines, one connection is asked for each client.
    expect((all[0]?.told.length ?? 0) + (all[1]?.told.length ?? 0)).toBeLessThanOrEqual(8)
    await Promise.all(all.map(stop))
  })

  test('not where it declines for a reason', async () => {
    const answers = ({ tunnel }: Daemon, { ticket }: { ticket: string }) =>
      void tunnel.tell({ type: 'decline', ticket, code: 'LIMIT_EXCEEDED' })
    const daemon = await joins.daemon(who, answers)
    await expect(joins.client()).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED', speaker: 'daemon' })
    await expect
      .poll(() => joins.rows('session.refused'))
      .toMatchObject([{ code: 'LIMIT_EXCEEDED', detail: { said: 'daemon' } }])
    await stop(daemon)
  })

  test('where the grant would be too large for a header', async () => {
    const { administration } = joins.world.edge
    const params = { hostname: 'db.localhost' }
    const { rules } = await administration.call('application.get', { params })
    const permitting = (permit: string) => rules.map(rule => ({ ...rule, permit }))
    const daemon = await joins.daemon(who)
    await administration.call('policy.put', { params, body: { rules: permitting('x'.repeat(8000)) } })
    await isHop()
    expect(daemon.told).toEqual([])
    await administration.call('policy.put', { params, body: { rules: permitting('x'.repeat(4000)) } })
    const dialled = await joins.client()
    expect(await grantOf(dialled, who)).toMatchObject({ permit: 'x'.repeat(4000) })
    dialled.pipe.destroy()
    await stop(daemon)
  })

  test('and nobody is offline for the one and not for the other', async () => {
    await expect.poll(() => counts().connectors).toBe(0)
    await expect(joins.client()).rejects.toMatchObject({ code: 'TUNNEL_OFFLINE' })
  })
})

test('a daemon that came with a token alone is told nothing, whatever it says', async () => {
  joins = await startJoinWorld()
  const heard: unknown[] = []
  const { world } = joins
  await world.daemon(undefined, undefined, { join: 1 })
  const { pipe, answer } = await joins.client()
  expect(answer['postern-mode']).toEqual(['hop'])
  expect(heard).toEqual([])
  pipe.destroy()
  await joins[Symbol.asyncDispose]()
})

describe('who asks wrongly', () => {
  beforeAll(async () => {
    joins = await startJoinWorld()
    who = await joins.enrol()
    await joins.daemon(who)
  })
  afterAll(() => joins[Symbol.asyncDispose]())

  test.each([
    ['no key', {}],
    ['a key in capitals', { 'postern-key': KEY.toUpperCase() }],
    ['half a key', { 'postern-key': KEY.slice(0, -1) }],
    ['two keys', { 'postern-key': [KEY, KEY] }],
  ])('with %s is refused', async (_name, headers) => {
    await expect(joins.client(headers)).rejects.toMatchObject({ code: 'BAD_USAGE' })
  })

  test('row 66: without a credential nobody is joined, and no daemon hears of it', async () => {
    const daemon = await idle(await joins.enrol())
    const nobody = { 'postern-key': KEY, 'postern-client-id': '', 'postern-client-secret': '' }
    await expect(joins.client(nobody)).rejects.toMatchObject({ refusal: { status: 401 } })
    await daemon.tunnel.ping(call)
    expect(daemon.told).toEqual([])
  })
})

describe('a leg', () => {
  beforeEach(async () => {
    joins = await startJoinWorld()
    who = await joins.enrol()
    return () => joins[Symbol.asyncDispose]()
  })

  test('row 102: comes once: a ticket that is guessed, used, of a sibling or another tunnel joins nobody', async () => {
    const { administration } = joins.world.edge
    const sibling = await joins.enrol()
    const { identity } = await administration.call('tunnel.get', { params: { name: 'home' } })
    await administration.call('tunnel.create', { body: { name: 'far', identity: identity!.certificate } })
    const far = await joins.enrol('far')
    const daemon = await idle()
    const asked = joins.client()
    const ticket = await daemon.ticket()
    expect(ticket).toMatch(/^[a-z2-7]{26}$/)
    const refused = (headers: Record<string, string | string[]>, by = who) =>
      expect(joins.leg(by, headers)).rejects.toMatchObject({ code: 'CONFLICT', speaker: 'edge' })
    await refused({ 'postern-join': `a${ticket.slice(1)}` === ticket ? `b${ticket.slice(1)}` : `a${ticket.slice(1)}` })
    await refused({ 'postern-join': ticket.toUpperCase() })
    await refused({ 'postern-join': [ticket, ticket] })
    await refused({})
    await refused({ 'postern-join': ticket }, sibling)
    await refused({ 'postern-join': ticket }, far)
    // The allow twin: it is still good, once, for whom it was told to.
    const leg = await daemon.leg(ticket)
    const { pipe } = await asked
    pipe.write('hello')
    expect(await read(leg, 5)).toBe('hello')
    await refused({ 'postern-join': ticket })
    expect((await joins.rows('join.refused')).length).toBe(7)
    expect((await joins.rows('connector.decide'))[0]?.detail).toMatchObject({ purpose: 'join' })
    pipe.destroy()
  })

  test('without the daemon’s certificate, or its token, is refused before its ticket is looked at', async () => {
    const daemon = await idle()
    const asked = joins.client()
    const ticket = await daemon.ticket()
    const other = await joins.enrol()
    // One's token goes with no other's certificate.
    for (const mixed of [
      { ...who, cert: other.cert, key: other.key },
      { ...who, token: other.token },
      { ...who, token: 'ptt_x' },
    ])
      await expect(joins.leg(mixed, { 'postern-join': ticket })).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    // Whole, it is the other one, whose ticket it is not.
    await expect(joins.leg(other, { 'postern-join': ticket })).rejects.toMatchObject({ code: 'CONFLICT' })
    const leg = await daemon.leg(ticket)
    await asked
    leg.destroy()
  })

  test('that comes for a client who has left is cut, and nothing is left of it', async () => {
    const daemon = await idle()
    const left = new AbortController()
    const asked = joins.client(undefined, { ...call, signal: left.signal })
    const ticket = await daemon.ticket()
    left.abort(new Error('the client left'))
    await expect(asked).rejects.toThrow('the client left')
    await expect.poll(() => joins.world.edge.counts().sockets).toBe(1)
    const fate = await daemon.leg(ticket).then(fateOf, error => error as Error)
    expect(fate).toBeInstanceOf(Error)
    await expect.poll(() => counts()).toMatchObject({ sessions: 0, admitted: 1 })
  })

  test('and says so before: its client hears yes meanwhile, and what it sends waits', async () => {
    const daemon = await idle()
    const asked = joins.client()
    const ticket = await daemon.ticket()
    daemon.tunnel.tell({ type: 'coming', ticket })
    const { pipe, answer } = await asked
    expect(answer['postern-mode']).toEqual(['end-to-end'])
    pipe.write('early')
    const leg = await daemon.leg(ticket)
    expect(String((await once(leg, 'data'))[0])).toBe('early')
    const fate = fateOf(leg)
    pipe.destroy()
    expect(await fate).toBeInstanceOf(Error)
    await stop(daemon)
  })

  test('and says so, and then does not: its client is cut, and nothing is left of it', async () => {
    const daemon = await idle()
    const asked = joins.client()
    const ticket = await daemon.ticket()
    daemon.tunnel.tell({ type: 'coming', ticket })
    const { pipe } = await asked
    daemon.tunnel.tell({ type: 'decline', ticket })
    expect(await fateOf(pipe)).toBeInstanceOf(Error)
    await expect(daemon.leg(ticket)).rejects.toMatchObject({ code: 'CONFLICT' })
    await expect.poll(() => joins.rows('session.refused')).toMatchObject([{ code: 'STREAM_CUT' }])
    await stop(daemon)
  })

  test('and says so, for a client who leaves then: it is cut', async () => {
    const daemon = await idle()
    const asked = joins.client()
    const ticket = await daemon.ticket()
    daemon.tunnel.tell({ type: 'coming', ticket })
    const { pipe } = await asked
    pipe.destroy()
    const fate = await daemon.leg(ticket).then(fateOf, error => error as Error)
    expect(fate).toBeInstanceOf(Error)
    await stop(daemon)
  })

  test('row 67: whose client was put out while it waited comes in vain, and the client hears why', async () => {
    const daemon = await idle()
    const asked = joins.client()
    const ticket = await daemon.ticket()
    const refused = expect(asked).rejects.toMatchObject({ code: 'ACCESS_ENDED' })
    await joins.world.edge.administration.call('service-token.revoke', { params: { token: joins.world.token.id } })
    await refused
    await expect(daemon.leg(ticket)).rejects.toMatchObject({ code: 'CONFLICT' })
    expect(await joins.rows('session.refused')).toMatchObject([{ code: 'ACCESS_ENDED' }])
  })

  test('row 67: revoking the client cuts both pipes; the others’ live on', async () => {
    const daemon = await idle()
    const { administration } = joins.world.edge
    const other = await administration.call('service-token.create', {
      body: { name: 'other', applications: ['db.localhost'] },
    })
    const own = { 'postern-key': KEY, 'postern-client-id': other.id, 'postern-client-secret': other.secret }
    const asked = joins.client()
    const leg = await daemon.leg(await daemon.ticket())
    const { pipe } = await asked
    const stays = joins.client(own)
    const otherLeg = await daemon.leg(await daemon.ticket())
    const { pipe: otherPipe } = await stays
    const fates = Promise.all([fateOf(pipe), fateOf(leg)])
    await administration.call('service-token.revoke', { params: { token: joins.world.token.id } })
    expect(await fates).toMatchObject([{ code: 'STREAM_CUT' }, { code: 'STREAM_CUT' }])
    otherPipe.write('still')
    expect(await read(otherLeg, 5)).toBe('still')
    await expect
      .poll(() => joins.rows('session.end'))
      .toMatchObject([{ code: 'ACCESS_ENDED', detail: { why: 'the credential was revoked', said: 'edge' } }])
  })

  test('row 67: the daemon hears why, a moment before; what it does then changes nothing', async () => {
    const daemon = await idle()
    const { administration } = joins.world.edge
    const asked = joins.client()
    const leg = await daemon.leg(await daemon.ticket())
    const dialled = await asked
    const sid = said(dialled, 'postern-request-id')
    // It goes on sending, for as long as it can, and never ends anything itself.
    const timer = setInterval(() => leg.write('more'), 5)
    const fates = Promise.all([fateOf(dialled.pipe), fateOf(leg)])
    const began = performance.now()
    await administration.call('service-token.revoke', { params: { token: joins.world.token.id } })
    expect(await fates).toMatchObject([{ code: 'STREAM_CUT' }, { code: 'STREAM_CUT' }])
    clearInterval(timer)
    expect(performance.now() - began).toBeLessThan(5000)
    const why = 'the credential was revoked'
    const cut = { type: 'join-cut', sid, code: 'ACCESS_ENDED', message: why }
    expect(daemon.heard.filter(({ type }) => type === 'join-cut')).toEqual([cut])
    await expect.poll(() => joins.rows('session.end')).toMatchObject([{ code: 'ACCESS_ENDED', detail: { why } }])
  })

  test('row 67: a daemon that is not there any more is not waited for', async () => {
    const daemon = await idle()
    const asked = joins.client()
    const leg = await daemon.leg(await daemon.ticket())
    const { pipe } = await asked
    await daemon.tunnel.close()
    await expect.poll(() => counts().connectors).toBe(0)
    const fates = Promise.all([fateOf(pipe), fateOf(leg)])
    await joins.world.edge.administration.call('service-token.revoke', { params: { token: joins.world.token.id } })
    expect(await fates).toMatchObject([{ code: 'STREAM_CUT' }, { code: 'STREAM_CUT' }])
    await expect.poll(() => joins.rows('session.end')).toMatchObject([{ code: 'ACCESS_ENDED' }])
  })

  test('row 98: a connector that is put out loses what it was joined to', async () => {
    const daemon = await idle()
    const asked = joins.client()
    const leg = await daemon.leg(await daemon.ticket())
    const { pipe } = await asked
    const fates = Promise.all([fateOf(pipe), fateOf(leg)])
    await joins.world.edge.administration.call('connector.evict', { params: { name: 'home', id: who.id } })
    expect(await fates).toMatchObject([{ code: 'STREAM_CUT' }, { code: 'STREAM_CUT' }])
  })

  test('of one visitor 64 wait and the others wait their turn; an edge that stops tells them', async () => {
    const daemon = await idle()
    const asked = Array.from({ length: 66 }, () =>
      joins.client().then(
        () => 'joined',
        error => error.code as string,
      ),
    )
    await expect.poll(() => daemon.told.length, { timeout: 5000 }).toBe(64)
    await daemon.tunnel.ping(call)
    expect(daemon.told).toHaveLength(64)
    daemon.tunnel.tell({ type: 'decline', ticket: daemon.told[0]!.ticket, code: 'LIMIT_EXCEEDED' })
    await expect.poll(() => daemon.told.length, { timeout: 5000 }).toBe(65)
    await joins.world.edge.close()
    const codes = await Promise.all(asked)
    expect(codes.filter(code => code === 'LIMIT_EXCEEDED')).toHaveLength(1)
    expect(codes.filter(code => code === 'DRAINING')).toHaveLength(65)
  })

  test('an edge that stops cuts both, after its grace', async () => {
    const daemon = await idle()
    const asked = joins.client()
    const leg = await daemon.leg(await daemon.ticket())
    const { pipe } = await asked
    const fates = Promise.all([fateOf(pipe), fateOf(leg)])
    await joins.world.edge.close()
    expect(await fates).toMatchObject([{ code: 'STREAM_CUT' }, { code: 'STREAM_CUT' }])
    const cut = { type: 'join-cut', code: 'DRAINING', message: 'the edge was stopped' }
    expect(daemon.heard.filter(({ type }) => type === 'join-cut')).toMatchObject([cut])
    expect(counts()).toMatchObject({ sessions: 0, admitted: 0 })
  })
})

describe('the keys of grants', () => {
  test('are told to a daemon that joins: when it comes, and after each rotation, signed by one that it knows', async () => {
    joins = await startJoinWorld()
    who = await joins.enrol()
    const { administration } = joins.world.edge
    const me = { tunnel: who.tunnel, connector: who.id }
    const daemon = await joins.daemon(who)
    const other = await joins.daemon(who, undefined, { connector: who.id, connection: 1 })
    const token = async (at: number) => {
      const tokens = () => daemon.heard.flatMap(one => (one.type === 'grant-keys' ? [one.token] : []))
      await expect.poll(() => tokens().length).toBe(at)
      return tokens()[at - 1]
    }
    let keys = readJwks(who.grantKeys)
    const first = await readGrantKeys(await token(1), keys, me)
    expect(first?.jwks).toEqual(who.grantKeys)
    for (let n = 2; n < 5; n += 1) {
      await administration.call('grant-key.rotate', { body: {} })
      const told = await readGrantKeys(await token(n), keys, me)
      expect(told?.sequence).toBeGreaterThan(first?.sequence ?? 0)
      keys = readJwks(told?.jwks)
      const dialled = await joins.client()
      // Whoever was told takes what is signed now; whoever knows the first keys alone does so once more.
      await expect(readGrant(said(dialled, 'postern-grant'), keys, me)).resolves.toBeDefined()
      const known = grantOf(dialled, who).then(
        () => true,
        () => false,
      )
      expect(await known).toBe(n === 2)
      dialled.pipe.destroy()
    }
    // Two rotations later, with the keys of the beginning: the set is signed by nobody it knows.
    const late = await joins.daemon(who)
    await expect.poll(() => late.heard.length).toBe(1)
    const [message] = late.heard
    expect(message?.type === 'grant-keys' && (await readGrantKeys(message.token, readJwks(who.grantKeys), me))).toBe(
      undefined,
    )
    expect(other.heard).toEqual([])
    await joins[Symbol.asyncDispose]()
  })
})

describe('what a daemon reports', () => {
  beforeEach(async () => {
    joins = await startJoinWorld()
    who = await joins.enrol()
    return () => joins[Symbol.asyncDispose]()
  })
  const ends = async () =>
    (await joins.rows('stream.end')).map(({ requestId, code, detail }) => ({ requestId, code, detail }))

  test('of its own sessions is in the audit log, in the daemon’s name; of others’ and of none it is not', async () => {
    const daemon = await idle()
    const sibling = await idle(await joins.enrol())
    const asked = joins.client()
    const told = await Promise.race([
      daemon.ticket().then(ticket => [daemon, sibling, ticket] as const),
      sibling.ticket().then(ticket => [sibling, daemon, ticket] as const),
    ])
    const [mine, others, ticket] = told
    const leg = await mine.leg(ticket)
    const dialled = await asked
    const sid = said(dialled, 'postern-request-id') ?? ''
    others.tunnel.tell({ ...REPORT, sid })
    others.tunnel.tell({ ...REPORT, sid: 'unknown' })
    mine.tunnel.tell({ ...REPORT, sid: 'unknown' })
    await Promise.all([others.tunnel.ping(call), mine.tunnel.ping(call)])
    mine.tunnel.tell({ ...REPORT, sid, code: 'ORIGIN_REFUSED', lost: 2 })
    const how = { mode: 'end-to-end', said: 'daemon', service: 'tcp', sent: 3, received: 4, ms: 5 }
    await expect.poll(ends).toEqual([{ requestId: sid, code: 'ORIGIN_REFUSED', detail: { ...how, lost: 2 } }])
    // What was open when the session ended is told after it.
    leg.destroy()
    await expect.poll(() => counts().sessions).toBe(0)
    mine.tunnel.tell({ ...REPORT, sid })
    await expect.poll(async () => (await ends()).length).toBe(2)
    expect((await ends())[0]).toMatchObject({ requestId: sid, detail: how })
  })
})
