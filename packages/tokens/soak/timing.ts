// Row 28: does verifying a secret take longer the more of it is right? Welch’s t between secrets of which 0, 8 and 31 bytes are
// right, in random order; |t| < 4.5 is no difference that can be seen. An unknown id is timed beside them.
import { createServiceToken, verifySecret } from '../dist/index.js'

export const stated = { comparisons: 100_000 }

export default async function run({
  comparisons = 0,
}: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  const { secret, hash } = createServiceToken()
  // Through a buffer: a string that was just put together is slower to read.
  const wrong = (right: number) => Buffer.from(secret.slice(0, right).padEnd(secret.length, 'A')).toString('latin1')
  const cases: [string, string, string | undefined][] = [
    ['none', wrong(0), hash],
    ['eight', wrong(8), hash],
    ['thirtyOne', wrong(31), hash],
    ['unknownId', wrong(0), undefined],
  ]
  const samples = new Map<string, number[]>(cases.map(([name]) => [name, []]))
  for (let n = 0; n < comparisons; n += 1) {
    // In a new order each time: what ran just before has its effect too.
    for (const [name, presented, known] of shuffled(cases)) {
      const began = process.hrtime.bigint()
      verifySecret(presented, known)
      samples.get(name)?.push(Number(process.hrtime.bigint() - began))
    }
  }
  const base = trimmed(samples.get('none') ?? [])
  const unknown = trimmed(samples.get('unknownId') ?? [])
  const figures = cases.slice(1, 3).map(([name]) => [`t_${name}`, welch(base, trimmed(samples.get(name) ?? []))])
  return Object.fromEntries([
    ...figures,
    ['medianNs', base[Math.floor(base.length / 2)] ?? 0],
    ['medianUnknownNs', unknown[Math.floor(unknown.length / 2)] ?? 0],
  ])
}

function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map(value => ({ value, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ value }) => value)
}

/** Without the slowest twentieth: the scheduler, not the comparison. */
function trimmed(values: readonly number[]): number[] {
  return values.toSorted((a, b) => a - b).slice(0, Math.floor(values.length * 0.95))
}

function welch(a: readonly number[], b: readonly number[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const spread = (values: readonly number[], middle: number) =>
    values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1) / values.length
  const [first, second] = [mean(a), mean(b)]
  return Number(((first - second) / Math.sqrt(spread(a, first) + spread(b, second))).toFixed(2))
}
