import { basename } from 'node:path'
import {
  type Call,
  type Host,
  type Kind,
  type Kinds,
  type OptionSpecs,
  PosternError,
  type Side,
} from '@postern/interface'
import {
  type CommandLine,
  type HostOptionSpecs,
  readOptions,
  resolvePending,
  type Sources,
  screaming,
} from '@postern/options'
import type { Registry } from '@postern/registry'

/** The flags of every program that composes plugins. */
export const PLUGIN_FLAGS = {
  plugin: {
    type: 'string',
    multiple: true,
    summary: 'use a plugin package, by name or ./path',
    env: ['POSTERN_PLUGINS'],
  },
  transport: {
    type: 'string',
    default: 'auto',
    summary: 'how to reach the edge: auto (what gets through), or tls, websocket, grpc or a plugin’s alone',
    env: ['POSTERN_TRANSPORT'],
  },
} as const

/** One side of one plugin that this run uses. */
export interface Wanted<K extends Kind = Kind, S extends Side<K> = Side<K>> {
  readonly kind: K
  readonly side: S
  readonly name: string
}

export interface Composition {
  readonly registry: Registry
  /** The command line after phase one. */
  readonly line: CommandLine
  /** The program's own options, for hints. */
  readonly own: HostOptionSpecs
  readonly wanted: readonly Wanted[]
  readonly sources: Omit<Sources, 'given' | 'envPrefix' | 'owner'>
  /** What this program lends each side it runs. */
  readonly hosts: Partial<Host>
}

/** Which transports `--transport` means. @param automatic what `auto` does, as far as this program has them */
export function transportsOf(
  value: string,
  automatic: readonly string[],
  registry: Registry,
): readonly Wanted<'transport', 'client'>[] {
  const names = value === 'auto' ? automatic.filter(name => registry.find('transport', name)) : [value]
  return names.map(name => ({ kind: 'transport', side: 'client', name }))
}

/** Ends the plugins it created when it is disposed, the last one first. */
export interface Composed extends AsyncDisposable {
  /** What the user should know, a sentence each. */
  readonly warnings: readonly string[]
  /** The plugin at work. Each wanted one may be created as often as needed. */
  create<K extends Kind, S extends Side<K>>(wanted: Wanted<K, S>): Promise<Kinds[K][S]>
}

/**
 * Loads the plugins this run uses, and no others, and gives each the flags, variables and keys that are its own.
 *
 * @throws PosternError PLUGIN_*, OPTION_*, FILE_*; BAD_USAGE for a word of the command line that is no flag's value
 */
export async function composePlugins(composition: Composition, call: Call): Promise<Composed> {
  const { registry, line, own, wanted, sources, hosts } = composition
  const specs: OptionSpecs[] = []
  for (const { kind, name, side } of wanted) specs.push((await registry.load(kind, name, side, call)).options)
  const claimants = wanted.map(({ kind, name }, at) => ({ kind, name, specs: specs[at] ?? {} }))
  const sides = [...new Set(wanted.map(one => one.side))]
  const resolved = resolvePending(line, claimants, { own, ownersOf: option => registry.ownersOf(option), sides })
  const [word] = resolved.words
  if (word !== undefined) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(word)}`)
  const values = new Map<string, Readonly<Record<string, unknown>>>()
  const warnings: string[] = []
  for (const [at, one] of wanted.entries()) {
    const given = resolved.given[at] ?? []
    const owner = one.kind === 'protocol' ? `the protocol ${one.name}` : `--${one.kind} ${one.name}`
    if (given.some(({ option, form }) => form === 'value' && specs[at]?.[option]?.type === 'secret')) hideArguments()
    const read = await readOptions(
      specs[at] ?? {},
      { ...sources, given, owner, envPrefix: `POSTERN_${screaming(one.name)}` },
      call.signal,
    )
    values.set(keyOf(one), read.values)
    warnings.push(...read.warnings)
  }
  const created: { readonly name: string; readonly plugin: Partial<AsyncDisposable> }[] = []
  return {
    warnings,
    create: async ({ kind, name, side }) => {
      const host = hosts[side as keyof Host]
      const chosen = values.get(keyOf({ kind, name, side }))
      if (!host || !chosen)
        throw new PosternError('INTERNAL', `the ${kind} plugin ${name} was not composed for this run`)
      const plugin = await registry.create(kind, name, side, chosen, host as never, call)
      created.unshift({ name, plugin: plugin as Partial<AsyncDisposable> })
      return plugin
    },
    async [Symbol.asyncDispose]() {
      for (const { name, plugin } of created.splice(0)) await end(name, plugin, call)
    },
  }
}

/**
 * Takes a secret out of what `ps` and /proc show of this process from now on, by writing over the arguments. It was there until
 * now, hence the warning that is given as well. (Where a system has no such thing, nothing happens.)
 */
function hideArguments(): void {
  process.title = basename(process.argv[1] ?? 'postern', '.js')
}

/** What a plugin does wrong while it ends is logged: it must not hide why the run ended, nor keep the next one from ending. */
async function end(name: string, plugin: Partial<AsyncDisposable>, { log }: Call): Promise<void> {
  try {
    await plugin[Symbol.asyncDispose]?.()
  } catch (error) {
    log.warn('a plugin did not end well', { plugin: name, cause: PosternError.from(error).message })
  }
}

function keyOf({ kind, side, name }: { kind: Kind; side: string; name: string }): string {
  return `${kind}/${side}/${name}`
}
