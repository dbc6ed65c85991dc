import { readFile } from 'node:fs/promises'
import type { Call, Logger } from '@postern/interface'
import { createRegistry } from '@postern/registry'
import { openStore, type Store } from '@postern/store'
import { ensureSetupToken } from './admin/setup.ts'
import { adminSocketOf } from './admin/socket.ts'
import { FailureCounter } from './authorize/attempts.ts'
import { builtins } from './builtin.ts'
import type { EdgeConfig } from './config.ts'
import { certificatesFor, databaseOf, teamDomainOf } from './data.ts'
import type { Certificates } from './front/certificates.ts'
import { guardedFetch } from './guarded-fetch.ts'
import { GrantKeys } from './keys/grant-keys.ts'
import { Seal } from './keys/seal.ts'
import { hasTeamKeys, TeamKeys } from './keys/team-keys.ts'
import { Origins } from './origins.ts'
import { addPlugins } from './plugins/added.ts'
import { type EdgePlugins, startPlugins } from './plugins.ts'
import { endRestored } from './sign-in/restored.ts'
import { Sessions } from './sign-in/sessions.ts'

export const DEFAULT_PORT = 8443

/** What an edge is made of, from its data folder and its plugins. */
export interface EdgeParts {
  readonly config: EdgeConfig
  readonly software: string
  readonly adminSocket: string | undefined
  readonly setupTokenFile: string | undefined
  readonly store: Store
  readonly teamDomain: string
  readonly certificates: Certificates
  readonly caFile: string | undefined
  readonly plugins: EdgePlugins
  readonly origins: Origins
  readonly sessions: Sessions
  readonly keys: TeamKeys
  readonly grants: GrantKeys
  readonly seal: Seal
  /** Told the port once it is known. */
  readonly listens: (port: number) => void
  readonly failures: FailureCounter
  readonly log: Logger
}

/** Opens it all. `stack` owns what has to be closed. @throws PosternError as `startEdge` */
export async function openParts(config: EdgeConfig, stack: AsyncDisposableStack, call: Call): Promise<EdgeParts> {
  const adminSocket = adminSocketOf(config)
  const store = stack.use(await openStore({ path: await databaseOf(config.data) }, call))
  const teamDomain = teamDomainOf(store, config.data)
  const lost = await endRestored(store, call.log)
  const { certificates, caFile } = await certificatesFor(config, teamDomain, store, call)
  const failures = new FailureCounter()
  let port = config.publicPort ?? config.listen?.port ?? DEFAULT_PORT
  const listens = (bound: number) => {
    if (config.publicPort === undefined) port = bound
  }
  const origins = new Origins(teamDomain, () => port)
  const seal = await Seal.open(config.data, hasTeamKeys(store.snapshot), config.sealKey)
  const keys = stack.use(await TeamKeys.open({ store, seal, origins, log: call.log }))
  await keys.removeAgain(lost)
  const grants = await GrantKeys.open(store, seal)
  const sessions = stack.use(new Sessions(store, call.log))
  const registry = createRegistry(config.plugins ?? builtins)
  await addPlugins(registry, config, call.log)
  const { pluginOptions: options } = config
  const lent = { keys, fetch: guardedFetch(config), ...(options && { options }) }
  const plugins = stack.use(await startPlugins(registry, store, failures, lent, call))
  const setupTokenFile = config.setupToken ? await ensureSetupToken(store, config.data) : undefined
  return {
    config,
    software: await version(),
    log: call.log,
    adminSocket,
    setupTokenFile,
    store,
    teamDomain,
    certificates,
    caFile,
    plugins,
    origins,
    sessions,
    keys,
    grants,
    seal,
    failures,
    listens,
  }
}

async function version(): Promise<string> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
