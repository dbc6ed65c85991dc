import { type Html, html } from '../team/html.ts'

const DAY = 86_400

/** How long a new service token lasts, in seconds by the name of the choice. */
export const LIFETIMES: ReadonlyMap<string, { readonly text: string; readonly seconds: number | undefined }> = new Map([
  ['1d', { text: '1 day', seconds: DAY }],
  ['7d', { text: '7 days', seconds: 7 * DAY }],
  ['30d', { text: '30 days', seconds: 30 * DAY }],
  ['90d', { text: '90 days', seconds: 90 * DAY }],
  ['1y', { text: '1 year', seconds: 365 * DAY }],
  ['never', { text: 'Never', seconds: undefined }],
])

/** How long the old secret stays good, in seconds by the name of the choice. */
export const OVERLAPS: ReadonlyMap<string, { readonly text: string; readonly seconds: number }> = new Map([
  ['none', { text: 'Ends at once', seconds: 0 }],
  ['1h', { text: 'Stays good for 1 hour', seconds: 3600 }],
  ['1d', { text: 'Stays good for 1 day', seconds: DAY }],
  ['7d', { text: 'Stays good for 7 days', seconds: 7 * DAY }],
])

/** The choices of a select, one of them chosen. */
export function options(choices: ReadonlyMap<string, { readonly text: string }>, chosen: string): readonly Html[] {
  return [...choices].map(
    ([value, { text }]) => html`<option value="${value}"${value === chosen ? SELECTED : undefined}>${text}</option>`,
  )
}

const SELECTED = html` selected`

const DATE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' })

/** A point in time; nobody’s browser says in which zone its person is. */
export function when(instant: string): Html {
  return html`<time datetime="${instant}">${DATE.format(new Date(instant))} UTC</time>`
}

const AGO = new Intl.RelativeTimeFormat('en', { numeric: 'always' })
const UNITS = [
  ['day', DAY],
  ['hour', 3600],
  ['minute', 60],
] as const

/** How long ago, roughly. */
export function ago(instant: string, now: number = Date.now()): Html {
  const seconds = Math.max(0, (now - Date.parse(instant)) / 1000)
  const [unit, length] = UNITS.find(([, one]) => seconds >= one) ?? ['now', 1]
  const text = unit === 'now' ? 'just now' : AGO.format(-Math.floor(seconds / length), unit)
  return html`<time datetime="${instant}">${text}</time>`
}

/** The first that fits: most browsers also say that they are others. */
const BROWSERS = [
  ['Edg/', 'Edge'],
  ['OPR/', 'Opera'],
  ['Firefox/', 'Firefox'],
  ['HeadlessChrome/', 'Chrome'],
  ['Chrome/', 'Chrome'],
  ['Safari/', 'Safari'],
] as const
const SYSTEMS = [
  ['Android', 'Android'],
  ['iPhone', 'iPhone'],
  ['iPad', 'iPad'],
  ['Windows', 'Windows'],
  ['Mac OS X', 'macOS'],
  ['Linux', 'Linux'],
] as const

/** How people call the browser that calls itself so: a guess, by its own word. */
export function browserName(userAgent: string | undefined): string {
  const find = (names: readonly (readonly [string, string])[]) =>
    names.find(([mark]) => userAgent?.includes(mark) === true)?.[1]
  const [browser, system] = [find(BROWSERS), find(SYSTEMS)]
  return `${browser ?? 'A browser'}${system === undefined ? '' : ` on ${system}`}`
}
