import { dirname } from 'node:path'
import { PosternError } from '@postern/interface'
import type { Given } from './command-line.ts'
import { convert, type OptionValue } from './convert.ts'
import { nearest } from './nearest.ts'
import type { Redactor } from './redactor.ts'
import type { SecretReader } from './secrets.ts'
import { dashed, type HostOptionSpec, type HostOptionSpecs, kebab, screaming, type Values } from './spec.ts'

/** A part of a config file, already parsed. */
export interface ConfigSection {
  /** The file's absolute path: relative paths in it are relative to its folder. */
  readonly path: string
  /** Where in the file this section stands, for messages: `auth.service-token`. Empty for the top. */
  readonly at?: string
  readonly values: Readonly<Record<string, unknown>>
  /** Keys of this section that are no options (lists of rules, sections of plugins). Any other unknown key is an error. */
  readonly otherKeys?: readonly string[]
  /** How messages name a key, for example with its line: `/etc/postern.yaml:3:5: edge`. Default: the path, {@link at} and the key. */
  readonly label?: (key: string) => string
}

/** Where options are read from, in falling order of precedence: flags, environment, config file, default. */
export interface Sources {
  readonly given: readonly Given[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** With `POSTERN_SERVICE_TOKEN`, `secret` is also read from `POSTERN_SERVICE_TOKEN_SECRET`. Without it, only names in the spec count. */
  readonly envPrefix?: string
  readonly file?: ConfigSection
  /** Absolute; relative paths of flags and variables are relative to it. */
  readonly cwd: string
  readonly secrets: SecretReader
  /** Told every secret that is read. */
  readonly redactor: Redactor
  /** Whose options these are, for messages: `--auth service-token`. */
  readonly owner?: string
  /** Flags that nobody has claimed yet: where a required option is missing, a misspelt one among them is what is wrong. */
  readonly pending?: readonly { readonly name: string }[]
}

export type Source = 'flag' | 'env' | 'file'

export interface Reading<O extends HostOptionSpecs> {
  readonly values: Values<O>
  /** What the user should know, a sentence each. */
  readonly warnings: readonly string[]
  /** Where the options that were given came from; defaults are not in it. */
  readonly provided: Readonly<Partial<Record<keyof O & string, Source>>>
}

/**
 * The values of a set of options.
 *
 * @throws PosternError OPTION_MISSING (all that are missing, with every way to give them), OPTION_INVALID, OPTION_CONFLICT,
 *   OPTION_UNKNOWN (a key of the config file), FILE_UNSAFE, FILE_UNREADABLE; `signal.reason` on abort
 */
export async function readOptions<const O extends HostOptionSpecs>(
  specs: O,
  sources: Sources,
  signal: AbortSignal,
): Promise<Reading<O>> {
  refuseUnknownKeys(specs, sources.file)
  const values: Record<string, unknown> = {}
  const provided: Record<string, Source> = {}
  const warnings: string[] = []
  const missing: string[] = []
  for (const [name, spec] of Object.entries(specs)) {
    const found = findFlags(name, spec, sources) ?? findVariable(name, spec, sources) ?? findKey(name, spec, sources)
    if (found) {
      provided[name] = found.source
      const read: OptionValue[] = []
      for (const one of found.list) read.push(await readValue(spec, one, sources, signal))
      values[name] = spec.multiple ? read : read[0]
      if (found.source === 'flag' && spec.type === 'secret' && found.list.some(one => !one.isFile))
        warnings.push(visible(name, spec, sources))
    } else if (spec.required) {
      refuseMisspelt(name, sources)
      missing.push(waysToGive(name, spec, sources))
    } else values[name] = defaultOf(name, spec, sources)
  }
  if (missing.length > 0) throw new PosternError('OPTION_MISSING', missing.join('; '))
  return { values: values as Values<O>, warnings, provided: provided as Reading<O>['provided'] }
}

/** One place that said something about an option. */
interface Said {
  readonly raw: unknown
  readonly label: string
  readonly folder: string
  readonly typed: boolean
  /** What is said is the name of a file with the secret. */
  readonly isFile: boolean
}

interface Found {
  readonly source: Source
  readonly list: readonly Said[]
}

function findFlags(name: string, spec: HostOptionSpec, { given, cwd }: Sources): Found | undefined {
  const uses = given.filter(one => one.option === name)
  if (uses.length === 0) return undefined
  if (uses.length > 1 && !spec.multiple) {
    const flags = [...new Set(uses.map(one => one.flag))]
    const message =
      flags.length > 1 ? `${flags.join(' and ')} say the same thing` : `${flags[0]} was given ${uses.length} times`
    throw new PosternError('OPTION_CONFLICT', message, { next: 'Leave one of them out.' })
  }
  const list = uses.map(({ flag, form, value }) => ({
    raw: value ?? (form === 'off' ? 'false' : 'true'),
    label: flag,
    folder: cwd,
    typed: false,
    isFile: form === 'file',
  }))
  return { source: 'flag', list }
}

/** The first that is set, and not to nothing, wins. `FOO_FILE` of a secret counts as `FOO`: it names a file that holds it. */
function findVariable(name: string, spec: HostOptionSpec, sources: Sources): Found | undefined {
  const isSet = (variable: string) => (sources.env[variable] ?? '') !== ''
  for (const variable of variablesOf(name, spec, sources.envPrefix)) {
    const fileVariable = `${variable}_FILE`
    const isFile = spec.type === 'secret' && isSet(fileVariable)
    if (isFile && isSet(variable))
      throw new PosternError('OPTION_CONFLICT', `${variable} and ${fileVariable} say the same thing`, {
        next: 'Unset one of them.',
      })
    if (!isFile && !isSet(variable)) continue
    const label = isFile ? fileVariable : variable
    const said = { label, folder: sources.cwd, typed: false, isFile }
    const raw = sources.env[label]!
    const parts = spec.multiple && !isFile ? raw.split(',').map(part => part.trim()) : [raw]
    return { source: 'env', list: parts.filter(part => part !== '').map(part => ({ ...said, raw: part })) }
  }
  return undefined
}

function findKey(name: string, spec: HostOptionSpec, { file }: Sources): Found | undefined {
  if (!file) return undefined
  const keys = spec.type === 'secret' ? [name, `${name}File`] : [name]
  const present = keys.filter(key => Object.hasOwn(file.values, key))
  if (present.length === 0) return undefined
  if (present.length > 1) {
    throw new PosternError('OPTION_CONFLICT', `${keyLabel(file, present[0]!)} and ${present[1]} say the same thing`)
  }
  const key = present[0]!
  const raw = file.values[key]
  const said = { label: keyLabel(file, key), folder: dirname(file.path), typed: true, isFile: key !== name }
  return {
    source: 'file',
    list: (spec.multiple && Array.isArray(raw) ? raw : [raw]).map(one => ({ ...said, raw: one })),
  }
}

async function readValue(
  spec: HostOptionSpec,
  said: Said,
  sources: Sources,
  signal: AbortSignal,
): Promise<OptionValue> {
  const { secrets, redactor, file } = sources
  if (said.isFile) {
    const isStdin = said.raw === '-' && !said.typed
    const path = isStdin ? '' : String(convert({ ...spec, type: 'path' }, said.raw, said))
    const secret = isStdin ? await secrets.stdin(said.label, signal) : await secrets.file(path, said.label, signal)
    redactor.add(secret)
    return convert(spec, secret, { ...said, typed: false })
  }
  if (spec.type === 'secret') {
    if (typeof said.raw === 'string') redactor.add(said.raw)
    if (said.typed && file) await secrets.checkPrivate(file.path, said.label)
  }
  const value = convert(spec, said.raw, said)
  if (value instanceof URL && value.password !== '') redactor.add(decodeURIComponent(value.password))
  return value
}

function defaultOf(name: string, spec: HostOptionSpec, { cwd }: Sources): OptionValue | readonly [] | undefined {
  if (spec.default === undefined) return spec.multiple ? [] : undefined
  if (spec.type === 'duration' && typeof spec.default === 'number') return spec.default
  return convert(spec, spec.default, { label: `the default of ${name}`, folder: cwd, typed: true })
}

function refuseUnknownKeys(specs: HostOptionSpecs, file: ConfigSection | undefined): void {
  if (!file) return
  const known = Object.entries(specs).flatMap(([name, { type }]) =>
    type === 'secret' ? [name, `${name}File`] : [name],
  )
  const allowed = [...known, ...(file.otherKeys ?? [])]
  const unknown = Object.keys(file.values).find(key => !allowed.includes(key))
  if (unknown === undefined) return
  const meant = nearest(unknown, allowed)
  throw new PosternError('OPTION_UNKNOWN', `${keyLabel(file, unknown.slice(0, 64))} is not an option`, {
    next: meant ? `Did you mean ${meant}?` : `There are: ${allowed.join(', ')}.`,
  })
}

function refuseMisspelt(name: string, { pending = [] }: Sources): void {
  const flag = kebab(name)
  const typed = pending.find(one => nearest(one.name, [flag]) !== undefined)
  if (typed === undefined) return
  throw new PosternError('OPTION_UNKNOWN', `${dashed(typed.name.slice(0, 64))} is not an option of this command`, {
    next: `Did you mean ${dashed(flag)}?`,
  })
}

/** The environment variables that may carry an option, the first that is set wins. */
export function variablesOf(name: string, spec: HostOptionSpec, prefix: string | undefined): readonly string[] {
  const own = prefix === undefined ? [] : [`${prefix}_${screaming(name)}`]
  return [...new Set([...(spec.env ?? []), ...own])]
}

/** As people read them: `TOKEN[_FILE]` of a secret. */
export function shownVariablesOf(name: string, spec: HostOptionSpec, prefix: string | undefined): readonly string[] {
  return variablesOf(name, spec, prefix).map(variable => (spec.type === 'secret' ? `${variable}[_FILE]` : variable))
}

function waysToGive(name: string, spec: HostOptionSpec, { envPrefix, file, owner }: Sources): string {
  const flag = dashed(kebab(name))
  const flags = spec.type === 'secret' ? [`${flag}-file FILE`, `${flag} VALUE`] : [flag]
  const key = file ? [keyLabel(file, name)] : []
  const ways = [...flags, ...shownVariablesOf(name, spec, envPrefix), ...key]
  return `${flag} is missing (${owner ? `${owner}: ` : ''}${spec.summary}); give ${ways.join(', or ')}`
}

function visible(name: string, spec: HostOptionSpec, { envPrefix }: Sources): string {
  const flag = dashed(kebab(name))
  const [variable] = variablesOf(name, spec, envPrefix)
  return `${flag} on the command line can be read by every user of this machine; use ${flag}-file FILE${variable ? ` or ${variable}` : ''}`
}

function keyLabel({ path, at, label }: ConfigSection, key: string): string {
  return label?.(key) ?? `${path}: ${at ? `${at}.${key}` : key}`
}
