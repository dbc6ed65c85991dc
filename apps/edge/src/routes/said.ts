import { type Json, PosternError } from '@postern/interface'

/** What a daemon says of one of its connections: its own word, shown and never trusted. */
export interface Said {
  /** One per process of a daemon; absent from 0.1.0. */
  readonly connector?: string
  /** Which of the process's connections: 0, 1, … */
  readonly index?: number
  readonly version?: string
  readonly name?: string
  /** It dials for clients, and keeps what grants are signed with. */
  readonly joins?: true
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const VERSION = /^[0-9A-Za-z.+-]{1,64}$/
/** Nothing that a terminal or a browser would act on: no control, format, private or unassigned characters. */
const NAME = /^[^\p{C}\p{Zl}\p{Zp}]{1,64}$/u
const MOST_INDEX = 255

type About = { readonly [key: string]: Json }

/**
 * Reads what a daemon's hello says of it. Members that are not known are of a later version, and skipped.
 *
 * @throws PosternError PROTOCOL_VIOLATION for a member that cannot be: it is not repeated
 */
export function readSaid(about: About = {}): Said {
  const connector = textOf(about, 'connector', UUID)
  const version = textOf(about, 'version', VERSION)
  const name = textOf(about, 'name', NAME)
  const { connection: index } = about
  if (index !== undefined && !isIndex(index)) throw invalid('connection')
  return {
    ...(connector !== undefined && { connector }),
    ...(index !== undefined && { index }),
    ...(version !== undefined && { version }),
    ...(name !== undefined && { name }),
    // Another number is of a later version, which can do it otherwise.
    ...(about.join === 1 && { joins: true as const }),
  }
}

function textOf(about: About, key: string, form: RegExp): string | undefined {
  const value = about[key]
  if (value === undefined || (typeof value === 'string' && form.test(value))) return value
  throw invalid(key)
}

function isIndex(value: Json): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MOST_INDEX
}

function invalid(key: string): PosternError {
  return new PosternError('PROTOCOL_VIOLATION', `the daemon’s ${key} in its hello is not valid`, { speaker: 'edge' })
}
