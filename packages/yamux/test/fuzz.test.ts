import { expect, test } from 'vitest'
import { fuzzParser } from './fuzz.ts'

test('15,000 mutated transcripts: no exception, no limit broken', { timeout: 60_000 }, async () => {
  const report = await fuzzParser(Number(process.env.POSTERN_SEED ?? 1), 15_000)
  expect(report.executions).toBe(15_000)
  // The mutator is of use only if it reaches both the inside of a session and its errors.
  expect(report.stood).toBeGreaterThan(1000)
  expect(report.ended).toBeGreaterThan(1000)
  expect(report.streams).toBeGreaterThan(1000)
})
