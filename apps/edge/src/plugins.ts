import type {
  AuthVerifier,
  Call,
  EdgeHost,
  Json,
  Kind,
  Kinds,
  ProtocolRules,
  TransportListener,
} from '@postern/interface'
import {
  type ConfigSection,
  createRedactor,
  createSecretReader,
  type Redactor,
  readOptions,
  screaming,
} from '@postern/options'
import type { Registry } from '@postern/registry'
import type { Store } from '@postern/store'
import { FailureCounter } from './authorize/attempts.ts'
import type { NamedVerifier } from './authorize/verify.ts'
import type { TeamKeys } from './keys/team-keys.ts'
import type { KeptStatus } from './plugins/kept.ts'
import { Others, type ValuesOf } from './plugins/others.ts'
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
  const valuesOf = valuesReader(redactor, lent.options, call)
  const create = async (kind: Kind, name: string): Promise<Kinds[Kind]['edge']> => {
    const { options } = await registry.load(kind, name, 'edge', call)
    const values = await valuesOf(kind, name, options)
    const plugin = await registry.create(kind, name, 'edge', values, hostOf(name, store, failures, lent), call)
    started.defer(async () => plugin[Symbol.asyncDispose]?.())
    return plugin
  }
  // The counter forgets where there is too much, and what a plugin counts strangers may choose: each has one of its own.
  const lentTo = (rows: string) => hostOf(rows, store, new FailureCounter(), lent)
  const others = started.use(new Others({ registry, redactor, log: call.log, valuesOf, hostOf: lentTo }))
  const verifiers: NamedVerifier[] = []
  for (const name of registry.names('auth', 'edge')) {
    const kept = await others.keep('auth', name)
    const reads = registry.find('auth', name)?.entry.reads
    const verifier = kept
      ? new KeptVerifier(kept, name, reads, () => lent.keys.issuer)
      : ((await create('auth', name)) as AuthVerifier)
    verifiers.push({ name, verifier })
  }
  const transports: TransportListener[] = []
  for (const name of registry.names('transport', 'edge'))
    if (registry.find('transport', name)?.builtin)
      transports.push((await create('transport', name)) as TransportListener)
  const protocols = new Map<string, ProtocolRules>()
  const otherProtocols = new Map<string, KeptRules>()
  for (const name of registry.names('protocol', 'edge')) {
    const kept = await others.keep('protocol', name)
    if (kept) otherProtocols.set(name, new KeptRules(kept, name))
    else protocols.set(name, (await create('protocol', name)) as ProtocolRules)
  }
  const access = verifiers.filter(({ name }) => name !== CONNECTORS)
  const connectors = verifiers.filter(({ name }) => name === CONNECTORS)
  const status = () => others.status
  const owned = started.move()
  const end = () => owned.disposeAsync()
  return { access, connectors, transports, protocols, otherProtocols, status, [Symbol.asyncDispose]: end }
}

/** An edge's plugins have no flags of their own: config file, environment and defaults. */
function valuesReader(redactor: Redactor, sections: Lent['options'], { signal }: Call): ValuesOf {
  const sources = { given: [], env: process.env, cwd: process.cwd(), secrets: createSecretReader(undefined), redactor }
  return async (kind, name, options) => {
    const file = sections?.get(name)
    const whose = { envPrefix: `POSTERN_${screaming(name)}`, owner: `the ${kind} plugin ${name}` }
    return (await readOptions(options, { ...sources, ...whose, ...(file && { file }) }, signal)).values
  }
}

/** What one plugin is lent: rows of its own, read from memory. @param rows the name of these, and of its counts */
function hostOf(rows: string, store: Store, failures: FailureCounter, { keys, fetch }: Lent): EdgeHost {
  const actor = `plugin ${rows.replace(/^plugin:/, '')}`
  const note = (action: string, id: string) => ({ action, actor, detail: { id } })
  return {
    records: {
      get: async id => store.snapshot.records.get(rows)?.get(id),
      list: async prefix => rowsWith(prefix, store.snapshot.records.get(rows)),
      put: (id, value) => store.apply([{ put: 'record', namespace: rows, id, value }], note('record.put', id)),
      delete: id => store.apply([{ delete: 'record', namespace: rows, id }], note('record.delete', id)),
    },
    keys: { jwks: async () => keys.jwks() as unknown as Json, issuer: async () => keys.issuer },
    attempts: failures.of(rows),
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
