import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backoff, keepConnected, type Retry } from '../src/index.ts'
import { FakeClock } from './fake-clock.ts'
import { turns } from './pipe.ts'
import { quiet } from './rig.ts'

describe('backoff', () => {
  test('full jitter: from 0 to base·2^(n−1), at most the cap, whatever the numbers', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.integer({ min: 1, max: 10_000 }),
        fc.integer({ min: 1, max: 100_000 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (failures, base, cap, random) => {
          const wait = backoff(failures, base, cap, () => random)
          const bound = Math.min(cap, base * 2 ** (failures - 1))
          return wait >= 0 && wait <= bound && wait === random * bound
        },
      ),
    )
  })

  test('doubles from 1 s to 30 s', () => {
    const bounds = [1, 2, 3, 4, 5, 6, 7, 100].map(n => backoff(n, 1000, 30_000, () => 1))
    expect(bounds).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  })
})

function setup(): {
  clock: FakeClock
  retries: Retry[]
  abort: AbortController
  options: { clock: FakeClock; random: () => number; onRetry: (retry: Retry) => void }
} {
  const clock = new FakeClock()
  const retries: Retry[] = []
  const options = { clock, random: () => 0.999, onRetry: (retry: Retry) => void retries.push(retry) }
  return { clock, retries, abort: new AbortController(), options }
}

describe('keepConnected', () => {
  test('tries again with growing waits, and stops at the abort with its reason', async () => {
    const { clock, retries, abort, options } = setup()
    const attempts: number[] = []
    const running = keepConnected(
      attempt => {
        attempts.push(attempt)
        return Promise.reject(new Error('down'))
      },
      options,
      { signal: abort.signal, log: quiet },
    )
    const stopped = expect(running).rejects.toBe('enough')
    for (let second = 0; second < 20; second++) await clock.advance(1000)
    expect(attempts).toEqual([0, 1, 2, 3, 4])
    expect(retries.map(({ delayMs }) => Math.round(delayMs / 1000))).toEqual([1, 2, 4, 8, 16])
    expect(retries[0]).toMatchObject({ attempt: 1, error: { message: 'down' }, livedMs: undefined })
    abort.abort('enough')
    await stopped
    expect(clock.pending).toBe(0)
  })

  test('a connection that lived long enough starts the waits again; one that did not, does not', async () => {
    const { clock, retries, abort, options } = setup()
    const ends: ((error?: Error) => void)[] = []
    const connect = (): Promise<{ closed: Promise<unknown> }> =>
      Promise.resolve({ closed: new Promise(resolve => ends.push(resolve)) })
    const running = keepConnected(connect, { ...options, stableMs: 10_000 }, { signal: abort.signal, log: quiet })
    const stopped = expect(running).rejects.toBe('enough')
    const live = async (seconds: number): Promise<void> => {
      await clock.advance(seconds * 1000)
      ends.at(-1)!(new Error('lost'))
      await turns()
    }
    await live(1)
    await clock.advance(1000)
    await live(1)
    await clock.advance(2000)
    await live(10)
    expect(retries.map(({ attempt }) => attempt)).toEqual([1, 2, 1])
    expect(retries[2]).toMatchObject({ error: { message: 'lost' }, livedMs: 10_000 })
    await clock.advance(1000)
    expect(ends).toHaveLength(4)
    abort.abort('enough') // while connected
    await stopped
    expect(clock.pending).toBe(0)
  })

  test('news that somebody got through ends a long wait within the base, and another without news goes on', async () => {
    const { clock, abort, options } = setup()
    let news = new AbortController()
    let attempts = 0
    let others = 0
    const call = { signal: abort.signal, log: quiet }
    const failing = (count: () => void) => () => {
      count()
      return Promise.reject(new Error('down'))
    }
    const told = keepConnected(
      failing(() => attempts++),
      { ...options, news: () => news.signal },
      call,
    )
    const twin = keepConnected(
      failing(() => others++),
      options,
      call,
    )
    const stopped = Promise.all([expect(told).rejects.toBe('enough'), expect(twin).rejects.toBe('enough')])
    await clock.advance(16_000) // 1 + 2 + 4 + 8 s: the fifth wait, of 16 s, has begun
    expect([attempts, others]).toEqual([5, 5])
    news.abort()
    news = new AbortController()
    await clock.advance(1000)
    expect([attempts, others]).toEqual([6, 5])
    abort.abort('enough')
    await stopped
    expect(clock.pending).toBe(0)
  })

  test('a fatal failure is thrown, another is not', async () => {
    const { clock, retries, abort, options } = setup()
    const errors = [new Error('busy'), new Error('revoked')]
    const running = keepConnected(
      () => Promise.reject(errors.shift()),
      { ...options, fatal: error => (error as Error).message === 'revoked' },
      { signal: abort.signal, log: quiet },
    )
    const failed = expect(running).rejects.toThrow('revoked')
    await clock.advance(1000)
    await failed
    expect(retries).toHaveLength(1)
  })

  test('an abort before the first attempt makes none', async () => {
    const { abort, options } = setup()
    abort.abort('never')
    const connect = (): Promise<never> => expect.fail('connected')
    await expect(keepConnected(connect, options, { signal: abort.signal, log: quiet })).rejects.toBe('never')
  })
})
