import { randomBytes } from 'node:crypto'
import { chmod, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import { fileSecrets } from '@postern/program'
import { checkLocked, LOCK_FILE, type LockedPlugin, type PluginLock, readLock } from '@postern/registry'

// The folder of added plugins:
//
//   postern-plugins.lock.json           which are there, and what they were when they were added
//   postern-auth-x@1.2.3-0a1b2c3d/      one plugin with what it depends on; never changed
//   .new-…/                             one that is being made
//
// The lock file's rename is the one moment in which something changes: whatever is killed whenever, it says the old or the new.

/** What is nobody's any more when no lock file names it. */
const OURS = /^(?:\.new-.+|.+@\d.*-[0-9a-f]{8})$/

/** Changes the plugin folder, one process at a time. @throws PosternError FILE_*, PLUGIN_INTEGRITY; what `work` throws */
export async function changing<T>(folder: string, work: (lock: PluginLock) => Promise<T>, call: Call): Promise<T> {
  // Who runs the plugins may be somebody else than who adds them, as with a service: they are no secret.
  await mkdir(dirname(folder), { recursive: true, mode: 0o700 }).catch(unwritable(folder))
  const isNew = await mkdir(folder, { recursive: true, mode: 0o755 }).catch(unwritable(folder))
  if (isNew !== undefined) await chmod(folder, 0o755)
  const alone = async () => {
    const lock = await readLock(folder)
    await sweep(folder, lock)
    return work(lock)
  }
  return fileSecrets(folder).exclusively('changing', alone, call)
}

/**
 * Puts what was made in place, and makes the lock file say so.
 *
 * @param site of the same file system; not there any more afterwards
 */
export async function place(
  folder: string,
  lock: PluginLock,
  name: string,
  site: string,
  facts: Omit<LockedPlugin, 'folder'>,
): Promise<void> {
  const own = `${name.replace('/', '+')}@${facts.version}-${randomBytes(4).toString('hex')}`
  await openToReaders(site)
  await rename(site, join(folder, own))
  await syncFolder(folder)
  await writeLock(folder, new Map([...lock, [name, { ...facts, folder: own }]]))
}

/** Whoever runs the plugins may read them, and nobody else write them, whatever umask they were added with. */
async function openToReaders(site: string): Promise<void> {
  await chmod(site, 0o755)
  for (const entry of await readdir(site, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const isRun = entry.isDirectory() || ((await stat(path)).mode & 0o100) !== 0
    await chmod(path, isRun ? 0o755 : 0o644)
  }
}

/** Whole or not at all. */
export async function writeLock(folder: string, lock: PluginLock): Promise<void> {
  const plugins = Object.fromEntries([...lock].sort(([a], [b]) => (a < b ? -1 : 1)))
  const text = `${JSON.stringify({ lockfileVersion: 1, plugins }, null, 2)}\n`
  const path = join(folder, LOCK_FILE)
  const temporary = join(folder, `.new-${randomBytes(8).toString('hex')}`)
  try {
    await using file = await open(temporary, 'wx', 0o644)
    await file.writeFile(text)
    await file.chmod(0o644)
    await file.sync()
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    unwritable(path)(error as NodeJS.ErrnoException)
  }
  await syncFolder(folder)
}

/** What a killed run left, and versions that were replaced before this change: who uses one may go on until the next. */
export async function sweep(folder: string, lock: PluginLock): Promise<void> {
  const kept = new Set([...lock].map(([name, entry]) => folderOf(name, entry)))
  for (const entry of await readdir(folder))
    if (OURS.test(entry) && !kept.has(entry))
      await rm(join(folder, entry), { recursive: true, force: true, maxRetries: 3 })
}

function folderOf(name: string, entry: unknown): string | undefined {
  try {
    return checkLocked(name, entry).folder
  } catch {
    return undefined
  }
}

/** A rename lasts when its folder was written. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  await using handle = await open(folder)
  await handle.sync()
}

export function unwritable(path: string): (cause: NodeJS.ErrnoException) => never {
  return cause => {
    throw new PosternError('FILE_UNREADABLE', `${path} cannot be written (${cause.code ?? cause.message})`, { cause })
  }
}
