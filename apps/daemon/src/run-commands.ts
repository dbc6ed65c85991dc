import { lookup as resolveName } from 'node:dns/promises'
import { type AuthProvider, type Call, type OriginHost, PosternError } from '@postern/interface'
import { createSecretReader, parseCommandLine, readOptions, type Values } from '@postern/options'
import {
  type Composed,
  clientHost,
  composePlugins,
  type Program,
  pluginPlaces,
  readLevel,
  readTrust,
  type Wanted,
} from '@postern/program'
import { createRegistry, type Registry } from '@postern/registry'
import { ownAbout } from './about.ts'
import { builtins } from './builtin.ts'
import type { DaemonCommand } from './commands.ts'
import { type RunningDaemon, startDaemon } from './daemon.ts'
import { RULE_FLAGS, RUN_FLAGS } from './flags.ts'
import { type Page, runHelp } from './help.ts'
import { type IngressRule, readRule } from './ingress.ts'
import { startMonitor } from './monitor.ts'
import type { ServedRule } from './serve.ts'

/** Of `posternd --hostname H --url U`. */
const FLAGS = { ...RULE_FLAGS, ...RUN_FLAGS } as const

type DaemonValues = Values<typeof FLAGS>

/** `posternd --hostname H --url U`: one application, until stopped. */
export async function runRule(
  argv: readonly string[],
  program: Program,
  outer: Call,
  self: DaemonCommand,
): Promise<void> {
  const line = parseCommandLine(argv, FLAGS)
  const registry = createRegistry(builtins)
  if (line.given.some(one => one.option === 'help'))
    return program.print(await runHelp({ ...PAGE, ...self }, registry, outer))
  const sources = {
    env: program.env,
    cwd: program.cwd,
    secrets: createSecretReader(process.stdin),
    redactor: program.redactor,
  }
  const { values, warnings } = await readOptions(
    FLAGS,
    { ...sources, given: line.given, pending: line.pending },
    outer.signal,
  )
  const log = program.log(readLevel(values.logLevel))
  const call: Call = { signal: program.stop.now, log }
  for (const plugin of values.plugin) await registry.add(plugin, pluginPlaces(program))
  const rule = readRule(values.hostname, values.url, scheme => portOf(registry, scheme))
  const auth = (values.auth.length > 0 ? values.auth : ['tunnel-token']).map(
    name => ({ kind: 'auth', side: 'client', name }) as const,
  )
  const transport = { kind: 'transport', side: 'client', name: values.transport } as const
  const server = {
    kind: 'protocol',
    side: 'origin',
    name: registry.forScheme(schemeOf(rule))?.entry.name ?? '',
  } as const
  const hosts = { client: clientHost(program), origin: originHost }
  await using composed = await composePlugins(
    { registry, line, own: FLAGS, wanted: [...auth, transport, server], sources, hosts },
    call,
  )
  if (composed.words.length > 0)
    throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(composed.words[0])}`)
  for (const warning of [...warnings, ...composed.warnings]) log.warn(warning)
  await serve({ values, rule, auth, transport, server }, composed, program, call)
}

interface Chosen {
  readonly values: DaemonValues
  readonly rule: IngressRule
  readonly auth: readonly Wanted<'auth', 'client'>[]
  readonly transport: Wanted<'transport', 'client'>
  readonly server: Wanted<'protocol', 'origin'>
}

async function serve(chosen: Chosen, composed: Composed, program: Program, call: Call): Promise<void> {
  const { rule, values } = chosen
  const auth: AuthProvider[] = []
  for (const one of chosen.auth) auth.push(await composed.create(one))
  const transport = await composed.create(chosen.transport)
  const rules: readonly ServedRule[] = [{ ...rule, server: await composed.create(chosen.server) }]
  const { edge, connections } = values
  const about = await ownAbout()
  await using monitor = values.metrics === undefined ? undefined : await startMonitor(values.metrics, about, call)
  const observer = monitor?.observer ?? {}
  const trust = await readTrust(values.ca)
  const config = { edge, connections, rules, auth, transport, trust, about, observer }
  const starting = { log: call.log, signal: AbortSignal.any([program.stop.gently, call.signal]) }
  try {
    await using daemon = await startDaemon(config, starting, call)
    const ended = await Promise.race([daemon.closed, aborted(program.stop.gently)])
    if (ended) throw ended
    await drain(daemon, values.gracePeriod, call)
  } catch (error) {
    if (error !== program.stop.gently.reason) throw error // asked to stop before the first connection was up
  }
}

/** Milliseconds, 24 days. A timer set longer goes off at once. */
const LONGEST_TIMER = 2 ** 31 - 1

/** A first signal lets open streams finish; the grace period or a second signal ends them. */
async function drain(daemon: RunningDaemon, grace: number, call: Call): Promise<void> {
  call.log.info('stopping: no new streams, the open ones may finish', { graceSeconds: grace / 1000 })
  const limit = new AbortController()
  const over = () => limit.abort(new PosternError('DRAINING', 'the grace period is over'))
  const timer = setTimeout(over, Math.min(grace, LONGEST_TIMER))
  try {
    await daemon.drain({ log: call.log, signal: AbortSignal.any([limit.signal, call.signal]) })
  } catch {
    call.log.warn('ending streams that were still open')
  } finally {
    clearTimeout(timer)
  }
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise(resolve => {
    if (signal.aborted) resolve(undefined)
    else signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
}

function schemeOf(rule: IngressRule): string {
  return rule.service.protocol.slice(0, -1)
}

function portOf(registry: Registry, scheme: string): number | 'none' | undefined {
  const found = registry.forScheme(scheme)
  return found && (found.entry.defaultPort ?? 'none')
}

const originHost: OriginHost = {
  resolve: async host => (await resolveName(host, { all: true })).map(({ address }) => address),
}

const PAGE: Page = {
  usage: 'posternd --hostname HOST --url SERVICE --edge URL [options]',
  summary: 'Serve a private service through the edge. Dials out only; reaches this one service and nothing else.',
  specs: FLAGS,
  examples: [
    'posternd --hostname ssh.example.com --url ssh://localhost:22 --edge https://edge.example.com --token-file /etc/postern/token',
  ],
}
