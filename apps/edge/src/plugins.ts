import type {
  AuthVerifier,
  Call,
  EdgeHost,
  Json,
  Kind,
  Kinds,
  Logger,
  OptionSpecs,
  ProtocolRules,
  TransportListener,
} from '@postern/interface'
import {
  type ConfigSection,
  createRedactor,
  createSecretReader,
  readOptions,
  type Sources,
  screaming,
} from '@postern/options'
import type { Found, Registry } from '@postern/registry'
import type { Store } from '@postern/store'
import type { FailureCounter } from './authorize/attempts.ts'
import type { NamedVerifier } from './authorize/verify.ts'
import type { TeamKeys } from './keys/team-keys.ts'
import { Kept, type KeptStatus } from './plugins/kept.ts'
import { Life } from './plugins/life.ts'
import { KeptRules, KeptVerifier } from './plugins/sides.ts'

/** The verifier of the daemons' own credential; every other one is for applications. */
const CONNECTORS = 'tunnel-token'

/** What every plugin is lent the same. */
export interface Lent {
  readonly keys: Pick<TeamKeys, 'jwks' | 'issuer'>
  readonly fetch: EdgeHost['fetch']
  /** What the config file says to a plugin, by its name. */
  readonly options?: ReadonlyMap<string, ConfigSection>
}

export interface EdgePlugins extends AsyncDisposable {
  readonly access: readonly NamedVerifier[]
  readonly connectors: readonly NamedVerifier[]
  readonly transports: readonly TransportListener[]
  /** What may be permitted inside a protocol, by its name. */
  readonly protocols: ReadonlyMap<string, ProtocolRules>
  /** The same of protocols of others, which answer later. */
  readonly otherProtocols: ReadonlyMap<string, KeptRules>
  /** How the plugins are that run in a thread each. */
  status(): readonly KeptStatus[]
}

/**
 * Starts the edge side of every plugin that has one: those that come with the edge in its own thread; of others verifiers and
 * protocols, in one each, and no transports.
 *
 * @throws PosternError PLUGIN_*; OPTION_* when one needs an option
 */
