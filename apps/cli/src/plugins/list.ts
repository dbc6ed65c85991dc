import { type Call, type ManifestEntry, PosternError } from '@postern/interface'
import { jsonLineOf, type Program, pluginPlaces } from '@postern/program'
import { checkLocked, locate, readLock, readManifest } from '@postern/registry'
import { safe, table } from '../admin/show.ts'
import { builtins } from '../builtin.ts'
import { type Page, readCommand } from './command.ts'

const PAGE: Page = {
  usage: 'postern plugins list [options]',
  summary:
    'Show the plugins that postern brings and those that were added, and whether these still are what they were.',
  examples: ['postern plugins list', 'postern plugins list --json'],
}

/** A plugin of a package. */
interface Listed {
  readonly kind?: string
  readonly name?: string
  readonly sides?: readonly string[]
  readonly package: string
  readonly builtIn: boolean
  readonly version?: string
  readonly integrity?: string
  /** Whether it is what was added. */
  readonly ok: boolean
  /** Why not. */
  readonly problem?: string
}

/** `postern plugins list`. */
export async function list(argv: readonly string[], program: Program, call: Call): Promise<void> {
  const read = await readCommand(PAGE, {}, argv, program, call)
  if (read === undefined) return
  if (read.words.length > 0)
    throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(read.words[0])}`)
  const { pluginFolder } = pluginPlaces(program)
  const own = builtins.map(({ package: from, entry }) => ({ ...shown(entry), package: from, builtIn: true, ok: true }))
  const added: Listed[] = []
  for (const [name, entry] of await readLock(pluginFolder)) added.push(...(await listedOf(name, entry, pluginFolder)))
  const plugins: readonly Listed[] = [...own, ...added]
  program.print(program.json ? jsonLineOf({ folder: pluginFolder, plugins }) : textOf(plugins, pluginFolder))
  const [bad] = plugins.filter(one => !one.ok)
  if (bad) throw new PosternError('PLUGIN_INTEGRITY', `${bad.package}: ${bad.problem}`)
}

async function listedOf(name: string, entry: unknown, pluginFolder: string): Promise<readonly Listed[]> {
  try {
    const { version, integrity } = checkLocked(name, entry)
    const { folder } = await locate(name, { from: pluginFolder, pluginFolder })
    const { plugins } = await readManifest(folder, name)
    return plugins.map(one => ({ ...shown(one), package: name, builtIn: false, version, integrity, ok: true }))
  } catch (error) {
    return [{ package: name, builtIn: false, ok: false, problem: PosternError.from(error).message }]
  }
}

function shown(entry: ManifestEntry): Pick<Listed, 'kind' | 'name' | 'sides'> {
  const sides = (['client', 'edge', 'origin'] as const).filter(side => entry[side] !== undefined)
  return { kind: entry.kind, name: entry.name, sides }
}

function textOf(plugins: readonly Listed[], folder: string): string {
  const rows = plugins.map(({ kind, name, sides, package: from, version, builtIn, ok }) => [
    kind,
    name,
    sides?.join(', '),
    from,
    builtIn ? 'built in' : version,
    builtIn ? undefined : ok ? 'as added' : 'NOT WHAT WAS ADDED',
  ])
  return `${table(['KIND', 'NAME', 'SIDES', 'PACKAGE', 'VERSION', 'INTEGRITY'], rows)}\nAdded plugins are in ${safe(folder)}\n`
}
