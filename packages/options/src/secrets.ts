import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Readable } from 'node:stream'
import { PosternError } from '@postern/interface'

/** Bytes that a file or stdin may hold as a secret. A PEM chain with its key stays far below it. */
export const LARGEST_SECRET = 65_536

/** Reads secrets from where they lie. One reader per process: stdin can be read once only. */
export interface SecretReader {
  /** @throws PosternError FILE_UNREADABLE, FILE_UNSAFE, OPTION_INVALID; `signal.reason` on abort */
  file(path: string, label: string, signal: AbortSignal): Promise<string>
  /**
   * Who asks again by the same label is given the same secret: one flag may be for several applications.
   * @throws PosternError OPTION_CONFLICT where stdin is not free; OPTION_INVALID; `signal.reason` on abort
   */
  stdin(label: string, signal: AbortSignal): Promise<string>
  /** @throws PosternError FILE_UNSAFE when others may read this file, in which a secret stands among other things */
  checkPrivate(path: string, label: string): Promise<void>
}

/**
 * @param stdin where `--x-file -` reads from; undefined where stdin is already spoken for (ProxyCommand: it is the pipe)
 */
export function createSecretReader(stdin: Readable | undefined): SecretReader {
  let reading: { readonly label: string; readonly secret: Promise<string> } | undefined
  return {
    file: readSecretFile,
    async stdin(label, signal) {
      if (!stdin) {
        throw new PosternError('OPTION_CONFLICT', `${label} cannot read stdin, which carries the connection`, {
          next: 'Name a file, or use the environment variable.',
        })
      }
      if (reading && reading.label !== label)
        throw new PosternError('OPTION_CONFLICT', `${reading.label} and ${label} both want stdin`)
      reading ??= { label, secret: readAll(stdin, label, signal).then(bytes => secretOf(bytes, label)) }
      return reading.secret
    },
    async checkPrivate(path, label) {
      await using file = await openFile(path, label)
      await refuseUnsafe(file, path, label)
    },
  }
}

/**
 * The secret in a file, without the line end behind it. Symbolic links are followed, as ssh does; what counts is the file that
 * was opened: a regular file that group and others can neither read nor write. (Windows has no such bits: not checked there.)
 *
 * @throws PosternError FILE_UNREADABLE: not there, or may not be read; FILE_UNSAFE: no regular file, or open to others;
 *   OPTION_INVALID: empty, more than 64 KiB, or not UTF-8
 */
export async function readSecretFile(path: string, label: string, signal: AbortSignal): Promise<string> {
  return secretOf(await readSecretBytes(path, label, signal), label)
}

/**
 * The bytes of a file that is nobody else's, and may be no text: the rules of {@link readSecretFile}.
 *
 * @returns at most one byte more than {@link LARGEST_SECRET}
 * @throws PosternError FILE_UNREADABLE, FILE_UNSAFE
 */
export async function readSecretBytes(path: string, label: string, signal: AbortSignal): Promise<Buffer> {
  signal.throwIfAborted()
  await using file = await openFile(path, label)
  await refuseUnsafe(file, path, label)
  const buffer = Buffer.alloc(LARGEST_SECRET + 1)
  let length = 0
  while (length < buffer.length) {
    signal.throwIfAborted()
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return buffer.subarray(0, length)
}

async function openFile(path: string, label: string): Promise<FileHandle> {
  try {
    // O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
    return await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause)
    throw new PosternError('FILE_UNREADABLE', `${label}: ${path} cannot be read (${why})`, { cause })
  }
}

async function refuseUnsafe(file: FileHandle, path: string, label: string): Promise<void> {
  const facts = await file.stat()
  if (!facts.isFile()) {
    throw new PosternError('FILE_UNSAFE', `${label}: ${path} is not a regular file`, { next: 'Name a regular file.' })
  }
  if (process.platform === 'win32' || (facts.mode & (isCredential(path) ? 0o037 : 0o077)) === 0) return
  const mode = (facts.mode & 0o777).toString(8).padStart(4, '0')
  throw new PosternError('FILE_UNSAFE', `${label}: ${path} has mode ${mode}, so others can read or change it`, {
    next: `chmod 600 ${path}`,
  })
}

/**
 * systemd lends a service its credentials in a folder that nobody else can enter, and there as 0440: the group’s bit is how an
 * access list for the service’s own user shows (systemd/systemd#29435).
 */
function isCredential(path: string): boolean {
  return process.env.CREDENTIALS_DIRECTORY !== undefined && dirname(path) === process.env.CREDENTIALS_DIRECTORY
}

async function readAll(stream: Readable, label: string, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onData = (chunk: Buffer | string) => {
    chunks.push(Buffer.from(chunk as string))
    length += chunks.at(-1)!.length
    if (length > LARGEST_SECRET) resolve()
  }
  const onAbort = () => reject(signal.reason)
  const onError = (cause: Error) =>
    reject(new PosternError('FILE_UNREADABLE', `${label}: stdin cannot be read`, { cause }))
  signal.addEventListener('abort', onAbort)
  stream.on('data', onData).on('end', resolve).on('close', resolve).on('error', onError)
  try {
    signal.throwIfAborted()
    if (stream.readableEnded || stream.destroyed) resolve()
    await promise
  } finally {
    signal.removeEventListener('abort', onAbort)
    stream.off('data', onData).off('end', resolve).off('close', resolve).off('error', onError)
    stream.pause()
  }
  return Buffer.concat(chunks)
}

function secretOf(bytes: Buffer, label: string): string {
  if (bytes.length > LARGEST_SECRET)
    throw new PosternError('OPTION_INVALID', `${label} names more than 65,536 bytes, which is no secret`)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new PosternError('OPTION_INVALID', `${label} names something that is not UTF-8 text`, { cause })
  }
  const secret = text.replace(/\r?\n$/, '')
  if (secret === '') throw new PosternError('OPTION_INVALID', `${label} names nothing: it is empty`)
  return secret
}
