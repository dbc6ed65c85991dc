import { constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { PosternError } from '@postern/interface'
import { refusal, shown } from './refusal.ts'

/** In the plugin folder: which plugins were added, each of exactly one version, and what they were then. */
export const LOCK_FILE = 'postern-plugins.lock.json'
const LARGEST = 1024 * 1024

/** A plugin that was added. */
export interface LockedPlugin {
  /** Exact: `1.2.3`. */
  readonly version: string
  /** Of the tarball it came in, as npm writes it: `sha512-…`. */
  readonly integrity: string
  /** Of everything that was installed with it; see `hashTree`. */
  readonly tree: string
  /** In the plugin folder: where it is installed, with what it depends on. */
  readonly folder: string
}

/** By package name. What stands there is looked at when it is wanted: one broken entry does not cost the others. */
export type PluginLock = ReadonlyMap<string, unknown>

export const PACKAGE_NAME: RegExp = /^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/
/** As semver.org has it, without `v` and without ranges. */
export const EXACT_VERSION: RegExp = /^\d{1,9}\.\d{1,9}\.\d{1,9}(?:-[0-9a-z.-]{1,64})?(?:\+[0-9a-z.-]{1,64})?$/i
const SHA512 = /^sha512-[A-Za-z0-9+/]{86}==$/
const FOLDER = /^[a-z0-9@~_-][a-z0-9@+._~-]{0,254}$/i

/**
 * Reads the lock file of a plugin folder. It decides which code runs, so neither may be writable by others.
 *
 * @returns empty where there is none
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE; PLUGIN_INTEGRITY: it is no lock file of this version
 */
export async function readLock(pluginFolder: string): Promise<PluginLock> {
  const path = join(pluginFolder, LOCK_FILE)
  const text = await readOwn(path, pluginFolder)
  if (text === undefined) return new Map()
  const broken = (found: string, cause?: unknown) =>
    refusal('PLUGIN_INTEGRITY', {
      plugin: LOCK_FILE,
      found: `${found} in ${path}`,
      wanted: '{ "lockfileVersion": 1, "plugins": { … } }',
      fix: 'Restore the file, or remove it and add the plugins again.',
      cause,
    })
  let lock: unknown
  try {
    lock = JSON.parse(text)
  } catch (cause) {
    throw broken('no JSON', cause)
  }
  if (!isRecord(lock) || lock.lockfileVersion !== 1)
    throw broken(`lockfileVersion ${shown(isRecord(lock) ? lock.lockfileVersion : lock)}`)
  if (!isRecord(lock.plugins)) throw broken(`"plugins" is ${shown(lock.plugins)}`)
  return new Map(Object.entries(lock.plugins))
}

/** An entry of the lock file. @throws PosternError PLUGIN_INTEGRITY with what it lacks */
export function checkLocked(name: string, entry: unknown): LockedPlugin {
  const refuse = (member: string, wanted: string) => {
    const found = `"${member}" is ${shown(isRecord(entry) ? entry[member] : entry)} in ${LOCK_FILE}`
    const fix = `Add it again: postern plugins add ${name}@VERSION.`
    return refusal('PLUGIN_INTEGRITY', { plugin: name, found, wanted, fix })
  }
  const { version, integrity, tree, folder } = isRecord(entry) ? entry : {}
  if (!matches(version, EXACT_VERSION)) throw refuse('version', 'an exact version such as 1.2.3')
  if (!matches(integrity, SHA512)) throw refuse('integrity', 'sha512-… of its tarball')
  if (!matches(tree, SHA512)) throw refuse('tree', 'sha512-… of what was installed')
  if (!matches(folder, FOLDER)) throw refuse('folder', 'the name of a folder beside the lock file')
  return { version, integrity, tree, folder }
}

/** @returns undefined where there is no file */
async function readOwn(path: string, folder: string): Promise<string | undefined> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0))
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new PosternError(code === 'ELOOP' ? 'FILE_UNSAFE' : 'FILE_UNREADABLE', `cannot read ${path} (${code})`, {
      cause,
    })
  }
  await using _ = file
  const facts = await file.stat()
  refuseOthers(path, facts)
  refuseOthers(folder, await stat(folder))
  if (!facts.isFile() || facts.size > LARGEST)
    throw new PosternError('FILE_UNREADABLE', `${path} is not a small regular file`)
  return file.readFile('utf8')
}

function refuseOthers(path: string, { uid, mode }: { readonly uid: number; readonly mode: number }): void {
  if (!process.getuid) return
  if (uid !== process.getuid() && uid !== 0)
    throw new PosternError('FILE_UNSAFE', `${path} belongs to another user (${uid}), who could have any code run here`)
  if ((mode & 0o022) !== 0)
    throw new PosternError('FILE_UNSAFE', `others can write ${path}, and have any code run here`, {
      next: `chmod go-w ${path}`,
    })
}

function matches(value: unknown, form: RegExp): value is string {
  return typeof value === 'string' && form.test(value)
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
