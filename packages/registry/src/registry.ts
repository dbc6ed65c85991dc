import { pathToFileURL } from 'node:url'
import {
  type Call,
  isCode,
  type Kind,
  type Kinds,
  type ManifestEntry,
  type OptionSpecs,
  type Plugin,
  PosternError,
  type Side,
} from '@postern/interface'
import { kebab, nearest } from '@postern/options'
import { Catalogue, type Found } from './catalogue.ts'
import { LATE, withDeadline } from './deadline.ts'
import { sidesOf } from './kinds.ts'
import { locate, moduleInside, type Where } from './locate.ts'
import { readManifest } from './manifest.ts'
import { checkCreated, checkModule, type Expected } from './module.ts'
import { refusal, shown } from './refusal.ts'

/** A plugin that a program brings itself: its manifest entry and how each side is imported, from the generated `builtin.ts`. */
export interface Builtin {
  readonly package: string
  readonly entry: ManifestEntry
  readonly load: Partial<Record<Side, () => Promise<unknown>>>
}

export interface Owner {
  readonly kind: Kind
  readonly name: string
  readonly side: Side
}

export interface Registry {
  /**
   * Makes the plugins of a package known, by its manifest only.
   *
   * @param specifier the name of a package that was added, with its exact version or without; or the path of a folder beginning with
   *   `./`, `../` or `/`
   * @throws PosternError PLUGIN_NOT_FOUND, PLUGIN_INTEGRITY, FILE_UNSAFE, PLUGIN_MANIFEST, PLUGIN_API, PLUGIN_CONFLICT
   */
  add(specifier: string, where: Where & { readonly override?: boolean }): Promise<void>
  find(kind: Kind, name: string): Found | undefined
  /** The protocol that serves a service's scheme, written with its colon or without. */
  forScheme(scheme: string): Found | undefined
  /** In alphabetical order; with `side`, only those that have it. */
  names(kind: Kind, side?: Side): readonly string[]
  /** Which plugins declare an option, by their manifests. camelCase or as the flag is written. */
  ownersOf(option: string): readonly Owner[]
  /**
   * Imports one side of a plugin and checks it: API version, shape, options.
   *
   * @throws PosternError PLUGIN_NOT_FOUND, PLUGIN_SIDE, PLUGIN_LOAD (does not resolve within the deadline, throws, leaves its
   *   folder), PLUGIN_API, PLUGIN_SHAPE, PLUGIN_OPTIONS; `signal.reason` on abort
   */
  load<K extends Kind, S extends Side<K>>(
    kind: K,
    name: string,
    side: S,
    call: Call,
  ): Promise<Plugin<K, S, OptionSpecs>>
  /**
   * The file that holds one side of a plugin that is not built in, for whoever imports it elsewhere. Looks again whether it is what
   * was added, and imports nothing.
   *
   * @throws PosternError PLUGIN_NOT_FOUND, PLUGIN_SIDE, PLUGIN_INTEGRITY, PLUGIN_LOAD
   */
  moduleOf(kind: Kind, name: string, side: Side): Promise<string>
  /**
   * Loads one side, creates it and checks that it has its side's verbs.
   *
   * @throws PosternError what `load` throws; what `create` throws, if it is one; PLUGIN_CREATE; PLUGIN_SHAPE
   */
  create<K extends Kind, S extends Side<K>>(
    kind: K,
    name: string,
    side: S,
    values: object,
    host: Parameters<Plugin<K, S>['create']>[1],
    call: Call,
  ): Promise<Kinds[K][S]>
}

export interface RegistryOptions {
  /** Milliseconds that loading a module, and creating what it declares, may take each. */
  readonly deadline?: number
}

/** The default deadline. A module on a slow disk takes a second; nobody waits longer than ten. */
const DEADLINE = 10_000

/** A registry that knows the program's own plugins. */
export function createRegistry(builtins: readonly Builtin[], { deadline = DEADLINE }: RegistryOptions = {}): Registry {
  const catalogue = new Catalogue()
  for (const builtin of builtins) catalogue.add([{ ...builtin, builtin: true }], false)

  const registry: Registry = {
    async add(specifier, { override = false, ...where }) {
      const located = await locate(specifier, where)
      const { plugins } = await readManifest(located.folder, specifier)
      catalogue.add(
        plugins.map(entry => ({ package: specifier, entry, builtin: false, ...located })),
        override,
      )
    },
    find: (kind, name) => catalogue.find(kind, name),
    forScheme: scheme => catalogue.forScheme(scheme),
    names: (kind, side) => namesOf(catalogue, kind, side),
    ownersOf: option => ownersOf(catalogue, option),
    async load(kind, name, side, call) {
      const { found, expected } = expect(catalogue, kind, name, side)
      const module = await importSide(found, expected, deadline, call)
      // Its create is typed by what it declares; the checks above made sure that it is what it says.
      return checkModule(module, expected) as unknown as Plugin<typeof kind, typeof side, OptionSpecs>
    },
    async moduleOf(kind, name, side) {
      const { found, expected } = expect(catalogue, kind, name, side)
      await found.check?.()
      return fileOf(found, expected)
    },
    async create(kind, name, side, values, host, call) {
      const { expected } = expect(catalogue, kind, name, side)
      const plugin = await registry.load(kind, name, side, call)
      const created = await runCreate(() => plugin.create(values as never, host as never), expected, deadline, call)
      return created as Kinds[typeof kind][typeof side]
    },
  }
  return registry
}

