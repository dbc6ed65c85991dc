import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { type OptionSpec, PosternError } from '@postern/interface'
import { parseDuration } from './duration.ts'

/** A value of an option, as a plugin's `create` gets it. */
export type OptionValue = string | number | boolean | URL

/** Where a value stood, for messages and for relative paths. */
export interface Origin {
  /** `--ca`, `POSTERN_CA`, `postern.json: ca` */
  readonly label: string
  /** The folder that a relative path is relative to. */
  readonly folder: string
  /** Command lines and the environment say everything in text; a config file has numbers and booleans of its own. */
  readonly typed: boolean
}

/**
 * One value as its spec wants it. Secrets pass through {@link readOptions} first, which takes them out of their files.
 *
 * @throws PosternError OPTION_INVALID with where, what was found and what is wanted; the value of a secret is not repeated
 */
export function convert(spec: OptionSpec, raw: unknown, origin: Origin): OptionValue {
  const wanted = WANTED[spec.type]
  const value = CONVERT[spec.type](raw, origin)
  if (value !== undefined) return value
  const found = spec.type === 'secret' ? '' : `${shown(raw)}, not `
  throw new PosternError(
    'OPTION_INVALID',
    `${origin.label} is ${found}${spec.type === 'secret' ? `not ${wanted}` : wanted}`,
    {
      ...(spec.type === 'url' && isHostAndPort(raw) && { next: `Write the scheme too, for example https://${raw}.` }),
    },
  )
}

const WANTED: Record<OptionSpec['type'], string> = {
  string: 'a text without control characters',
  secret: 'a text of 1 to 65,536 characters',
  path: 'a path',
  url: 'a URL with its scheme',
  number: 'a number',
  boolean: 'true or false',
  duration: 'a duration such as 500ms, 30s, 5m, 2h or 7d',
}

type Converter = (raw: unknown, origin: Origin) => OptionValue | undefined

const CONVERT: Record<OptionSpec['type'], Converter> = {
  string: raw => (isText(raw) && !/[\u0000-\u001f\u007f]/.test(raw) ? raw : undefined),
  secret: raw => (isText(raw) && raw.length <= 65_536 && !raw.includes('\0') ? raw : undefined),
  path: (raw, origin) => (isText(raw) && !raw.includes('\0') ? pathOf(raw, origin) : undefined),
  url: raw => (isText(raw) && !isHostAndPort(raw) ? (URL.parse(raw) ?? undefined) : undefined),
  number: (raw, { typed }) => finite(typed ? raw : isNumber(raw) ? Number(raw) : undefined),
  boolean: (raw, { typed }) => (typed ? booleanOf(raw) : TRUTH.get(raw)),
  duration: raw => (isText(raw) ? parseDuration(raw) : undefined),
}

/** `~/` is the shell's to read on a command line. In a config file nobody else would. */
function pathOf(raw: string, { folder, typed }: Origin): string {
  return typed && raw.startsWith('~/') ? join(homedir(), raw.slice(2)) : resolve(folder, raw)
}

const TRUTH: ReadonlyMap<unknown, boolean> = new Map([
  ['true', true],
  ['1', true],
  ['false', false],
  ['0', false],
])

function isText(raw: unknown): raw is string {
  return typeof raw === 'string' && raw !== ''
}

function isNumber(raw: unknown): boolean {
  return typeof raw === 'string' && /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(raw)
}

function finite(raw: unknown): number | undefined {
  return typeof raw === 'number' && Number.isFinite(raw) ? raw : undefined
}

function booleanOf(raw: unknown): boolean | undefined {
  return typeof raw === 'boolean' ? raw : undefined
}

/** `localhost:8443` parses as a URL whose scheme is `localhost:`, which is never what was meant. */
function isHostAndPort(raw: unknown): raw is string {
  return typeof raw === 'string' && /^[^/:]+:\d+(?:\/|$)/.test(raw)
}

function shown(raw: unknown): string {
  if (raw === '') return 'empty'
  if (typeof raw === 'string') return JSON.stringify(raw.length > 64 ? `${raw.slice(0, 64)}…` : raw)
  if (typeof raw === 'number' || typeof raw === 'boolean' || raw === null) return String(raw)
  return Array.isArray(raw) ? 'a list' : `of type ${typeof raw}`
}
