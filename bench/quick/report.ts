import { type Figures, METRICS, type Metric, median, NAMES } from './measure.ts'

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
  readonly ssh: Summary
  /** The generator and the service with nothing in between; absent where it would mean nothing. */
  readonly direct?: Summary
  /** Postern divided by OpenSSH, round by round. */
  readonly ratio: Summary
  readonly verdict: 'better' | 'even' | 'worse'
}

export interface Round {
  readonly postern: Figures
  readonly ssh: Figures
  readonly direct: Figures
}

/** Ratios nearer to 1 than this are noise on a small machine. */
const NOISE = 0.1

export function compare(rounds: readonly Round[]): Partial<Record<Metric, Compared>> {
  const table: Partial<Record<Metric, Compared>> = {}
  for (const metric of NAMES) {
    const postern = pick(rounds.map(round => round.postern[metric]))
    const ssh = pick(rounds.map(round => round.ssh[metric]))
    const direct = pick(rounds.map(round => round.direct[metric]))
    if (postern.length === 0) continue
    const ratio = summarise(postern.map((value, at) => value / (ssh[at] ?? Number.NaN)))
    table[metric] = {
      unit: METRICS[metric].unit,
      better: METRICS[metric].better,
      postern: summarise(postern),
      ssh: summarise(ssh),
      ...(direct.length > 0 && { direct: summarise(direct) }),
      ratio,
      verdict: judge(ratio.median, METRICS[metric].better),
    }
  }
  return table
}

function pick(values: readonly (number | undefined)[]): readonly number[] {
  return values.filter(value => value !== undefined)
}

function summarise(values: readonly number[]): Summary {
  return { median: rounded(median(values)), min: rounded(Math.min(...values)), max: rounded(Math.max(...values)) }
}

/** Three digits: more would not come again. */
function rounded(value: number): number {
  return Number(value.toPrecision(3))
}

function judge(ratio: number, better: 'more' | 'less'): Compared['verdict'] {
  const gain = better === 'more' ? ratio : 1 / ratio
  if (gain > 1 - NOISE && gain < 1 + NOISE) return 'even'
  return gain > 1 ? 'better' : 'worse'
}

/** The table as people read it. */
export function render(table: Partial<Record<Metric, Compared>>): string {
  const head = ['', 'unit', 'Postern', 'OpenSSH', 'ratio', 'min..max', 'Postern is', 'with nothing between']
  const rows = NAMES.flatMap(metric => {
    const one = table[metric]
    if (!one) return []
    const { postern, ssh, ratio, direct, unit, verdict, better } = one
    return [
      [
        METRICS[metric].title,
        `${unit}, ${better} is better`,
        String(postern.median),
        String(ssh.median),
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
