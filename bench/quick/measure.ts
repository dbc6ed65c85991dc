import { cpuSeconds } from '../processes.ts'
import { type Figures as FiguresOf, type MetricFacts, median } from '../report.ts'
import type { Load } from './load.ts'
import type { Peer } from './peer.ts'
import { startToFirstByte } from './reach.ts'

/** What can be measured: how it is called, in which unit, and which way is better. */
export const METRICS = {
  down: { title: 'bulk down, one stream', unit: 'MB/s', better: 'more' },
  up: { title: 'bulk up, one stream', unit: 'MB/s', better: 'more' },
  connections: { title: 'new connections, 16 at once', unit: '/s', better: 'more' },
  'first-byte': { title: 'connect → first byte, one at a time', unit: 'µs', better: 'less' },
  cpu: { title: 'processor time of all processes', unit: 's/GB', better: 'less' },
  start: { title: 'start of the command → first byte', unit: 'ms', better: 'less' },
} as const satisfies Readonly<Record<string, MetricFacts>>

export type Metric = keyof typeof METRICS
export const NAMES: readonly Metric[] = Object.keys(METRICS) as Metric[]

export type Figures = FiguresOf<Metric>

const PARALLEL = 16

export interface Wanted {
  readonly metrics: ReadonlySet<Metric>
  /** Seconds of each measurement. */
  readonly seconds: number
  /** Starts of the command, of which the median counts. */
  readonly starts: number
}

/** The figures of one peer in one round. */
export async function measure(peer: Peer, load: Load, wanted: Wanted): Promise<Figures> {
  return {
    ...(await carrying(peer.port, load, wanted, () => cpuSeconds(peer.pids))),
    ...(wanted.metrics.has('start') && { start: await starting(peer, wanted.starts) }),
  }
}

/** The same load with nothing in between: more than this no peer can show here. */
export function measureDirect(load: Load, wanted: Wanted): Promise<Figures> {
  return carrying(
    load.port,
    load,
    { ...wanted, metrics: new Set([...wanted.metrics].filter(one => one !== 'cpu')) },
    () => 0,
  )
}

async function carrying(port: number, load: Load, { metrics, seconds }: Wanted, cpu: () => number): Promise<Figures> {
  const figures: Partial<Record<Metric, number>> = {}
  const total = { bytes: 0, cpu: 0 }
  for (const way of ['down', 'up'] as const) {
    if (!metrics.has(way) && !metrics.has('cpu')) continue
    const marks: number[] = []
    const done = await load.bulk(way, port, seconds, () => marks.push(cpu()))
    total.bytes += done.bytes
    total.cpu += (marks[1] ?? 0) - (marks[0] ?? 0)
    if (metrics.has(way)) figures[way] = done.bytes / done.seconds / 1e6
  }
  if (metrics.has('cpu')) figures.cpu = total.cpu / (total.bytes / 1e9)
  if (metrics.has('connections')) {
    const { times, seconds: took } = await load.connections(port, seconds, PARALLEL)
    figures.connections = times.length / took
  }
  if (metrics.has('first-byte')) figures['first-byte'] = median((await load.connections(port, seconds, 1)).times) * 1000
  return figures
}

async function starting(peer: Peer, starts: number): Promise<number> {
  const times: number[] = []
  for (let at = 0; at < starts; at++) {
    const took = await startToFirstByte(peer.command)
    if (took === undefined) throw new Error(`the command of ${peer.name} did not reach the service`)
    times.push(took)
  }
  return median(times)
}
