/** What is measured: how it is called, in which unit, and which way is better. */
export interface MetricFacts {
  readonly title: string
  readonly unit: string
  readonly better: 'more' | 'less'
}

/** One round's figure for each metric that was wanted. */
export type Figures<M extends string> = { readonly [metric in M]?: number }

/** All rounds of one metric. */
export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
}

export interface Compared {
  readonly unit: string
  readonly better: 'more' | 'less'
  readonly postern: Summary
  readonly peer: Summary
  /** The load and the service with nothing in between; absent where it would mean nothing. */
  readonly direct?: Summary
  /** Postern divided by the peer, round by round. */
  readonly ratio: Summary
  readonly verdict: 'better' | 'even' | 'worse'
}

export interface Round<M extends string> {
  readonly postern: Figures<M>
  readonly peer: Figures<M>
  readonly direct: Figures<M>
}

export type Table<M extends string> = Partial<Record<M, Compared>>
type Metrics<M extends string> = Readonly<Record<M, MetricFacts>>

/** Ratios nearer to 1 than this are noise on a small machine. */
const NOISE = 0.1

export function compare<M extends string>(rounds: readonly Round<M>[], metrics: Metrics<M>): Table<M> {
  const table: Table<M> = {}
  for (const metric of Object.keys(metrics) as M[]) {
    const postern = pick(rounds.map(round => round.postern[metric]))
    const peer = pick(rounds.map(round => round.peer[metric]))
    const direct = pick(rounds.map(round => round.direct[metric]))
    if (postern.length === 0) continue
    const ratio = summarise(postern.map((value, at) => value / (peer[at] ?? Number.NaN)))
    table[metric] = {
      unit: metrics[metric].unit,
      better: metrics[metric].better,
      postern: summarise(postern),
      peer: summarise(peer),
      ...(direct.length > 0 && { direct: summarise(direct) }),
      ratio,
      verdict: judge(ratio.median, metrics[metric].better),
    }
  }
  return table
}

function pick(values: readonly (number | undefined)[]): readonly number[] {
  return values.filter(value => value !== undefined)
}

export function summarise(values: readonly number[]): Summary {
  return { median: rounded(median(values)), min: rounded(Math.min(...values)), max: rounded(Math.max(...values)) }
}

/** Three digits: more would not come again. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3))
}

export function judge(ratio: number, better: 'more' | 'less'): Compared['verdict'] {
  const gain = better === 'more' ? ratio : 1 / ratio
  if (gain > 1 - NOISE && gain < 1 + NOISE) return 'even'
  return gain > 1 ? 'better' : 'worse'
}

/** The table as people read it. */
export function render<M extends string>(table: Table<M>, metrics: Metrics<M>, name: string): string {
  const head = ['', 'unit', 'Postern', name, 'ratio', 'min..max', 'Postern is', 'with nothing between']
  const rows = (Object.keys(metrics) as M[]).flatMap(metric => {
    const one = table[metric]
    if (!one) return []
    const { postern, peer, ratio, direct, unit, verdict, better } = one
    return [
      [
        metrics[metric].title,
        `${unit}, ${better} is better`,
        String(postern.median),
        String(peer.median),
        `${ratio.median}×`,
        `${ratio.min}..${ratio.max}`,
        verdict,
        direct ? String(direct.median) : '–',
      ],
    ]
  })
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map(row => row[at]?.length ?? 0)))
  return [head, widths.map(width => '-'.repeat(width)), ...rows]
    .map(row => `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`)
    .join('\n')
}

/** @throws RangeError for none */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('a median of nothing')
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  const upper = sorted[half] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? Number.NaN) + upper) / 2
}
