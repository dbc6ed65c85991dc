import { constants } from 'node:fs'
import { type FileHandle, lstat, open, realpath, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type Json, PosternError } from '@postern/interface'

/** Bytes. Thousands of rules stay far below it. */
const LARGEST = 1024 * 1024

/** A config file that was read and is well formed; what its values mean is for the program to say. */
export interface ConfigFile {
  /** Absolute. Relative paths in the file are relative to its folder. */
  readonly path: string
  /** Objects have no prototype that a key could reach. */
  readonly value: Json
  /** Where a member stands, as editors and terminals link it: `/etc/postern/posternd.yaml:12:5`. Of one that is missing: where its parent is. */
  where(at: readonly (string | number)[]): string
}

/**
 * Reads a config file: YAML 1.2, of which JSON is a part. Strict, because it says what may be reached: at most 1 MiB, 32 levels
 * and 100 aliases; no key twice, no tags, no text that is not UTF-8. It decides as much as a program does, so it is taken only
 * from who could change the program as well: a regular file of this user or root, that nobody else can write, in a folder that
 * not everybody can write. It may be a symbolic link of theirs, as Kubernetes mounts files; nobody else's link is followed.
 * Nothing is searched: the caller names the file.
 *
 * @throws PosternError FILE_UNREADABLE; FILE_UNSAFE; CONFIG_INVALID with the place, `file.yaml:12:5: …`
 */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  const file = resolve(path)
  const text = await readSafely(file)
  const { parseYaml } = await import('./yaml.ts') // most runs read no config file
  return parseYaml(file, text)
}

/**
 * The same of a text that came another way, for example on stdin: 1 MiB is its reader's to keep.
 *
 * @param name stands for the file in messages
 * @throws PosternError CONFIG_INVALID
 */
export async function parseConfigText(name: string, text: string): Promise<ConfigFile> {
  const { parseYaml } = await import('./yaml.ts')
  return parseYaml(name, text)
}

async function readSafely(named: string): Promise<string> {
  const path = await followOwn(named)
  await using file = await openFile(path)
  const { uid, mode, size, isRegular } = await file.stat().then(facts => ({ ...facts, isRegular: facts.isFile() }))
  if (!isRegular) throw unsafe(`${path} is not a regular file`, 'Name a regular file.')
  if (size > LARGEST) throw new PosternError('CONFIG_INVALID', `${path} is larger than 1 MiB`)
  if (process.getuid) {
    if (!isOurs(uid))
      throw unsafe(
        `${path} belongs to another user (${uid}), who could change it at any time`,
        `chown it to this user or root.`,
      )
    if ((mode & 0o022) !== 0)
      throw unsafe(`${path} can be written by others (mode ${octal(mode)})`, `chmod go-w ${path}`)
    await refuseOpenFolder(dirname(path))
  }
  return decode(await file.readFile(), path)
}

/** What a link of this user or root leads to: a real path, whose last part is opened as a link no more. */
async function followOwn(path: string): Promise<string> {
  const facts = await lstat(path).catch(() => undefined)
  if (!facts?.isSymbolicLink()) return path // what is wrong with it is told where it is opened
  if (!isOurs(facts.uid))
    throw unsafe(`${path} is a symbolic link of another user (${facts.uid})`, 'Name the file itself.')
  if (process.getuid) await refuseOpenFolder(dirname(path))
  return realpath(path).catch(() => path)
}

function isOurs(uid: number): boolean {
  return !process.getuid || uid === process.getuid() || uid === 0
}

/** Where everybody can write, anybody can put another file in its place. In a sticky folder (`/tmp`) only its owner can. */
async function refuseOpenFolder(folder: string): Promise<void> {
  const { mode } = await stat(folder)
  if ((mode & 0o002) !== 0 && (mode & 0o1000) === 0)
    throw unsafe(`everybody can write the folder ${folder} (mode ${octal(mode)})`, `chmod o-w ${folder}`)
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    // O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
    return await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0))
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ELOOP') throw unsafe(`${path} is a symbolic link`, 'Name the file itself.')
    throw new PosternError('FILE_UNREADABLE', `the config file ${path} cannot be read (${code})`, { cause })
  }
}

function decode(bytes: Buffer, path: string): string {
  if (bytes.length > LARGEST) throw new PosternError('CONFIG_INVALID', `${path} is larger than 1 MiB`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new PosternError('CONFIG_INVALID', `${path} is not UTF-8 text`, { cause })
  }
}

function unsafe(message: string, next: string): PosternError {
  return new PosternError('FILE_UNSAFE', `the config file is not used: ${message}`, { next })
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}
