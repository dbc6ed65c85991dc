import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ClientHost, PosternError } from '@postern/interface'
import { userFolder } from './files.ts'
import type { Program } from './run.ts'
import { fileSecrets } from './secrets.ts'
import { terminal } from './ui.ts'

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
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new PosternError('FILE_UNREADABLE', `--ca: ${file} cannot be read (${cause.code})`, { cause })
  })
  if (!text.includes('-----BEGIN CERTIFICATE-----'))
    throw new PosternError('OPTION_INVALID', `--ca: ${file} holds no PEM certificate`)
  return { ca: [text] }
}
