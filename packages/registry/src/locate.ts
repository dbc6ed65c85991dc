import { realpath, stat } from 'node:fs/promises'
import { isAbsolute, join, relative, resolve, sep } from 'node:path'
import { checkLocked, EXACT_VERSION, type LockedPlugin, PACKAGE_NAME, type PluginLock, readLock } from './lock.ts'
import { readPackageFile } from './manifest.ts'
import { refusal, shown } from './refusal.ts'
import { hashTree } from './tree.ts'

/** Where plugins are. */
export interface Where {
  /** The config file's folder, or the current one: `./paths` are relative to it. Absolute. */
  readonly from: string
  /** Where plugins are added: names are looked for there and nowhere else. */
  readonly pluginFolder?: string
}

/** A package's real folder. */
export interface Located {
  readonly folder: string
  /** Of a package that was added. */
  readonly version?: string
  /** Looks again whether it still is what was added; of a path nothing is known. @throws PosternError PLUGIN_INTEGRITY */
  check(): Promise<void>
}

/**
 * Finds a package. A path is taken as it is: it is the user's own. A name, with an exact version or without, is a package that was
 * added, and everything that was installed with it must be what it was then. Nothing is scanned, and no `node_modules` of the
 * working folder is searched: whoever wrote that folder would choose what runs.
 *
 * @throws PosternError PLUGIN_NOT_FOUND, PLUGIN_INTEGRITY, FILE_UNSAFE
 */
export async function locate(specifier: string, where: Where): Promise<Located> {
  if (!isPath(specifier)) return locateAdded(specifier, where)
  const folder = resolve(where.from, specifier)
  if (!(await isFolder(folder))) throw missing(specifier, `no folder ${folder}`, 'the folder of a package', PATH)
  return { folder: await realpath(folder), check: async () => {} }
}

async function locateAdded(specifier: string, { from, pluginFolder }: Where): Promise<Located> {
  const { name, version } = readSpecifier(specifier)
  const lock: PluginLock = pluginFolder === undefined ? new Map() : await readLock(pluginFolder)
  if (pluginFolder === undefined || !lock.has(name)) {
    const near = await firstFolder(from, [`./${name}`, `./node_modules/${name}`])
    const own = near === undefined ? '' : ` If you mean the one in ${from}, write its path: ${near}.`
    const places = pluginFolder === undefined ? '' : ` to ${pluginFolder}`
    throw missing(specifier, `that no such plugin was added${places}`, 'one that was', `${ADD}${own}`)
  }
  const locked = checkLocked(name, lock.get(name))
  if (version !== undefined && version !== locked.version)
    throw refusal('PLUGIN_INTEGRITY', {
      plugin: shown(specifier),
      found: `version ${locked.version}, which was added`,
      wanted: `version ${version}`,
      fix: `Add that one: postern plugins add ${specifier}. Or leave the version out.`,
    })
  const base = join(pluginFolder, locked.folder)
  const folder = join(base, 'node_modules', name)
  const check = async () => {
    const found = await hashTree(base).catch((error: NodeJS.ErrnoException) => ({ wrong: `nothing (${error.code})` }))
    if ('wrong' in found) throw changed(name, locked, `${found.wrong} in ${base}`)
    if (found.hash !== locked.tree) throw changed(name, locked, `other files in ${base}`)
  }
  await check()
  const file = await readPackageFile(folder, name)
  if (file.name !== name || file.version !== locked.version)
    throw changed(name, locked, `${shown(file.name)} in version ${shown(file.version)} in ${base}`)
  return { folder: await realpath(folder), version: locked.version, check }
}

/** `name` or `name@1.2.3`. @throws PosternError PLUGIN_NOT_FOUND */
function readSpecifier(specifier: string): { readonly name: string; readonly version?: string } {
  const at = specifier.indexOf('@', 1)
  const name = at < 0 ? specifier : specifier.slice(0, at)
  const version = at < 0 ? undefined : specifier.slice(at + 1)
  if (!PACKAGE_NAME.test(name))
    throw missing(specifier, 'a name that no package can have', 'a package’s name, or a path that begins with ./')
  if (version !== undefined && !EXACT_VERSION.test(version))
    throw missing(
      specifier,
      `the version ${shown(version)}`,
      'an exact one such as 1.2.3, or none: the one that was added',
    )
  return { name, ...(version !== undefined && { version }) }
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

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    facts => facts.isDirectory(),
    () => false,
  )
}

async function firstFolder(from: string, paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await isFolder(join(from, path))) return path
  return undefined
}

const PATH = 'Correct the path; a name without ./ is of a package that was added (postern plugins add NAME@VERSION).'
const ADD = 'Add it (postern plugins add NAME@VERSION), or correct its name or path.'

function missing(specifier: string, found: string, wanted: string, fix: string = ADD) {
  return refusal('PLUGIN_NOT_FOUND', { plugin: shown(specifier), found, wanted, fix })
}

function changed(name: string, { version }: LockedPlugin, found: string) {
  return refusal('PLUGIN_INTEGRITY', {
    plugin: name,
    found,
    wanted: `the files of ${name}@${version} as they were added`,
    fix: `Find out who changed it. Then add it again: postern plugins add ${name}@${version}.`,
  })
}
