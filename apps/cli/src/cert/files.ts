import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, lstat, open, realpath, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { PosternError } from '@postern/interface'

/** A certificate, with those above it where there are, and its key: PEM. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

/** Absolute paths. The same one twice: a file that has both, as curl and most others take it. */
export interface Places {
  readonly cert: string
  readonly key: string
}

/** Bytes. */
const LARGEST = 65_536
/** What is about to take the place of two files: whoever is killed between them finishes the next time. */
const NEXT = '.next'
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/**
 * Writes new files, each as a whole or not at all. No file that is there is touched.
 *
 * @throws PosternError ALREADY_EXISTS, FILE_UNREADABLE
 */
export async function createFiles(places: Places, pair: Pair): Promise<void> {
  for (const [path, text] of filesOf(places, pair)) {
    const beside = await writeBeside(path, text)
    try {
      // Unlike a rename, a link replaces nothing.
      await link(beside, path)
      await flushFolder(path)
    } catch (error) {
      throw cannotWrite(path, error)
    } finally {
      await unlink(beside)
    }
  }
}

/** @throws PosternError ALREADY_EXISTS: before anything is asked for, or made */
export async function mustBeNew({ cert, key }: Places): Promise<void> {
  for (const path of new Set([key, cert])) {
    const there = await lstat(path).catch(() => undefined)
    if (there !== undefined) throw cannotWrite(path, { code: 'EEXIST' })
  }
}

/**
 * Reads a certificate and its key. What a renewal left half done is finished first.
 *
 * @throws PosternError FILE_UNREADABLE; FILE_UNSAFE: others may read the key, or it is somebody else's; OPTION_INVALID: no certificate, no
 *   key, or two that do not belong together
 */
export async function readFiles(places: Places): Promise<Pair> {
  await finish(places)
  const key = await readSecret(places.key, '--key')
  const text = places.cert === places.key ? key : await readText(places.cert, '--cert')
  const cert = text.match(CERTIFICATE)?.join('\n') ?? ''
  const pem = key.match(KEY)?.[0]
  if (cert === '') throw new PosternError('OPTION_INVALID', `--cert: ${places.cert} has no certificate in PEM`)
  if (pem === undefined)
    throw new PosternError('OPTION_INVALID', `--key: ${places.key} has no key in PEM that is not encrypted`)
  if (belong({ cert, key: pem })) return { cert, key: pem }
  throw new PosternError(
    'OPTION_INVALID',
    `--key: ${places.key} is not the key of the first certificate in ${places.cert}`,
  )
}

/** Puts another certificate and key in the place of those that are there; killed at any time, it leaves the old ones or the new ones. */
export async function replaceFiles(places: Places, pair: Pair): Promise<void> {
  if (places.cert === places.key) return replace(places.key, bothOf(pair))
  // Its name can be guessed: a link in its place is not followed.
  await put(nextOf(places), bothOf(pair))
  await finish(places)
}

/** @throws PosternError FILE_UNSAFE, FILE_UNREADABLE */
async function finish(places: Places): Promise<void> {
  const next = nextOf(places)
  const there = places.cert === places.key ? undefined : await lstat(next).catch(() => undefined)
  if (there === undefined) return
  const text = there.isFile() ? await readSecret(next, '--key') : ''
  const pair = { cert: text.match(CERTIFICATE)?.join('\n') ?? '', key: text.match(KEY)?.[0] ?? '' }
  if (!belong(pair))
    throw new PosternError('FILE_UNSAFE', `${next} is nothing that a renewal left`, {
      next: 'Look who put it there, and move it away.',
    })
  for (const [path, content] of filesOf(places, pair)) await replace(path, content)
  await unlink(next)
}

const nextOf = ({ key }: Places): string => `${key}${NEXT}`

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g
const KEY = /-----BEGIN (?:EC |RSA )?PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END (?:EC |RSA )?PRIVATE KEY-----/g

/** The key first: who is killed between two new files has made no certificate of it yet. */
function filesOf(places: Places, pair: Pair): readonly (readonly [path: string, text: string])[] {
  if (places.cert === places.key) return [[places.key, bothOf(pair)]]
  return [
    [places.key, ended(pair.key)],
    [places.cert, ended(pair.cert)],
  ]
}

function bothOf({ cert, key }: Pair): string {
  return `${ended(cert)}${ended(key)}`
}

function ended(pem: string): string {
  return `${pem.trimEnd()}\n`
}

/** Whether a key is that of the first certificate. */
export function belong({ cert, key }: Pair): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))
  } catch {
    return false
  }
}

async function replace(path: string, text: string): Promise<void> {
  // A link stays one: what it stands for is replaced.
  await put(await realpath(path).catch(() => path), text)
}

async function put(path: string, text: string): Promise<void> {
  const beside = await writeBeside(path, text)
  try {
    await rename(beside, path)
    await flushFolder(path)
  } catch (error) {
    await unlink(beside).catch(() => {})
    throw cannotWrite(path, error)
  }
}

async function writeBeside(path: string, text: string): Promise<string> {
  const beside = `${path}.${randomBytes(6).toString('hex')}`
  let file: FileHandle | undefined
  try {
    file = await open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    await file.writeFile(text)
    await file.sync()
    return beside
  } catch (error) {
    if (file !== undefined) await unlink(beside).catch(() => {})
    throw cannotWrite(path, error)
  } finally {
    await file?.close()
  }
}

async function flushFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  await using folder = await open(dirname(path), O_RDONLY)
  await folder.sync()
}

/** @throws PosternError FILE_UNREADABLE */
export async function readBytes(path: string, flag: string): Promise<Buffer> {
  await using file = await openFile(path, flag)
  return await readWhole(file, path, flag)
}

async function readText(path: string, flag: string): Promise<string> {
  return (await readBytes(path, flag)).toString('latin1')
}

async function readSecret(path: string, flag: string): Promise<string> {
  await using file = await openFile(path, flag)
  const { mode, uid } = await file.stat()
  if (process.getuid !== undefined && uid !== process.getuid())
    throw new PosternError('FILE_UNSAFE', `${flag}: ${path} belongs to another user`, { next: 'Be that user.' })
  if (process.platform !== 'win32' && (mode & 0o077) !== 0)
    throw new PosternError('FILE_UNSAFE', `${flag}: others can read or change ${path}, which has a key in it`, {
      next: `chmod 600 ${path}`,
    })
  return (await readWhole(file, path, flag)).toString('latin1')
}

async function openFile(path: string, flag: string): Promise<FileHandle> {
  // O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
  return open(path, O_RDONLY | (O_NONBLOCK ?? 0)).catch((cause: NodeJS.ErrnoException) => {
    throw new PosternError('FILE_UNREADABLE', `${flag}: ${path} cannot be read (${cause.code})`, { cause })
  })
}

async function readWhole(file: FileHandle, path: string, flag: string): Promise<Buffer> {
  const facts = await file.stat()
  if (facts.isFile() && facts.size <= LARGEST) return await file.readFile()
  throw new PosternError('FILE_UNREADABLE', `${flag}: ${path} is no regular file of at most 64 KiB`)
}

function cannotWrite(path: string, cause: unknown): PosternError {
  const { code } = cause as NodeJS.ErrnoException
  if (code !== 'EEXIST') return new PosternError('FILE_UNREADABLE', `${path} cannot be written (${code})`, { cause })
  return new PosternError('ALREADY_EXISTS', `${path} is there already`, {
    cause,
    next: 'Name another file, or move that one away: a key that is lost cannot be had again.',
  })
}
