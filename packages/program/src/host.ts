import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { EdgeAt } from '@postern/client/edge-fetch'
import { type ClientHost, PosternError, type Ui } from '@postern/interface'
import { userFolder } from './files.ts'
import type { Program } from './run.ts'
import { terminal } from './ui.ts'

/** Bytes. The bundles that systems come with have a quarter of it. */
const LARGEST_CA = 1024 * 1024

/**
 * What a program lends the client sides of its plugins. What it needs for that is imported when a plugin asks for it: most never
 * fetch, keep or open anything.
 *
 * @param at the edge that they are about; without it, `fetch` asks every place at its own address
 * @param ui where the person is told and asked
 */
export function clientHost({ env }: Pick<Program, 'env'>, at?: EdgeAt, ui: Ui = terminal): ClientHost {
  const folder = join(userFolder(env), secretsFor(at?.trust.ca ?? []))
  const secrets = lazily(async () => {
    const { keyringSecrets, systemKeyring } = await import('./keyring.ts')
    return keyringSecrets(
      folder,
      () => systemKeyring(`Postern (${folder})`, env),
      line => ui.show(line),
    )
  })
  const fetching = lazily(async () =>
    (await import('@postern/client/edge-fetch')).edgeFetch(at ?? { hostname: '', trust: { ca: [] } }),
  )
  return {
    secrets: {
      get: async key => (await secrets()).get(key),
      set: async (key, value) => (await secrets()).set(key, value),
      delete: async key => (await secrets()).delete(key),
      exclusively: async (key, work, call) => (await secrets()).exclusively(key, work, call),
    },
    ui,
    fetch: async (input, init) => (await fetching())(input, init),
  }
}

/**
 * The folder of secrets under one trust. Whoever issues certificates with a CA of their own can be any host to whom trusts it:
 * what was signed in under another CA, or under the system’s, is nothing that they may be handed.
 */
function secretsFor(ca: readonly string[]): string {
  if (ca.length === 0) return 'secrets'
  const text = ca.join('\n')
  const certificates = text.match(CERTIFICATE)?.map(one => one.replace(/\s/g, '')) ?? [text]
  const hash = createHash('sha256').update([...new Set(certificates)].sort().join('\n'))
  return `secrets-${hash.digest('hex').slice(0, 32)}`
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\w+/=\s]+-----END CERTIFICATE-----/g

function lazily<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => (made ??= make())
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
