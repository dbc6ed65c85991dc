import { resolve } from 'node:path'
import {
  API_VERSION,
  type AuthProvider,
  type ClientHost,
  type Kinds,
  type OptionSpec,
  type OptionSpecs,
  type Options,
  type Plugin,
  PosternError,
} from '@postern/interface'
import { parseDuration } from '@postern/options'

/** What a client is made of. */
export type PartKind = 'auth' | 'transport'

/** What a program gives a plugin: what it requires, and of the rest what is wanted. Durations are in milliseconds. */
export type GivenOptions<O extends OptionSpecs> = {
  readonly [N in keyof O as O[N] extends { required: true } ? N : never]: NonNullable<Options<O>[N]>
} & {
  readonly [N in keyof O as O[N] extends { required: true } ? never : N]?: Options<O>[N] | undefined
}

/** A plugin and its options, checked; it is created for each application, when that is opened for the first time. */
export interface Used<K extends PartKind = PartKind> {
  readonly kind: K
  readonly name: string
  create(host: ClientHost): Promise<Kinds[K]['client']>
}

/**
 * A plugin with its options, for {@link createClient}. The module is imported by your program: nothing is searched for.
 *
 * @param plugin the default export of the plugin package's `/client`, for example `@postern/auth-service-token/client`
 * @param given as the plugin's README lists them. What needs none may be given to `createClient` as it is, without `use`
 * @throws PosternError PLUGIN_SIDE: it is no client side of an auth or transport plugin; PLUGIN_API: it was made for another version of the
 *   plugin interface; OPTION_MISSING, OPTION_UNKNOWN, OPTION_INVALID. No message has a secret in it.
 *
 * @example
 * import serviceToken from '@postern/auth-service-token/client'
 * const auth = use(serviceToken, { id, secret })
 */
export function use<P extends ClientPlugin>(plugin: P, ...given: Given<P['options']>): Used<P['kind']> {
  checkPlugin(plugin)
  const options = valuesOf(plugin.name, plugin.options, given[0] ?? {})
  const kind: P['kind'] = plugin.kind
  return { kind, name: plugin.name, create: async host => plugin.create(options, host) }
}

/** The client side of an auth or a transport plugin, as its module exports it. */
export type ClientPlugin = Plugin<'auth', 'client'> | Plugin<'transport', 'client'>

/** Nothing has to be given to a plugin that requires nothing. */
export type Given<O extends OptionSpecs> =
  Record<never, never> extends GivenOptions<O> ? [options?: GivenOptions<O>] : [options: GivenOptions<O>]

/** An auth plugin as it was imported, or with its options, or an object of the program's own that authenticates. */
export type AuthPart = Plugin<'auth', 'client'> | Used<'auth'> | AuthProvider

/** A transport plugin as it was imported, or with its options. */
export type TransportPart = Plugin<'transport', 'client'> | Used<'transport'>

export type OneOrMore<T> = T | readonly T[]

/** @throws as {@link use}, of a plugin that stands for itself */
export function authParts(given: OneOrMore<AuthPart>): readonly Used<'auth'>[] {
  return listOf(given).map(one => ('authenticate' in one ? own(one) : used(one, 'auth')))
}

/** @throws as {@link use}, of a plugin that stands for itself */
export function transportParts(given: OneOrMore<TransportPart>): readonly Used<'transport'>[] {
  return listOf(given).map(one => used(one, 'transport'))
}

function used<K extends PartKind>(one: ClientPlugin | Used, kind: K): Used<K> {
  const part: Used = 'side' in one ? use(one) : one
  if (isOf(part, kind)) return part
  throw new PosternError('PLUGIN_SIDE', `what was given as ${kind} is no client side of such a plugin`, {
    next: 'Import it from the plugin package’s /client, and pass it as it is, or use(plugin, { … }) where it has options.',
  })
}

function isOf<K extends PartKind>(part: Used, kind: K): part is Used<K> {
  return part.kind === kind && typeof part.create === 'function'
}

/** Whoever made it ends it. */
function own(provider: AuthProvider): Used<'auth'> {
  const authenticate: AuthProvider['authenticate'] = (request, call) => provider.authenticate(request, call)
  return { kind: 'auth', name: 'own', create: async () => ({ authenticate }) }
}

function listOf<T extends object>(given: OneOrMore<T>): readonly T[] {
  const all: readonly T[] = Array.isArray(given) ? given : [given as T]
  for (const one of all)
    if (typeof one !== 'object' || one === null)
      throw new PosternError('BAD_USAGE', `a client is made of plugins, and was given ${kindOf(one)}`)
  return all
}

function checkPlugin(plugin: { readonly name?: unknown; readonly side?: unknown; readonly api?: unknown }): void {
  const name = typeof plugin?.name === 'string' ? plugin.name : 'what was given'
  if (plugin?.side !== 'client')
    throw new PosternError('PLUGIN_SIDE', `${name} is no plugin’s client side`, {
      next: 'Import it from the plugin package’s /client.',
    })
  if (plugin.api !== API_VERSION)
    throw new PosternError('PLUGIN_API', `${name} was made for plugin API ${plugin.api}, this is ${API_VERSION}`)
}

function valuesOf(plugin: string, specs: OptionSpecs, given: object): Options<OptionSpecs> {
  const values = new Map<string, unknown>(Object.entries(given))
  for (const name of values.keys())
    if (!Object.hasOwn(specs, name))
      throw new PosternError('OPTION_UNKNOWN', `${plugin} has no option ${name}`, {
        next: `It has: ${Object.keys(specs).join(', ') || 'none'}.`,
      })
  return Object.fromEntries(
    Object.entries(specs).map(([name, spec]) => [name, readValue(`${plugin}: ${name}`, spec, values.get(name))]),
  )
}

function readValue(label: string, spec: OptionSpec, given: unknown): Options<OptionSpecs>[string] {
  const value = given ?? defaultOf(spec)
  if (value === undefined) {
    if (!spec.required) return undefined
    throw new PosternError('OPTION_MISSING', `${label} is missing: ${spec.summary}`, {
      next: 'Give it as use(plugin, { … }).',
    })
  }
  if (!fits(spec.type, value))
    throw new PosternError('OPTION_INVALID', `${label} is ${kindOf(value)}, not ${WANTED[spec.type]}`)
  return spec.type === 'path' ? resolve(String(value)) : value
}

/** A default is written as a person would type it. */
function defaultOf({ type, default: fallback }: OptionSpec): unknown {
  if (typeof fallback !== 'string') return fallback
  if (type === 'duration') return parseDuration(fallback)
  return type === 'url' ? new URL(fallback) : fallback
}

function fits(type: OptionSpec['type'], value: unknown): value is NonNullable<Options<OptionSpecs>[string]> {
  return FITS[type](value)
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== ''

const FITS: Readonly<Record<OptionSpec['type'], (value: unknown) => boolean>> = {
  string: isText,
  secret: isText,
  path: isText,
  url: value => value instanceof URL,
  number: Number.isFinite,
  duration: value => Number.isFinite(value) && Number(value) >= 0,
  boolean: value => typeof value === 'boolean',
}

const WANTED: Readonly<Record<OptionSpec['type'], string>> = {
  string: 'a text',
  secret: 'a text',
  path: 'the path of a file',
  url: 'a URL object',
  number: 'a number',
  duration: 'a number of milliseconds',
  boolean: 'true or false',
}

/** Never the value: it may be a secret in the wrong place. */
function kindOf(value: unknown): string {
  if (value === '') return 'empty'
  return value === null || Array.isArray(value) ? 'an object' : `of type ${typeof value}`
}
