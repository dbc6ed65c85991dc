import { describe, expect, test } from 'vitest'
import resets from '../soak/resets.ts'
import schedules from '../soak/schedules.ts'
import stalledReader from '../soak/stalled-reader.ts'

// The long forms are in soak/, run by `npm run soak`. Another first seed: POSTERN_SEED=n.
const seed = Number(process.env.POSTERN_SEED ?? 1)

describe('short forms of the soaks', { timeout: 180_000 }, () => {
  test('random schedules: every byte accounted for, every end true, nothing left', async () => {
    const result = await schedules({ seed, runs: 6, streams: 150, maxBytes: 200_000 })
    expect(result.clean).toBeGreaterThan(200)
    expect(result.cut).toBeGreaterThan(100)
  })

  test('random resets at every await: nothing escapes, nothing stays', async () => {
    const result = await resets({ seed, resets: 3_000 })
    expect(result.opened).toBeGreaterThan(500)
  })

  test('a stopped reader while 256 MB are pushed at it: at most 32 MiB are held', async () => {
    const result = await stalledReader({ smallMiB: 256, largeMiB: 0, stops: 3, stopMs: 300 })
    expect(result['256 MiB: growthMiB']).toBeLessThan(32)
    expect(result['256 MiB: inFlightMiB']).toBeLessThan(32)
  })
})
