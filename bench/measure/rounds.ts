import type { Load } from '../load/load.ts'
import type { Contender } from '../peers/peer.ts'
import { Watch } from '../processes.ts'
import { type Figures, rounded } from '../report.ts'
import { measure, type Sizes } from './measure.ts'
import type { Metric } from './metrics.ts'

/** One contender once, with fresh processes. */
export interface Visit {
  readonly peer: string
  readonly round: number
  readonly figures: Figures<Metric>
  /** The part of all processors' time that others took meanwhile, 0 to 1. */
  readonly foreign: number
  /** Whether that is more than {@link FOREIGN}, at the best of all tries. */
  readonly disturbed: boolean
  /** Tries before this one was taken. */
  readonly repeated: number
}

export interface Plan {
  readonly contenders: readonly Contender[]
  readonly rounds: number
  readonly metrics: ReadonlySet<Metric>
  readonly sizes: Sizes
  /** Of all visits so many may be done again, 0 to 1: a machine that stays busy shall not be waited for. */
  readonly patience: number
  readonly load: Load
  readonly say: (line: string) => void
  /** Told of every process that belongs to a contender. */
  readonly seen?: (pids: readonly number[]) => void
  readonly signal: AbortSignal
}

/** More than this of the machine for others, and a visit is done again. */
export const FOREIGN = 0.1
const TRIES = 3

/**
 * Every contender once in each round, in another order in each. Who does not get up or fails under load is left out from then on, and
 * said.
 *
 * @throws the reason of `signal`
 */
export async function playRounds(plan: Plan): Promise<{ visits: Visit[]; failed: Record<string, string> }> {
  const { rounds, say, signal } = plan
  const visits: Visit[] = []
  const failed: Record<string, string> = {}
  let again = Math.ceil(plan.contenders.length * rounds * plan.patience)
  for (let round = 0; round < rounds; round++) {
    for (const one of orderOf(plan.contenders, round)) {
      if (failed[one.name] !== undefined) continue
      signal.throwIfAborted()
      try {
        const tries: Awaited<ReturnType<typeof visitOne>>[] = []
        for (let at = 0; at < TRIES && (at === 0 || again > 0); at++) {
          if (at > 0) again--
          const visit = await visitOne(plan, one, round)
          tries.push(visit)
          if (visit.foreign <= FOREIGN) break
        }
        const best = tries.reduce((a, b) => (b.foreign < a.foreign ? b : a))
        visits.push({ ...best, disturbed: best.foreign > FOREIGN, repeated: tries.length - 1 })
        if (best.foreign > FOREIGN) say(`${one.name}: others had ${Math.round(best.foreign * 100)} % of the machine`)
      } catch (error) {
        signal.throwIfAborted()
        failed[one.name] = error instanceof Error ? error.message : String(error)
        say(`${one.name} is left out: ${failed[one.name]}`)
      }
    }
    say(`round ${round + 1} of ${rounds}`)
  }
  return { visits, failed }
}

/** Turned on by one each round, and backwards in every second one: nobody always follows the same. */
export function orderOf<T>(all: readonly T[], round: number): readonly T[] {
  const begin = all.length === 0 ? 0 : round % all.length
  const turned = [...all.slice(begin), ...all.slice(0, begin)]
  return round % 2 === 1 ? turned.reverse() : turned
}

async function visitOne(
  { load, metrics, sizes, seen }: Plan,
  one: Contender,
  round: number,
): Promise<Pick<Visit, 'peer' | 'round' | 'figures' | 'foreign'>> {
  const watch = new Watch()
  await using peer = await one.start()
  seen?.(peer.pids)
  const figures = await measure(peer, load, metrics, sizes)
  return { peer: one.name, round, figures, foreign: rounded(watch.foreign()) }
}
