import { describe, expect, test } from 'vitest'
import { SHARE_LIMITS, Shares } from '../src/index.ts'
import { FakeClock } from './fake-clock.ts'

const never = new AbortController().signal
const ann = { visitor: 'ann', application: 'db' }
const bob = { visitor: 'bob', application: 'db' }

describe('a visitor’s share of a tunnel', () => {
  test('64 are opened at once; the others wait their turn, in order', async () => {
    const shares = new Shares('edge')
    const places = await Promise.all(Array.from({ length: 64 }, () => shares.take(ann, 4, never)))
    const order: number[] = []
    const waiting = [1, 2, 3].map(n => shares.take(ann, 4, never).finally(() => order.push(n)))
    const other = await shares.take(bob, 4, never)
    expect(order).toEqual([])
    places[0]?.answered()
    places[0]?.answered()
    places[1]?.release()
    await Promise.all(waiting.slice(0, 2))
    expect(order).toEqual([1, 2])
    places[2]?.release()
    for (const place of [...places, other, ...(await Promise.all(waiting))]) place.release()
    expect(shares.size).toBe(0)
    ;(await shares.take(ann, 4, never)).release()
  })

  test('256 may wait, no more; who leaves makes room', async () => {
    const shares = new Shares('edge')
    const places = await Promise.all(Array.from({ length: 64 }, () => shares.take(ann, 4, never)))
    const leave = new AbortController()
    const waiting = Array.from({ length: 256 }, () => shares.take(ann, 4, leave.signal))
    await expect(shares.take(ann, 4, never)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    leave.abort(new Error('left'))
    for (const one of waiting) await expect(one).rejects.toThrow('left')
    const late = shares.take(ann, 4, never)
    for (const place of places) place.release()
    ;(await late).release()
    expect(shares.size).toBe(0)
  })

  test('half of what the daemons take, and a thousand at most', async () => {
    for (const [connections, most] of [
      [1, 512],
      [4, 1024],
    ] as const) {
      const shares = new Shares('edge')
      const places = []
      for (let n = 0; n < most; n += 1) {
        const place = await shares.take(ann, connections, never)
        place.answered()
        places.push(place)
      }
      await expect(shares.take(ann, connections, never)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
      ;(await shares.take(bob, connections, never)).release()
      for (const place of places) place.release()
      expect(shares.size).toBe(0)
    }
  })
})

describe('row 134: what one visitor, and one application, may have', () => {
  test('an application leaves a quarter of each connection to others', async () => {
    const shares = new Shares('edge', { streams: 10_000, perConnection: 10_000 })
    const places = await Promise.all(
      Array.from({ length: 768 }, async (_, n) => {
        const place = await shares.take({ visitor: `v${n % 20}`, application: 'db' }, 1, never)
        place.answered()
        return place
      }),
    )
    await expect(shares.take(bob, 1, never)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED', speaker: 'edge' })
    ;(await shares.take({ visitor: 'bob', application: 'wiki' }, 1, never)).release()
    places.pop()?.release()
    ;(await shares.take(bob, 1, never)).release()
    for (const place of places) place.release()
    expect(shares.size).toBe(0)
  })

  test('each has budgets of its own for what waits; a stream that is let in elsewhere counts, and is never refused', () => {
    const shares = new Shares('daemon', { streams: 1 })
    const places = [shares.enter(ann), shares.enter(ann), shares.enter(bob)]
    const [first, second, other] = places.map(({ room }) => room)
    expect([second?.[0] === first?.[0], other?.[0] === first?.[0]]).toEqual([true, false])
    expect(new Set([first, second, other].map(room => room?.[1])).size).toBe(1)
    expect([shares.size, shares.behind('ann'), shares.behind('nobody')]).toEqual([2, 0, 0])
    for (const place of places) place.release()
    expect(shares.size).toBe(0)
  })

  test('sessions: so many at once, so many a second after that; others have their own', async () => {
    const clock = new FakeClock()
    const shares = new Shares('edge', {}, clock)
    const { sessions, sessionRate } = SHARE_LIMITS
    const ends = Array.from({ length: sessions }, () => shares.begin(ann))
    expect(() => shares.begin(ann)).toThrow('all you may')
    for (const end of ends) end()
    expect(() => shares.begin(ann)).toThrow('faster')
    shares.begin(bob)()
    await clock.advance(1000)
    for (let n = 0; n < sessionRate; n++) shares.begin(ann)()
    expect(() => shares.begin(ann)).toThrow('faster')
    expect(shares.size).toBe(0)
  })

  test('an application’s sessions are bounded, whoever has them', () => {
    const shares = new Shares('edge', { applicationSessions: 2 })
    const ends = [shares.begin(ann), shares.begin(bob)]
    expect(() => shares.begin({ visitor: 'carl', application: 'db' })).toThrow('the application has 2 sessions')
    ends[0]?.()
    shares.begin({ visitor: 'carl', application: 'db' })()
    ends[1]?.()
    expect(shares.size).toBe(0)
  })

  test('streams a second: who is alone has all; beside others they wait, and none is refused', async () => {
    const clock = new FakeClock()
    const shares = new Shares('edge', { rate: 100 }, clock)
    const open = async (whose = ann) => {
      const place = await shares.take(whose, 4, never)
      place.answered()
      place.release()
    }
    for (let n = 0; n < 500; n++) await open()
    const other = await shares.take(bob, 4, never)
    const [first, ...late] = [1, 2, 3].map(() => open())
    let done = 0
    for (const one of [first, ...late]) void one?.then(() => (done += 1))
    await new Promise(setImmediate)
    expect(done).toBe(0)
    await clock.advance(10)
    await first
    await clock.advance(20)
    await Promise.all(late)
    await open(bob)
    other.release()
    expect(shares.size).toBe(0)
  })

  test('what comes to nothing: 256 a second, whichever session it is in, told once a second', async () => {
    const clock = new FakeClock()
    const shares = new Shares('edge', {}, clock)
    const told: number[] = []
    const [one, two] = [shares.budgetOf(ann, n => told.push(n)), shares.budgetOf(ann, () => {})]
    for (let n = 0; n < SHARE_LIMITS.failing; n++) {
      expect(one.admits()).toBe(true)
      two.failed()
    }
    expect([one.admits(), one.admits(), two.admits()]).toEqual([false, false, false])
    expect(shares.budgetOf(bob, () => {}).admits()).toBe(true)
    await clock.advance(1000)
    expect(one.admits()).toBe(true)
    for (let n = 0; n < SHARE_LIMITS.failing; n++) one.failed()
    expect(one.admits()).toBe(false)
    expect(told).toEqual([1, 2])
  })
})
