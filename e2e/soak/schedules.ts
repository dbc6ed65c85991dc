import { readdirSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
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
const LANES = 16
/** Schedules of one site. Then it is stopped, and what is left of it is counted. */
const BATCH = 25
/**
 * Milliseconds in which this process did nothing, after which a deadline that passed says nothing of the programs: all of them are in it.
 * Such a round is played again, and counted.
 */
const STARVED = 1000
const MOST_AGAIN = 3
/** What a deadline that passed looks like; nothing that is lost, invented or out of order does. */
const LATE = /\b(TIMED_OUT|EDGE_UNREACHABLE|PEER_SILENT|TUNNEL_OFFLINE)\b|hangs/

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
  let again = 0
  const note = (error: unknown): void => void escaped.push(error)
  const events = ['uncaughtException', 'unhandledRejection', 'warning'] as const
  for (const event of events) process.on(event, note)
  const began = performance.now()
  try {
    const batches = batchesOf(table, seed, count)
    for (let at = 0; at < batches.length; at += LANES) {
      again += await playRound(batches.slice(at, at + LANES), tallies, escaped)
      const done = [...tallies.values()].reduce((sum, { schedules }) => sum + schedules, 0)
      process.stderr.write(`schedules: ${done} of ${count}, ${Math.round((performance.now() - began) / 1000)} s\n`)
    }
  } finally {
    for (const event of events) process.off(event, note)
  }
  return { ...figures(tallies, seed), 'rounds played again, starved': again }
}

/** Some sites at once. @returns how often it was played again because this process had no processor */
async function playRound(
  lanes: readonly (readonly [Combination, readonly number[]])[],
  tallies: ReadonlyMap<Combination, Tally>,
  escaped: readonly unknown[],
): Promise<number> {
  for (let again = 0; ; again++) {
    const before = resources()
    const files = openFiles()
    const delay = monitorEventLoopDelay({ resolution: 20 })
    delay.enable()
    const played = lanes.map(() => emptyTally())
    const results = await Promise.allSettled(lanes.map(([one, seeds], lane) => runBatch(one, seeds, played[lane]!)))
    delay.disable()
    const failed = results.flatMap(result => (result.status === 'rejected' ? [result.reason] : []))
    const wasStarved = delay.max / 1e6 > STARVED && again < MOST_AGAIN && escaped.length === 0
    if (failed.length > 0 && wasStarved && failed.every(error => LATE.test(String(error)))) continue
    if (failed.length + escaped.length > 0)
      throw new AggregateError([...failed, ...escaped], [...failed, ...escaped].map(String).join('\n'))
    const left = [...(await leftOpen(before, 20_000))]
    if (openFiles() > files) left.push(`files ×${openFiles() - files}`)
    const seeds = lanes.map(([, some]) => some.join()).join('; ')
    if (left.length > 0) throw new Error(`left open after the seeds ${seeds}: ${left.join(', ')}`)
    for (const [lane, [one]] of lanes.entries()) add(tallies.get(one)!, played[lane]!)
    return again
  }
}

function add(sum: Tally, one: Tally): void {
  for (const name of Object.keys(sum) as (keyof Tally)[]) sum[name] += one[name]
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
  for (const tally of tallies.values()) add(sum, tally)
  const each = [...tallies].map(([one, tally]) => [nameOf(one), names.map(name => `${name} ${tally[name]}`).join(', ')])
  return { seed, ...sum, ...Object.fromEntries(each) }
}

function openFiles(): number {
  return process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0
}
