import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ApplicationClient, createApplicationClient } from '@postern/client'
import { createConnector, createIdentity, signConnector } from '@postern/connector/issue'
import { builtins, joinIdentity, type RunningDaemon, readRule, startDaemon } from '@postern/daemon'
import { initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import type { AuthProvider, Call, ProtocolServer, Transport } from '@postern/interface'
import { Network } from './chaos-network.ts'
import { ChaosOrigin } from './chaos-origin.ts'
import { quiet } from './lab.ts'

const APP = 'db.localhost'
const TEAM = 'edge.localhost'
const TUNNEL = 'home'
/** Connections of the daemon, so that one survives the loss of the other. */
export const CONNECTIONS = 2
/** Milliseconds that an edge waits for streams that are open: more than any of them takes. */
const GRACE = 30_000

/** Milliseconds for which the edge keeps a connection over which nothing is asked any more, which would count as left over. */
const IDLE = 5_000

/** Who is the other end of the client's session, and which transports client and daemon dial by. */
export interface Combination {
  readonly mode: 'hop' | 'end-to-end'
  readonly client: string
  readonly daemon: string
}

/** Every transport that is built in, at either end, in both modes. */
export function combinations(): readonly Combination[] {
  const names = builtins.filter(({ entry }) => entry.kind === 'transport').map(({ entry }) => entry.name)
  const modes = ['hop', 'end-to-end'] as const
  return modes.flatMap(mode => names.flatMap(client => names.map(daemon => ({ mode, client, daemon }))))
}

export function nameOf({ mode, client, daemon }: Combination): string {
  return `${mode}, ${client} to ${daemon}`
}

/** A whole Postern in this process, the networks that client and daemon reach the edge by, and a service. */
export interface ChaosSite extends AsyncDisposable {
  readonly edge: RunningEdge
  readonly daemon: RunningDaemon
  readonly origin: ChaosOrigin
  readonly networks: { readonly client: Network; readonly daemon: Network }
  client(): ApplicationClient
}

export async function startChaosSite({ mode, client, daemon }: Combination): Promise<ChaosSite> {
  await using owned = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-chaos-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  const stop = new AbortController()
  const call: Call = { signal: stop.signal, log: quiet }
  const data = join(folder, 'edge')
  const { caFile } = await initialiseEdge({ data, teamDomain: TEAM }, call)
  const limits = { idleTime: IDLE }
  const edge = await startEdge({ data, listen: { port: 0 }, grace: GRACE, adminSocket: false, limits }, call)
  owned.defer(() => edge.close())
  const origin = owned.use(await ChaosOrigin.open())
  const { credentials, token } = await prepare(edge)
  const networks = {
    client: owned.use(await Network.open(edge.port)),
    daemon: owned.use(await Network.open(edge.port)),
  }
  const trust = { ca: [readFileSync(caFile, 'utf8')] }
  const server = (await made('protocol', 'tcp', 'origin')) as ProtocolServer
  const joining = joinIdentity({ ...credentials, edge: `https://${TEAM}` }, call)
  if (!joining) throw new Error('the daemon cannot join')
  const { certificate: connectorCertificate, key: connectorKey } = credentials
  const proof = { token: credentials.token, connectorCertificate, connectorKey }
  const running = await startDaemon(
    {
      edge: new URL(`https://${TEAM}:${networks.daemon.port}`),
      trust,
      rules: [{ ...readRule(APP, `tcp://127.0.0.1:${origin.port}`, () => 'none'), server }],
      auth: [(await made('auth', 'tunnel-token', 'client', proof)) as AuthProvider],
      transports: [{ name: daemon, transport: (await made('transport', daemon, 'client')) as Transport }],
      connections: CONNECTIONS,
      joining,
    },
    call,
  )
  owned.use(running)
  const auth = [(await made('auth', 'service-token', 'client', token)) as AuthProvider]
  const transports = [{ name: client, transport: (await made('transport', client, 'client')) as Transport }]
  const parts = owned.move()
  return {
    edge,
    daemon: running,
    origin,
    networks,
    client: () =>
      createApplicationClient({
        hostname: APP,
        edge: new URL(`https://${APP}:${networks.client.port}`),
        auth,
        transports,
        trust,
        ...(mode === 'end-to-end' && { endToEnd: { required: true, pin: joining.fingerprint } }),
      }),
    [Symbol.asyncDispose]: async () => {
      await parts.disposeAsync()
      stop.abort()
    },
  }
}

/** What somebody administers: a tunnel, its daemon, an application, a visitor. */
async function prepare({ administration }: RunningEdge) {
  const identity = await createIdentity(TUNNEL)
  await administration.call('tunnel.create', { body: { name: TUNNEL, identity: identity.cert } })
  const one = await createConnector()
  const certificate = await signConnector(identity, TUNNEL, one)
  const body = { certificate, host: one.host }
  const enrolled = await administration.call('connector.enrol', { params: { name: TUNNEL }, body })
  const { id, secret } = await administration.call('service-token.create', { body: { name: 'visitor' } })
  const rules = [{ name: 'machines', action: 'service', include: [{ anyServiceToken: true }] }]
  await administration.call('application.create', { body: { hostname: APP, tunnel: TUNNEL, rules } } as never)
  const { token, grantKeys } = enrolled
  const who = { version: 1, tunnel: TUNNEL, connector: one.id, token, certificate, key: one.key } as const
  return { credentials: { ...who, identity: identity.cert, ...(grantKeys && { grantKeys }) }, token: { id, secret } }
}

/** A plugin that is built in. */
async function made(kind: string, name: string, side: 'client' | 'origin', options: object = {}): Promise<unknown> {
  const found = builtins.find(({ entry }) => entry.kind === kind && entry.name === name)
  const module = (await found?.load[side]?.()) as
    | { readonly default: { create(options: object, host: object): Promise<unknown> } }
    | undefined
  if (module === undefined) throw new Error(`no ${kind} ${name}`)
  return module.default.create(options, {})
}
