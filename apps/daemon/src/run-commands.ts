import { type Call, type Logger, PosternError } from '@postern/interface'
import { type HostOptionSpecs, parseCommandLine } from '@postern/options'
import { type Level, type Program, readLevel } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { builtins } from './builtin.ts'
import type { DaemonCommand } from './commands.ts'
import { CONFIG_FLAGS, RULE_FLAGS, RUN_FLAGS } from './flags.ts'
import { type Page, runHelp } from './help.ts'
import { reload } from './reload.ts'
import { Plugins, runDaemon } from './running.ts'
import { SettingsReader } from './settings.ts'
import { watchFile } from './watch.ts'

/** `posternd --hostname H --url U`: one application, until stopped. */
export async function runRule(
  argv: readonly string[],
  program: Program,
  outer: Call,
  self: DaemonCommand,
): Promise<void> {
  const begun = await begin(argv, RULE_PAGE, self, program, outer)
  if (!begun) return
  const { line, reader } = begun
  if (line.pending.some(flag => flag.name === 'config'))
    throw new PosternError('OPTION_UNKNOWN', '--config is not an option of posternd alone', {
      next: 'Write posternd run --config FILE.',
    })
  const settings = await reader.readRule(outer)
  const { call } = logging(program, settings.values.logLevel)
  for (const warning of settings.warnings) call.log.warn(warning)
  await using plugins = new Plugins(reader, RULE_SPECS, program)
  const grace = () => settings.values.gracePeriod
  await runDaemon(settings, plugins, { line, program, grace }, () => {}, call)
}

/** `posternd run --config FILE`: what the file says, and what it says later, until stopped. */
export async function runConfig(
  argv: readonly string[],
  program: Program,
  outer: Call,
  self: DaemonCommand,
): Promise<void> {
  const begun = await begin(argv, CONFIG_PAGE, self, program, outer)
  if (!begun) return
  const { line, reader } = begun
  const path = await reader.configPath(outer)
  let again: (() => Promise<void>) | undefined
  let missed = false // a change before there is a daemon to take it
  const changed = async () => {
    missed = again === undefined
    await again?.()
  }
  using watcher = watchFile(path, changed)
  program.stop.onHangup(() => watcher.poke())
  let settings = await reader.readConfig(path, outer)
  const { call, setLevel } = logging(program, settings.values.logLevel)
  for (const warning of settings.warnings) call.log.warn(warning)
  await using plugins = new Plugins(reader, CONFIG_SPECS, program)
  const grace = () => settings.values.gracePeriod
  await runDaemon(
    settings,
    plugins,
    { line, program, grace },
    (daemon, observer) => {
      const parts = { path, reader, plugins, daemon, observer, setLevel }
      again = async () => {
        settings = await reload(settings, parts, call)
      }
      if (missed) watcher.poke()
    },
    call,
  )
}

/** @returns undefined when help was all that was wanted */
async function begin(argv: readonly string[], page: Page, self: DaemonCommand, program: Program, call: Call) {
  const line = parseCommandLine(argv, page.specs)
  const registry = createRegistry(builtins)
  if (!line.given.some(one => one.option === 'help'))
    return { line, reader: new SettingsReader(line, registry, program) }
  const commands = self.commands
  program.print(await runHelp({ ...page, ...(commands && { commands }) }, registry, call))
  return undefined
}

/** A log whose level may be changed while it is in use. */
function logging(program: Program, level: string): { readonly call: Call; setLevel(level: Level): void } {
  let current = program.log(readLevel(level))
  const log: Logger = {
    debug: (message, fields) => current.debug(message, fields),
    info: (message, fields) => current.info(message, fields),
    warn: (message, fields) => current.warn(message, fields),
    error: (message, fields) => current.error(message, fields),
  }
  return {
    call: { signal: program.stop.now, log },
    setLevel: to => {
      current = program.log(to)
    },
  }
}

const RULE_SPECS: HostOptionSpecs = { ...RULE_FLAGS, ...RUN_FLAGS }
const CONFIG_SPECS: HostOptionSpecs = { ...CONFIG_FLAGS, ...RUN_FLAGS }

const RULE_PAGE: Page = {
  usage: 'posternd --hostname HOST --url SERVICE --edge URL [options]',
  summary: 'Serve a private service through the edge. Dials out only; reaches this one service and nothing else.',
  specs: RULE_SPECS,
  examples: [
    'posternd --hostname ssh.example.com --url ssh://localhost:22 --edge https://edge.example.com --token-file /etc/postern/token',
    'posternd run --config /etc/postern/posternd.yaml',
  ],
}

const CONFIG_PAGE: Page = {
  usage: 'posternd run --config FILE [options]',
  summary:
    'Serve what a config file says. Its rules are read again when it changes or on SIGHUP; flags and variables go before the file.',
  specs: CONFIG_SPECS,
  examples: ['posternd run --config /etc/postern/posternd.yaml'],
}
