import type { OptionSpec, OptionSpecs, Options } from '@postern/interface'

/** A program's own option: what a plugin may declare, and besides it an option that may be given several times. */
export interface HostOptionSpec extends OptionSpec {
  /** `--plugin a --plugin b`; the value is then a list, empty when the option was not given. */
  readonly multiple?: true
}

/** Names in camelCase: `caFile` is the flag `--ca-file`, the key `caFile` and the variable `<PREFIX>_CA_FILE`. */
export type HostOptionSpecs = Readonly<Record<string, HostOptionSpec>>

/** What {@link readOptions} gives for a set of specs. */
export type Values<O extends HostOptionSpecs> = {
  readonly [N in keyof O]: O[N] extends { multiple: true }
    ? readonly NonNullable<Options<Record<'one', Omit<O[N], 'multiple'> & OptionSpec>>['one']>[]
    : Options<O>[N]
}

/** What one spelling of a flag does. */
export interface Flag {
  readonly option: string
  readonly spec: HostOptionSpec
  /** `value`: carries the value; `file`: names a file that holds the secret; `off`: `--no-x` of a boolean. */
  readonly form: 'value' | 'file' | 'off'
}

/** `caFile` → `ca-file`. */
export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
}

/** `ca-file` → `caFile`. */
export function camel(flag: string): string {
  return flag.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** `caFile` → `CA_FILE`. */
export function screaming(name: string): string {
  return kebab(name)
    .replace(/[^a-zA-Z0-9]/g, '_')
    .toUpperCase()
}

/** A flag as a person types it: one letter takes one hyphen. */
export function dashed(flag: string): string {
  return flag.length === 1 ? `-${flag}` : `--${flag}`
}

/** Every spelling that these specs give, without hyphens. Where two specs give the same one, {@link checkSpecs} says so. */
export function flagsOf(specs: HostOptionSpecs): Map<string, Flag> {
  const flags = new Map<string, Flag>()
  for (const { flag, ...rest } of spellings(specs)) if (!flags.has(flag)) flags.set(flag, rest)
  return flags
}

function* spellings(specs: HostOptionSpecs): Generator<Flag & { readonly flag: string }> {
  for (const [option, spec] of Object.entries(specs)) {
    for (const flag of [kebab(option), ...(spec.aliases ?? [])]) {
      yield { flag, option, spec, form: 'value' }
      if (flag.length === 1) continue
      if (spec.type === 'boolean') yield { flag: `no-${flag}`, option, spec, form: 'off' }
      if (spec.type === 'secret') yield { flag: `${flag}-file`, option, spec, form: 'file' }
    }
  }
}

const TYPES: readonly unknown[] = [
  'string',
  'secret',
  'path',
  'url',
  'number',
  'boolean',
  'duration',
] satisfies OptionSpec['type'][]
const KEYS: readonly string[] = [
  'type',
  'summary',
  'required',
  'default',
  'env',
  'aliases',
  'multiple',
] satisfies (keyof HostOptionSpec)[]
const NAME = /^[a-z][a-zA-Z0-9]{0,63}$/
const FLAG = /^(?:[a-zA-Z]|[a-z][a-z0-9-]{1,63})$/
const VARIABLE = /^[A-Z][A-Z0-9_]{0,127}$/

/**
 * Checks specs that come from somebody else's code.
 *
 * @returns what is wrong with them, a sentence each; empty when they can be used
 */
export function checkSpecs(specs: unknown): readonly string[] {
  if (!isRecord(specs)) return [`options is ${describe(specs)}, not an object of option specs`]
  const wrong = Object.entries(specs).flatMap(([name, spec]) => checkSpec(name, spec))
  if (wrong.length > 0) return wrong
  const owners = new Map<string, string>()
  for (const { flag, option } of spellings(specs as OptionSpecs)) {
    const other = owners.get(flag)
    if (other !== undefined && other !== option) wrong.push(`${other} and ${option} both make the flag ${dashed(flag)}`)
    owners.set(flag, option)
  }
  return wrong
}

function checkSpec(name: string, spec: unknown): string[] {
  if (!NAME.test(name))
    return [`the option name ${JSON.stringify(name)} is not camelCase letters and digits (at most 64)`]
  if (!isRecord(spec)) return [`${name} is ${describe(spec)}, not an option spec`]
  const { type, summary, required, default: fallback, env, aliases } = spec
  const wrong: string[] = []
  for (const key of Object.keys(spec))
    if (!KEYS.includes(key)) wrong.push(`${name} has the unknown key ${JSON.stringify(key)}`)
  if (!TYPES.includes(type)) wrong.push(`${name}.type is ${describe(type)}, not one of ${TYPES.join(', ')}`)
  if (typeof summary !== 'string' || summary === '')
    wrong.push(`${name}.summary is ${describe(summary)}, not half a sentence`)
  if (required !== undefined && required !== true)
    wrong.push(`${name}.required is ${describe(required)}, not true or absent`)
  if (fallback !== undefined && !fits(type, fallback))
    wrong.push(`${name}.default is ${describe(fallback)}, which its type cannot be`)
  if (fallback !== undefined && required === true) wrong.push(`${name} is required and has a default`)
  if (env !== undefined && !isListOf(env, VARIABLE)) wrong.push(`${name}.env is not a list of variable names`)
  if (aliases !== undefined && !isListOf(aliases, FLAG))
    wrong.push(`${name}.aliases is not a list of flag names without hyphens in front`)
  return wrong
}

function fits(type: unknown, value: unknown): boolean {
  if (type === 'secret') return false // a secret that everybody has is none
  if (type === 'boolean') return typeof value === 'boolean'
  if (type === 'number') return typeof value === 'number' && Number.isFinite(value)
  if (type === 'duration') return typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value))
  return typeof value === 'string'
}

function isListOf(value: unknown, form: RegExp): boolean {
  return Array.isArray(value) && value.every(one => typeof one === 'string' && form.test(one))
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 64))
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return value === undefined ? 'missing' : `of type ${typeof value}`
}
