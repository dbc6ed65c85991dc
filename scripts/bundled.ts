// Which of our packages are in which program's bundle. npm tells nobody of a change in there, since nothing of it is a dependency: a
// program is released with each of the packages that it is made of.
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = dirname(import.meta.dirname)

interface Manifest {
  readonly name: string
  readonly scripts?: Readonly<Record<string, string>>
}

/** The programs that have one of these packages in their bundle, and are not among them. */
export function programsMadeOf(names: readonly string[]): readonly string[] {
  const files = globSync('{packages,plugins,apps}/*/package.json', { cwd: root }).sort()
  const manifests = files.map(
    file => [dirname(file), JSON.parse(readFileSync(join(root, file), 'utf8')) as Manifest] as const,
  )
  const folders = new Map(manifests.map(([folder, { name }]) => [name, folder]))
  const programs = manifests
    .filter(([, { scripts }]) => scripts?.build?.includes('bundle.ts'))
    .map(([, { name }]) => name)
  return programs.filter(
    name => !names.includes(name) && [...bundledIn(name, folders)].some(one => names.includes(one)),
  )
}

/** What its sources import of ours, and theirs. */
function bundledIn(name: string, folders: ReadonlyMap<string, string>, seen = new Set<string>()): ReadonlySet<string> {
  const cwd = join(root, folders.get(name)!)
  const text = globSync('src/**/*.{ts,js}', { cwd }).map(file => readFileSync(join(cwd, file), 'utf8'))
  for (const [, imported = ''] of text.join('\n').matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*)['"](@postern\/[\w-]+)/g))
    if (!seen.has(imported) && folders.has(imported)) {
      seen.add(imported)
      bundledIn(imported, folders, seen)
    }
  return seen
}
