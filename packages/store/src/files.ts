import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { PosternError } from '@postern/interface'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants
const OTHERS = 0o077

/** Windows has no owner and mode to look at. */
const HAS_MODES = process.platform !== 'win32'

/**
 * Makes a folder for secrets (0700), or checks the one that is there.
 *
 * @throws PosternError FILE_UNSAFE when it is no folder, belongs to somebody else, or others may look in; FILE_UNREADABLE
 */
export async function ensurePrivateFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    checkStats(await lstat(path), path, 'folder')
  } catch (error) {
    throw fileError(error, path)
  }
}

/**
 * Makes an empty file (0600) where there is none, or checks the one that is there.
 *
 * @returns whether it was made now
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE
 */
export async function ensurePrivateFile(path: string): Promise<boolean> {
  try {
    const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    await file.close()
    return true
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw fileError(error, path)
  }
  await checkPrivateFile(path)
  return false
}

/**
 * Checks a file that may hold a secret, without opening it. A file that is not there is fine.
 *
 * @throws PosternError FILE_UNSAFE: a link, no plain file, somebody else's, or others may read it
 */
export async function checkPrivateFile(path: string): Promise<void> {
  try {
    checkStats(await lstat(path), path, 'file')
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw fileError(error, path)
  }
}

/**
 * Reads a file that holds a secret.
 *
 * @param largest bytes; a larger file is refused
 * @returns undefined when there is none
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE
 */
export async function readPrivateFile(path: string, largest = 65_536): Promise<string | undefined> {
  let file: FileHandle | undefined
  try {
    // O_NONBLOCK: a FIFO somebody put there must not hang us.
    file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    const stats = await file.stat()
    checkStats(stats, path, 'file')
    if (stats.size > largest) throw new PosternError('FILE_UNREADABLE', `${path} is larger than ${largest} bytes`)
    return await file.readFile('utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw fileError(error, path)
  } finally {
    await file?.close()
  }
}

/**
 * Writes a file (0600) as a whole: beside it, flushed, then renamed over what was there.
 *
 * @throws PosternError FILE_UNREADABLE
 */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const folder = dirname(path)
  const beside = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}`)
  try {
    await writeFlushed(beside, text)
    await rename(beside, path)
    await flushFolder(folder)
  } catch (error) {
    await unlink(beside).catch(() => {})
    throw fileError(error, path)
  }
}

async function writeFlushed(path: string, text: string): Promise<void> {
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function flushFolder(path: string): Promise<void> {
  if (!HAS_MODES) return
  const folder = await open(path, O_RDONLY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function checkStats(stats: Stats, path: string, wanted: 'file' | 'folder'): void {
  const right = wanted === 'file' ? stats.isFile() : stats.isDirectory()
  if (!right) throw new PosternError('FILE_UNSAFE', `${path} is not a plain ${wanted}`)
  if (!HAS_MODES) return
  if (stats.uid !== process.getuid?.()) throw new PosternError('FILE_UNSAFE', `${path} belongs to another user`)
  if (wanted === 'file' && stats.nlink > 1)
    throw new PosternError('FILE_UNSAFE', `${path} has a second name (hard link)`)
  if ((stats.mode & OTHERS) !== 0) {
    const mode = (stats.mode & 0o777).toString(8)
    throw new PosternError('FILE_UNSAFE', `${path} can be reached by other users (mode ${mode})`)
  }
}

function fileError(error: unknown, path: string): PosternError {
  if (PosternError.is(error)) return error
  const code = codeOf(error)
  if (code === 'ELOOP') return new PosternError('FILE_UNSAFE', `${path} is a symbolic link`, { cause: error })
  return new PosternError('FILE_UNREADABLE', `${path} cannot be used (${code})`, { cause: error })
}

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException | undefined)?.code)
}
