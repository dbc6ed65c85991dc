import { isPostern, NOTHING } from '../peers/all.ts'
import { METRICS, type Metric } from './metrics.ts'
import type { Medians } from './table.ts'

/** What is drawn, in this order. */
const DRAWN: readonly Metric[] = ['down', 'up', 'streams', 'connections', 'requests', 'first-byte', 'ping', 'cpu']

const [WIDTH, LEFT, RIGHT, BAR, GROUP, TOP] = [760, 170, 110, 15, 46, 44]
/** Each is read on white and on black: text 4.5:1 on both is not to be had, so a middle grey that is 4:1 on each. */
const INK = { text: '#7b838c', postern: '#2f81f7', other: '#9aa1a9', line: '#7b838c' }

/**
 * Bars of every peer's median, with a line from the least to the most, for the README. Postern's are blue; how it stands beside the best of
 * the others is said at each, also where it loses.
 *
 * @param fast the way of Postern that is drawn
 * @returns SVG, without a background of its own
 */
export function drawPicture({ medians, fast, date }: { medians: Medians; fast: string; date: string }): string {
  const others = Object.keys(medians).filter(name => !isPostern(name) && name !== NOTHING)
  const parts: string[] = []
  let y = TOP
  for (const metric of DRAWN) {
    const names = [fast, ...others].filter(name => medians[name]?.[metric])
    if (!medians[fast]?.[metric] || names.length < 2) continue
    parts.push(...drawGroup(metric, names, medians, fast, y))
    y += GROUP + names.length * BAR
  }
  const title = `Postern (${fast}) beside what this machine has, ${date}: medians, and from the least to the most`
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}" role="img" aria-label="${quoted(title)}"
  font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="12" fill="${INK.text}">
<text x="0" y="18" font-size="13">${quoted(title)}</text>
${parts.join('\n')}
</svg>
`
}

function drawGroup(metric: Metric, names: readonly string[], medians: Medians, fast: string, top: number): string[] {
  const { title, unit, better } = METRICS[metric]
  const of = (name: string) => medians[name]?.[metric]
  const most = Math.max(...names.map(name => of(name)?.max ?? 0))
  const scale = (value: number) => Number(((value / most) * (WIDTH - LEFT - RIGHT)).toFixed(1))
  const sorted = [...names].sort((a, b) => {
    const way = better === 'more' ? -1 : 1
    return way * ((of(a)?.median ?? 0) - (of(b)?.median ?? 0))
  })
  const place = sorted.indexOf(fast) + 1
  const head = `${title}, ${unit} (${better} is better): Postern is ${place === 1 ? 'first' : `number ${place}`} of ${names.length}`
  const lines = [`<text x="0" y="${top + 12}" font-size="13" font-weight="600">${quoted(head)}</text>`]
  for (const [index, name] of sorted.entries()) {
    const one = of(name)
    if (!one) continue
    const y = top + 20 + index * BAR
    const middle = y + BAR / 2 - 1
    const [from, to] = [LEFT + scale(one.min), LEFT + scale(one.max)]
    const own = name === fast
    lines.push(
      `<text x="${LEFT - 8}" y="${y + 10}" text-anchor="end"${own ? ` fill="${INK.postern}" font-weight="600"` : ''}>${quoted(own ? 'Postern' : name)}</text>`,
      `<rect x="${LEFT}" y="${y}" width="${Math.max(1, scale(one.median))}" height="${BAR - 3}" fill="${own ? INK.postern : INK.other}" fill-opacity="${own ? 1 : 0.6}"/>`,
      `<path d="M${from} ${middle}H${to}M${from} ${middle - 3}v6M${to} ${middle - 3}v6" stroke="${INK.line}" fill="none"/>`,
      `<text x="${to + 6}" y="${y + 10}"${own ? ` fill="${INK.postern}" font-weight="600"` : ''}>${one.median}</text>`,
    )
  }
  return lines
}

function quoted(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
