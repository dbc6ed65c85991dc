import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { isPostern } from '../peers/all.ts'
import type { Sizes } from './measure.ts'
import { type Metric, NAMES } from './metrics.ts'
import { drawPicture } from './picture.ts'
import { renderMedians, renderRatios, renderTargets, renderTransports } from './table.ts'
import { type Options, type Result, runWhole } from './whole.ts'

const SIZES = { held: 1000, streams: 100, starts: 5 }
const NO_NETWORK = { rounds: 0, seconds: 0 }
/** Peers of the quick form. */
const QUICK = ['end-to-end/tls', 'end-to-end/websocket', 'ssh']

/** What the forms are without options. */
const FORMS: Readonly<Record<Options['bench'], Form>> = {
  bench: {
    ...{ ...SIZES, rounds: 5, seconds: 1.5, patience: 0.25, network: { rounds: 3, seconds: 4 } },
    ...{ wants: () => true, metrics: NAMES },
  },
  quick: {
    ...{ held: 300, streams: 100, rounds: 3, seconds: 0.8, starts: 3, patience: 0, network: NO_NETWORK },
    ...{ wants: peer => QUICK.includes(peer), metrics: NAMES },
  },
  transports: {
    ...{ ...SIZES, rounds: 5, seconds: 1.5, patience: 0.25, network: NO_NETWORK },
    ...{ wants: isPostern, metrics: ['down', 'up', 'cpu', 'connections', 'ping', 'ping99'] },
  },
}

interface Form extends Sizes, Pick<Options, 'patience' | 'wants'> {
  readonly rounds: number
  readonly metrics: readonly Metric[]
  readonly network: { readonly rounds: number; readonly seconds: number }
}

/** Who is looked at over a network. */
const FAR = ['end-to-end/tls', 'end-to-end/websocket', 'ssh']

const USAGE = `npm run bench [-- quick | transports] [options]

  --rounds N     rounds, each with every peer (default ${FORMS.bench.rounds}; quick ${FORMS.quick.rounds})
  --seconds S    seconds of each measurement (default ${FORMS.bench.seconds}; quick ${FORMS.quick.seconds})
  --only A,B     some figures only: ${NAMES.join(', ')}
  --peers A,B    some peers only, by the names that it says at its start
  --no-network   not over a slow network that loses packets
  --out FILE     where the JSON goes (default bench/results/bench.json, quick.json or transports.json; with other options nowhere)

Prints tables. The whole form without options also draws bench/results/bench.svg.
Others: npm run bench -- http, npm run bench -- certificates.`

/** The command, in one of its forms. */
export async function compare(bench: Options['bench'], argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      peers: { type: 'string' },
      'no-network': { type: 'boolean' },
      out: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help) return console.log(USAGE)
  const form = FORMS[bench]
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => stop.abort(new Error(`stopped by ${name}`)))
  const peers = values.peers?.split(',')
  const result = await runWhole({
    bench,
    rounds: numberOf('--rounds', values.rounds, form.rounds, 1),
    sizes: { ...form, seconds: numberOf('--seconds', values.seconds, form.seconds, 0.1) },
    patience: form.patience,
    metrics: new Set(values.only?.split(',').map(metricOf) ?? form.metrics),
    wants: peer => (peers ? peers.includes(peer) : form.wants(peer)),
    network: {
      ...form.network,
      ...(values['no-network'] && { rounds: 0 }),
      wants: peer => FAR.includes(peer) && (!peers || peers.includes(peer)),
    },
    say: line => console.error(`bench: ${line}`),
    signal: stop.signal,
  })
  show(result)
  keep(result, argv.length === 0, values.out)
}

function show(result: Result): void {
  const isTransports = result.bench === 'transports'
  const ratios = isTransports ? renderTransports(result.ratios, 'websocket') : renderRatios(result.ratios, result.fast)
  console.log(`${renderMedians(result.medians)}\n\n${ratios}\n`)
  if ('medians' in result.network) {
    const { roundTripMs, lossPercent, medians } = result.network
    console.log(`over ${roundTripMs} ms and ${lossPercent} % loss:\n\n${renderMedians(medians)}\n`)
  }
  const others = (verdict: string) => isTransports && verdict === 'not measured' // of other peers
  console.log(renderTargets(result.targets.filter(({ verdict }) => !others(verdict))))
}

function keep(result: Result, isWhole: boolean, out: string | undefined): void {
  const results = join(import.meta.dirname, '../results')
  const file = out ?? (isWhole ? join(results, `${result.bench}.json`) : undefined)
  if (file === undefined) return
  mkdirSync(results, { recursive: true })
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
  if (isWhole && result.bench === 'bench') writeFileSync(join(results, 'bench.svg'), drawPicture(result))
}

function numberOf(flag: string, text: string | undefined, otherwise: number, least: number): number {
  const value = Number(text ?? otherwise)
  if (!Number.isFinite(value) || value < least)
    throw new Error(`${flag} is a number from ${least} on, not ${JSON.stringify(text)}`)
  return value
}

function metricOf(name: string): Metric {
  const metric = NAMES.find(one => one === name)
  if (!metric) throw new Error(`--only is some of ${NAMES.join(', ')}, not ${JSON.stringify(name)}`)
  return metric
}
