import { realpath, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { refusal } from './refusal.ts'

/** Where names are looked for. */
export interface Where {
  /** The config file's folder, or the current one: bare names and `./paths` resolve from it. Absolute. */
  readonly from: string
  /** The user's plugin folder, searched after it for bare names. */
  readonly pluginFolder?: string
}

const PACKAGE = /^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/

/**
 * The real folder of a package. Nothing is scanned: a bare name is tried as `node_modules/<name>` in the folder it resolves from
 * and in the folders above it, as Node does, and then in the plugin folder. Folders that everybody can write to (`/tmp`) are not
 * searched: anybody could have put a package there.
 *
 * @throws PosternError PLUGIN_NOT_FOUND
 */
export async function locate(specifier: string, { from, pluginFolder }: Where): Promise<string> {
  if (isPath(specifier)) {
    const folder = resolve(from, specifier)
    if (await isFolder(folder)) return realpath(folder)
    throw missing(specifier, `no folder ${folder}`, 'the folder of a package')
  }
  if (!PACKAGE.test(specifier)) {
    throw missing(
      specifier,
      'a name that no package can have',
      'a package’s name without a version, or a path that begins with ./',
    )
  }
  const skipped: string[] = []
  for (const folder of [...upwards(from), ...(pluginFolder ? [pluginFolder] : [])]) {
    const candidate = join(folder, 'node_modules', specifier)
    if (!(await isFolder(candidate))) continue
    if (await anybodyWrites(folder, join(folder, 'node_modules'))) skipped.push(folder)
    else return realpath(candidate)
  }
  const note =
    skipped.length > 0 ? ` (${skipped.join(' and ')} can be written to by everybody, so it was not searched)` : ''
  const places = pluginFolder ? `${from} or in ${pluginFolder}` : from
  throw missing(specifier, `no such package installed from ${places}${note}`, 'an installed package')
}

/**
 * The real path of a module that a manifest names.
 *
 * @returns undefined when it leaves the package's folder, also through a link, or is no regular file
 */
export async function moduleInside(folder: string, path: string): Promise<string | undefined> {
  const file = await realpath(resolve(folder, path)).catch(() => undefined)
  if (file === undefined) return undefined
  const way = relative(folder, file)
  if (way === '..' || way.startsWith(`..${sep}`) || isAbsolute(way)) return undefined
  return (await stat(file)).isFile() ? file : undefined
}

function isPath(specifier: string): boolean {
  return /^\.{1,2}(?:$|[/\\])/.test(specifier) || isAbsolute(specifier)
}

function* upwards(from: string): Generator<string> {
  let folder = resolve(from)
  for (;;) {
    yield folder
    const above = dirname(folder)
    if (above === folder) return
    folder = above
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    facts => facts.isDirectory(),
    () => false,
  )
}

async function anybodyWrites(...folders: string[]): Promise<boolean> {
  if (process.platform === 'win32') return false
  const facts = await Promise.all(folders.map(folder => stat(folder)))
  return facts.some(({ mode }) => (mode & 0o002) !== 0)
}

function missing(specifier: string, found: string, wanted: string) {
  return refusal('PLUGIN_NOT_FOUND', {
    plugin: JSON.stringify(specifier.slice(0, 128)),
    found,
    wanted,
    fix: 'Install it (npm install --ignore-scripts), or correct its name or path.',
  })
}
