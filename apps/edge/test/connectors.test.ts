import { randomUUID } from 'node:crypto'
import { duplexPair } from 'node:stream'
import { PosternError } from '@postern/interface'
import { type About, startTunnel, type Tunnel } from '@postern/tunnel'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Connection, Routes } from '../src/routes/routes.ts'
import { readSaid } from '../src/routes/said.ts'
import { call, echo, header, quiet, startWorld, textOf, type World } from './world.ts'

const patience = () => ({ signal: AbortSignal.timeout(15_000), log: quiet })
const about = (index: number, connector: string = randomUUID()): About => ({
  connector,
  connection: index,
  version: '0.2.0',
})

describe('row 101: the connectors of a tunnel', () => {
  let world: World
  const warned: [string, unknown][] = []
  beforeEach(async () => {
    warned.length = 0
    world = await startWorld({}, [], 0, { ...quiet, warn: (message, fields) => void warned.push([message, fields]) })
  })
  afterEach(() => world[Symbol.asyncDispose]())
  const joined = async () =>
    (await world.edge.store.readAudit({ most: 100, action: 'connector.joined' })).map(row => row.detail).toReversed()
  const say = async (text: string) => {
    const stream = await (await world.session()).open(header(), patience())
    stream.end(text)
    return textOf(stream)
  }

  test('a second one joins: it serves, it is said and noted with what it is, and it can be put out', async () => {
    const first = randomUUID()
    const second = randomUUID()
    await world.daemon(echo, undefined, { ...about(0, first), name: 'behind the bar' })
    await world.daemon(echo, undefined, about(1, first))
    await expect.poll(() => world.edge.counts().connectors).toBe(2)
    expect(warned).toEqual([])
    const thief = await world.daemon(echo, undefined, { ...about(0, second), version: '9.9.9' })
    await expect.poll(() => world.edge.counts().connectors).toBe(3)
    expect(warned).toMatchObject([
      [
        'another daemon joined a tunnel',
        {
          tunnel: 'home',
          connector: second,
          version: '9.9.9',
          others: 1,
          remoteAddress: expect.stringContaining('127.0.0.1'),
        },
      ],
    ])
    const token = expect.stringMatching(/^[0-9a-f]{16}$/)
    expect(await joined()).toEqual([
      {
        tunnel: 'home',
        connector: first,
        index: 0,
        version: '0.2.0',
        name: 'behind the bar',
        tokenId: token,
        others: 0,
      },
      { tunnel: 'home', connector: second, index: 0, version: '9.9.9', tokenId: token, others: 1 },
    ])
    for (let n = 0; n < 4; n += 1) expect(await say('x')).toBe('x')

    expect(world.edge.routes.evict('home', second)).toBe(1)
    expect((await thief.closed)?.code).toBe('CONNECTOR_EVICTED')
    // The others serve, and it is not taken back under that name.
    for (let n = 0; n < 4; n += 1) expect(await say('y')).toBe('y')
    const again = await world.daemon(echo, undefined, about(3, second))
    expect((await again.closed)?.code).toBe('CONNECTOR_EVICTED')
    expect(world.edge.counts().connectors).toBe(2)
    expect(world.edge.routes.evict('home', randomUUID())).toBe(0)
    expect(world.edge.counts().connectors).toBe(2)
  })

  test('one that says another’s id from elsewhere is noted, and shown with its address', async () => {
    const id = randomUUID()
    await world.daemon(echo, undefined, about(0, id))
    await expect.poll(joined).toHaveLength(1)
    await world.daemon(echo, undefined, about(1, id))
    await expect.poll(() => world.edge.counts().connectors).toBe(2)
    const [first] = world.edge.routes.all()
    if (first === undefined) throw new Error('no daemon')
    world.edge.routes.add({ ...first, id: 'elsewhere', index: 7, remoteAddress: '192.0.2.1' })
    const [connector] = (await world.edge.administration.call('tunnel.get', { params: { name: 'home' } })).connectors
    expect(connector).toMatchObject({ id, connections: 3, remoteAddresses: ['127.0.0.1', '192.0.2.1'] })
    world.edge.routes.remove({ ...first, id: 'elsewhere' })
    expect(world.edge.routes.known('home', id, '127.0.0.1')).toEqual({ here: true, others: 0 })
    expect(world.edge.routes.known('home', id, '192.0.2.1')).toEqual({ here: false, others: 0 })
    expect(await joined()).toHaveLength(1)
  })

  test('one of several connections is counted once', async () => {
    const id = randomUUID()
    const { connectors: before } = await world.edge.administration.call('status.get', {})
    for (const connection of [0, 1, 2, 3])
      await world.daemon(echo, undefined, { connector: id, connection, version: '1' })
    await expect.poll(() => world.edge.routes.all().filter(one => one.connectorId === id).length).toBe(4)
    expect((await world.edge.administration.call('status.get', {})).connectors).toBe(before + 1)
  })

  test('one that says nothing is one of 0.1.0: it serves, and is put out by its connection’s id', async () => {
    const old = await world.daemon()
    expect(await say('x')).toBe('x')
    const [connection] = world.edge.routes.all()
    expect(connection?.connectorId).toBe(connection?.id)
    expect(world.edge.routes.evict('home', connection?.id ?? '')).toBe(1)
    expect((await old.closed)?.code).toBe('CONNECTOR_EVICTED')
  })

  test.each<[string, About]>([
    ['a connector that is no id', { connector: 'home' }],
    ['the id of another tunnel as a path', { connector: '../other' }],
    ['a connector that is a list', { connector: [randomUUID()] }],
    ['a connection below zero', { connection: -1 }],
    ['a connection that is half', { connection: 0.5 }],
    ['a connection of a million', { connection: 1_000_000 }],
    ['a version with an escape', { version: '\u001b[31m1.0' }],
    ['a version as long as a page', { version: '1'.repeat(65) }],
    ['a name with a line break', { name: 'a\nb' }],
    ['a name that turns text around', { name: 'a\u202eb' }],
    ['a name with a lone surrogate', { name: 'a\ud800' }],
    ['a name of nothing', { name: '' }],
    ['a name that is an object', { name: { toString: 'x' } }],
  ])('row 102: %s: cut, and nothing of it is kept', async (_, wrong) => {
    const daemon = await world.daemon(echo, undefined, wrong)
    expect((await daemon.closed)?.code).toBe('PROTOCOL_VIOLATION')
    expect(world.edge.counts().connectors).toBe(0)
    expect(await joined()).toEqual([])
    await expect(world.session()).rejects.toMatchObject({ code: 'TUNNEL_OFFLINE' })
    const refused = await world.edge.store.readAudit({ most: 1, action: 'connector.refused' })
    expect(refused).toMatchObject([{ code: 'PROTOCOL_VIOLATION', allowed: false }])
  })

  test('row 102: claims beside what is asked for change nothing: the token alone says which tunnel', async () => {
    await world.edge.administration.call('tunnel.create', { body: { name: 'other' } })
    const connector = randomUUID()
    const claims = {
      ...about(0, connector),
      tunnel: 'other',
      tunnelId: 'other',
      id: 'x',
      remoteAddress: '10.0.0.1',
      tokenId: 'x',
    }
    await world.daemon(echo, undefined, claims)
    await expect.poll(() => world.edge.routes.all().length).toBe(1)
    const [connection] = world.edge.routes.all()
    expect(connection).toMatchObject({ tunnelId: 'home', remoteAddress: expect.stringContaining('127.0.0.1') })
    expect(connection?.tokenId).not.toBe('x')
    expect(world.edge.routes.isOnline('other')).toBe(false)
    // And its id is its own of that tunnel only.
    expect(world.edge.routes.evict('other', connector)).toBe(0)
    expect(world.edge.counts().connectors).toBe(1)
  })

  test('who was being served by a daemon whose token is revoked is served by another', async () => {
    const { store } = world.edge
    await world.daemon()
    const { token } = await world.edge.administration.call('tunnel-token.create', {
      params: { name: 'home' },
      body: {},
    })
    await world.daemon(echo, { 'postern-tunnel-token': token }, about(0))
    await expect.poll(() => world.edge.counts().connectors).toBe(2)
    const [, kept] = world.edge.routes.all()
    const [old] = world.edge.routes.all()
    await store.apply([{ revoke: `tunnel-token:home:${old?.tokenId}` }], { action: 'test', actor: 'test' })
    expect(world.edge.routes.all().map(one => one.id)).toEqual([kept?.id])
    for (let n = 0; n < 4; n += 1) expect(await say('x')).toBe('x')
  })
})

