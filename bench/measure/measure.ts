import { setTimeout as sleep } from 'node:timers/promises'
import type { Kind, Load, Worked } from '../load/load.ts'
import type { Peer } from '../peers/peer.ts'
import { startToFirstByte } from '../peers/reach.ts'
import { cpuSeconds, memory } from '../processes.ts'
import { type Figures, median } from '../report.ts'
import type { Metric } from './metrics.ts'

export interface Sizes {
  /** Of each measurement. */
  readonly seconds: number
  /** Starts of the command, of which the median counts. */
  readonly starts: number
  /** Idle connections. */
  readonly held: number
  readonly streams: number
}

/** Seconds that a peer is warmed up by each kind of load. */
const WARM = 0.5
/** Memory is looked at so long after connections were made. */
const REST = 500

/** The figures of one peer, whose processes are fresh. */
export async function measure(
  peer: Peer,
  load: Load,
  metrics: ReadonlySet<Metric>,
  sizes: Sizes,
): Promise<Figures<Metric>> {
  const figures: Partial<Record<Metric, number>> = {}
  const wants = (...names: readonly Metric[]) => names.some(name => metrics.has(name))
  const put = (name: Metric, value: number) => {
    if (metrics.has(name)) figures[name] = value
  }
  const run = (kind: Kind, parallel: number, seconds = sizes.seconds, mark?: () => void): Promise<Worked> =>
    load.do({ kind, port: peer.port, seconds, parallel }, mark)
  const warm = Math.min(WARM, sizes.seconds)
  const carries = peer.pids.length > 0

  if (carries && wants('rss', 'pss')) {
    const { rss, pss } = memory(peer.pids)
    put('rss', rss)
    put('pss', pss)
  }
  if (wants('idle', 'connections', 'first-byte')) await run('connect', 16, warm)
  if (carries && wants('idle')) put('idle', await idle(peer, run, sizes.held))
  if (wants('down', 'up', 'cpu')) {
    for (const way of ['down', 'up'] as const) await run(way, 1, warm)
    const total = { bytes: 0, cpu: 0 }
    for (const way of ['down', 'up'] as const) {
      if (!wants(way, 'cpu')) continue
      const marks: number[] = []
      const { bytes, seconds } = await run(way, 1, sizes.seconds, () => marks.push(cpuSeconds(peer.pids)))
      total.bytes += bytes
      total.cpu += (marks[1] ?? 0) - (marks[0] ?? 0)
      put(way, bytes / seconds / 1e6)
    }
    if (carries) put('cpu', total.cpu / (total.bytes / 1e9))
  }
  if (wants('streams', 'fairness')) {
    const { bytes, seconds, least, most } = await run('down', sizes.streams)
    put('streams', bytes / seconds / 1e6)
    put('fairness', most === 0 ? 0 : least / most)
  }
  if (wants('connections')) put('connections', perSecond(await run('connect', 16)))
  if (wants('first-byte')) put('first-byte', (await run('connect', 1)).p50)
  if (wants('requests')) put('requests', perSecond(await run('request', 64)))
  for (const [kind, worst] of [
    ['ping', 'ping99'],
    ['gap', 'gap99'],
  ] as const) {
    if (!wants(kind, worst)) continue
    const { p50, p99 } = await run(kind, 1)
    put(kind, p50)
    put(worst, p99)
  }
  if (peer.command && wants('start')) put('start', await starting(peer.command, sizes.starts))
  return figures
}

function perSecond({ count, seconds }: Worked): number {
  if (count === 0) throw new Error('not one came in the time')
  return count / seconds
}

/** KB (10³ bytes) that a connection costs while it does nothing. */
async function idle(
  peer: Peer,
  run: (kind: Kind, parallel: number, seconds: number, mark: () => Promise<void>) => Promise<Worked>,
  held: number,
): Promise<number> {
  await sleep(REST)
  const before = memory(peer.pids).pss
  const seen: number[] = []
  await run('hold', held, (REST * 2) / 1000, async () => {
    if (seen.length === 0) await sleep(REST)
    seen.push(memory(peer.pids).pss)
  })
  return (((seen[0] ?? Number.NaN) - before) * 1e6) / held / 1e3
}

async function starting(command: NonNullable<Peer['command']>, starts: number): Promise<number> {
  const times: number[] = []
  for (let at = 0; at < starts; at++) {
    const { took, stderr } = await startToFirstByte(command)
    if (took === undefined) throw new Error(`the command did not reach the service: ${stderr.trim()}`)
    times.push(took)
  }
  return median(times)
}
