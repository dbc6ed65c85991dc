import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, PassThrough } from 'node:stream'
import { openStore, type Store } from '@postern/store'
import { readGrant, readJwks } from '@postern/tokens'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { AccessAdmission, ConnectorAdmission } from '../src/authorize/authorize.ts'
import { GrantKeys } from '../src/keys/grant-keys.ts'
import { Seal } from '../src/keys/seal.ts'
import { copy } from '../src/ways/copy.ts'
import { Joins, type Leg } from '../src/ways/joins.ts'
import { call } from './world.ts'

const CONTROL = { requestId: 'control' } as ConnectorAdmission
const SIDE = { tunnelId: 'home', connectorId: 'one', admission: CONTROL }
const ADMISSION = { requestId: 'req-1' } as AccessAdmission
const leg = (): Leg => ({ pipe: new PassThrough(), admission: {} as ConnectorAdmission })
const report = (sid: string) =>
  ({ type: 'report', event: 'stream.end', sid, service: 'tcp', up: 0, down: 0, ms: 0 }) as const

describe('a client who waits', () => {
  test('has its daemon, once', async () => {
    const joins = new Joins()
    const waiting = joins.wait(SIDE, ADMISSION)
    const coming = waiting.leg(call)
    const one = leg()
    const taken = joins.take(waiting.ticket, SIDE)
    expect(joins.take(waiting.ticket, SIDE)).toBeUndefined()
    taken?.come(one)
    expect(await coming).toBe(one)
    expect(one.pipe.destroyed).toBe(false)
    expect(joins.waiting).toBe(0)
    one.pipe.destroy()
  })

  test('waits no longer than that; whoever comes late is cut', async () => {
    const joins = new Joins(20)
    const waiting = joins.wait(SIDE, ADMISSION)
    const coming = waiting.leg(call)
    const taken = joins.take(waiting.ticket, SIDE)
    await expect(coming).rejects.toMatchObject({ code: 'TIMED_OUT', speaker: 'edge' })
    const late = leg()
    taken?.come(late)
    await once(late.pipe, 'close')
    expect(joins.take(waiting.ticket, SIDE)).toBeUndefined()
    expect(joins.waiting).toBe(0)
  })

  test('is forgotten when it is put out', async () => {
    const joins = new Joins()
    const out = new AbortController()
    const waiting = joins.wait(SIDE, ADMISSION)
    const coming = waiting.leg({ ...call, signal: out.signal })
    out.abort(new Error('put out'))
    await expect(coming).rejects.toThrow('put out')
    expect(joins.take(waiting.ticket, SIDE)).toBeUndefined()
  })

  test('is not served by a daemon that was not asked, and may be declined by none but its own', async () => {
    const joins = new Joins()
    const waiting = joins.wait(SIDE, ADMISSION)
    const coming = waiting.leg(call)
    const others = [
      { ...SIDE, tunnelId: 'far' },
      { ...SIDE, connectorId: 'two' },
    ]
    for (const other of others) {
      expect(joins.take(waiting.ticket, other)).toBeUndefined()
      joins.decline({ type: 'decline', ticket: waiting.ticket }, other)
    }
    expect(joins.waiting).toBe(1)
    joins.decline({ type: 'decline', ticket: waiting.ticket }, SIDE)
    expect(await coming).toBeUndefined()
  })

  test('hears that its daemon comes, from that one alone', async () => {
    const joins = new Joins()
    const waiting = joins.wait(SIDE, ADMISSION)
    let isAnnounced = false
    void waiting.announced.then(() => (isAnnounced = true))
    const coming = { type: 'coming', ticket: waiting.ticket } as const
    joins.comes(coming, { ...SIDE, tunnelId: 'far' })
    joins.comes(coming, { ...SIDE, connectorId: 'two' })
    await new Promise(setImmediate)
    expect(isAnnounced).toBe(false)
    joins.comes(coming, SIDE)
    await waiting.announced
    joins.take(waiting.ticket, SIDE)?.giveUp()
  })

  test('one more than 1,024 is refused', async () => {
    const joins = new Joins(20)
    const all = Array.from({ length: 1024 }, () => joins.wait(SIDE, ADMISSION).leg(call))
    expect(() => joins.wait(SIDE, ADMISSION)).toThrow('too many wait')
    await Promise.allSettled(all)
    const { ticket } = joins.wait(SIDE, ADMISSION)
    expect(joins.take(ticket, SIDE)).toBeDefined()
  })
})

describe('a ticket that is shown with nothing else', () => {
  test('brings the daemon that was told, as what its own connection is', async () => {
    const joins = new Joins()
    const waiting = joins.wait(SIDE, ADMISSION)
    const coming = waiting.leg(call)
    const shown = joins.show(waiting.ticket, '192.0.2.1')
    if (shown === undefined || 'first' in shown) throw new Error('not taken')
    expect(shown.admission).toBe(CONTROL)
    const one = leg()
    shown.taken.come(one)
    expect(await coming).toBe(one)
    one.pipe.destroy()
  })

  test('is good once; who was quicker is told once, for half a minute', async () => {
    let now = 0
    const joins = new Joins(1000, () => now)
    const [first, second] = [joins.wait(SIDE, ADMISSION), joins.wait(SIDE, ADMISSION)]
    for (const { ticket } of [first, second]) expect(joins.show(ticket, '192.0.2.1')).toHaveProperty('taken')
    now = 29_999
    expect(joins.show(first.ticket, '192.0.2.2')).toMatchObject({ first: '192.0.2.1', client: ADMISSION })
    expect(joins.show(first.ticket, '192.0.2.2')).toBeUndefined()
    now = 30_000
    expect(joins.show(second.ticket, '192.0.2.2')).toBeUndefined()
  })

  test('of nobody who waits is nothing: unknown, declined, or used by a daemon with its credential', async () => {
    const joins = new Joins()
    expect(joins.show('a'.repeat(26), '192.0.2.1')).toBeUndefined()
    const declined = joins.wait(SIDE, ADMISSION)
    joins.decline({ type: 'decline', ticket: declined.ticket }, SIDE)
    const used = joins.wait(SIDE, ADMISSION)
    expect(joins.take(used.ticket, SIDE)).toBeDefined()
    for (const { ticket } of [declined, used]) expect(joins.show(ticket, '192.0.2.1')).toBeUndefined()
  })
})

