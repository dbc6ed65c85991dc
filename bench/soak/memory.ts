import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Load, loadProgram } from '../load/load.ts'
import { fastestOf } from '../peers/all.ts'
import { type Contender, HERE, type Peer } from '../peers/peer.ts'
import { findPostern } from '../peers/postern.ts'
import { memory } from '../processes.ts'

/** `hop`: 0 for the fast way, 1 for the one that the edge reads. */
export const stated = { stalled: 100, idle: 1000, busy: 1000, seconds: 20, hop: 0 }

/** What one stream may hold at each end when its reader stops: the window of packages/tunnel's limits, at most twice. */
const WINDOW = 1
/** What may wait in a pump's direction: packages/pump's highWater. */
const HIGH_WATER = 1
/** Beside its buffers: what V8 has not collected yet, in MiB a process. */
const SLACK = 64
/** A connection that does nothing, in KiB a process: Node's objects for its socket and its stream. */
const IDLE = 32
const MB_PER_MIB = 1.048576
const LOOK_MS = 250

const PROCESSES = ['edge', 'daemon', 'client'] as const
type Bounds = Readonly<Record<(typeof PROCESSES)[number], number>>

/**
 * What `postern-edge`, `posternd` and `postern access tcp` hold while readers stand still, connections do nothing, and streams are busy: more
 * than before, in MB of PSS, at the most, beside what their limits let them.
 *
 * @throws Error for more than that
 */
export default async function run(size: typeof stated): Promise<Record<string, number | string>> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-memory-'))
  try {
    await using load = await Load.start(loadProgram(folder).words)
    const ways = (await findPostern({ folder, place: HERE, load })).there
    const names = ways.map(({ name }) => name).filter(name => size.hop === 0 || name.startsWith('hop/'))
    const way = ways.find(({ name }) => name === fastestOf(names))
    if (!way) throw new Error('Postern has no such way here')
    const figures: Record<string, number | string> = { way: way.name }
    for (const kind of ['stall', 'hold', 'down'] as const) Object.assign(figures, await one(kind, size, way, load))
    return figures
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function one(
  kind: 'stall' | 'hold' | 'down',
  size: typeof stated,
  way: Contender,
  load: Load,
): Promise<Record<string, number>> {
  const parallel = { stall: size.stalled, hold: size.idle, down: size.busy }[kind]
  if (parallel === 0) return {}
  const what = `${parallel} ${{ stall: 'stalled readers', hold: 'idle connections', down: 'busy streams' }[kind]}`
  await using peer = await way.start()
  await load.do({ kind: 'connect', port: peer.port, seconds: Math.min(1, size.seconds), parallel: 16 })
  const before = held(peer)
  const most = [...before]
  let isOver = false
  const looking = (async () => {
    for (; !isOver; await sleep(LOOK_MS))
      held(peer).forEach((value, at) => void (most[at] = Math.max(most[at] ?? 0, value)))
  })()
  try {
    await load.do({ kind, port: peer.port, seconds: size.seconds, parallel })
  } finally {
    isOver = true
    await looking
  }
  const bounds = boundsOf(kind, parallel, way.facts.mode === 'end-to-end')
  const figures: Record<string, number> = {}
  for (const [at, name] of PROCESSES.entries()) {
    const seen = (most[at] ?? 0) - (before[at] ?? 0)
    figures[`${what}: ${name}, MB`] = Number(seen.toFixed(1))
    figures[`${what}: ${name}, at most MB`] = Math.round(bounds[name])
    if (seen > bounds[name])
      throw new Error(`${what}: the ${name} held ${seen.toFixed(1)} MB, more than ${bounds[name]}`)
  }
  return figures
}

/** MB of each of the three. */
function held({ pids }: Peer): number[] {
  return pids.map(pid => memory([pid]).pss)
}

/** MB that each may hold for so many. End to end the edge has one pipe, whatever is in it. */
export function boundsOf(kind: 'stall' | 'hold' | 'down', streams: number, endToEnd: boolean): Bounds {
  const each = kind === 'hold' ? IDLE / 1024 : 2 * WINDOW + HIGH_WATER
  const ends = (SLACK + streams * each) * MB_PER_MIB
  const edge = endToEnd ? (SLACK + 2 * HIGH_WATER) * MB_PER_MIB : ends
  return { edge, daemon: ends, client: ends }
}
