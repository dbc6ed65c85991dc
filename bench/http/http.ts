import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { benchCommand } from '../command.ts'
import { cpuSeconds } from '../processes.ts'
import { compare, type Figures, type MetricFacts, type Round, render, type Table } from '../report.ts'
import { makeCertificate } from './certificate.ts'
import { PAGES, requireNginx, startGates, startPages } from './nginx.ts'
import type { HttpPeer } from './peer.ts'
import { startEdge } from './postern.ts'
import { load, requireWrk } from './wrk.ts'

const CONNECTIONS = [16, 128] as const
type Size = keyof typeof PAGES
const SIZES = Object.keys(PAGES) as Size[]

const FIGURES = {
  rate: { title: 'requests', unit: '/s', better: 'more' },
  p99: { title: 'the slowest of a hundred', unit: 'ms', better: 'less' },
  cpu: { title: 'processor time', unit: 'µs/request', better: 'less' },
} as const satisfies Readonly<Record<string, MetricFacts>>
type Figure = keyof typeof FIGURES
export type HttpMetric = `${Figure}-${(typeof CONNECTIONS)[number]}-${Size}`

const CASES = SIZES.flatMap(size => CONNECTIONS.map(connections => ({ size, connections })))

export const HTTP_METRICS = Object.fromEntries(
  (Object.keys(FIGURES) as Figure[]).flatMap(figure =>
    CASES.map(({ size, connections }) => [
      `${figure}-${connections}-${size}`,
      { ...FIGURES[figure], title: `${FIGURES[figure].title}, ${connections} connections, ${size}` },
    ]),
  ),
) as Readonly<Record<HttpMetric, MetricFacts>>

export interface HttpOptions {
  /** Both peers once in each. */
  readonly rounds: number
  /** Whole seconds of each measurement. */
  readonly seconds: number
  readonly say: (line: string) => void
}

export interface HttpResult {
  readonly bench: 'http'
  readonly date: string
  readonly rounds: number
  readonly seconds: number
  readonly machine: { readonly cores: number; readonly platform: string; readonly node: string }
  readonly peers: Readonly<Record<string, HttpPeer['facts']>>
  readonly table: Table<HttpMetric>
}

/**
 * HTTP through Postern beside nginx with `auth_request` and a second nginx behind it: the same pages, the same number of hops,
 * TLS on both. Measured in turn, A B, B A. Everything it starts is gone when it returns or throws.
 *
 * @throws Error without Linux, nginx or wrk; when anything answers other than with the page
 */
export async function runHttp({ rounds, seconds, say }: HttpOptions): Promise<HttpResult> {
  if (process.platform !== 'linux') throw new Error('processor time is read from /proc: this needs Linux')
  requireNginx()
  requireWrk()
  await using owned = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  const pages = owned.use(await startPages(folder))
  const nginx = owned.use(await startGates(folder, pages.port, makeCertificate(folder)))
  const postern = owned.use(await startEdge(folder, pages.port))
  const direct = { url: `http://127.0.0.1:${pages.port}`, headers: {}, pids: [] }
  for (const peer of [postern, nginx]) await measure(peer, 1)
  const results: Round<HttpMetric>[] = []
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 1 ? [nginx, postern] : [postern, nginx]
    const figures = new Map<HttpPeer, Figures<HttpMetric>>()
    for (const peer of order) figures.set(peer, await measure(peer, seconds))
    results.push({
      postern: figures.get(postern) ?? {},
      peer: figures.get(nginx) ?? {},
      direct: await measure(direct, seconds),
    })
    say(`round ${round + 1} of ${rounds}`)
  }
  return {
    bench: 'http',
    date: new Date().toISOString().slice(0, 10),
    rounds,
    seconds,
    machine: { cores: availableParallelism(), platform: `${process.platform} ${process.arch}`, node: process.version },
    peers: { postern: postern.facts, nginx: nginx.facts },
    table: compare(results, HTTP_METRICS),
  }
}

type Target = Pick<HttpPeer, 'url' | 'headers' | 'pids'>

async function measure(peer: Target, seconds: number): Promise<Figures<HttpMetric>> {
  const figures: Partial<Record<HttpMetric, number>> = {}
  for (const { size, connections } of CASES) {
    const before = cpuSeconds(peer.pids)
    const { rate, p99, requests } = await load({ ...peer, url: `${peer.url}/${size}`, connections, seconds })
    const used = cpuSeconds(peer.pids) - before
    figures[`rate-${connections}-${size}`] = rate
    figures[`p99-${connections}-${size}`] = p99
    if (peer.pids.length > 0) figures[`cpu-${connections}-${size}`] = (used / requests) * 1e6
  }
  return figures
}

const USAGE = `npm run bench -- http [options]

  --rounds N     rounds, each with both peers (default 5)
  --seconds S    whole seconds of each measurement (default 3)

Prints a table, and writes bench/results/http.json unless an option was given.`

/** The command. */
export function http(argv: readonly string[]): Promise<void> {
  const command = { name: 'http', argv, usage: USAGE, defaults: ['5', '3'] as [string, string] }
  return benchCommand(command, runHttp, ({ table }) => console.log(render(table, HTTP_METRICS, 'nginx')))
}
