import { lookup as resolveName } from 'node:dns/promises'
import { type AuthProvider, type Call, type OriginHost, PosternError } from '@postern/interface'
import {
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  renderHelp,
  type Values,
} from '@postern/options'
import {
  type Composed,
  clientHost,
  composePlugins,
  PLUGIN_FLAGS,
  PROGRAM_FLAGS,
  type Program,
  pluginPlaces,
  readLevel,
  readTrust,
  type Wanted,
} from '@postern/program'
import { createRegistry, type Registry } from '@postern/registry'
import { builtins } from './builtin.ts'
import { CONNECTIONS, type RunningDaemon, startDaemon } from './daemon.ts'
import { type IngressRule, readRule } from './ingress.ts'
import type { ServedRule } from './serve.ts'

export const DAEMON_FLAGS = {
  hostname: {
    type: 'string',
    required: true,
    summary: 'the application’s hostname',
    env: ['POSTERN_HOSTNAME', 'TUNNEL_HOSTNAME'],
  },
  url: {
    type: 'string',
    required: true,
    summary: 'the service behind it, for example ssh://localhost:22',
    env: ['POSTERN_URL', 'TUNNEL_URL'],
  },
  edge: {
    type: 'url',
    required: true,
    summary: 'where the edge listens, for example https://edge.example.com',
    env: ['POSTERN_EDGE', 'TUNNEL_EDGE'],
  },
  ca: {
    type: 'path',
    summary: 'PEM file of the CA to trust for the edge, instead of the system’s',
    env: ['POSTERN_CA', 'TUNNEL_CACERT'],
  },
  auth: { type: 'string', multiple: true, summary: 'how to sign in (default tunnel-token)', env: ['POSTERN_AUTH'] },
  ...PLUGIN_FLAGS,
  connections: {
    type: 'number',
    default: CONNECTIONS,
    summary: 'connections kept to the edge, 1 to 16',
    env: ['POSTERN_CONNECTIONS'],
  },
  gracePeriod: {
    type: 'duration',
    default: '30s',
    summary: 'how long open streams may go on after a stop',
    env: ['POSTERN_GRACE_PERIOD', 'TUNNEL_GRACE_PERIOD'],
  },
  ...PROGRAM_FLAGS,
} as const satisfies HostOptionSpecs

type DaemonValues = Values<typeof DAEMON_FLAGS>

/** `posternd --hostname H --url U`: one application, until stopped. */
export async function posternd(program: Program, outer: Call): Promise<void> {
  const line = parseCommandLine(program.argv, DAEMON_FLAGS)
  const registry = createRegistry(builtins)
  if (line.given.some(one => one.option === 'help')) return program.print(await help(registry, outer))
  const sources = {
    env: program.env,
    cwd: program.cwd,
    secrets: createSecretReader(process.stdin),
    redactor: program.redactor,
  }
  const { values, warnings } = await readOptions(
    DAEMON_FLAGS,
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
    { registry, line, own: DAEMON_FLAGS, wanted: [...auth, transport, server], sources, hosts },
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
  const config = { edge, connections, rules, auth, transport, trust: await readTrust(values.ca) }
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

async function help(registry: Registry, call: Call): Promise<string> {
  const { options } = await registry.load('auth', 'tunnel-token', 'client', call)
  return renderHelp({
    usage: 'posternd --hostname HOST --url SERVICE --edge URL [options]',
    summary: 'Serve a private service through the edge. Dials out only; reaches this one service and nothing else.',
    sections: [
      { title: 'Options', specs: DAEMON_FLAGS },
      { title: '--auth tunnel-token', specs: options },
    ],
    examples: [
      'posternd --hostname ssh.example.com --url ssh://localhost:22 --edge https://edge.example.com --token-file /etc/postern/token',
    ],
  })
}
