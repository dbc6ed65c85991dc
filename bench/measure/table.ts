import { isPostern } from '../peers/all.ts'
import { judge, median, type Summary, summarise } from '../report.ts'
import { METRICS, type Metric, NAMES } from './metrics.ts'
import type { Visit } from './rounds.ts'
import type { Judged } from './targets.ts'

/** Median, least and most of all rounds, of every contender. */
export type Medians = Readonly<Record<string, Partial<Record<Metric, Summary>>>>

export interface Ratio extends Summary {
  readonly verdict: 'better' | 'even' | 'worse'
}

/** Of Postern: a way of it divided by a peer, round by round. */
export type Ratios = Readonly<Record<string, Readonly<Record<string, Partial<Record<Metric, Ratio>>>>>>

export function mediansOf(visits: readonly Visit[]): Medians {
  const table: Record<string, Partial<Record<Metric, Summary>>> = {}
  for (const peer of new Set(visits.map(one => one.peer))) {
    const own = visits.filter(one => one.peer === peer)
    const figures: Partial<Record<Metric, Summary>> = {}
    for (const metric of NAMES) {
      const values = own.map(one => one.figures[metric]).filter(value => value !== undefined)
      if (values.length > 0) figures[metric] = summarise(values)
    }
    table[peer] = figures
  }
  return table
}

export function ratiosOf(visits: readonly Visit[]): Ratios {
  const names = [...new Set(visits.map(one => one.peer))]
  const ratios: Record<string, Record<string, Partial<Record<Metric, Ratio>>>> = {}
  for (const way of names.filter(isPostern)) {
    const beside: Record<string, Partial<Record<Metric, Ratio>>> = {}
    for (const peer of names.filter(name => name !== way)) beside[peer] = divide(visits, way, peer)
    ratios[way] = beside
  }
  return ratios
}

function divide(visits: readonly Visit[], way: string, peer: string): Partial<Record<Metric, Ratio>> {
  const at = new Map(visits.map(one => [`${one.peer} ${one.round}`, one.figures]))
  const rounds = new Set(visits.map(one => one.round))
  const table: Partial<Record<Metric, Ratio>> = {}
  for (const metric of NAMES) {
    const values = [...rounds].flatMap(round => {
      const [own, other] = [at.get(`${way} ${round}`)?.[metric], at.get(`${peer} ${round}`)?.[metric]]
      return own !== undefined && other !== undefined && other > 0 ? [own / other] : []
    })
    if (values.length > 0)
      table[metric] = { ...summarise(values), verdict: judge(median(values), METRICS[metric].better) }
  }
  return table
}

/** The contenders' own figures: a column each. */
export function renderMedians(medians: Medians): string {
  const names = Object.keys(medians)
  const rows = NAMES.filter(metric => names.some(name => medians[name]?.[metric])).map(metric => [
    `${METRICS[metric].title}${METRICS[metric].unit && `, ${METRICS[metric].unit}`}`,
    METRICS[metric].better,
    ...names.map(name => String(medians[name]?.[metric]?.median ?? '–')),
  ])
  return table(['', 'better', ...names], rows)
}

/** One way of Postern beside each peer: the middle ratio, the least and the most. */
export function renderRatios(ratios: Ratios, way: string): string {
  const columns = Object.entries(ratios[way] ?? {}).map(([peer, of]) => [`/ ${peer}`, of] as const)
  return renderColumns(way, columns)
}

/** Each way of Postern beside the one that differs by its transport alone, and has this one. */
export function renderTransports(ratios: Ratios, transport: string): string {
  const columns = Object.entries(ratios).flatMap(([way, beside]) => {
    const base = `${way.split('/', 1)[0]}/${transport}`
    return beside[base] ? [[`${way} / ${transport}`, beside[base]] as const] : []
  })
  return renderColumns('', columns)
}

function renderColumns(title: string, columns: readonly (readonly [string, Partial<Record<Metric, Ratio>>])[]): string {
  const rows = NAMES.filter(metric => columns.some(([, of]) => of[metric])).map(metric => [
    METRICS[metric].title,
    METRICS[metric].better,
    ...columns.map(([, { [metric]: one }]) => (one ? `${one.median}× (${one.min}..${one.max}) ${one.verdict}` : '–')),
  ])
  return table([title, 'better', ...columns.map(([name]) => name)], rows)
}

export function renderTargets(targets: readonly Judged[]): string {
  const rows = targets.map(({ metric, against, aim, of, reached, verdict }) => {
    const { better, unit, title } = METRICS[metric]
    const sign = better === 'more' ? '≥' : '≤'
    const wanted = against ? `${sign} ${Number(aim.toPrecision(3))}×` : `${sign} ${aim} ${unit}`
    return [title, of, against ?? '–', wanted, reached === undefined ? '–' : String(reached), verdict]
  })
  return table(['target', 'of', 'against', 'aim', 'reached', ''], rows)
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map(row => row[at]?.length ?? 0)))
  return [head, widths.map(width => '-'.repeat(width)), ...rows]
    .map(row => `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`)
    .join('\n')
}
