import { type Kind, type OptionSpecs, PosternError, type Side } from '@postern/interface'
import { type CommandLine, type Given, type Pending, useFlag, type Word } from './command-line.ts'
import { nearest } from './nearest.ts'
import { camel, dashed, type Flag, flagsOf, type HostOptionSpecs } from './spec.ts'

/** A plugin that this run uses, and whose options may be on the line. */
export interface Claimant {
  readonly kind: Kind
  readonly name: string
  readonly specs: OptionSpecs
}

/** Where an unknown flag may come from, so that the error can say so. */
export interface Hints {
  /** The program's own specs, for the nearest name. */
  readonly own: HostOptionSpecs
  /** The registry's `ownersOf`: reads manifests only, loads nothing. */
  readonly ownersOf?: (option: string) => readonly { readonly kind: Kind; readonly name: string; readonly side: Side }[]
  /** The sides that this program runs; owners of other sides are no help here. */
  readonly sides?: readonly Side[]
}

export interface Resolved {
  /** What each claimant was given, in the order of the claimants. */
  readonly given: readonly (readonly Given[])[]
  /** Every word that is no flag's value, in order. */
  readonly words: readonly string[]
}

/**
 * Phase two: gives the flags that phase one did not know to the plugins that were chosen. A flag that two of them declare is
 * written with the plugin's name in front: `--service-token.id`.
 *
 * @throws PosternError OPTION_UNKNOWN naming the nearest flag or the plugin that owns it; OPTION_CONFLICT for a flag that two
 *   chosen plugins own; OPTION_INVALID for a missing value
 */
export function resolvePending(line: CommandLine, claimants: readonly Claimant[], hints: Hints): Resolved {
  const tables = claimants.map(claimant => flagsOf(claimant.specs))
  const given: Given[][] = claimants.map(() => [])
  const words: Word[] = [...line.words]
  for (const pending of line.pending) {
    const { at, flag } = claim(pending, claimants, tables, hints)
    const one = useFlag(flag, pending.name, pending.inline, pending.next?.text)
    given[at]!.push(one.given)
    if (pending.next && !one.usedNext) words.push(pending.next)
  }
  words.sort((a, b) => a.at - b.at)
  return { given, words: words.map(word => word.text) }
}

function claim(
  { name }: Pending,
  claimants: readonly Claimant[],
  tables: readonly ReadonlyMap<string, Flag>[],
  hints: Hints,
): { readonly at: number; readonly flag: Flag } {
  const dot = name.indexOf('.')
  const [owner, short] = dot < 0 ? [undefined, name] : [name.slice(0, dot), name.slice(dot + 1)]
  const found = claimants.flatMap((claimant, at) => {
    const flag = tables[at]!.get(short)
    return flag && (owner === undefined || owner === claimant.name) ? [{ at, flag }] : []
  })
  if (found.length === 1) return found[0]!
  if (found.length === 0) throw unknownFlag(name, claimants, tables, hints)
  const names = found.map(({ at }) => claimants[at]!)
  throw new PosternError('OPTION_CONFLICT', `${dashed(name)} belongs to ${names.map(title).join(' and to ')}`, {
    next: `Say whose it is: ${names.map(({ name: plugin }) => `--${plugin}.${short}`).join(' or ')}.`,
  })
}

function unknownFlag(
  name: string,
  claimants: readonly Claimant[],
  tables: readonly ReadonlyMap<string, Flag>[],
  { own, ownersOf, sides }: Hints,
): PosternError {
  const told = dashed(name.slice(0, 64))
  const short = name.slice(name.indexOf('.') + 1)
  const candidates = new Set([...flagsOf(own).keys(), ...tables.flatMap(table => [...table.keys()])])
  const meant = nearest(
    short,
    [...candidates].filter(flag => flag.length > 1),
  )
  const chosen = new Set(claimants.map(({ kind, name: plugin }) => `${kind} ${plugin}`))
  const options = [...new Set([camel(short), camel(short.replace(/^no-/, '')), camel(short.replace(/-file$/, ''))])]
  const owners = options
    .flatMap(option => ownersOf?.(option) ?? [])
    .filter(owner => (!sides || sides.includes(owner.side)) && !chosen.has(`${owner.kind} ${owner.name}`))
  const titles = [...new Set(owners.map(title))]
  if (titles.length > 0) {
    const more = meant ? ` Or did you mean ${dashed(meant)}?` : ''
    return new PosternError(
      'OPTION_UNKNOWN',
      `${told} belongs to ${titles.join(' or to ')}, which this command does not use`,
      {
        next: `Add ${titles.join(' or ')}, or leave ${told} out.${more}`,
      },
    )
  }
  return new PosternError('OPTION_UNKNOWN', `${told} is not an option of this command`, {
    next: meant ? `Did you mean ${dashed(meant)}?` : 'See --help for the options there are.',
  })
}

/** How a person chooses that plugin. Protocols are chosen by command or by the service's scheme, not by a flag. */
function title({ kind, name }: { readonly kind: Kind; readonly name: string }): string {
  return kind === 'protocol' ? `the protocol ${name}` : `--${kind} ${name}`
}
