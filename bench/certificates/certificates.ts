import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuthority, issueCertificate, makeKey, publicKeyOf } from '@postern/pki'
import { benchCommand } from '../command.ts'
import { requireNginx } from '../http/nginx.ts'
import { cpuSeconds } from '../processes.ts'
import { compare, type Figures, type MetricFacts, median, type Round, render, type Table } from '../report.ts'
import { Load } from './load.ts'
import { startServers } from './nginx.ts'
import type { Kind, TlsPeer, Visitors } from './peer.ts'
import { startEdge } from './postern.ts'

const KINDS = ['tls', 'mtls'] as const satisfies readonly Kind[]
const AT_ONCE = 8

export const FIGURES = {
  time: { title: 'connect → first byte, one at a time', unit: 'ms', better: 'less' },
  rate: { title: `new connections, ${AT_ONCE} at once`, unit: '/s', better: 'more' },
  cpu: { title: 'processor time', unit: 'ms/connection', better: 'less' },
} as const satisfies Readonly<Record<string, MetricFacts>>
type Figure = keyof typeof FIGURES
type Metric = `${Kind}-${Figure}`

const TITLES = { tls: 'TLS', mtls: 'with a client certificate' } as const
export const CERTIFICATE_METRICS = Object.fromEntries(
  KINDS.flatMap(kind =>
    (Object.keys(FIGURES) as Figure[]).map(figure => [
      `${kind}-${figure}`,
      { ...FIGURES[figure], title: `${TITLES[kind]}: ${FIGURES[figure].title}` },
    ]),
  ),
) as Readonly<Record<Metric, MetricFacts>>

export interface CertificatesOptions {
  /** Both peers once in each. */
  readonly rounds: number
  /** Seconds of each measurement. */
  readonly seconds: number
  readonly say: (line: string) => void
}

export interface CertificatesResult {
  readonly bench: 'certificates'
  readonly date: string
  readonly rounds: number
  readonly seconds: number
  readonly machine: { readonly cores: number; readonly platform: string; readonly node: string }
  readonly peers: Readonly<Record<string, TlsPeer['facts']>>
  /** Postern beside nginx. */
  readonly table: Table<Metric>
  /** Each beside itself: with a client certificate (called postern here), and without (called peer). */
  readonly own: { readonly postern: Table<Figure>; readonly nginx: Table<Figure> }
}

/**
 * Whole handshakes up to the first byte of an answer, with a client certificate and without, at the edge and at nginx. Measured in
 * turn, A B, B A. Everything it starts is gone when it returns or throws.
 *
 * @throws Error without Linux or nginx; when anybody is answered otherwise
 */
export async function runCertificates({ rounds, seconds, say }: CertificatesOptions): Promise<CertificatesResult> {
  if (process.platform !== 'linux') throw new Error('processor time is read from /proc: this needs Linux')
  requireNginx()
  await using owned = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  const visitors = await makeVisitors()
  const nginx = owned.use(await startServers(folder, visitors))
  const postern = owned.use(await startEdge(folder, visitors))
  const load = owned.use(new Load())
  for (const peer of [postern, nginx]) await measure(load, peer, Math.min(1, seconds), KINDS)
  const results: Round<Metric>[] = []
  for (let round = 0; round < rounds; round++) {
    const isOdd = round % 2 === 1
    const kinds = round % 4 < 2 ? KINDS : KINDS.toReversed()
    const figures = new Map<TlsPeer, Figures<Metric>>()
    for (const peer of isOdd ? [nginx, postern] : [postern, nginx])
      figures.set(peer, await measure(load, peer, seconds, kinds))
    results.push({ postern: figures.get(postern) ?? {}, peer: figures.get(nginx) ?? {}, direct: {} })
    say(`round ${round + 1} of ${rounds}`)
  }
  return {
    bench: 'certificates',
    date: new Date().toISOString().slice(0, 10),
    rounds,
    seconds,
    machine: { cores: availableParallelism(), platform: `${process.platform} ${process.arch}`, node: process.version },
    peers: { postern: postern.facts, nginx: nginx.facts },
    table: compare(results, CERTIFICATE_METRICS),
    own: { postern: beside(results.map(one => one.postern)), nginx: beside(results.map(one => one.peer)) },
  }
}

async function makeVisitors(): Promise<Visitors> {
  const authority = await createAuthority({ commonName: 'bench visitors', days: 2 })
  const key = await makeKey()
  const { cert } = await issueCertificate(authority, {
    publicKey: publicKeyOf(key),
    san: [{ type: 'dns', value: 'build.example.com' }],
    seconds: 86_400,
    usage: 'client',
  })
  return { ca: authority.cert, pair: { cert, key } }
}

async function measure(
  load: Load,
  { visits, pid }: TlsPeer,
  seconds: number,
  kinds: readonly Kind[],
): Promise<Figures<Metric>> {
  const figures: Partial<Record<Metric, number>> = {}
  for (const kind of kinds) {
    const visit = visits[kind]
    figures[`${kind}-time`] = median((await load.visit({ visit, seconds, parallel: 1 })).times)
    const before = cpuSeconds([pid])
    const { times, seconds: took } = await load.visit({ visit, seconds, parallel: AT_ONCE })
    figures[`${kind}-cpu`] = ((cpuSeconds([pid]) - before) / times.length) * 1000
    figures[`${kind}-rate`] = times.length / took
  }
  return figures
}

/** A peer beside itself: with a client certificate, and without. */
function beside(rounds: readonly Figures<Metric>[]): Table<Figure> {
  const of = (kind: Kind, one: Figures<Metric>): Figures<Figure> =>
    Object.fromEntries((Object.keys(FIGURES) as Figure[]).map(figure => [figure, one[`${kind}-${figure}`]]))
  return compare(
    rounds.map(one => ({ postern: of('mtls', one), peer: of('tls', one), direct: {} })),
    FIGURES,
  )
}

const USAGE = `npm run bench -- certificates [options]

  --rounds N     rounds, each with both peers (default 6)
  --seconds S    whole seconds of each measurement (default 3)

Prints a table, and writes bench/results/certificates.json unless an option was given.`

/** The command. */
export function certificates(argv: readonly string[]): Promise<void> {
  const command = { name: 'certificates', argv, usage: USAGE, defaults: ['6', '3'] as [string, string] }
  return benchCommand(command, runCertificates, ({ table, own }) => {
    console.log(render(table, CERTIFICATE_METRICS, 'nginx'))
    for (const [name, figures] of Object.entries(own)) {
      const ratios = (Object.keys(FIGURES) as Figure[]).map(
        one => `${FIGURES[one].title} ${figures[one]?.ratio.median}×`,
      )
      console.log(`${name}, with a client certificate beside without: ${ratios.join('; ')}`)
    }
  })
}
