import { constants, type FileHandle, mkdir, open, rename, stat, unlink } from 'node:fs/promises'
import { homedir, userInfo } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import { PosternError } from '@postern/interface'

const LARGEST = 1024 * 1024

/** Where this user's Postern files are: XDG on Linux, the platforms' own places elsewhere, `POSTERN_HOME` over all. */
export function userFolder(env: NodeJS.ProcessEnv = process.env, platform: NodeJS.Platform = process.platform): string {
  if (env.POSTERN_HOME) return env.POSTERN_HOME
  if (platform === 'win32') return join(absolute(env.APPDATA) ?? join(homeFolder(), 'AppData', 'Roaming'), 'postern')
  if (platform === 'darwin') return join(homeFolder(), 'Library', 'Application Support', 'postern')
  return join(absolute(env.XDG_CONFIG_HOME) ?? join(homeFolder(), '.config'), 'postern')
}

/** `$HOME`, or what the system knows of this user where that is unset or no absolute path. */
export function homeFolder(): string {
  return absolute(homedir()) ?? userInfo().homedir
}

/** Anything else would be a place in the working folder, where other people's files are; XDG has it ignored too. */
function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined
}

/**
 * Writes a file that only this user can read, whole or not at all: temporary file in the same folder, fsync, rename. The
 * folder is made 0700; one that others can write is refused.
 *
 * @throws PosternError FILE_UNSAFE; FILE_UNREADABLE where it cannot be written
 */
export async function writePrivate(file: string, text: string): Promise<void> {
  await preparePrivateFolder(dirname(file))
  const temporary = `${file}.${crypto.randomUUID()}` // the global: it costs nothing until it is used
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  const handle = await open(temporary, flags, 0o600).catch(unwritable(file))
  try {
    await handle.writeFile(text)
    await handle.sync()
    await handle.close()
    await rename(temporary, file)
  } catch (error) {
    await handle.close().catch(() => {})
    await unlink(temporary).catch(() => {})
    return unwritable(file)(error as Error)
  }
}

/** Makes it where it is missing; one that others can write is refused. @throws PosternError FILE_UNSAFE, FILE_UNREADABLE */
export async function preparePrivateFolder(folder: string): Promise<void> {
  await makePrivateFolder(folder)
  const { mode } = await stat(folder)
  if (process.platform !== 'win32' && (mode & 0o022) !== 0)
    throw new PosternError('FILE_UNSAFE', `others can write the folder ${folder}`)
}

/** With those above it that are missing, all for this user alone. @throws PosternError FILE_UNREADABLE */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch(unwritable(folder))
}

/** Throws what the system says of a path, for the person whose path it is. */
export function unwritable(path: string): (cause: NodeJS.ErrnoException) => never {
  return cause => {
    throw new PosternError('FILE_UNREADABLE', `${path} cannot be written (${cause.code ?? cause.message})`, { cause })
  }
}

/**
 * Reads a file of {@link writePrivate}. A symbolic link, or a file that others own or can read, is refused.
 *
 * @returns undefined when there is none
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE
 */
export async function readPrivate(file: string): Promise<string | undefined> {
  let handle: FileHandle
  try {
    // O_NONBLOCK: opening a FIFO must not wait for somebody to write to it; nothing could interrupt that.
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | (constants.O_NONBLOCK ?? 0))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw new PosternError(code === 'ELOOP' ? 'FILE_UNSAFE' : 'FILE_UNREADABLE', `cannot read ${file} (${code})`, {
      cause: error,
    })
  }
  try {
    const facts = await handle.stat()
    if (!facts.isFile() || facts.size > LARGEST)
      throw new PosternError('FILE_UNREADABLE', `${file} is not a small regular file`)
    if (process.platform !== 'win32' && (facts.mode & 0o077) !== 0)
      throw new PosternError('FILE_UNSAFE', `others can read ${file}`)
    if (process.getuid && facts.uid !== process.getuid())
      throw new PosternError('FILE_UNSAFE', `${file} belongs to another user`)
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}