test('a report is about a session of that daemon, open or just ended', () => {
  let now = 0
  const joins = new Joins(20, () => now)
  const end = joins.begin(ADMISSION, SIDE, () => {})
  expect(joins.size).toBe(1)
  expect(joins.reported(report('req-1'), SIDE)).toBe(ADMISSION)
  expect(joins.reported(report('req-1'), { ...SIDE, connectorId: 'two' })).toBeUndefined()
  expect(joins.reported(report('req-1'), { ...SIDE, tunnelId: 'far' })).toBeUndefined()
  expect(joins.reported(report('req-2'), SIDE)).toBeUndefined()
  end()
  expect(joins.size).toBe(0)
  now = 59_999
  expect(joins.reported(report('req-1'), SIDE)).toBe(ADMISSION)
  now = 60_000
  expect(joins.reported(report('req-1'), SIDE)).toBeUndefined()
  for (let n = 0; n < 2000; n += 1) joins.begin({ ...ADMISSION, requestId: `r${n}` }, SIDE, () => {})()
  expect(joins.reported(report('r0'), SIDE)).toBeUndefined()
  expect(joins.reported(report('r1999'), SIDE)).toBeDefined()
})

test('where nobody says anything for long, both are cut; where one does, not', async () => {
  const ends = () => {
    const [near, far] = [new PassThrough(), new PassThrough()]
    return { pipe: Duplex.from({ readable: near, writable: far } as never).on('error', () => {}), near }
  }
  const carried = new Set<Promise<unknown>>()
  const [client, daemon] = [ends(), ends()]
  const work = copy(client.pipe, daemon.pipe, { carried }, call.signal, 50)
  expect(carried.size).toBe(1)
  const talk = setInterval(() => client.near.write('x'), 5)
  const first = await Promise.race([work, new Promise(resolve => setTimeout(resolve, 300, 'lives'))])
  expect(first).toBe('lives')
  clearInterval(talk)
  expect(await work).toMatchObject({ error: { code: 'PEER_SILENT' } })
  expect(carried.size).toBe(0)
})

describe('the keys of grants', () => {
  let folder: string
  let store: Store
  let seal: Seal
  const given = {
    aud: { tunnel: 'home', connector: 'one' },
    jti: 'j',
    sid: 's',
    hostname: 'db.localhost',
    identities: [],
    permit: {},
    cnf: `sha256:${'0f'.repeat(32)}`,
  }
  const isGood = async (token: string, keys: unknown) =>
    readGrant(token, readJwks(keys), { tunnel: 'home', connector: 'one' }).then(
      () => true,
      () => false,
    )
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'postern-grants-'))
    store = await openStore({ path: join(folder, 'edge.db') }, call)
    seal = await Seal.open(folder, false)
  })
  afterEach(async () => {
    await store[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

  test('are made once, kept sealed, and there after a start', async () => {
    const keys = await GrantKeys.open(store, seal)
    const again = await GrantKeys.open(store, seal)
    expect(again.jwks()).toEqual(keys.jwks())
    expect(await isGood(await again.sign(given), keys.jwks())).toBe(true)
    const row = JSON.stringify(store.snapshot.records.get('grant-keys')?.get('ring'))
    expect(row).not.toContain('"d"')
    expect(row).not.toContain(keys.jwks().keys[0]!.kid)
    expect(JSON.stringify(keys.jwks())).not.toContain('"d"')
    const [made] = await store.readAudit({ most: 1, action: 'grant-key.create' })
    expect(made).toMatchObject({ actor: 'edge' })
    const other = await Seal.open(await mkdtemp(join(folder, 'other-')), false)
    await expect(GrantKeys.open(store, other)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('a daemon enrolled before a rotation takes grants of after it; before two of them, no more', async () => {
    const keys = await GrantKeys.open(store, seal)
    const enrolled = keys.jwks()
    expect(enrolled.keys).toHaveLength(2)
    await keys.rotate({ actor: 'test' })
    expect(await isGood(await keys.sign(given), enrolled)).toBe(true)
    const later = keys.jwks()
    await keys.rotate({ actor: 'test' })
    expect(await isGood(await keys.sign(given), enrolled)).toBe(false)
    expect(await isGood(await keys.sign(given), later)).toBe(true)
    expect(await store.readAudit({ most: 9, action: 'grant-key.rotate' })).toHaveLength(2)
    expect((await GrantKeys.open(store, seal)).jwks()).toEqual(keys.jwks())
  })
})
