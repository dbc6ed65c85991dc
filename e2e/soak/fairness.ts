import { cpus } from 'node:os'
import { type Mode, type Who, Worker } from '../world/crowd.ts'
import type { Attack, AttackerAsked, AttackerTold } from '../world/crowd-attacker.ts'
import type { SiteAsked } from '../world/crowd-site.ts'
import type { VictimAsked, VictimTold } from '../world/crowd-victim.ts'

/**
 * security.md rows 126 and 134: one visitor does its worst, another wants 64 bytes again and again, half of the times over a stream that
 * stays, half over a new one. In rounds whose order turns, so that what else the machine does falls on all alike:
 *
 * - alone;
 * - beside a process that burns as much CPU as the attacker takes, and touches nothing of Postern;
 * - beside the same attack on another edge and daemon of this machine: what the machine alone makes of it;
 * - under attack: the same edge, daemon, application, and in hop mode the same session between the two.
 *
 * Where cores are few, only the last against the one before says what sharing Postern costs, and that only where the machine has some time
 * left: with none, the programs that carry the attack wait for a processor, and whoever shares them with it. So what was left is measured too.
 */
export const stated = { requests: 10_000, rounds: 5 }

const ATTACKS = ['resets', 'flood', 'stalled', 'bulk', 'sessions'] as const satisfies readonly Attack[]
const MODES = ['hop', 'end-to-end'] as const satisfies readonly Mode[]
/** What `postern-edge` starts itself with. */
const HEAP = ['--max-semi-space-size=2', '--initial-old-space-size=32']
const WAYS = ['alone', 'burning', 'elsewhere', 'attacked'] as const
type Way = (typeof WAYS)[number]
type Times = Record<Way, VictimTold[]>
/** Milliseconds of all processors. */
interface Processors {
  readonly idle: number
  readonly all: number
}
type Left = Record<Way, Processors[]>

export default async function (size: typeof stated): Promise<Record<string, number | string>> {
  const figures: Record<string, number | string> = {}
  // For whoever looks into one of them, such as `POSTERN_FAIRNESS=hop:bulk`.
  const only = process.env.POSTERN_FAIRNESS?.split(',')
  for (const mode of MODES)
    for (const attack of ATTACKS) {
      if (only && !only.includes(`${mode}:${attack}`)) continue
      const measured = await measure(mode, attack, size)
      for (const [name, figure] of Object.entries(measured)) figures[`${mode}, ${attack}: ${name}`] = figure
      process.stderr.write(`${mode}, ${attack}: ${JSON.stringify(measured)}\n`)
    }
  return figures
}

async function measure(
  mode: Mode,
  attack: Exclude<Attack, 'burn'>,
  { requests, rounds }: typeof stated,
): Promise<Record<string, number>> {
  await using here = new Worker<SiteAsked, Who>('crowd-site.ts', HEAP)
  await using elsewhere = new Worker<SiteAsked, Who>('crowd-site.ts', HEAP)
  await using victim = new Worker<VictimAsked, VictimTold>('crowd-victim.ts')
  await using attacker = new Worker<AttackerAsked, AttackerTold>('crowd-attacker.ts')
  const who = await here.ask({ name: 'attacker', mode })
  const other = await elsewhere.ask({ name: 'attacker', mode })
  const asked = { who: await here.ask({ name: 'victim', mode }), requests: Math.ceil(requests / rounds / 2) }
  const times: Times = { alone: [], burning: [], elsewhere: [], attacked: [] }
  const left: Left = { alone: [], burning: [], elsewhere: [], attacked: [] }
  const asks = async (way: Way) => {
    const before = processors()
    times[way].push(await victim.ask(asked))
    const { idle, all } = processors()
    left[way].push({ idle: idle - before.idle, all: all - before.all })
  }
  const beside = async (way: Way, begin: Attack, whom: Who, share = 0) => {
    await attacker.ask({ begin, who: whom, share })
    await asks(way)
    return attacker.ask({ end: true })
  }
  let did: AttackerTold | undefined
  const ways: Record<Way, () => Promise<unknown>> = {
    alone: () => asks('alone'),
    burning: () => beside('burning', 'burn', who, Math.min(1, did?.share ?? 0)),
    elsewhere: () => beside('elsewhere', attack, other),
    attacked: async () => {
      did = await beside('attacked', attack, who)
    },
  }
  await victim.ask({ ...asked, requests: Math.min(asked.requests, 500) }) // warms everything up
  for (let round = 0; round < rounds; round++) {
    // The attack comes before what burns as much; the others turn.
    const order: readonly Way[] =
      round % 2 === 0 ? ['attacked', 'burning', 'elsewhere', 'alone'] : ['alone', 'elsewhere', 'attacked', 'burning']
    for (const way of order) {
      await ways[way]()
      await new Promise(resolve => setTimeout(resolve, 200))
    }
  }
  return figuresOf(times, left, did)
}

function processors(): Processors {
  const times = cpus().map(cpu => cpu.times)
  const idle = times.reduce((sum, one) => sum + one.idle, 0)
  return { idle, all: times.reduce((sum, { user, nice, sys, irq }) => sum + user + nice + sys + irq, idle) }
}

function figuresOf(times: Times, left: Left, did: AttackerTold | undefined): Record<string, number> {
  const figures: Record<string, number> = {}
  for (const way of WAYS) {
    const sum = (of: keyof Processors) => left[way].reduce((total, one) => total + one[of], 0)
    figures[`processor time left ${way}`] = rounded(sum('idle') / sum('all'))
  }
  for (const kind of ['warm', 'opened'] as const) {
    const at = (way: Way, part: number) =>
      percentile(
        times[way].flatMap(told => told[kind]),
        part,
      )
    for (const way of WAYS) {
      figures[`${kind} p50 ms ${way}`] = rounded(at(way, 0.5))
      figures[`${kind} p99 ms ${way}`] = rounded(at(way, 0.99))
    }
    for (const way of ['alone', 'burning', 'elsewhere'] as const)
      figures[`${kind} p99 attacked ÷ ${way}`] = rounded(at('attacked', 0.99) / at(way, 0.99))
  }
  figures['requests of each way'] = times.attacked.flatMap(({ warm, opened }) => [...warm, ...opened]).length
  figures['share of a core that the attacker took'] = rounded(did?.share ?? 0)
  figures['streams that the attacker opened in the last round'] = did?.opened ?? 0
  figures['bytes that it got in the last round'] = did?.bytes ?? 0
  return figures
}

function percentile(times: readonly number[], part: number): number {
  const sorted = times.toSorted((a, b) => a - b)
  return sorted[Math.ceil(part * sorted.length) - 1] ?? Number.NaN
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100
}
