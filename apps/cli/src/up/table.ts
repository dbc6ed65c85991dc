import { stripVTControlCharacters } from 'node:util'
import { printable } from '@postern/program'
import type { Status } from './keeper.ts'

/** One forward, as it is shown. */
export interface Row {
  readonly hostname: string
  readonly address: string
  readonly status: Status
  readonly connections: number
  /** When it came to be so: `12:04` */
  readonly since: string
}

export interface Size {
  readonly columns: number
  readonly rows: number
}

export interface Look extends Size {
  readonly colour: boolean
}

type State = Status['state']

const WORDS: Readonly<Record<State, string>> = {
  connecting: 'connecting',
  up: 'up',
  retrying: 'retrying',
  'sign-in': 'sign in',
  failed: 'failed',
  ending: 'ending',
  ended: 'ended',
}
/** What somebody has to look at first, where there is no room for all. */
const URGENCY: readonly State[] = ['failed', 'sign-in', 'retrying', 'connecting', 'ending', 'up', 'ended']
/** Green, yellow, red and grey: the sixteen colours that follow the user’s own theme. */
const COLOURS: Readonly<Record<State, number>> = {
  connecting: 33,
  up: 32,
  retrying: 33,
  'sign-in': 33,
  failed: 31,
  ending: 33,
  ended: 90,
}
const STATE_WIDTH = 12
/** Columns that what is said of a forward needs to be worth a column of its own. */
const LEAST_FACTS = 24
/** Columns. Text below it is hard to read however it is broken. */
const NARROWEST = 20

/** The lines of a table, each narrower than the window, and together lower. */
export function renderTable(rows: readonly Row[], footer: string, look: Look): readonly string[] {
  const width = Math.max(NARROWEST, look.columns) - 1 // a line that fills the last column wraps on some terminals
  const most = Math.max(1, look.rows - 1)
  const draw = (list: readonly Row[]) => [...body(list, width, look.colour), ...wrap(footer, width)]
  const lines = draw(rows)
  if (lines.length <= most) return lines
  const urgent = [...rows].sort((a, b) => URGENCY.indexOf(a.status.state) - URGENCY.indexOf(b.status.state))
  const cut = draw(urgent).slice(0, most - 1)
  return [...cut, shorten(`… ${lines.length - cut.length} more lines: make the window higher`, width)]
}

function body(rows: readonly Row[], width: number, colour: boolean): string[] {
  const names = Math.max(11, ...rows.map(row => widthOf(row.hostname)))
  const places = Math.max(2, ...rows.map(row => widthOf(row.address)))
  const isWide = STATE_WIDTH + names + places + 4 + LEAST_FACTS <= width
  const columns = (...[state, name, place, facts]: string[]) =>
    `${state}${pad(name, names + 2)}${pad(place, places + 2)}${facts}`.trimEnd()
  const lines = isWide ? [columns(pad('STATE', STATE_WIDTH), 'APPLICATION', 'AT', '')] : []
  for (const row of rows) {
    const { status } = row
    const state = paint(pad(WORDS[status.state], STATE_WIDTH), COLOURS[status.state], colour)
    const facts = factsOf(row)
    if (isWide) {
      const room = width - STATE_WIDTH - names - places - 4
      lines.push(columns(state, row.hostname, row.address, shorten(facts, room)))
    } else {
      lines.push(`${state}${shorten(row.hostname, width - STATE_WIDTH)}`)
      for (const text of [row.address, facts]) if (text) lines.push(`  ${shorten(text, width - 2)}`)
    }
    const indent = ' '.repeat(isWide ? STATE_WIDTH : 2)
    for (const text of reasonsOf(status)) lines.push(...wrap(text, width - indent.length).map(line => indent + line))
  }
  return lines
}

function factsOf({ status, connections, since }: Row): string {
  const facts = status.state === 'up' ? [status.transport, status.mode] : []
  if (connections > 0) facts.push(`${connections} open`)
  return [...facts, `since ${since}`].join(', ')
}

function reasonsOf(status: Status): readonly string[] {
  if (!('error' in status)) return []
  const { code, message, speaker, requestId, next } = status.error
  const said = [code, ...(speaker && speaker !== 'client' ? [`said by the ${speaker}`] : [])].join(', ')
  return [`${message} (${said})`, ...(requestId ? [`request ${requestId}`] : []), `next: ${next}`]
}

function paint(text: string, colour: number, isWanted: boolean): string {
  return isWanted ? `\u001b[${colour}m${text}\u001b[39m` : text
}

function pad(text = '', width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)))
}

function shorten(text: string, width: number): string {
  const told = printable(text)
  if (widthOf(told) <= width) return told
  let kept = ''
  for (const character of told) {
    if (widthOf(kept + character) >= width) break
    kept += character
  }
  return `${kept}…`
}

/** Between words where it can be, else within one. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of printable(text).split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`
    if (widthOf(longer) <= width) {
      line = longer
      continue
    }
    if (line !== '') lines.push(line)
    line = word
    while (widthOf(line) > width) {
      const part = partOf(line, width)
      lines.push(part)
      line = line.slice(part.length)
    }
  }
  return [...lines, line]
}

function partOf(text: string, width: number): string {
  let part = ''
  for (const character of text) {
    if (widthOf(part + character) > width) break
    part += character
  }
  return part
}

/** Columns, at least: what may be wide counts as wide, so that no line is longer than it was taken for. */
export function widthOf(text: string): number {
  let width = 0
  for (const character of stripVTControlCharacters(text)) width += (character.codePointAt(0) ?? 0) < 0x2e80 ? 1 : 2
  return width
}
