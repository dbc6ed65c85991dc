import { dirname } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import {
  type CommandLine,
  type ConfigSection,
  createSecretReader,
  type HostOptionSpecs,
  readOptions,
  type Sources,
  type Values,
} from '@postern/options'
import { type Program, pluginPlaces, transportsOf, type Wanted } from '@postern/program'
import type { Registry } from '@postern/registry'
import { type FoundCredentials, findCredentials, hintAtLogin, mustBeFor, withEdge } from './credentials.ts'
import { checkDaemonFile, type DaemonFile, defaultPorts, readDaemonFile } from './daemon-file.ts'
import { CONFIG_FLAGS, RULE_FLAGS, RUN_FLAGS } from './flags.ts'
import { readMode, readRule } from './ingress.ts'
import { type FileRule, purposesOf } from './ingress-file.ts'
import { completeRules } from './rule-options.ts'

/** What a daemon was told to do. */
export interface Settings {
  readonly values: Values<typeof RUN_FLAGS>
  readonly auth: readonly string[]
  /** In the order in which they are tried. */
  readonly transports: readonly Wanted<'transport', 'client'>[]
  readonly rules: readonly FileRule[]
  readonly warnings: readonly string[]
  /** The config file's keys for plugins. */
  readonly forPlugins?: ConfigSection
  /** What `posternd login` left, where that is used. */
  readonly credentials?: FoundCredentials
}

/** A config file as far as it can be read, with the mistakes in it. */
export interface Examined {
  readonly found: DaemonFile
  readonly rules: readonly FileRule[]
  /** What the rules’ protocols have to say of them. */
  readonly warnings: readonly string[]
}

const CHOICES = { auth: RUN_FLAGS.auth, plugin: RUN_FLAGS.plugin, transport: RUN_FLAGS.transport }
const PLACES = { credentials: RUN_FLAGS.credentials, auth: RUN_FLAGS.auth }
const DEFAULT_AUTH = ['tunnel-token']
/** What `transport: auto` tries. A connection to the edge stays for days: what passes most proxies goes first. */
const TRANSPORTS = ['websocket', 'tls', 'grpc']

/** Reads settings from flags, environment and config file, in falling order; again as often as the file changes. */
export class SettingsReader {
  readonly sources: Omit<Sources, 'given' | 'envPrefix' | 'owner'>
  readonly registry: Registry
  readonly #line: CommandLine
  readonly #program: Program

  constructor(line: CommandLine, registry: Registry, program: Program) {
    const { env, cwd, redactor } = program
    this.#line = line
    this.#program = program
    this.registry = registry
    this.sources = { env, cwd, redactor, secrets: createSecretReader(process.stdin) }
  }

  /** `posternd --hostname H --url U`. @throws PosternError OPTION_*, HOSTNAME_INVALID, PLUGIN_* */
  async readRule(call: Call): Promise<Settings> {
    const credentials = await this.#credentials(undefined, [], call)
    const section = withEdge(credentials)
    const { values, warnings } = await this.#options({ ...RULE_FLAGS, ...RUN_FLAGS }, section, call)
    mustBeFor(values.edge, credentials, values.credentials)
    await this.#addPlugins(values.plugin, pluginPlaces(this.#program).from)
    const mode = readMode(values.mode)
    const read = readRule(values.hostname, values.url, defaultPorts(this.registry))
    const rule = { ...read, segments: [], ...(mode && { mode }) }
    const fileRule: FileRule = { ...rule, number: 1, where: '--url', purposes: purposesOf(rule) }
    const { cwd } = this.sources
    const completed = await completeRules([fileRule], this.registry, this.sources, cwd, undefined, call)
    const transports = transportsOf(values.transport, TRANSPORTS, this.registry)
    const said = { values, auth: authOf(values), transports, ...(credentials && { credentials }) }
    return { ...said, rules: completed.rules, warnings: [...warnings, ...completed.warnings] }
  }

  /** Which file. @throws PosternError OPTION_MISSING */
  async configPath(call: Call): Promise<string> {
    return (await this.#options(CONFIG_FLAGS, undefined, call)).values.config
  }

  /** `--config FILE`. @throws PosternError OPTION_*, FILE_*, PLUGIN_*; CONFIG_INVALID with all its mistakes */
  async readConfig(path: string, call: Call): Promise<Settings> {
    const { found, rules, warnings: ofRules } = await this.examine(path, call)
    found.mistakes.throwIfAny()
    const credentials = await this.#credentials(found.options, Object.keys(found.forPlugins.values), call)
    const { values, warnings } = await this.#options(RUN_FLAGS, withEdge(credentials, found.options), call)
    mustBeFor(values.edge, credentials, values.credentials)
    const transports = transportsOf(values.transport, TRANSPORTS, this.registry)
    const plugins = { auth: authOf(values), transports, forPlugins: found.forPlugins }
    const said = { values, ...plugins, ...(credentials && { credentials }) }
    return { ...said, rules, warnings: [...warnings, ...ofRules] }
  }

  /** @throws PosternError FILE_*, PLUGIN_*, OPTION_* of flags and environment; CONFIG_INVALID: no YAML */
  async examine(path: string, call: Call): Promise<Examined> {
    const found = await readDaemonFile(path, this.sources, call)
    const otherKeys = Object.keys(found.options.values)
    const { values, provided } = await this.#options(CHOICES, { ...found.options, otherKeys }, call)
    if (provided.plugin === 'file') await this.#addPluginsOf(found, values.plugin)
    else await this.#addPlugins(values.plugin, pluginPlaces(this.#program).from)
    const written = checkDaemonFile(found, this.registry, {
      auth: authOf(values),
      transports: transportsOf(values.transport, TRANSPORTS, this.registry).map(({ name }) => name),
    })
    const { mistakes, file } = found
    const { rules, warnings } = await completeRules(written, this.registry, this.sources, file.path, mistakes, call)
    return { found, rules, warnings }
  }

  /** What `posternd login` left. @param keys the config file's for plugins */
  async #credentials(file: ConfigSection | undefined, keys: readonly string[], call: Call) {
    const section = file && { ...file, otherKeys: Object.keys(file.values) }
    const { values } = await this.#options(PLACES, section, call)
    const looking = { path: values.credentials, auth: authOf(values), line: this.#line, keys }
    return findCredentials(looking, this.#program, call)
  }

  #options<const O extends HostOptionSpecs>(specs: O, file: ConfigSection | undefined, call: Call) {
    const { given, pending } = this.#line
    return readOptions(specs, { ...this.sources, given, pending, ...(file && { file }) }, call.signal).catch(
      hintAtLogin,
    )
  }

  /** Adding one again changes nothing. */
  async #addPlugins(plugins: readonly string[], from: string): Promise<void> {
    for (const plugin of plugins) await this.registry.add(plugin, { ...pluginPlaces(this.#program), from })
  }

  /** They are looked for from the file's folder. One that cannot be used is a mistake of the file. */
  async #addPluginsOf({ file, mistakes }: DaemonFile, plugins: readonly string[]): Promise<void> {
    for (const [index, plugin] of plugins.entries()) {
      try {
        await this.#addPlugins([plugin], dirname(file.path))
      } catch (error) {
        mistakes.add(['plugins', index], PosternError.from(error).message)
      }
    }
  }
}

function authOf({ auth }: { readonly auth: readonly string[] }): readonly string[] {
  return auth.length > 0 ? auth : DEFAULT_AUTH
}
