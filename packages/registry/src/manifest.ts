import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { API_VERSION, type Kind, type Manifest, type ManifestEntry, type Side } from '@postern/interface'
import { nearest } from '@postern/options'
import { isKind, KINDS, sidesOf } from './kinds.ts'
import { refusal, shown } from './refusal.ts'

/** Bytes of a package.json. The largest of the thousand most used packages is about 30 KiB. */
export const LARGEST_MANIFEST = 262_144
const MOST_PLUGINS = 64

const NAME = /^[a-z][a-z0-9-]{0,63}$/
const SCHEME = /^[a-z][a-z0-9+.-]{0,31}$/
const OPTION = /^[a-z][a-zA-Z0-9]{0,63}$/
/** A header's name as it arrives, or the client's certificate. */
const READ = /^(?::certificate|[a-z0-9!#$%&'*+.^_`|~-]{1,64})$/
const MODULE = /^\.\/(?!.*(?:^|\/)\.{1,2}(?:\/|$))[^\0\\]{1,255}$/
/** A record and not a list, so that a key that the contract gains and this file does not know fails to compile. */
const ENTRY: Record<keyof ManifestEntry, true> = {
  kind: true,
  name: true,
  summary: true,
  schemes: true,
  defaultPort: true,
  listens: true,
  reads: true,
  options: true,
  client: true,
  edge: true,
  origin: true,
}
const ENTRY_KEYS: readonly string[] = Object.keys(ENTRY)
const ALL_SIDES: readonly Side[] = ['client', 'edge', 'origin']

/**
 * Reads what a package says of its plugins. Only package.json is read; none of its code is touched.
 *
 * @throws PosternError PLUGIN_NOT_FOUND: no package.json there; PLUGIN_MANIFEST: too large, no JSON, not of the shape;
 *   PLUGIN_API: made for another API
 */
export async function readManifest(folder: string, plugin: string): Promise<Manifest> {
  const file = await readPackageFile(folder, plugin)
  return checkManifest(Object.hasOwn(file, 'postern') ? file.postern : undefined, plugin)
}

/** package.json as it is, unchecked; one that is no object is an empty one. @throws PosternError as {@link readManifest} */
export async function readPackageFile(folder: string, plugin: string): Promise<Readonly<Record<string, unknown>>> {
  const text = await readBounded(join(folder, 'package.json'), plugin)
  try {
    const json: unknown = JSON.parse(text)
    return isRecord(json) ? json : {}
  } catch (cause) {
    throw wrong(plugin, 'a package.json that is not JSON', 'JSON', cause)
  }
}

/**
 * The shape, checked by hand so that each message can say what to change. The API version goes first: a manifest of another
 * version may have any shape.
 */
export function checkManifest(manifest: unknown, plugin: string): Manifest {
  const fix = 'If it is no Postern plugin, leave it out; if it is yours, see docs/plugins.'
  if (manifest === undefined)
    throw refusal('PLUGIN_MANIFEST', {
      plugin,
      found: 'no "postern" in its package.json',
      wanted: `{ "api": ${API_VERSION}, "plugins": […] }`,
      fix,
    })
  if (!isRecord(manifest))
    throw wrong(plugin, `"postern" is ${shown(manifest)}`, `{ "api": ${API_VERSION}, "plugins": […] }`)
  const { api, plugins, ...others } = manifest
  if (!Number.isSafeInteger(api)) throw wrong(plugin, `"postern.api" is ${shown(api)}`, `the integer ${API_VERSION}`)
  if (api !== API_VERSION) {
    const newer = (api as number) > API_VERSION
    throw refusal('PLUGIN_API', {
      plugin,
      found: `plugin API ${api}`,
      wanted: `plugin API ${API_VERSION}`,
      fix: newer ? 'Update Postern, or install an older version of the plugin.' : 'Update the plugin.',
    })
  }
  const [other] = Object.keys(others)
  if (other !== undefined)
    throw wrong(plugin, `the unknown key ${shown(`postern.${other}`)}`, '"api" and "plugins" only')
  if (!Array.isArray(plugins) || plugins.length === 0 || plugins.length > MOST_PLUGINS) {
    throw wrong(
      plugin,
      `"postern.plugins" is ${Array.isArray(plugins) ? `a list of ${plugins.length}` : shown(plugins)}`,
      `a list of 1 to ${MOST_PLUGINS} entries`,
    )
  }
  const entries = plugins.map((entry, i) => checkEntry(entry, `postern.plugins[${i}]`, plugin))
  refuseTwins(entries, plugin)
  return { api: API_VERSION, plugins: entries }
}

function checkEntry(entry: unknown, at: string, plugin: string): ManifestEntry {
  if (!isRecord(entry)) throw wrong(plugin, `"${at}" is ${shown(entry)}`, '{ "kind": …, "name": …, "client": … }')
  for (const key of Object.keys(entry)) {
    const meant = nearest(key, ENTRY_KEYS)
    if (!ENTRY_KEYS.includes(key))
      throw wrong(
        plugin,
        `the unknown key ${shown(`${at}.${key}`)}`,
        meant ? `perhaps "${meant}"` : `one of ${ENTRY_KEYS.join(', ')}`,
      )
  }
  const { kind, name, summary, options } = entry
  if (!isKind(kind)) throw wrong(plugin, `"${at}.kind" is ${shown(kind)}`, `one of ${KINDS.join(', ')}`)
  if (!matches(name, NAME))
    throw wrong(plugin, `"${at}.name" is ${shown(name)}`, 'lower-case letters, digits and hyphens, at most 64')
  if (summary !== undefined && typeof summary !== 'string')
    throw wrong(plugin, `"${at}.summary" is ${shown(summary)}`, 'half a sentence')
  const modules = checkModules(entry, kind, at, plugin)
  const served = checkService(entry, kind, 'origin' in modules, at, plugin)
  const listens = checkListens(entry, kind, 'client' in modules, at, plugin)
  const reads = checkReads(entry, kind, 'edge' in modules, at, plugin)
  const listed = checkOptions(options, modules, at, plugin)
  return {
    kind,
    name,
    ...(summary !== undefined && { summary }),
    ...served,
    ...listens,
    ...reads,
    ...listed,
    ...modules,
  }
}

function checkModules(
  entry: Record<string, unknown>,
  kind: Kind,
  at: string,
  plugin: string,
): Partial<Record<Side, string>> {
  const modules: Partial<Record<Side, string>> = {}
  for (const side of ALL_SIDES) {
    const path = entry[side]
    if (path === undefined) continue
    if (!sidesOf(kind).includes(side))
      throw wrong(plugin, `"${at}.${side}"`, `only ${sidesOf(kind).join(', ')} for the kind ${kind}`)
    if (!matches(path, MODULE))
      throw wrong(
        plugin,
        `"${at}.${side}" is ${shown(path)}`,
        'a path inside the package such as "./dist/client.js", without ".."',
      )
    modules[side] = path
  }
  if (Object.keys(modules).length === 0)
    throw wrong(plugin, `"${at}" without a module`, `at least one of ${sidesOf(kind).join(', ')}`)
  return modules
}

function checkService(
  { schemes, defaultPort }: Record<string, unknown>,
  kind: Kind,
  serves: boolean,
  at: string,
  plugin: string,
): { schemes?: readonly string[]; defaultPort?: number } {
  if (kind !== 'protocol') {
    if (schemes !== undefined) throw wrong(plugin, `"${at}.schemes"`, 'none: only protocols serve schemes')
    if (defaultPort !== undefined) throw wrong(plugin, `"${at}.defaultPort"`, 'none: only protocols have one')
    return {}
  }
  const isPort = Number.isInteger(defaultPort) && (defaultPort as number) >= 1 && (defaultPort as number) <= 65_535
  if (defaultPort !== undefined && !isPort) {
    throw wrong(plugin, `"${at}.defaultPort" is ${shown(defaultPort)}`, 'a port, 1 to 65535')
  }
  const port = isPort ? { defaultPort: defaultPort as number } : {}
  if (schemes === undefined && !serves) return port
  const isList = Array.isArray(schemes) && schemes.length > 0 && schemes.length <= 32
  if (!isList || !schemes.every(one => matches(one, SCHEME))) {
    throw wrong(
      plugin,
      `"${at}.schemes" is ${shown(schemes)}`,
      'a list of the service schemes it serves, such as ["ssh"]',
    )
  }
  return { schemes: [...(schemes as string[])], ...port }
}

function checkListens(
  { listens }: Record<string, unknown>,
  kind: Kind,
  hasClient: boolean,
  at: string,
  plugin: string,
): { listens?: true } {
  if (listens === undefined) return {}
  if (kind !== 'protocol' || !hasClient)
    throw wrong(plugin, `"${at}.listens"`, 'none: only protocols with a client side have it')
  if (listens !== true) throw wrong(plugin, `"${at}.listens" is ${shown(listens)}`, 'true, or none')
  return { listens }
}

function checkReads(
  { reads }: Record<string, unknown>,
  kind: Kind,
  hasEdge: boolean,
  at: string,
  plugin: string,
): { reads?: readonly string[] } {
  if (reads === undefined) return {}
  if (kind !== 'auth' || !hasEdge) throw wrong(plugin, `"${at}.reads"`, 'none: only auth with an edge side has it')
  const fine = Array.isArray(reads) && reads.length > 0 && reads.length <= 32 && reads.every(one => matches(one, READ))
  if (!fine)
    throw wrong(plugin, `"${at}.reads" is ${shown(reads)}`, 'a list of lower-case header names, and ":certificate"')
  return { reads: [...(reads as string[])] }
}

function checkOptions(
  options: unknown,
  modules: Partial<Record<Side, string>>,
  at: string,
  plugin: string,
): { options?: Partial<Record<Side, readonly string[]>> } {
  if (options === undefined) return {}
  if (!isRecord(options)) throw wrong(plugin, `"${at}.options" is ${shown(options)}`, 'a list of option names per side')
  const listed: Partial<Record<Side, readonly string[]>> = {}
  for (const [side, names] of Object.entries(options)) {
    if (!Object.hasOwn(modules, side))
      throw wrong(
        plugin,
        `${shown(`${at}.options.${side}`)}`,
        `only sides it has a module for: ${Object.keys(modules).join(', ')}`,
      )
    const fine = Array.isArray(names) && names.length <= 256 && names.every(one => matches(one, OPTION))
    if (!fine) throw wrong(plugin, `"${at}.options.${side}" is ${shown(names)}`, 'a list of option names in camelCase')
    listed[side as Side] = [...(names as string[])]
  }
  return { options: listed }
}

function refuseTwins(entries: readonly ManifestEntry[], plugin: string): void {
  const seen = new Set<string>()
  for (const { kind, name, schemes } of entries) {
    for (const claim of [`${kind} ${name}`, ...(schemes ?? []).map(scheme => `scheme ${scheme}:`)]) {
      if (seen.has(claim)) throw wrong(plugin, `the ${claim} twice`, 'each once')
      seen.add(claim)
    }
  }
}

async function readBounded(path: string, plugin: string): Promise<string> {
  let file: Awaited<ReturnType<typeof open>>
  try {
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unreadable'
    throw refusal('PLUGIN_NOT_FOUND', {
      plugin,
      found: `no readable ${path} (${why})`,
      wanted: 'a package',
      fix: 'Install it, or correct its name or path.',
      cause,
    })
  }
  await using _ = file
  if (!(await file.stat()).isFile()) throw wrong(plugin, `${path}, which is no regular file`, 'a file')
  const buffer = Buffer.alloc(LARGEST_MANIFEST + 1)
  let length = 0
  for (;;) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length)
    length += bytesRead
    if (length > LARGEST_MANIFEST)
      throw wrong(plugin, `a package.json of more than ${LARGEST_MANIFEST} bytes`, 'a smaller one')
    if (bytesRead === 0) return buffer.toString('utf8', 0, length)
  }
}

function wrong(plugin: string, found: string, wanted: string, cause?: unknown) {
  return refusal('PLUGIN_MANIFEST', {
    plugin,
    found,
    wanted,
    fix: 'Tell the plugin’s author; the manifest is described in docs/plugins.',
    cause,
  })
}

function matches(value: unknown, form: RegExp): value is string {
  return typeof value === 'string' && form.test(value)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
