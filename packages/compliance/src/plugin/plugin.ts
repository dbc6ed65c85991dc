import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import {
  API_VERSION,
  type Kind,
  type ManifestEntry,
  type OptionSpecs,
  type Plugin,
  type Side,
} from '@postern/interface'
import { type Case, type Framework, register, testCase } from '../case.ts'
import { importing } from './importing.ts'
import { optionsCanBe } from './options.ts'

export interface PluginKit extends Framework {
  /** Of the plugin's package.json. Build first: what is checked is what will be published. */
  readonly package: URL
}

interface PackageJson {
  readonly name?: string
  readonly type?: string
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  readonly files?: readonly string[]
  readonly postern?: { readonly api?: unknown; readonly plugins?: readonly ManifestEntry[] }
}

const SIDES: Readonly<Record<Kind, readonly Side[]>> = {
  auth: ['client', 'edge'],
  transport: ['client', 'edge'],
  protocol: ['client', 'origin', 'edge'],
}
const ALL_SIDES: readonly Side[] = ['client', 'edge', 'origin']
const NAME = /^[a-z][a-z0-9-]{0,63}$/

/** Every case for a package of plugins: its manifest, its exports, and its modules as they will be loaded. */
export function pluginCases(kit: Pick<PluginKit, 'package'>): readonly Case[] {
  const json = JSON.parse(readFileSync(kit.package, 'utf8')) as PackageJson
  const entries = Array.isArray(json.postern?.plugins) ? json.postern.plugins : []
  return [
    testCase('the manifest is of this API, and lists plugins', async () => {
      assert.equal(json.postern?.api, API_VERSION, '"postern.api" in package.json')
      assert.ok(entries.length > 0, '"postern.plugins" in package.json is empty')
      for (const entry of entries) manifestCanBe(entry)
    }),
    testCase('the package exports each side, and its package.json', async () => {
      assert.equal(json.type, 'module', '"type" must be "module"')
      assert.ok(json.exports?.['./package.json'], 'exports must have "./package.json": it is read before any code')
      // With one plugin in the package there is one name for each side.
      const [entry] = entries
      if (!entry || entries.length > 1) return
      for (const side of sidesOf(entry)) {
        const exported: string | Readonly<Record<string, string>> | undefined = json.exports[`./${side}`]
        const target: string | undefined = typeof exported === 'string' ? exported : exported?.default
        assert.equal(target, entry[side], `exports["./${side}"] must be the module the manifest names`)
      }
    }),
    ...entries.flatMap(entry => sidesOf(entry).flatMap(side => sideCases(kit.package, entry, side))),
  ]
}

/**
 * Registers {@link pluginCases} with a test framework.
 *
 * @example
 * pluginCompliance({ describe, it, package: new URL('../package.json', import.meta.url) })
 */
export function pluginCompliance(kit: PluginKit): void {
  register(kit, 'the package is a plugin’s', pluginCases(kit))
}

function sidesOf(entry: ManifestEntry): readonly Side[] {
  return ALL_SIDES.filter(side => entry[side] !== undefined)
}

function manifestCanBe(entry: ManifestEntry): void {
  const { kind, name, schemes, options } = entry
  assert.ok(Object.hasOwn(SIDES, kind), `"${kind}" is no kind of plugin`)
  assert.match(name, NAME, 'a name is of lower-case letters, digits and hyphens')
  const sides = sidesOf(entry)
  assert.ok(sides.length > 0, `${name}: names no module for any side`)
  for (const side of sides)
    assert.ok(SIDES[kind].includes(side), `${name}: a plugin of kind ${kind} has no ${side} side`)
  if (kind !== 'protocol') assert.equal(schemes, undefined, `${name}: only a protocol has schemes`)
  for (const scheme of schemes ?? []) assert.match(scheme, /^[a-z][a-z0-9+.-]*$/, `${name}: no scheme of a URL`)
  for (const side of Object.keys(options ?? {})) {
    assert.ok(sides.includes(side as Side), `${name}: lists options of its ${side} side, and has none`)
  }
}

function sideCases(manifest: URL, entry: ManifestEntry, side: Side): readonly Case[] {
  const path = entry[side] ?? ''
  const module = new URL(path, manifest)
  const title = `${entry.kind} ${entry.name}, ${side} side`
  const load = async (): Promise<Plugin<Kind, never, OptionSpecs>> => {
    assert.ok(existsSync(module), `${path} is not there: build first`)
    const { default: plugin } = (await import(module.href)) as { default?: Plugin<Kind, never, OptionSpecs> }
    assert.ok(typeof plugin === 'object' && plugin !== null, `${path} has no default export made by definePlugin`)
    return plugin
  }
  return [
    testCase(`${title}: is what the manifest says`, async () => {
      const plugin = await load()
      const { api, kind, name } = plugin
      assert.deepEqual(
        { api, kind, name, side: plugin.side },
        { api: API_VERSION, kind: entry.kind, name: entry.name, side },
      )
      assert.equal(typeof plugin.create, 'function', 'create() is missing')
      const listed = [...(entry.options?.[side] ?? [])].sort()
      assert.deepEqual(
        listed,
        Object.keys(plugin.options).sort(),
        `"options.${side}" of the manifest must list them all`,
      )
    }),
    testCase(`${title}: its options can be`, async () => optionsCanBe((await load()).options)),
    testCase(`${title}: does nothing when it is imported`, async ({ signal }) => {
      assert.ok(existsSync(module), `${path} is not there: build first`)
      const { left, globals, printed } = await importing(module, signal)
      assert.deepEqual(left, [], 'an import opened these: such work belongs into create()')
      assert.deepEqual(globals, [], 'an import made these global')
      assert.equal(printed, '', 'an import printed this')
    }),
  ]
}
