import { createPrivateKey } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { PosternError } from '@postern/interface'

/** Bytes. A list of 100,000 serials has 3 MiB. */
const LARGEST = 4 * 1024 * 1024

/** PEM certificates in a file. @throws PosternError FILE_UNREADABLE, OPTION_INVALID */
export async function certificatesIn(file: string): Promise<string> {
  const text = (await readBounded(file, '--cert')).toString('latin1')
  const found = text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g)
  if (found !== null) return `${found.join('\n')}\n`
  throw new PosternError('OPTION_INVALID', `--cert: ${file} has no certificate in PEM`)
}

/** The key as the edge takes it: not encrypted any more. @throws PosternError OPTION_INVALID */
export function keyIn({
  key,
  passphrase,
}: {
  readonly key: string | undefined
  readonly passphrase: string | undefined
}): { readonly key?: string } {
  if (key === undefined) return {}
  try {
    const read = createPrivateKey({ key, ...(passphrase !== undefined && { passphrase }) })
    return { key: read.export({ type: 'pkcs8', format: 'pem' }).toString() }
  } catch {
    // Without the cause, which may repeat it.
    const isLocked = /ENCRYPTED/.test(key)
    if (isLocked && passphrase === undefined)
      throw new PosternError('OPTION_MISSING', '--key is encrypted: give --passphrase-file too')
    throw new PosternError('OPTION_INVALID', isLocked ? '--passphrase does not open the key' : '--key is no PEM key')
  }
}

/** A revocation list: PEM as it is, DER in base64. @throws PosternError FILE_UNREADABLE */
export async function listIn(file: string): Promise<string> {
  const bytes = await readBounded(file, '--file')
  return bytes.includes('-----BEGIN') ? bytes.toString('latin1') : bytes.toString('base64')
}

export async function readBounded(path: string, flag: string): Promise<Buffer> {
  try {
    // O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
    await using file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    const facts = await file.stat()
    if (facts.isFile() && facts.size <= LARGEST) return await file.readFile()
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new PosternError('FILE_UNREADABLE', `${flag}: ${path} cannot be read (${code})`, { cause })
  }
  throw new PosternError('FILE_UNREADABLE', `${flag}: ${path} is no regular file of at most 4 MiB`)
}
