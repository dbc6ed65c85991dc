import { readdirSync } from 'node:fs'
import { leftOpen, resources } from '@postern/compliance'
import { emptyTally, runSchedule, type Tally } from '../world/chaos.ts'
import { type ChaosSite, type Combination, combinations, nameOf, startChaosSite } from '../world/chaos-site.ts'

export interface Size {
  /** Spread over the combinations: the seed says which. */
  readonly schedules: number
  /** Of the first schedule; each further one has the next. A schedule that failed is run again by `schedules=1 seed=…`. */
  readonly seed: number
  /** The place in the table of the one combination that is run: for a schedule that failed, when there were fewer. */
  readonly only?: number
}

export const stated: { readonly schedules: number; readonly seed: number } = { schedules: 10_000, seed: 1 }

/** Sites at once: most of a schedule is waiting. */
const LANES = 8
/** Schedules of one site. Then it is stopped, and what is left of it is counted. */
const BATCH = 25

/**
 * Random schedules over the real path: client, bad network, edge, bad network, daemon, service; every transport at either end, in
 * both modes. The rules are {@link runSchedule}'s; and nothing that was opened is left when the sites have stopped.
 */
export default async function schedules({
  schedules: count,
  seed,
  only,
}: Size): Promise<Record<string, number | string>> {
  const table = combinations().filter((_one, at) => only === undefined || at === only)
  const tallies = new Map(table.map(one => [one, emptyTally()]))
  // Some things are made once and stay.
  await runBatch(table[0]!, [], emptyTally())
  const escaped: unknown[] = []
  const note = (error: unknown): void => void escaped.push(error)
  const events = ['uncaughtException', 'unhandledRejection', 'warning'] as const
  for (const event of events) process.on(event, note)
  const began = performance.now()
  try {
    const batches = batchesOf(table, seed, count)
    for (let at = 0; at < batches.length; at += LANES) {
      const before = resources()
      const files = openFiles()
      const lanes = batches.slice(at, at + LANES)
      const results = await Promise.allSettled(lanes.map(([one, seeds]) => runBatch(one, seeds, tallies.get(one)!)))
      const failed = results.flatMap(result => (result.status === 'rejected' ? [result.reason] : []))
      if (failed.length + escaped.length > 0)
        throw new AggregateError([...failed, ...escaped], [...failed, ...escaped].map(String).join('\n'))
      const left = [...(await leftOpen(before, 20_000))]
      if (openFiles() > files) left.push(`files ×${openFiles() - files}`)
      if (left.length > 0)
        throw new Error(
          `left open after the seeds ${lanes.map(([, seeds]) => seeds.join()).join('; ')}: ${left.join(', ')}`,
        )
      const done = [...tallies.values()].reduce((sum, { schedules }) => sum + schedules, 0)
      process.stderr.write(`schedules: ${done} of ${count}, ${Math.round((performance.now() - began) / 1000)} s\n`)
    }
  } finally {
    for (const event of events) process.off(event, note)
  }
  return figures(tallies, seed)
}

/** Which schedules one site runs after another. */
function batchesOf(table: readonly Combination[], seed: number, count: number): [Combination, number[]][] {
  const batches: [Combination, number[]][] = []
  const filling = new Map<Combination, number[]>()
  for (let next = seed; next < seed + count; next++) {
    const one = table[next % table.length]!
    let seeds = filling.get(one)
    if (seeds === undefined || seeds.length === BATCH) {
      seeds = []
      filling.set(one, seeds)
      batches.push([one, seeds])
    }
    seeds.push(next)
  }
  return batches
}

async function runBatch(combination: Combination, seeds: readonly number[], tally: Tally): Promise<void> {
  let site: ChaosSite | undefined = await startChaosSite(combination)
  try {
    for (const seed of seeds) {
      site ??= await startChaosSite(combination)
      if (await runSchedule(site, seed, tally)) continue
      await site[Symbol.asyncDispose]()
      site = undefined
    }
  } catch (error) {
    throw new Error(`${nameOf(combination)}: ${(error as Error).message}`, { cause: error })
  } finally {
    await site?.[Symbol.asyncDispose]()
  }
}

function figures(tallies: ReadonlyMap<Combination, Tally>, seed: number): Record<string, number | string> {
  const sum = emptyTally()
  const names = Object.keys(sum) as (keyof Tally)[]
  for (const tally of tallies.values()) for (const name of names) sum[name] += tally[name]
  const each = [...tallies].map(([one, tally]) => [nameOf(one), names.map(name => `${name} ${tally[name]}`).join(', ')])
  return { seed, ...sum, ...Object.fromEntries(each) }
}

function openFiles(): number {
  return process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0
}
