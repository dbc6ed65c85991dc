import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Call, ClientHost, Logger } from '@postern/interface'
import { PosternError } from '@postern/interface'
import { onTestFinished } from 'vitest'
import { hashTree, LOCK_FILE } from '../src/index.ts'

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }

export const call: Call = { signal: new AbortController().signal, log: silent }

/** A host for plugins that ask nothing of it. */
export const host: ClientHost = {
  secrets: {
    get: async () => undefined,
    set: async () => {},
    delete: async () => {},
    exclusively: async (_key, work) => work(),
  },
  ui: { show() {}, open: async () => false, ask: async () => '' },
  fetch: () => Promise.reject(new Error('no network here')),
}

/** An empty folder that goes away with the test. */
export async function emptyFolder(): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'postern-registry-')))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Files of a package, by their paths. What is not text is written as JSON. */
export async function writePackage(folder: string, files: Readonly<Record<string, unknown>>): Promise<string> {
  for (const [path, content] of Object.entries(files)) {
    const file = join(folder, path)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content))
  }
  return folder
}

/** What a tarball of it would have. Of what is not packed here nobody knows. */
export const SOME_INTEGRITY = `sha512-${'A'.repeat(86)}==`

/** A package in a plugin folder, as `postern plugins add` puts it there. */
export async function addPackage(
  pluginFolder: string,
  name: string,
  files: Readonly<Record<string, unknown>>,
): Promise<string> {
  const folder = `${name.replace('/', '+')}@1.0.0-00000000`
  const own = { ...files, 'package.json': { ...(files['package.json'] as object), name, version: '1.0.0' } }
  const written = await writePackage(join(pluginFolder, folder, 'node_modules', name), own)
  const found = await hashTree(join(pluginFolder, folder))
  const entry = {
    version: '1.0.0',
    integrity: SOME_INTEGRITY,
    tree: 'hash' in found ? found.hash : found.wrong,
    folder,
  }
  await writeFile(join(pluginFolder, LOCK_FILE), JSON.stringify({ lockfileVersion: 1, plugins: { [name]: entry } }))
  return written
}

/** A package.json with these manifest entries. */
export function manifest(...plugins: unknown[]): Record<string, unknown> {
  return { name: 'a-plugin', version: '1.0.0', type: 'module', postern: { api: 1, plugins } }
}

/** The module of an auth client side, with some of its properties replaced by other source text. */
export function authModule(replaced: Readonly<Record<string, string>> = {}): string {
  const parts = {
    api: '1',
    kind: '"auth"',
    side: '"client"',
    name: '"key"',
    options: '{}',
    create: '() => ({ authenticate: async () => ({ headers: { "x-key": "1" } }) })',
    ...replaced,
  }
  return `export default { ${Object.entries(parts)
    .map(([name, source]) => `${name}: ${source}`)
    .join(', ')} }`
}

export const authEntry = { kind: 'auth', name: 'key', client: './client.js' }

/** What a promise rejects with, which must be a PosternError. */
export async function refused(work: Promise<unknown>): Promise<PosternError> {
  const error = await work.then(
    () => new Error('was not refused'),
    (thrown: unknown) => thrown,
  )
  if (PosternError.is(error)) return error
  throw error
}
