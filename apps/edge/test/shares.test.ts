import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { echo, header, startWorld, textOf, type World } from './world.ts'

const patience = () => ({ signal: AbortSignal.timeout(15_000), log: console })

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

  test('whose streams come to nothing is limited, in all its sessions, with a row a second; others are not', async () => {
    const mine = await world.edge.administration.call('service-token.create', { body: { name: 'in vain' } })
    const sessions = [await world.session(world.headers(mine)), await world.session(world.headers(mine))]
    const codes: string[] = []
    for (let n = 0; n < 8; n += 1) {
      const asked = Array.from({ length: 100 }, () => sessions[n % 2]?.open(header('other.localhost'), patience()))
      for (const one of await Promise.allSettled(asked))
        codes.push(one.status === 'rejected' ? one.reason.code : 'let in')
    }
    expect(new Set(codes)).toEqual(new Set(['DESTINATION_FORBIDDEN', 'LIMIT_EXCEEDED']))
    const stream = await (await world.session(world.headers(other))).open(header(), patience())
    stream.end('let in')
    expect(await textOf(stream)).toBe('let in')
    const rows = await world.edge.store.readAudit({ most: 3000, action: 'stream.refused' })
    const limited = rows.filter(({ code, actor }) => code === 'LIMIT_EXCEEDED' && actor?.includes(mine.id))
    expect(limited.length).toBeGreaterThan(0)
    expect(limited.length).toBeLessThan(60)
    for (const session of sessions) await session.close()
  })

  test('sessions past a visitor’s share are refused, with a row; another visitor’s are not', async () => {
    await using small = await startWorld({ shares: { sessions: 2 } }, [], 0)
    await small.daemon(echo)
    const sessions = [await small.session(), await small.session()]
    await expect(small.session()).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    const rows = await small.edge.store.readAudit({ most: 50, action: 'session.refused' })
    expect(rows.map(({ code }) => code)).toEqual(['LIMIT_EXCEEDED'])
    await sessions[0]?.close()
    await expect
      .poll(
        () =>
          small.session().then(
            session => session.close().then(() => 'let in'),
            ({ code }) => code,
          ),
        { timeout: 10_000 },
      )
      .toBe('let in')
    await sessions[1]?.close()
  })
})
