import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { type ClientHost, PosternError } from '@postern/interface'
import { userFolder } from './files.ts'
import type { Program } from './run.ts'
import { fileSecrets } from './secrets.ts'
import { terminal } from './ui.ts'

/** Bytes. The bundles that systems come with have a quarter of it. */
const LARGEST_CA = 1024 * 1024

/** What a program lends the client sides of its plugins. */
export function clientHost(program: Pick<Program, 'env'>): ClientHost {
  return {
    secrets: fileSecrets(join(userFolder(program.env), 'secrets')),
    ui: terminal,
    fetch: (input, init) => fetch(input, init),
  }
}

/** Where `--plugin NAME` looks: from the working folder up, then among the user's own plugins. */
export function pluginPlaces({ cwd, env }: Pick<Program, 'cwd' | 'env'>): { from: string; pluginFolder: string } {
  return { from: cwd, pluginFolder: join(userFolder(env), 'plugins') }
}

/** The PEM of `--ca FILE`, or none. @throws PosternError FILE_UNREADABLE, OPTION_INVALID */
export async function readTrust(file: string | undefined): Promise<{ readonly ca: readonly string[] }> {
  if (file === undefined) return { ca: [] }
  const text = await readSmall(file).catch((cause: NodeJS.ErrnoException) => {
    throw new PosternError('FILE_UNREADABLE', `--ca: ${file} cannot be read (${cause.code ?? cause.message})`, {
      cause,
    })
  })
  if (!text.includes('-----BEGIN CERTIFICATE-----'))
    throw new PosternError('OPTION_INVALID', `--ca: ${file} holds no PEM certificate`)
  return { ca: [text] }
}

async function readSmall(path: string): Promise<string> {
  // O_NONBLOCK: opening a FIFO must not wait for somebody to write to it; nothing could interrupt that.
  await using file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  const facts = await file.stat()
  if (!facts.isFile() || facts.size > LARGEST_CA) throw new Error('not a regular file of at most 1 MiB')
  return await file.readFile('utf8')
}
