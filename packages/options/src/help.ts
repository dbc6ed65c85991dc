import { formatDuration } from './duration.ts'
import { shownVariablesOf } from './read.ts'
import { dashed, type HostOptionSpec, type HostOptionSpecs, kebab } from './spec.ts'

/** Options that stand together under a title. */
export interface HelpSection {
  /** `Options`, `--auth service-token` */
  readonly title: string
  readonly specs: HostOptionSpecs
  /** As in {@link Sources}: the variables to name. */
  readonly envPrefix?: string
}

export interface HelpPage {
  /** `postern access tcp --hostname HOST [options]` */
  readonly usage: string
  readonly summary: string
  /** Names and summaries of subcommands. */
  readonly commands?: Readonly<Record<string, { readonly summary: string }>>
  readonly sections: readonly HelpSection[]
  /** Whole command lines that work as they stand. */
  readonly examples?: readonly string[]
}

const PLACEHOLDER: Record<HostOptionSpec['type'], string> = {
  string: 'TEXT',
  secret: 'SECRET',
  path: 'PATH',
  url: 'URL',
  number: 'NUMBER',
  boolean: '',
  duration: 'TIME',
}
/** A flag longer than this stands on a line of its own. */
const WIDEST_FLAG = 34

/** The text behind `--help`, with a line end behind the last line. */
export function renderHelp({ usage, summary, commands, sections, examples }: HelpPage): string {
  const blocks = [`${summary}\n\nUsage: ${usage}`]
  if (commands)
    blocks.push(
      block(
        'Commands',
        Object.entries(commands).map(([name, one]) => [name, one.summary]),
      ),
    )
  for (const section of sections)
    if (Object.keys(section.specs).length > 0) blocks.push(block(section.title, rowsOf(section)))
  if (examples) blocks.push(`Examples:\n${examples.map(line => `  ${line}`).join('\n')}`)
  return `${blocks.join('\n\n')}\n`
}

function rowsOf({ specs, envPrefix }: HelpSection): [string, string][] {
  return Object.entries(specs).map(([name, spec]) => [flagText(name, spec), meaning(name, spec, envPrefix)])
}

function flagText(name: string, spec: HostOptionSpec): string {
  const value = PLACEHOLDER[spec.type]
  const flag = dashed(kebab(name))
  const names = [...(spec.aliases ?? []).map(dashed), flag].sort((a, b) => a.length - b.length)
  const text = `${names.join(', ')}${value && ` ${value}`}`
  return spec.type === 'secret' ? `${text}, ${flag}-file FILE` : text
}

function meaning(name: string, spec: HostOptionSpec, envPrefix: string | undefined): string {
  const facts = [
    ...(spec.required ? ['required'] : []),
    ...(spec.multiple ? ['may be repeated'] : []),
    ...(spec.default === undefined || spec.default === false ? [] : [`default ${shown(spec)}`]),
    ...shownVariablesOf(name, spec, envPrefix),
  ]
  return facts.length > 0 ? `${spec.summary} (${facts.join(', ')})` : spec.summary
}

function shown({ type, default: value }: HostOptionSpec): string {
  return type === 'duration' && typeof value === 'number' ? formatDuration(value) : String(value)
}

function block(title: string, rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(4, ...rows.map(([left]) => left.length).filter(length => length <= WIDEST_FLAG))
  const lines = rows.map(([left, right]) =>
    left.length > width ? `  ${left}\n  ${' '.repeat(width)}  ${right}` : `  ${left.padEnd(width)}  ${right}`,
  )
  return `${title}:\n${lines.join('\n')}`
}
