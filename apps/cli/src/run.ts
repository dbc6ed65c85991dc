import type { Call, Logger, Ui } from '@postern/interface'
import {
  type CommandLine,
  type ConfigSection,
  createSecretReader,
  readOptions,
  type SecretReader,
  type Sources,
  type Values,
} from '@postern/options'
import { type Program, pluginPlaces, readLevel } from '@postern/program'
import { createRegistry, type Registry } from '@postern/registry'
import { builtins } from './builtin.ts'
import { type Config, readConfig } from './config.ts'
import { APPLICATION_FLAGS, type Choice, choosePlugins, RUN_FLAGS } from './flags.ts'

/** What a run of `access` knows before it knows for which application. */
export interface Run {
  readonly program: Program
  readonly line: CommandLine
  readonly registry: Registry
  readonly log: Logger
  readonly sources: Omit<Sources, 'file'>
  readonly config: Pick<Config, 'section'> | undefined
  /** Where the person is told and asked, if not at the terminal as it is. */
  readonly ui?: Ui
}

/** Reads the config file and what is the same for all applications, and makes the plugins known that either names. */
export async function startRun(
  line: CommandLine,
  program: Program,
  secrets: SecretReader,
  signal: AbortSignal,
): Promise<Run> {
  const { env, cwd, redactor } = program
  const sources = { given: line.given, pending: line.pending, env, cwd, redactor, secrets }
  const { values } = await readOptions(RUN_FLAGS, sources, signal)
  const log = program.log(values.verbose ? 'debug' : readLevel(values.logLevel))
  const config = await readConfig(values.config, program)
  const registry = createRegistry(builtins)
  const places = pluginPlaces(program)
  for (const plugin of values.plugin) await registry.add(plugin, places)
  // As with every option, the file is not asked where a flag or a variable says it.
  if (config && values.plugin.length === 0)
    for (const plugin of config.plugins) await registry.add(plugin, { ...places, from: config.folder })
  return { program, line, registry, log, sources, config }
}

/** What is said for one application, and the plugins it is reached by. */
export interface Chosen {
  readonly values: Values<typeof APPLICATION_FLAGS>
  readonly plugins: Choice
  readonly file: ConfigSection | undefined
}

/** @param hostname without it, the config file is not asked */
export async function chooseFor(run: Run, hostname: string | undefined, protocol: string, call: Call): Promise<Chosen> {
  const { line, registry, sources, config, program } = run
  const file = hostname === undefined ? undefined : config?.section(hostname, registry)
  const { values } = await readOptions(APPLICATION_FLAGS, { ...sources, ...(file && { file }) }, call.signal)
  const keys = Object.keys(file?.values ?? {})
  const plugins = await choosePlugins(protocol, { values, line, registry, env: program.env, keys }, call)
  return { values, plugins, file }
}

/** `secrets` where stdin is free for one, and where it is the connection. */
export function secretsOf(stdinIsFree: boolean): SecretReader {
  return createSecretReader(stdinIsFree ? process.stdin : undefined)
}
