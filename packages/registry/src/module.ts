import { isProxy } from 'node:util/types'
import {
  API_VERSION,
  type Kind,
  type ManifestEntry,
  type OptionSpecs,
  PosternError,
  type RuleSpec,
  type Side,
} from '@postern/interface'
import { checkSpecs } from '@postern/options'
import { DOORS, verbsOf } from './kinds.ts'
import { refusal, shown } from './refusal.ts'

/** A side of a plugin after every check, read once: what its module changes about itself later does not matter. */
export interface CheckedPlugin {
  readonly api: typeof API_VERSION
  readonly kind: Kind
  readonly side: Side
  readonly name: string
  readonly options: OptionSpecs
  readonly rule?: RuleSpec
  create(options: unknown, host: unknown): unknown
}

/** What the module is expected to be. */
export interface Expected {
  /** For messages. */
  readonly plugin: string
  readonly entry: ManifestEntry
  readonly side: Side
}

/**
 * Checks a module's default export against its manifest, in this order: API version, shape, options.
 *
 * @throws PosternError PLUGIN_API, PLUGIN_SHAPE, PLUGIN_OPTIONS
 */
export function checkModule(module: unknown, expected: Expected): CheckedPlugin {
  const { plugin, entry, side } = expected
  const found = readOnce(module, plugin)
  if (found.api !== API_VERSION) {
    const fix = 'Build the plugin again with this version of @postern/interface, and release it.'
    throw refusal('PLUGIN_API', {
      plugin,
      found: `a module for plugin API ${shown(found.api)}`,
      wanted: String(API_VERSION),
      fix,
    })
  }
  for (const [key, wanted] of [
    ['kind', entry.kind],
    ['side', side],
    ['name', entry.name],
  ] as const) {
    if (found[key] !== wanted)
      throw misshapen(plugin, `${key} ${shown(found[key])}`, `${shown(wanted)}, as its manifest says`)
  }
  const { create, self } = found
  if (typeof create !== 'function') throw misshapen(plugin, `create is ${shown(create)}`, 'a function')
  const options = checkOptions(found.options, expected)
  const rule = checkRule(found.rule, expected)
  return {
    api: API_VERSION,
    kind: entry.kind,
    side,
    name: entry.name,
    options,
    ...(rule && { rule }),
    create: (values, host) => Reflect.apply(create, self, [values, host]),
  }
}

/**
 * Checks what `create` returned: it must have the verbs of its side. It is not wrapped.
 *
 * @throws PosternError PLUGIN_SHAPE
 */
export function checkCreated(created: unknown, { plugin, entry, side }: Expected): void {
  const wanted = `an object with ${verbsOf(entry.kind, side)
    .map(verb => `${verb}()`)
    .join(', ')}`
  try {
    if (!isPlainEnough(created)) throw misshapen(plugin, `that create returned ${described(created)}`, wanted)
    const missing = verbsOf(entry.kind, side).find(verb => typeof created[verb] !== 'function')
    if (missing !== undefined) throw misshapen(plugin, `that create returned an object without ${missing}()`, wanted)
    if (entry.kind !== 'transport' || side !== 'edge' || DOORS.includes(created.door as string)) return
    throw misshapen(plugin, `door ${shown(created.door)}`, `one of ${DOORS.map(shown).join(', ')}`)
  } catch (error) {
    throw asMisshapen(error, plugin)
  }
}

interface Found {
  readonly self: object
  readonly api: unknown
  readonly kind: unknown
  readonly side: unknown
  readonly name: unknown
  readonly options: unknown
  readonly rule: unknown
  readonly create: unknown
}

/** Each property once: a getter could tell the check one thing and its user another. */
function readOnce(module: unknown, plugin: string): Found {
  try {
    const self = isPlainEnough(module) ? module.default : undefined
    if (!isPlainEnough(self)) throw misshapen(plugin, `the default export is ${described(self)}`, 'definePlugin({ … })')
    const { api, kind, side, name, options, rule, create } = self
    return { self, api, kind, side, name, options, rule, create }
  } catch (error) {
    throw asMisshapen(error, plugin)
  }
}

/** What the rules of a protocol may say; its options are in no manifest, since no flag is made of them. */
function checkRule(rule: unknown, { plugin, entry, side }: Expected): RuleSpec | undefined {
  if (rule === undefined) return undefined
  if (entry.kind !== 'protocol' || side !== 'origin')
    throw misshapen(plugin, 'a rule', 'none: rules are of the origin side of protocols')
  try {
    if (!isPlainEnough(rule)) throw misshapen(plugin, `rule is ${described(rule)}`, '{ options, check }')
    const { options, check } = rule
    if (check !== undefined && typeof check !== 'function')
      throw misshapen(plugin, `rule.check is ${shown(check)}`, 'a function, or nothing')
    const specs = cleanSpecs(options, plugin)
    const secret = Object.keys(specs).find(name => specs[name]?.type === 'secret')
    if (secret !== undefined)
      throw unusable(plugin, `${secret}, a secret of a rule`, 'secrets as options of the plugin')
    return { options: specs, ...(check && { check: (...given) => Reflect.apply(check, rule, given) }) }
  } catch (error) {
    throw asMisshapen(error, plugin)
  }
}

function cleanSpecs(options: unknown, plugin: string): OptionSpecs {
  let specs: unknown
  try {
    specs = structuredClone(options)
  } catch (cause) {
    throw unusable(plugin, 'options that are not plain data', 'an object of option specs', cause)
  }
  const wrong = checkSpecs(specs)
  if (wrong.length > 0) throw unusable(plugin, wrong.join('; '), 'options as docs/plugins describes them')
  return specs as OptionSpecs
}

function checkOptions(options: unknown, { plugin, entry, side }: Expected): OptionSpecs {
  const specs = cleanSpecs(options, plugin)
  const declared = Object.keys(specs)
  const listed = entry.options?.[side] ?? []
  const unlisted = declared.filter(name => !listed.includes(name))
  const gone = listed.filter(name => !declared.includes(name))
  if (unlisted.length + gone.length > 0) {
    const found = [
      ...(unlisted.length > 0 ? [`${unlisted.join(', ')} not listed in its manifest`] : []),
      ...(gone.length > 0 ? [`${gone.join(', ')} listed but not declared`] : []),
    ]
    throw unusable(plugin, found.join(', '), `"options": { "${side}": ${JSON.stringify(declared)} } in the manifest`)
  }
  return specs
}

/** An object that answers for itself: no proxy, no thenable (it would run when somebody awaits it). */
function isPlainEnough(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !isProxy(value) &&
    typeof (value as { then?: unknown }).then !== 'function'
  )
}

function described(value: unknown): string {
  if (typeof value !== 'object' || value === null) return shown(value)
  return isProxy(value) ? 'a Proxy' : 'a thenable'
}

function asMisshapen(error: unknown, plugin: string): unknown {
  // Ours, thrown a few lines above; a plugin's own copy of the class is another one, so it cannot pass for it.
  if (error instanceof PosternError) return error
  return misshapen(plugin, 'an object that throws when it is looked at', 'plain properties', error)
}

function misshapen(plugin: string, found: string, wanted: string, cause?: unknown) {
  return refusal('PLUGIN_SHAPE', { plugin, found, wanted, fix: 'Tell the plugin’s author.', cause })
}

function unusable(plugin: string, found: string, wanted: string, cause?: unknown) {
  return refusal('PLUGIN_OPTIONS', { plugin, found, wanted, fix: 'Tell the plugin’s author.', cause })
}