function namesOf(catalogue: Catalogue, kind: Kind, side: Side | undefined): readonly string[] {
  const matching = catalogue
    .all()
    .filter(({ entry }) => entry.kind === kind && (side === undefined || entry[side] !== undefined))
  return matching.map(({ entry }) => entry.name).sort()
}

function ownersOf(catalogue: Catalogue, option: string): readonly Owner[] {
  return catalogue.all().flatMap(({ entry: { kind, name, options } }) =>
    sidesOf(kind)
      .filter(side => options?.[side]?.some(one => one === option || kebab(one) === option))
      .map(side => ({ kind, name, side })),
  )
}

function expect(catalogue: Catalogue, kind: Kind, name: string, side: Side): { found: Found; expected: Expected } {
  const found = catalogue.find(kind, name)
  if (!found) {
    const names = namesOf(catalogue, kind, undefined)
    const meant = nearest(name, names)
    throw refusal('PLUGIN_NOT_FOUND', {
      plugin: shown(name),
      found: `no ${kind} plugin of that name`,
      wanted: names.length > 0 ? `one of ${names.join(', ')}` : 'an installed one',
      fix: meant
        ? `Did you mean ${meant}? Else name its package with --plugin.`
        : 'Name its package with --plugin, or correct the name.',
    })
  }
  const plugin = found.builtin ? `${kind} ${name}` : `${kind} ${name} (${found.package})`
  if (found.entry[side] === undefined || (found.builtin && !found.load?.[side])) {
    const has = sidesOf(kind).filter(one => found.entry[one] !== undefined)
    const fix = 'Use a plugin that has it, or use this one where it runs.'
    throw refusal('PLUGIN_SIDE', { plugin, found: `only ${has.join(' and ')}`, wanted: `its ${side} side`, fix })
  }
  return { found, expected: { plugin, entry: found.entry, side } }
}

async function importSide(found: Found, expected: Expected, deadline: number, call: Call): Promise<unknown> {
  const { plugin, side } = expected
  const failed = (what: string, wanted: string, cause?: unknown) => unloadable(plugin, what, wanted, cause)
  let load = found.load?.[side]
  if (found.folder !== undefined) {
    const file = await fileOf(found, expected)
    load = () => import(pathToFileURL(file).href)
  }
  let module: Awaited<ReturnType<typeof withDeadline>>
  try {
    module = await withDeadline(load!, deadline, call)
  } catch (cause) {
    if (call.signal.aborted && cause === call.signal.reason) throw cause
    throw failed(`that its module throws: ${messageOf(cause)}`, 'a module that does nothing when it is imported', cause)
  }
  if (module === LATE)
    throw failed(`that its module is not there after ${deadline} ms`, 'a module that does nothing when it is imported')
  return module.value
}

/** @throws PosternError PLUGIN_LOAD */
async function fileOf({ folder }: Found, { plugin, entry, side }: Expected): Promise<string> {
  const path = entry[side]!
  const file = folder === undefined ? undefined : await moduleInside(folder, path)
  if (file !== undefined) return file
  throw unloadable(plugin, `${path}, which is not there or not inside its package`, 'a module inside its package')
}

function unloadable(plugin: string, found: string, wanted: string, cause?: unknown): PosternError {
  return refusal('PLUGIN_LOAD', { plugin, found, wanted, fix: 'Reinstall it, or tell its author.', cause })
}

async function runCreate(create: () => unknown, expected: Expected, deadline: number, call: Call): Promise<unknown> {
  const { plugin } = expected
  const failed = (what: string, cause?: unknown) =>
    refusal('PLUGIN_CREATE', {
      plugin,
      found: what,
      wanted: 'that it starts',
      fix: 'Check its options, or tell its author.',
      cause,
    })
  let created: Awaited<ReturnType<typeof withDeadline>>
  try {
    created = await withDeadline(create, deadline, call, dispose)
  } catch (cause) {
    if (call.signal.aborted && cause === call.signal.reason) throw cause
    if (PosternError.is(cause) && isCode(cause.code)) throw cause
    throw failed(`that create throws: ${messageOf(cause)}`, cause)
  }
  if (created === LATE) throw failed(`that create did not return within ${deadline} ms`)
  checkCreated(created.value, expected)
  return created.value
}

/** What was created after everybody left still lets go of what it holds; that it fails at that interests nobody. */
async function dispose(created: unknown): Promise<void> {
  try {
    await (created as Partial<AsyncDisposable> | undefined)?.[Symbol.asyncDispose]?.()
  } catch {}
}

/** Whatever was thrown, in one line of at most 256 characters. */
function messageOf(thrown: unknown): string {
  try {
    const text = thrown instanceof Error ? thrown.message : shown(thrown)
    return String(text).slice(0, 256)
  } catch {
    return 'something that throws when it is looked at'
  }
}
