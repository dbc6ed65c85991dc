import type { Fields, Logger } from '@postern/interface'

export type Level = 'debug' | 'info' | 'warn' | 'error' | 'silent'
export const LEVELS: readonly Level[] = ['debug', 'info', 'warn', 'error', 'silent']

export interface LogOptions {
  /** The least that is written. */
  readonly level: Level
  /** One JSON object a line instead of text for people. */
  readonly json: boolean
  readonly write: (line: string) => void
  /** Takes every secret that was read out of what is written. */
  readonly redact: (text: string) => string
  readonly now?: () => Date
}

/**
 * A log of lines. Control characters of values are escaped, so that nobody's hostname writes to the terminal.
 *
 * Text: `12:34:56 warn  no connection to the edge cause="nothing listens there" retryInMs=812`
 */
export function createLog(options: LogOptions): Logger {
  const least = LEVELS.indexOf(options.level)
  const { now = () => new Date() } = options
  const at =
    (level: Level) =>
    (message: string, fields: Fields = {}) => {
      if (LEVELS.indexOf(level) < least) return
      options.write(
        options.redact(
          options.json ? jsonLine(now(), level, message, fields) : textLine(now(), level, message, fields),
        ),
      )
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function jsonLine(time: Date, level: Level, message: string, fields: Fields): string {
  const own = { time: time.toISOString(), level, message }
  return jsonLineOf({ ...own, ...fields, ...own }) // no field passes for one of these
}

/** One line of JSON, and nothing in it that a terminal obeys: JSON itself leaves DEL and C1 as they are. */
export function jsonLineOf(value: object): string {
  return `${JSON.stringify(value).replace(/[\u007f-\u009f]/g, character => `\\u00${hex(character)}`)}\n`
}

function textLine(time: Date, level: Level, message: string, fields: Fields): string {
  const pairs = Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${show(value)}`],
  )
  return `${time.toTimeString().slice(0, 8)} ${level.padEnd(5)} ${[printable(message), ...pairs].join(' ')}\n`
}

function show(value: string | number | boolean): string {
  return typeof value === 'string' && !/^[\w.:/@+-]+$/.test(value) ? printable(JSON.stringify(value)) : String(value)
}

/** Controls, line ends, and the marks that turn the direction of text or take no room: terminals obey them. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

/** A line as it may go to a terminal: what is read is what was said. */
export function printable(text: string): string {
  return text.replace(UNSEEN, character => {
    const code = character.charCodeAt(0)
    return code > 0xff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\x${hex(character)}`
  })
}

function hex(character: string): string {
  return character.charCodeAt(0).toString(16).padStart(2, '0')
}