export async function startPlugins(
  registry: Registry,
  store: Store,
  failures: FailureCounter,
  lent: Lent,
  call: Call,
): Promise<EdgePlugins> {
  await using started = new AsyncDisposableStack()
  const redactor = createRedactor()
  // An edge's plugins have no flags of their own: config file, environment and defaults.
  const sources = { given: [], env: process.env, cwd: process.cwd(), secrets: createSecretReader(undefined), redactor }
  const valuesOf = (kind: Kind, name: string, options: OptionSpecs) =>
    readValues(kind, name, options, { ...sources, ...sectionOf(name, lent) }, call)
  const create = async (kind: Kind, name: string): Promise<Kinds[Kind]['edge']> => {
    const { options } = await registry.load(kind, name, 'edge', call)
    const values = await valuesOf(kind, name, options)
    const plugin = await registry.create(kind, name, 'edge', values, hostOf(name, store, failures, lent), call)
    started.defer(async () => plugin[Symbol.asyncDispose]?.())
    return plugin
  }
  const all: Kept[] = []
  const keep = async (found: Found): Promise<Kept> => {
    const { kind, name } = found.entry
    const log = redactor.logger(call.log)
    const host = hostOf(name, store, failures, lent)
    const values = async (options: OptionSpecs) => withoutUrls(await valuesOf(kind, name, options))
    const begin = () => beginLife(registry, found, host, log)
    const kept = started.use(await Kept.start({ ...aboutOf(found), begin, values, scrub: redactor.scrub, log }))
    all.push(kept)
    return kept
  }
  const ofOthers = (kind: Kind, name: string) => {
    const found = registry.find(kind, name)
    return found?.builtin === false ? found : undefined
  }
  const verifiers: NamedVerifier[] = []
  for (const name of registry.names('auth', 'edge')) {
    const other = ofOthers('auth', name)
    const verifier = other
      ? new KeptVerifier(await keep(other), name, other.entry.reads)
      : ((await create('auth', name)) as AuthVerifier)
    verifiers.push({ name, verifier })
  }
  const transports: TransportListener[] = []
  for (const name of registry.names('transport', 'edge'))
    if (!ofOthers('transport', name)) transports.push((await create('transport', name)) as TransportListener)
  const protocols = new Map<string, ProtocolRules>()
  const otherProtocols = new Map<string, KeptRules>()
  for (const name of registry.names('protocol', 'edge')) {
    const other = ofOthers('protocol', name)
    if (other) otherProtocols.set(name, new KeptRules(await keep(other), name))
    else protocols.set(name, (await create('protocol', name)) as ProtocolRules)
  }
  const owned = started.move()
  return {
    access: verifiers.filter(({ name }) => name !== CONNECTORS),
    connectors: verifiers.filter(({ name }) => name === CONNECTORS),
    transports,
    protocols,
    otherProtocols,
    status: () => all.map(({ status }) => status),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** A thread with a plugin in it, loaded. @throws PosternError PLUGIN_* */
async function beginLife(registry: Registry, { package: from, entry }: Found, host: EdgeHost, log: Logger) {
  const file = await registry.moduleOf(entry.kind, entry.name, 'edge')
  const about = { plugin: entry.name, package: from }
  const named: Logger = {
    debug: (message, fields) => log.debug(message, { ...fields, ...about }),
    info: (message, fields) => log.info(message, { ...fields, ...about }),
    warn: (message, fields) => log.warn(message, { ...fields, ...about }),
    error: (message, fields) => log.error(message, { ...fields, ...about }),
  }
  const life = new Life({ file, package: from, entry }, host, named)
  try {
    return { life, options: await life.load() }
  } catch (error) {
    await life.end()
    throw error
  }
}

function aboutOf({ package: from, entry: { kind, name }, version }: Found) {
  return { kind, name, package: from, ...(version !== undefined && { version }) }
}

/** A URL would not cross to a thread: its text does. */
function withoutUrls(values: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const crossing = Object.entries(values).map(([name, value]) => [name, value instanceof URL ? value.href : value])
  return Object.fromEntries(crossing)
}

function sectionOf(name: string, { options }: Lent): { readonly file?: ConfigSection } {
  const file = options?.get(name)
  return file === undefined ? {} : { file }
}

async function readValues(
  kind: Kind,
  name: string,
  options: OptionSpecs,
  sources: Sources,
  { signal }: Call,
): Promise<Readonly<Record<string, unknown>>> {
  const whose = { envPrefix: `POSTERN_${screaming(name)}`, owner: `the ${kind} plugin ${name}` }
  return (await readOptions(options, { ...sources, ...whose }, signal)).values
}

/** What one plugin is lent: its own rows, read from memory. */
function hostOf(name: string, store: Store, failures: FailureCounter, { keys, fetch }: Lent): EdgeHost {
  const note = (action: string, id: string) => ({ action, actor: `plugin ${name}`, detail: { id } })
  return {
    records: {
      get: async id => store.snapshot.records.get(name)?.get(id),
      list: async prefix => rowsWith(prefix, store.snapshot.records.get(name)),
      put: (id, value) => store.apply([{ put: 'record', namespace: name, id, value }], note('record.put', id)),
      delete: id => store.apply([{ delete: 'record', namespace: name, id }], note('record.delete', id)),
    },
    keys: { jwks: async () => keys.jwks() as unknown as Json, issuer: async () => keys.issuer },
    attempts: failures.of(name),
    fetch,
  }
}

type Rows = ReadonlyMap<string, Json>

const NO_ROWS: Rows = new Map()
/** The list that was last asked for of each state of a plugin's rows. */
const LISTED = new WeakMap<Rows, { readonly prefix: string; readonly found: Rows }>()

function rowsWith(prefix: string, rows: Rows = NO_ROWS): Rows {
  const known = LISTED.get(rows)
  if (known?.prefix === prefix) return known.found
  const found = new Map<string, Json>()
  for (const [id, value] of rows) if (id.startsWith(prefix)) found.set(id, value)
  LISTED.set(rows, { prefix, found })
  return found
}
