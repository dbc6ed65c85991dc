import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Load, loadProgram } from '../load/load.ts'
import { LINK, makeNetwork, type Network, networkMissing } from '../network/namespaces.ts'
import { fastestOf, findAll } from '../peers/all.ts'
import { findOpenSsh } from '../peers/openssh.ts'
import { HERE, type Missing } from '../peers/peer.ts'
import { findPostern } from '../peers/postern.ts'
import type { Sizes } from './measure.ts'
import { type Metric, NETWORK_NAMES } from './metrics.ts'
import { type Plan, playRounds, type Visit } from './rounds.ts'
import { type Medians, mediansOf, type Ratios, ratiosOf } from './table.ts'
import { type Judged, judgeTargets } from './targets.ts'

export interface Options {
  readonly bench: 'bench' | 'quick' | 'transports'
  readonly rounds: number
  readonly sizes: Sizes
  readonly metrics: ReadonlySet<Metric>
  /** The part of all visits that may be done again where others took too much of the machine, 0 to 1. */
  readonly patience: number
  /** Which contenders. */
  readonly wants: (peer: string) => boolean
  /** Rounds over a slow network that loses packets; 0 for none. */
  readonly network: { readonly rounds: number; readonly seconds: number; readonly wants: (peer: string) => boolean }
  readonly say: (line: string) => void
  /** Told of every process that belongs to a contender. */
  readonly seen?: (pids: readonly number[]) => void
  /** C or, where it is asked for or nothing compiles C, Node. */
  readonly language?: { readonly c: boolean }
  /** Ends it early. */
  readonly signal: AbortSignal
}

interface Part {
  readonly rounds: number
  readonly seconds: number
  readonly medians: Medians
  readonly ratios: Ratios
  readonly visits: readonly Visit[]
  /** Who was left out, and why. */
  readonly failed: Readonly<Record<string, string>>
}

export interface Result extends Part {
  readonly bench: Options['bench']
  readonly date: string
  readonly minutes: number
  readonly machine: { readonly cores: number; readonly platform: string; readonly node: string }
  readonly load: 'C' | 'Node'
  readonly peers: Readonly<Record<string, Readonly<Record<string, string>>>>
  readonly missing: readonly Missing[]
  /** The way of Postern that the targets are about. */
  readonly fast: string
  readonly targets: readonly Judged[]
  readonly network: (Part & typeof LINK & { readonly by: Network['by'] }) | { readonly notRun: string }
}

/**
 * Postern beside every peer that this machine has. Everything it starts is gone when it returns or throws.
 *
 * @throws Error for a system without /proc; when the load cannot be built; when it is stopped
 */
export async function runWhole(options: Options): Promise<Result> {
  if (process.platform !== 'linux') throw new Error('processor time and memory are read from /proc: this needs Linux')
  const began = Date.now()
  await using owned = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  const program = loadProgram(folder, options.language)
  const here = await playHere(options, folder, program.words)
  const far = await playFar(options, folder, program.words)
  const fast = fastestOf(Object.keys(here.part.medians)) ?? 'none'
  const { medians, ratios } = here.part
  return {
    bench: options.bench,
    date: new Date().toISOString().slice(0, 10),
    minutes: Number(((Date.now() - began) / 60_000).toFixed(1)),
    machine: { cores: availableParallelism(), platform: `${process.platform} ${process.arch}`, node: process.version },
    load: program.language,
    peers: here.peers,
    missing: here.missing,
    fast,
    targets: judgeTargets(fast, (peer, metric) => medians[peer]?.[metric]?.median, ratios),
    ...here.part,
    network: far,
  }
}

async function playHere(
  options: Options,
  folder: string,
  program: readonly string[],
): Promise<{ part: Part; peers: Result['peers']; missing: readonly Missing[] }> {
  const { rounds, metrics, sizes, wants, say } = options
  await using load = await Load.start(program)
  using _stopped = endsWith(options.signal, load)
  const { there, missing } = await findAll({ folder, place: HERE, load })
  for (const { name, needs } of missing) if (wants(name)) say(`${name} is not there: ${needs}`)
  const contenders = there.filter(({ name }) => wants(name))
  say(contenders.map(one => one.name).join(', '))
  const part = await playPart({ ...options, contenders, rounds, metrics, sizes, load })
  const peers = Object.fromEntries(contenders.map(({ name, facts }) => [name, facts]))
  return { part, peers, missing }
}

/** Postern and OpenSSH, whose user is far away. */
async function playFar(options: Options, folder: string, program: readonly string[]): Promise<Result['network']> {
  const { rounds, seconds, wants } = options.network
  if (rounds === 0) return { notRun: 'not wanted' }
  const missing = networkMissing()
  if (missing !== undefined) {
    options.say(`over a network: ${missing}`)
    return { notRun: missing }
  }
  const place = join(folder, 'far')
  mkdirSync(place)
  await using network = await makeNetwork(place)
  await using load = await Load.start(program, network.load)
  using _stopped = endsWith(options.signal, load)
  const setting = { folder: place, place: network.place, load }
  const found = [...(await findPostern(setting)).there, ...findOpenSsh(setting).there]
  const contenders = found.filter(({ name }) => wants(name))
  options.say(
    `over ${LINK.roundTripMs} ms and ${LINK.lossPercent} % loss: ${contenders.map(one => one.name).join(', ')}`,
  )
  const metrics = new Set(NETWORK_NAMES.filter(name => options.metrics.has(name)))
  const sizes = { ...options.sizes, seconds }
  return { ...LINK, by: network.by, ...(await playPart({ ...options, contenders, rounds, metrics, sizes, load })) }
}

async function playPart(plan: Plan): Promise<Part> {
  const { visits, failed } = await playRounds(plan)
  const { rounds, sizes } = plan
  return { rounds, seconds: sizes.seconds, medians: mediansOf(visits), ratios: ratiosOf(visits), visits, failed }
}

/** A run that is stopped ends because its load does. */
function endsWith(signal: AbortSignal, load: Load): Disposable {
  const stop = () => void load[Symbol.asyncDispose]()
  signal.throwIfAborted()
  signal.addEventListener('abort', stop)
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', stop) }
}
