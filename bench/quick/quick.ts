import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { compare, type Round, render, type Table } from '../report.ts'
import { Load } from './load.ts'
import { METRICS, type Metric, measure, measureDirect, NAMES, type Wanted } from './measure.ts'
import { requireOpenSsh, startOpenSsh } from './openssh.ts'
import type { Peer } from './peer.ts'
import { startPostern } from './postern.ts'

export interface QuickOptions extends Wanted {
  /** Every peer once in each. */
  readonly rounds: number
  readonly say: (line: string) => void
  /** Ends it early, once what it has begun to start is up. */
  readonly signal: AbortSignal
}

export interface QuickResult {
  readonly bench: 'quick'
  readonly date: string
  readonly rounds: number
  readonly seconds: number
  readonly machine: { readonly cores: number; readonly platform: string; readonly node: string }
  readonly peers: Readonly<Record<string, Peer['facts']>>
  readonly table: Table<Metric>
}

/** Warming up takes this part of a measurement's time. */
const WARM = 0.5

/**
 * Postern beside OpenSSH, both at work all the time, measured in turn: A B, B A, A B, … so that a machine that gets slower
 * does not favour one. Everything it starts is gone when it returns or throws.
 *
 * @param seen told of every process that belongs to a peer
 * @throws Error for a system without /proc or OpenSSH; whatever did not start or did not carry
 */
export async function runQuick(
  options: QuickOptions,
  seen: (pids: readonly number[]) => void = () => {},
): Promise<QuickResult> {
  const { rounds, seconds, metrics, starts, say, signal } = options
  if (process.platform !== 'linux') throw new Error('processor time is read from /proc: this needs Linux')
  requireOpenSsh()
  await using owned = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  const load = owned.use(await Load.start())
  const postern = owned.use(await startPostern(folder, load.port))
  const ssh = owned.use(await startOpenSsh(folder, load.port))
  seen([...postern.pids, ...ssh.pids])
  say(`${postern.name} ${postern.facts.version}, ${postern.facts.cipher}; ${ssh.facts.version}, ${ssh.facts.cipher}`)

  const results: Round<Metric>[] = []
  const work = async () => {
    for (const peer of [postern, ssh]) await measure(peer, load, { metrics, seconds: seconds * WARM, starts: 1 })
    for (let round = 0; round < rounds; round++) {
      results.push(await playRound(postern, ssh, load, { metrics, seconds, starts }, round % 2 === 1))
      say(`round ${round + 1} of ${rounds}`)
    }
  }
  await untilAborted(work(), signal)
  return {
    bench: 'quick',
    date: new Date().toISOString().slice(0, 10),
    rounds,
    seconds,
    machine: { cores: availableParallelism(), platform: `${process.platform} ${process.arch}`, node: process.version },
    peers: { postern: postern.facts, ssh: ssh.facts },
    table: compare(results, METRICS),
  }
}

async function untilAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>()
  const stop = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', stop)
  try {
    signal.throwIfAborted()
    await Promise.race([work, aborted.promise])
  } finally {
    work.catch(() => {}) // what is left of it fails when its processes are gone
    signal.removeEventListener('abort', stop)
  }
}

async function playRound(
  postern: Peer,
  ssh: Peer,
  load: Load,
  wanted: Wanted,
  swapped: boolean,
): Promise<Round<Metric>> {
  const first = await measure(swapped ? ssh : postern, load, wanted)
  const second = await measure(swapped ? postern : ssh, load, wanted)
  const direct = await measureDirect(load, wanted)
  return swapped ? { postern: second, peer: first, direct } : { postern: first, peer: second, direct }
}

const USAGE = `npm run bench -- quick [options]

  --rounds N     rounds, each with both peers (default 5)
  --seconds S    seconds of each measurement (default 2)
  --only A,B     some only: ${NAMES.join(', ')}

Prints a table, and writes bench/results/quick.json unless an option was given.`

/** The command. */
export async function quick(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help) return console.log(USAGE)
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => stop.abort(new Error(`stopped by ${name}`)))
  const options: QuickOptions = {
    rounds: numberOf('--rounds', values.rounds ?? '5', 1),
    seconds: numberOf('--seconds', values.seconds ?? '2', 0.1),
    starts: 5,
    metrics: new Set(values.only === undefined ? NAMES : values.only.split(',').map(metricOf)),
    say: line => console.error(`bench: ${line}`),
    signal: stop.signal,
  }
  const result = await runQuick(options)
  console.log(render(result.table, METRICS, 'OpenSSH'))
  if (argv.length > 0) return
  const results = join(import.meta.dirname, '../results')
  mkdirSync(results, { recursive: true })
  writeFileSync(join(results, 'quick.json'), `${JSON.stringify(result, null, 2)}\n`)
}

function numberOf(flag: string, text: string, least: number): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < least)
    throw new Error(`${flag} is a number from ${least} on, not ${JSON.stringify(text)}`)
  return value
}

function metricOf(name: string): Metric {
  const metric = NAMES.find(one => one === name)
  if (!metric) throw new Error(`--only is some of ${NAMES.join(', ')}, not ${JSON.stringify(name)}`)
  return metric
}
