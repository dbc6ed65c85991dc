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
import { createRedactor, createSecretReader, readOptions, screaming } from '@postern/options'
import type { Registry } from '@postern/registry'
import type { Store } from '@postern/store'
import type { FailureCounter } from './authorize/attempts.ts'
import type { NamedVerifier } from './authorize/verify.ts'
import type { TeamKeys } from './keys/team-keys.ts'

/** The verifier of the daemons' own credential; every other one is for applications. */
const CONNECTORS = 'tunnel-token'

/** What every plugin is lent the same. */
export interface Lent {
  readonly keys: Pick<TeamKeys, 'jwks' | 'issuer'>
  readonly fetch: EdgeHost['fetch']
}

export interface EdgePlugins extends AsyncDisposable {
  readonly access: readonly NamedVerifier[]
  readonly connectors: readonly NamedVerifier[]
  readonly transports: readonly TransportListener[]
  /** What may be permitted inside a protocol, by its name. */
  readonly protocols: ReadonlyMap<string, ProtocolRules>
}

/**
 * Starts the edge side of every plugin that has one.
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
  const sources = {
    given: [],
    env: process.env,
    cwd: process.cwd(),
    secrets: createSecretReader(undefined),
    redactor: createRedactor(),
  }
  const create = async (kind: Kind, name: string): Promise<Kinds[Kind]['edge']> => {
    const { options } = await registry.load(kind, name, 'edge', call)
    // An edge's plugins have no flags of their own yet: environment and defaults.
    const envPrefix = `POSTERN_${screaming(name)}`
    const { values } = await readOptions(
      options,
      { ...sources, envPrefix, owner: `the ${kind} plugin ${name}` },
      call.signal,
    )
    const plugin = await registry.create(kind, name, 'edge', values, hostOf(name, store, failures, lent), call)
    started.defer(async () => plugin[Symbol.asyncDispose]?.())
    return plugin
  }
  const verifiers: NamedVerifier[] = []
  for (const name of registry.names('auth', 'edge')) {
    verifiers.push({ name, verifier: (await create('auth', name)) as AuthVerifier })
  }
  const transports: TransportListener[] = []
  for (const name of registry.names('transport', 'edge'))
    transports.push((await create('transport', name)) as TransportListener)
  const protocols = new Map<string, ProtocolRules>()
  for (const name of registry.names('protocol', 'edge'))
    protocols.set(name, (await create('protocol', name)) as ProtocolRules)
  const owned = started.move()
  return {
    access: verifiers.filter(({ name }) => name !== CONNECTORS),
    connectors: verifiers.filter(({ name }) => name === CONNECTORS),
    transports,
    protocols,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
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
