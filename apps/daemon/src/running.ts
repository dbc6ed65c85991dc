import { type NamedTransport, untilAborted } from '@postern/client'
import {
  apartFile,
  type GrantKeySetFile,
  keepGrantKeys,
  keepGrantKeysApart,
  readGrantKeysApart,
} from '@postern/connector/files'
import { type AuthProvider, type Call, PosternError, type ProtocolServer } from '@postern/interface'
import type { CommandLine, HostOptionSpecs } from '@postern/options'
import { type Composed, clientHost, composePlugins, type Program, type Wanted } from '@postern/program'
import { ownAbout } from './about.ts'
import { advisedOf, type FoundCredentials, hintAtLogin, trustOf, variablesOf } from './credentials.ts'
import { type RunningDaemon, startDaemon } from './daemon.ts'
import type { FileRule } from './ingress-file.ts'
import { type JoinIdentity, joinIdentity } from './joins.ts'
import { startMonitor } from './monitor.ts'
import type { DaemonObserver } from './observer.ts'
import { originHost } from './origin-host.ts'
import { webProtocol } from './rule-options.ts'
import type { ServedRule } from './serve.ts'
import type { Settings, SettingsReader } from './settings.ts'
import type { Web } from './web-rules.ts'

/** The rules of a daemon for bytes, the hostnames that a wildcard of these must not answer, and the rules for requests. */
export interface Served {
  readonly rules: readonly ServedRule[]
  readonly unserved: readonly string[]
  readonly web?: Web
}

/** The plugins of a run, and its rules with the plugin that serves each. More are loaded when other rules need them. */
export class Plugins implements AsyncDisposable {
  readonly #reader: SettingsReader
  readonly #own: HostOptionSpecs
  readonly #program: Program
  readonly #servers = new Map<string, ProtocolServer>()
  readonly #open = new AsyncDisposableStack()

  /** @param own the command's options, for hints about flags that are not known */
  constructor(reader: SettingsReader, own: HostOptionSpecs, program: Program) {
    this.#reader = reader
    this.#own = own
    this.#program = program
  }

  /** Everything that the first settings need. @throws PosternError PLUGIN_*, OPTION_*, FILE_*, BAD_USAGE */
  async start(settings: Settings, line: CommandLine, call: Call) {
    const wanted = [
      ...settings.auth.map(name => ({ kind: 'auth', side: 'client', name }) as const),
      ...settings.transports,
    ] as const
    const composed = await this.#compose([...wanted, ...this.#serversFor(settings.rules)], settings, line, call)
    const auth: AuthProvider[] = []
    for (const name of settings.auth) auth.push(await composed.create({ kind: 'auth', side: 'client', name }))
    const transports: NamedTransport[] = []
    for (const one of settings.transports) transports.push({ name: one.name, transport: await composed.create(one) })
    return { auth, transports }
  }