test('what a daemon says is read', () => {
  const connector = randomUUID()
  expect(readSaid({ connector, connection: 3, version: '1.2.3-rc.1+x', name: 'Büro Zürich 日本', later: [1] })).toEqual(
    {
      connector,
      index: 3,
      version: '1.2.3-rc.1+x',
      name: 'Büro Zürich 日本',
    },
  )
  expect(readSaid()).toEqual({})
  expect(readSaid(JSON.parse('{"__proto__":{"name":"x"},"constructor":1}'))).toEqual({})
})

describe('row 157: a daemon that comes again before its old connection is known to be dead', () => {
  const tunnels: Tunnel[] = []
  afterEach(async () => {
    for (const tunnel of tunnels.splice(0)) tunnel.cut(new PosternError('DRAINING', 'the test is over'))
  })

  /** A daemon's connection by hand; `silent` makes its end of the pipe stop reading. */
  async function connection(name: string, connectorId: string, index: number, asked: string[]) {
    const [near, far] = duplexPair()
    const [tunnel, daemon] = await Promise.all([
      startTunnel(near, { role: 'server', log: quiet }, call),
      startTunnel(
        far,
        {
          role: 'client',
          log: quiet,
          onStream: offered => {
            asked.push(name)
            offered
              .accept()
              .on('error', () => {})
              .resume()
          },
        },
        call,
      ),
    ])
    tunnels.push(tunnel, daemon)
    const admission = {} as Connection['admission']
    const facts = { id: name, tunnelId: 'home', connectorId, index, remoteAddress: '', since: 0 }
    const made: Connection = { ...facts, tunnel, admission }
    return { made, silent: () => far.pause() }
  }
  const open = async (routes: Routes, signal = AbortSignal.timeout(15_000)) => {
    const stream = await routes.open('home', header(), { log: quiet, signal })
    stream.on('error', () => {})
  }

  test('the new one serves at once, and the dead one is cut', { timeout: 20_000 }, async () => {
    const asked: string[] = []
    const routes = new Routes(quiet)
    const old = await connection('old', 'a', 0, asked)
    const beside = await connection('beside', 'a', 1, asked)
    routes.add(old.made)
    routes.add(beside.made)
    old.silent()
    const next = await connection('next', 'a', 0, asked)
    routes.add(next.made)
    for (let n = 0; n < 6; n += 1) await open(routes)
    expect(new Set(asked)).toEqual(new Set(['next', 'beside']))
    await expect.poll(() => routes.all().map(one => one.id), { timeout: 15_000 }).toEqual(['beside', 'next'])
    expect((await old.made.tunnel.closed)?.code).toBe('PEER_SILENT')
  })

  test('the same through an edge: visitors notice nothing', { timeout: 30_000 }, async () => {
    await using world = await startWorld({}, [], 0)
    const said = about(0)
    const pipe = await world.dial('edge.localhost', 'connector', { 'postern-tunnel-token': world.tunnelToken })
    tunnels.push(await startTunnel(pipe, { role: 'client', log: quiet, onStream: echo, about: said }, call))
    await expect.poll(() => world.edge.counts().connectors).toBe(1)
    pipe.pause()
    await world.daemon(echo, undefined, said)
    await expect.poll(() => world.edge.counts().connectors).toBe(2)
    const session = await world.session()
    for (let n = 0; n < 8; n += 1) {
      const stream = await session.open(header(), patience())
      stream.end('x')
      expect(await textOf(stream)).toBe('x')
    }
    await expect.poll(() => world.edge.counts().connectors, { timeout: 15_000 }).toBe(1)
    const ends = () => world.edge.store.readAudit({ most: 5, action: 'connector.end' })
    await expect.poll(ends, { timeout: 10_000 }).toMatchObject([{ code: 'PEER_SILENT' }])
  })

  test('one that answers stays: a copied machine flaps nothing', async () => {
    const asked: string[] = []
    const warned: string[] = []
    const routes = new Routes({ ...quiet, warn: message => void warned.push(message) })
    const one = await connection('one', 'a', 0, asked)
    routes.add(one.made)
    const copy = await connection('copy', 'a', 0, asked)
    routes.add(copy.made)
    await expect.poll(() => warned, { timeout: 10_000 }).toEqual(['two connections of one connector'])
    expect(routes.all().map(made => made.id)).toEqual(['one', 'copy'])
    for (let n = 0; n < 4; n += 1) await open(routes)
    expect(new Set(asked)).toEqual(new Set(['one', 'copy']))
  })

  test('another index, another connector and another tunnel are left alone', async () => {
    const asked: string[] = []
    const routes = new Routes(quiet)
    const one = await connection('one', 'a', 0, asked)
    one.silent()
    routes.add(one.made)
    for (const [name, id, index] of [
      ['two', 'a', 1],
      ['three', 'b', 0],
    ] as const)
      routes.add((await connection(name, id, index, asked)).made)
    routes.add({ ...(await connection('four', 'a', 0, asked)).made, tunnelId: 'other' })
    for (let n = 0; n < 3; n += 1) await open(routes, AbortSignal.timeout(300)).catch(() => {})
    // Doubted, it would come last, and be asked once only.
    expect(asked.filter(name => name === 'two')).toHaveLength(1)
    expect(routes.all()).toHaveLength(4)
  })
})
