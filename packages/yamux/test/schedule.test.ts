import { expect, test } from 'vitest'
import { turns } from './raw-peer.ts'
import { runSchedule } from './schedule.ts'

// Another first seed: POSTERN_SEED=n. The long form is soak/schedules.ts.
const first = Number(process.env.POSTERN_SEED ?? 1)

test('random schedules: every byte accounted for, every end true, nothing left over', {
  timeout: 120_000,
}, async () => {
  const before = process.getActiveResourcesInfo()
  const sum = { clean: 0, cut: 0, bytes: 0 }
  for (let seed = first; seed < first + 12; seed++) {
    const report = await runSchedule(seed, { streams: 200, maxBytes: 500_000 })
    sum.clean += report.clean
    sum.cut += report.cut
    sum.bytes += report.bytes
  }
  await turns()
  // The test runner's own timers come and go: nothing more than before.
  const more = process.getActiveResourcesInfo()
  for (const resource of before) if (more.includes(resource)) more.splice(more.indexOf(resource), 1)
  expect(more).toEqual([])
  expect(sum.clean).toBeGreaterThan(1000)
  expect(sum.cut).toBeGreaterThan(100)
  expect(sum.bytes).toBeGreaterThan(5_000_000)
})