  /** @throws PosternError PLUGIN_*, OPTION_* */
  async serve(settings: Settings, call: Call): Promise<Served> {
    const missing = this.#serversFor(settings.rules)
    // Flags of the command line were given to plugins when they were first composed.
    if (missing.length > 0) await this.#compose(missing, settings, { given: [], pending: [], words: [] }, call)
    const forBytes = settings.rules.filter(rule => rule.purposes.includes('tcp'))
    const rules: ServedRule[] = []
    for (const { hostname, service, mode } of forBytes) {
      if (hostname === undefined || !(service instanceof URL)) continue
      const protocol = this.#protocolOf(service)
      rules.push({ hostname, service, ...(mode && { mode }), protocol, server: this.#serverOf(protocol) })
    }
    const unserved = forBytes.flatMap(rule => (typeof rule.service === 'number' ? (rule.hostname ?? []) : []))
    const web = settings.rules.filter(rule => rule.purposes.includes('http'))
    if (web.length === 0) return { rules, unserved }
    const webRules = web.map(({ hostname, segments, service, options = {} }) => ({
      ...(hostname !== undefined && { hostname }),
      segments,
      service,
      options,
    }))
    return { rules, unserved, web: { server: this.#serverOf(webProtocol(this.#reader.registry)), rules: webRules } }
  }

  #serverOf(protocol: string): ProtocolServer {
    const server = this.#servers.get(protocol)
    if (!server) throw new PosternError('INTERNAL', `the protocol ${protocol} was not composed`)
    return server
  }

  async #compose(
    wanted: readonly Wanted[],
    { forPlugins: file, values, credentials }: Settings,
    line: CommandLine,
    call: Call,
  ): Promise<Composed> {
    const { registry, sources } = this.#reader
    const { edge, ca } = values
    const hosts = {
      client: clientHost(this.#program),
      origin: originHost({ edge, trust: await trustOf(ca, credentials) }),
    }
    const env = credentials ? { ...sources.env, ...variablesOf(credentials) } : sources.env
    const from = { ...sources, env, ...(file && { file }) }
    const composing = { registry, line, own: this.#own, wanted, sources: from, hosts }
    const composed = await composePlugins(composing, call).catch(hintAtLogin)
    this.#open.use(composed)
    for (const warning of composed.warnings) call.log.warn(warning)
    for (const one of wanted)
      if (isServer(one)) this.#servers.set(one.name, await composed.create<'protocol', 'origin'>(one))
    return composed
  }

  /** Protocols that no rule needed until now. */
  #serversFor(rules: readonly FileRule[]): readonly Wanted<'protocol', 'origin'>[] {
    const { registry } = this.#reader
    const names = new Set<string>()
    for (const { purposes, service, hostname } of rules) {
      if (purposes.includes('http')) names.add(webProtocol(registry))
      if (purposes.includes('tcp') && service instanceof URL && hostname !== undefined)
        names.add(this.#protocolOf(service))
    }
    return [...names].filter(name => !this.#servers.has(name)).map(name => ({ kind: 'protocol', side: 'origin', name }))
  }

  #protocolOf(service: URL): string {
    return this.#reader.registry.forScheme(service.protocol)?.entry.name ?? ''
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#open.disposeAsync()
  }
}

function isServer(wanted: Wanted): wanted is Wanted<'protocol', 'origin'> {
  return wanted.kind === 'protocol' && wanted.side === 'origin'
}

/**
 * Runs a daemon until it is stopped, or ends by itself.
 *
 * @param onStart gets the daemon once it is connected
 */
export async function runDaemon(
  settings: Settings,
  plugins: Plugins,
  parts: { readonly line: CommandLine; readonly program: Program; readonly grace: () => number },
  onStart: (daemon: RunningDaemon, observer: DaemonObserver) => void,
  call: Call,
): Promise<void> {
  const { line, program, grace } = parts
  const { edge, connections, ca, metrics } = settings.values
  const { credentials } = settings
  const starting = { log: call.log, signal: AbortSignal.any([program.stop.gently, call.signal]) }
  try {
    const signIn = await untilAborted(plugins.start(settings, line, call), starting.signal) // stdin may be waited for
    const served = await plugins.serve(settings, call)
    const about = await ownAbout(credentials?.connector)
    const joining = await joiningBy(credentials, program, call)
    if (joining)
      call.log.info('clients know this tunnel by its key', { tunnel: joining.tunnel, fingerprint: joining.fingerprint })
    await using monitor = metrics === undefined ? undefined : await startMonitor(metrics, about, call)
    const observer = monitor?.observer ?? {}
    const trust = await trustOf(ca, credentials)
    const config = { edge, connections, ...served, ...signIn, trust, about, observer, ...(joining && { joining }) }
    await using daemon = await startDaemon(config, starting, call)
    onStart(daemon, observer)
    const ended = await Promise.race([daemon.closed, aborted(program.stop.gently)])
    if (ended) throw ended
    await drain(daemon, grace(), call)
  } catch (error) {
    if (error !== program.stop.gently.reason) throw advisedOf(error, edge, credentials) // asked to stop before the first connection was up
  }
}

/** @throws PosternError CONFIG_INVALID, FILE_UNSAFE */
async function joiningBy(
  credentials: FoundCredentials | undefined,
  { env }: Pick<Program, 'env'>,
  call: Call,
): Promise<JoinIdentity | undefined> {
  if (credentials === undefined) return undefined
  const { path, connector, edge, tunnel, grantKeys } = credentials
  // A service's credentials are lent to it, to be read.
  const apart = apartFile(env, connector)
  const later = apart === undefined ? undefined : await readGrantKeysApart(apart, connector)
  const isLater = later !== undefined && (later.sequence ?? 0) > (grantKeys?.sequence ?? 0)
  const keep = (set: GrantKeySetFile) =>
    apart === undefined ? keepGrantKeys(path, connector, set) : keepGrantKeysApart(apart, connector, set)
  const found = joinIdentity(isLater ? { ...credentials, grantKeys: later } : credentials, call, keep)
  if (found === undefined) {
    const next = `Log this machine in again: posternd login --edge ${edge} --tunnel ${tunnel}, or with a new setup token`
    call.log.info('these credentials are of an older login: no end-to-end sessions, all goes through the edge', {
      next,
    })
  }
  return found
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
