import { describe, expect, it } from 'vitest'
import schedules from '../soak/schedules.ts'
import { combinations } from '../world/chaos-site.ts'

// The long form: npm run soak -- schedules. Another first seed: POSTERN_SEED=n.
const seed = Number(process.env.POSTERN_SEED ?? 1)

describe('random schedules over every transport and mode', () => {
  it('every byte accounted for, every end true, nothing left', { timeout: 120_000 }, async () => {
    const count = combinations().length * 2
    const result = await schedules({ seed, schedules: count })
    expect(result).toMatchObject({ schedules: count })
    expect(result.clean).toBeGreaterThan(count)
    expect(result.cut).toBeGreaterThan(count / 3)
  })
})
