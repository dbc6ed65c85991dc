import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Shares } from '../src/routes/shares.ts'
import { echo, header, startWorld, textOf, type World } from './world.ts'

const patience = () => ({ signal: AbortSignal.timeout(15_000), log: console })
const never = new AbortController().signal

describe('a visitor’s share of a tunnel', () => {
  test('64 are opened at once; the others wait their turn, in order', async () => {
    const shares = new Shares()
    const places = await Promise.all(Array.from({ length: 64 }, () => shares.take('a', 4, never)))
    const order: number[] = []
    const waiting = [1, 2, 3].map(n => shares.take('a', 4, never).finally(() => order.push(n)))
    const other = await shares.take('b', 4, never)
    expect(order).toEqual([])
    places[0]?.answered()
    places[0]?.answered()
    places[1]?.release()
    await Promise.all(waiting.slice(0, 2))
    expect(order).toEqual([1, 2])
    places[2]?.release()
    for (const place of [...places, other, ...(await Promise.all(waiting))]) place.release()
    expect(shares.size).toBe(0)
    ;(await shares.take('a', 4, never)).release()
  })

  test('256 may wait, no more; who leaves makes room', async () => {
    const shares = new Shares()
    const places = await Promise.all(Array.from({ length: 64 }, () => shares.take('a', 4, never)))
    const leave = new AbortController()
    const waiting = Array.from({ length: 256 }, () => shares.take('a', 4, leave.signal))
    await expect(shares.take('a', 4, never)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    leave.abort(new Error('left'))
    for (const one of waiting) await expect(one).rejects.toThrow('left')
    const late = shares.take('a', 4, never)
    for (const place of places) place.release()
    ;(await late).release()
    expect(shares.size).toBe(0)
  })

  test('half of what the daemons take, and a thousand at most', async () => {
    for (const [connections, most] of [
      [1, 512],
      [4, 1024],
    ] as const) {
      const shares = new Shares()
      const places = []
      for (let n = 0; n < most; n += 1) {
        const place = await shares.take('a', connections, never)
        place.answered()
        places.push(place)
      }
      await expect(shares.take('a', connections, never)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
      ;(await shares.take('b', connections, never)).release()
      for (const place of places) place.release()
      expect(shares.size).toBe(0)
    }
  })
})

describe('row 134: one visitor and a tunnel', () => {
  let world: World
  let other: { id: string; secret: string }
  let silent = false
  beforeAll(async () => {
    world = await startWorld({}, [], 0)
    await world.daemon(offered => {
      if (!silent) echo(offered)
    })
    other = await world.edge.administration.call('service-token.create', { body: { name: 'other' } })
    const include = [{ anyServiceToken: true as const }]
    await world.edge.administration.call('policy.put', {
      params: { hostname: 'db.localhost' },
      body: { rules: [{ name: 'any', action: 'allow', include }] },
    })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  test('whose streams are never answered keeps nobody else out, however many sessions it has', async () => {
    silent = true
    const before = world.opened()
    const greedy = [await world.session(), await world.session()]
    for (const session of greedy)
      for (let n = 0; n < 150; n += 1) void session.open(header(), patience()).catch(() => {})
    await expect.poll(() => world.opened() - before, { timeout: 10_000 }).toBe(64)
    silent = false
    const stream = await (await world.session(world.headers(other))).open(header(), patience())
    stream.end('let in')
    expect(await textOf(stream)).toBe('let in')
    expect(world.opened() - before).toBe(65)
    for (const session of greedy) await session.close()
  })

  test('who leaves while its streams are opened gives the turns back, and the daemon hears that they are in vain', async () => {
    silent = true
    const before = world.opened()
    const session = await world.session(world.headers(other))
    const leaving = new AbortController()
    for (let n = 0; n < 64; n += 1)
      void session.open(header(), { ...patience(), signal: leaving.signal }).catch(() => {})
    await expect.poll(() => world.opened() - before, { timeout: 10_000 }).toBe(64)
    const offered = world.streams.slice(-64)
    expect(offered.some(({ gone }) => gone.aborted)).toBe(false)
    leaving.abort(new Error('left'))
    await expect.poll(() => offered.every(({ gone }) => gone.aborted), { timeout: 10_000 }).toBe(true)
    silent = false
    const stream = await session.open(header(), patience())
    stream.end('served')
    expect(await textOf(stream)).toBe('served')
    await session.close()
  })

  test('who opens as many as it may and goes, finds its share free again', async () => {
    for (let round = 0; round < 2; round += 1) {
      const session = await world.session(world.headers(other))
      const streams = []
      for (let n = 0; n < 8; n += 1)
        streams.push(...(await Promise.all(Array.from({ length: 64 }, () => session.open(header(), patience())))))
      await expect(session.open(header(), patience())).rejects.toMatchObject({
        code: 'LIMIT_EXCEEDED',
        speaker: 'edge',
      })
      streams[0]?.end()
      expect(await textOf(streams[0]!)).toBe('')
      await expect
        .poll(
          () =>
            session.open(header(), patience()).then(
              () => 'open',
              () => 'full',
            ),
          { timeout: 10_000 },
        )
        .toBe('open')
      for (const stream of streams) stream.on('error', () => {})
      await session.close()
    }
  })
})
