import { type Call, type Json, PosternError } from '@postern/interface'
import { type ConfigSection, type HostOptionSpecs, nearest, readOptions, type Sources } from '@postern/options'
import { type ConfigFile, readConfigFile, readLevel } from '@postern/program'
import type { Registry } from '@postern/registry'
import { checkConnections } from './connections.ts'
import { RUN_FLAGS } from './flags.ts'
import type { DefaultPort } from './ingress.ts'
import { type FileRule, readIngress } from './ingress-file.ts'
import { Mistakes, nameOf } from './mistakes.ts'

type Members = Readonly<Record<string, Json>>

/** Options that a file may have, by the key it has there. */
export const KEYS = {
  edge: 'edge',
  ca: 'ca',
  credentials: 'credentials',
  auth: 'auth',
  plugins: 'plugin',
  transport: 'transport',
  connections: 'connections',
  gracePeriod: 'gracePeriod',
  metrics: 'metrics',
  logLevel: 'logLevel',
} as const satisfies Readonly<Record<string, keyof typeof RUN_FLAGS>>

/** A config file with what is wrong with it, which may be nothing. */
export interface DaemonFile {
  readonly file: ConfigFile
  readonly mistakes: Mistakes
  /** The daemon's own options that can be used, by their names. */
  readonly options: ConfigSection
  /** All other keys but `ingress`: options of plugins. */
  readonly forPlugins: ConfigSection
  readonly ingress: Json | undefined
}

/** @throws PosternError FILE_UNREADABLE, FILE_UNSAFE; CONFIG_INVALID: no file to look for more mistakes in */
export async function readDaemonFile(path: string, base: Omit<Sources, 'given'>, call: Call): Promise<DaemonFile> {
  const file = await readConfigFile(path)
  if (file.value === null || typeof file.value !== 'object' || Array.isArray(file.value))
    throw new PosternError('CONFIG_INVALID', `${file.where([])}: this is no list of keys such as edge: and ingress:`)
  const members = file.value as Members
  const mistakes = new Mistakes(file)
  const label = (key: string) => `${file.where([key])}: ${key}`
  const own: Record<string, Json> = {}
  const rest: Record<string, Json> = {}
  for (const [key, value] of Object.entries(members)) {
    if (Object.hasOwn(KEYS, key)) own[key] = value
    else if (key !== 'ingress') rest[key] = value
  }
  const options: Record<string, Json> = {}
  for (const [key, name] of Object.entries(KEYS)) {
    if (!Object.hasOwn(own, key)) continue
    const one = { path: file.path, values: { value: own[key] }, label: () => label(key) }
    const wrong = await mistakeIn(name, one, base, call)
    if (wrong === undefined) options[name] = own[key] ?? null
    else mistakes.addTold(wrong)
  }
  const keyOf = (name: string) => Object.entries(KEYS).find(([, option]) => option === name)?.[0] ?? name
  return {
    file,
    mistakes,
    options: { path: file.path, values: options, label: name => label(keyOf(name)) },
    forPlugins: { path: file.path, values: rest, label, otherKeys: Object.keys(rest) }, // each is checked below
    ingress: members.ingress,
  }
}

/** What an option cannot be, with its place. @param only holds it, as `value` */
async function mistakeIn(
  name: keyof typeof RUN_FLAGS,
  only: ConfigSection & { label(key: string): string },
  base: Omit<Sources, 'given'>,
  call: Call,
): Promise<string | undefined> {
  try {
    const specs: HostOptionSpecs = { value: RUN_FLAGS[name] }
    const { values } = await readOptions(specs, { ...base, given: [], env: {}, file: only }, call.signal)
    if (name === 'connections') checkConnections(Number(values.value))
    if (name === 'logLevel') readLevel(String(values.value))
    return undefined
  } catch (error) {
    const { message } = PosternError.from(error)
    const label = only.label(name)
    return message.startsWith(label) ? message : `${label} ${message.replace(/^--[a-z-]+ /, '')}` // which speak of the flag
  }
}

/** The plugins a run uses, or may use, by kind and name. */
export interface Chosen {
  readonly auth: readonly string[]
  readonly transports: readonly string[]
}

/**
 * Reads the rules and looks at what is said to plugins, which must all be known to the registry by now. More mistakes are added.
 */
export function checkDaemonFile(found: DaemonFile, registry: Registry, chosen: Chosen): readonly FileRule[] {
  const { file, mistakes, ingress, forPlugins } = found
  for (const name of chosen.auth)
    if (registry.find('auth', name)?.entry.client === undefined)
      mistakes.add(['auth'], unknownPlugin('auth', name, registry))
  for (const name of chosen.transports)
    if (registry.find('transport', name)?.entry.client === undefined)
      mistakes.add(['transport'], unknownPlugin('transport', name, registry))
  const rules = readIngress(file, ingress, defaultPorts(registry), mistakes)
  const used = new Set([
    ...chosen.transports.map(name => `transport ${name}`),
    ...chosen.auth.map(name => `auth ${name}`),
  ])
  for (const { service } of rules)
    if (service instanceof URL) used.add(`protocol ${registry.forScheme(service.protocol)?.entry.name}`)
  for (const key of Object.keys(forPlugins.values)) checkPluginKey(key, used, registry, mistakes)
  return rules
}

function unknownPlugin(kind: 'auth' | 'transport', name: string, registry: Registry): string {
  const meant = nearest(name, registry.names(kind, 'client'))
  return `no ${kind} plugin is called ${JSON.stringify(name.slice(0, 64))}${meant ? `; did you mean ${meant}?` : ''}`
}

function checkPluginKey(key: string, used: ReadonlySet<string>, registry: Registry, mistakes: Mistakes): void {
  const names = [key, ...(key.endsWith('File') ? [key.slice(0, -'File'.length)] : [])]
  const owners = names.flatMap(name => registry.ownersOf(name)).map(({ kind, name }) => `${kind} ${name}`)
  const mine = [...new Set(owners)].filter(owner => used.has(owner))
  const told = nameOf(key)
  if (mine.length === 1) return
  if (mine.length > 1)
    mistakes.add([key], `${told} is an option of ${mine.join(' and of ')}; give it by flag or variable`)
  else if (owners.length > 0) mistakes.add([key], `${told} is an option of ${owners[0]}, which this file does not use`)
  else {
    const options = [...used].flatMap(owner => optionsOf(owner, registry))
    const meant = nearest(key, [...Object.keys(KEYS), 'ingress', ...options, ...options.map(name => `${name}File`)])
    mistakes.add([key], `${told} is not a key of this file${meant ? `; did you mean ${meant}?` : ''}`)
  }
}

function optionsOf(owner: string, registry: Registry): readonly string[] {
  const [kind, name = ''] = owner.split(' ')
  if (kind !== 'auth' && kind !== 'transport' && kind !== 'protocol') return []
  return Object.values(registry.find(kind, name)?.entry.options ?? {}).flat()
}

/** Which schemes the plugins of a run serve, and their ports. */
export function defaultPorts(registry: Registry): DefaultPort {
  return scheme => {
    const found = registry.forScheme(scheme)
    return found && (found.entry.defaultPort ?? 'none')
  }
}
