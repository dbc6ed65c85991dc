/** What no terminal may be sent from a row that somebody else had a say in: control characters, and marks that turn text around. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g
const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/** One line for people: what is unseen in it is written as `\u001b`. */
export function safe(text: string): string {
  return text.toWellFormed().replace(UNSEEN, escaped)
}

/** One JSON value on one line, which no terminal obeys either. Only texts hold such characters, so it is the same value. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value).replace(UNSEEN, escaped)}\n`
}

/** One word for a shell, as in a command that a person copies. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

type Cell = string | number | boolean | undefined

/** Columns, as wide as they must be. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  if (rows.length === 0) return ''
  const cells = [head, ...rows].map(row => row.map(textOf))
  const widths = head.map((_, column) => Math.max(...cells.map(row => row[column]?.length ?? 0)))
  const lineOf = (row: readonly string[]) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd()
  return cells
    .map(
      row => `${lineOf(row)}
`,
    )
    .join('')
}

/** Names and what they are, those that are something. */
export function facts(rows: readonly (readonly [string, Cell])[]): string {
  const there = rows.filter(([, value]) => value !== undefined)
  const width = Math.max(...there.map(([name]) => name.length))
  return there.map(([name, value]) => `${name.padEnd(width)}  ${textOf(value)}\n`).join('')
}

function textOf(cell: Cell): string {
  if (cell === undefined || cell === '') return '-'
  return typeof cell === 'boolean' ? (cell ? 'yes' : 'no') : safe(String(cell))
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const

/** `3 min ago`, `in 5 d`, `now`. */
export function relative(instant: string | undefined, now: number = Date.now()): string | undefined {
  if (instant === undefined) return undefined
  const seconds = Math.round((Date.parse(instant) - now) / 1000)
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ['s', 1]
  const count = Math.floor(Math.abs(seconds) / size)
  return seconds === 0 ? 'now' : seconds > 0 ? `in ${count} ${unit}` : `${count} ${unit} ago`
}

interface Lives {
  readonly expiresAt?: string | undefined
  readonly revokedAt?: string | undefined
}

/** Whether a token is good, and until when. */
export function validity({ expiresAt, revokedAt }: Lives, now: number = Date.now()): string {
  if (revokedAt !== undefined) return `revoked ${relative(revokedAt, now)}`
  if (expiresAt === undefined) return 'good'
  return `${Date.parse(expiresAt) <= now ? 'expired' : 'good, expires'} ${relative(expiresAt, now)}`
}

/**
 * As a config file has it, to be fed back.
 *
 * @param comment what to say behind a text, for whom it means nothing
 */
export async function yamlOf(value: unknown, comment?: (text: string) => string | undefined): Promise<string> {
  const { Document, visit } = await import('yaml')
  const document = new Document(value, { aliasDuplicateObjects: false })
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value !== 'string') return
      // In double quotes, and only there, an escape means the character.
      if (node.value.search(UNSEEN) >= 0) node.type = 'QUOTE_DOUBLE'
      const said = comment?.(node.value)
      if (said !== undefined) node.comment = ` ${safe(said)}`
    },
  })
  const text = document.toString({ lineWidth: 0, doubleQuotedMinMultiLineLength: Number.MAX_SAFE_INTEGER })
  return text.split('\n').map(safe).join('\n')
}
