// What a tarball holds, and how big it and what it brings along is. Used by pack-check.ts.
import { execFileSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join, normalize } from 'node:path'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'

/** package.json as it is in a tarball: versions in place of `workspace:` and `catalog:`. */
export interface Packed {
  readonly name: string
  readonly version: string
  readonly license?: string
  readonly description?: string
  readonly files?: readonly string[]
  readonly engines?: Readonly<Record<string, string>>
  readonly scripts?: Readonly<Record<string, string>>
  readonly exports?: Readonly<Record<string, unknown>>
  readonly bin?: string | Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly repository?: { readonly url?: string; readonly directory?: string }
  readonly publishConfig?: { readonly access?: string; readonly provenance?: boolean }
}

export interface Unpacked {
  readonly folder: string
  readonly manifest: Packed
  /** Paths below the package's folder. */
  readonly files: readonly string[]
}

/** Bytes; `packages` are those that npm installs besides. */
export interface Size {
  readonly name: string
  readonly packed: number
  readonly unpacked: number
  readonly installed: number
  readonly packages: number
}

/** Which files may be where. What else a package lists in `files` by its name (a folder of templates, say) is its own affair. */
const PLACES: readonly RegExp[] = [
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/,
  /^bin\/[\w-]+\.js$/,
  /^dist\/(?!types\/).*(\.js|\.d\.ts)$/,
  /^dist\/types\/.*\.d\.[mc]?ts$/,
  /^dist\/[^/]+\.cjs$/,
  /^dist\/THIRD-PARTY\.txt$/,
]
/** npm would run these where somebody installs the package. */
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall', 'prepublish', 'prepare']

export function unpack(tarball: string, into: string): Unpacked {
  mkdirSync(into, { recursive: true })
  execFileSync('tar', ['-xzf', tarball, '-C', into])
  const folder = join(into, 'package')
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Packed
  const all = readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = all
    .filter(one => !one.isDirectory())
    .map(one => join(one.parentPath, one.name).slice(folder.length + 1))
  return { folder, manifest, files: files.sort() }
}

/** What a stranger should not get, and what is missing. @param source the package's folder in the repository */
export function judgeContents({ manifest, files }: Unpacked, source: string, directory: string): string[] {
  return [
    ...files
      .filter(file => !isListed(file, manifest) && !PLACES.some(place => place.test(file)))
      .map(file => `${file} has no business in a tarball`),
    ...files
      .filter(file => isOrphan(file, source))
      .map(file => `${file} has no source any more: remove dist, and build`),
    ...['README.md', 'LICENSE'].filter(file => !files.includes(file)).map(file => `there is no ${file}`),
    ...judgeManifest(manifest, directory),
  ]
}

/** By its name, or by its folder's. */
function isListed(file: string, { files = [] }: Packed): boolean {
  const listed = files.filter(one => !/^(!|dist\b|bin$)/.test(one)).map(one => one.replace(/\/$/, ''))
  return listed.some(one => file === one || file.startsWith(`${one}/`))
}

/** publint, strictly. A template of a package is none that Node would look into here. */
export async function lint({ manifest }: Unpacked, tarball: string): Promise<string[]> {
  const bytes = new Uint8Array(readFileSync(tarball)).buffer
  const { messages, pkg } = await publint({ pack: { tarball: bytes }, strict: true })
  const found = messages.filter(
    one => one.code !== 'NESTED_PACKAGE_JSON_FIELD_IGNORED' || !isListed(normalize(one.args.filePath), manifest),
  )
  return found.map(one => `publint: ${formatMessage(one, pkg, { color: false }) ?? one.code}`)
}

/** tsc leaves in dist what it made of a source that is gone: a tree that is worked in would not be what is published. */
export function removeOrphans(source: string): void {
  for (const file of globSync('dist/**/*.{js,d.ts}', { cwd: source }))
    if (isOrphan(file, source)) rmSync(join(source, file))
}

function isOrphan(file: string, source: string): boolean {
  const made = /^dist\/((?!types\/).*?)(\.d\.ts|\.js)$/.exec(file)?.[1]
  if (made === undefined || made === 'library') return false
  return !['ts', 'tsx', 'd.ts'].some(end => existsSync(join(source, 'src', `${made}.${end}`)))
}

function judgeManifest(manifest: Packed, directory: string): string[] {
  const { dependencies = {}, scripts = {}, publishConfig, repository, engines } = manifest
  const wrong = (is: boolean, what: string) => (is ? [what] : [])
  return [
    ...wrong(!manifest.license || !manifest.description, 'package.json has no license, or no description'),
    ...wrong(!engines?.node, 'package.json does not say for which Node it is ("engines")'),
    ...wrong(repository?.directory !== directory, '"repository" does not say where it comes from: npm run generate'),
    ...wrong(
      publishConfig?.access !== 'public' || publishConfig.provenance !== true,
      'no provenance: npm run generate',
    ),
    ...INSTALL_SCRIPTS.filter(name => scripts[name]).map(
      name => `it would run something where it is installed: ${name}`,
    ),
    ...Object.entries(dependencies)
      .filter(([, range]) => !/^[\^~]?\d+\.(\d+\.\d+\S*|x)$/.test(range))
      .map(([name, range]) => `it depends on ${name} ${range}, which npm does not know`),
  ]
}

/** What is in a program's bundle is not also installed beside it. @param folder where it was installed alone */
export function installedTwice({ manifest, folder }: Unpacked, installation: string): string[] {
  const notices = join(folder, 'dist', 'THIRD-PARTY.txt')
  if (!existsSync(notices)) return []
  const bundled = new Set(readFileSync(notices, 'utf8').match(/^\S+(?= \d+\.\d+\.\d+\S* \()/gm))
  return packagesIn(installation)
    .filter(name => name !== manifest.name && (bundled.has(name) || name.startsWith('@postern/')))
    .map(name => `${name} is in its bundle, and installed beside it again`)
}

export function sizeOf(name: string, tarball: string, { folder }: Unpacked, installation: string): Size {
  return {
    name,
    packed: statSync(tarball).size,
    unpacked: bytesIn(folder),
    installed: bytesIn(join(installation, 'node_modules')),
    packages: packagesIn(installation).length - 1,
  }
}

/** Names of the packages below a folder's node_modules, each as often as it is there. */
function packagesIn(installation: string): string[] {
  const files = globSync('**/node_modules/{*,@*/*}/package.json', { cwd: installation })
  return files.map(file => /^.*node_modules\/(.*)\/package\.json$/.exec(file)?.[1] ?? file)
}

function bytesIn(folder: string): number {
  const all = readdirSync(folder, { recursive: true, withFileTypes: true })
  return all.filter(one => one.isFile()).reduce((sum, one) => sum + statSync(join(one.parentPath, one.name)).size, 0)
}

/** Markdown, for the log of a check and the notes of a release. */
export function sizeTable(sizes: readonly Size[]): string {
  const shown = (bytes: number) =>
    bytes < 1_000_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`
  const rows = sizes.map(
    one =>
      `| \`${one.name}\` | ${shown(one.packed)} | ${shown(one.unpacked)} | ${shown(one.installed)} | ${one.packages} |`,
  )
  const head = ['| package | packed | unpacked | installed | packages besides |', '|---|--:|--:|--:|--:|']
  return [...head, ...rows].join('\n')
}
