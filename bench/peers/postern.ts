import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { keyFingerprint } from '@postern/connector'
import { writeJson } from '@postern/connector/files'
import { createConnector, createIdentity, signConnector } from '@postern/connector/issue'
import { freePort } from '@postern/dev'
import { initialiseEdge, startEdge } from '@postern/edge'
import { ENVIRONMENT, isListening, Started } from '../processes.ts'
import { keep, type Program, scriptOf, versionOf } from '../programs.ts'
import type { Contender, Found, Peer, Setting } from './peer.ts'
import { startToFirstByte } from './reach.ts'

export const MODES = ['end-to-end', 'hop'] as const
type Mode = (typeof MODES)[number]
const TUNNEL = 'bench'

/** An edge's folder and the credentials of one daemon and one user. */
interface Installed {
  readonly data: string
  readonly hostname: string
  readonly port: number
  readonly caFile: string
  readonly credentials: string
  /** The tunnel's key. */
  readonly pin: string
  readonly user: readonly string[]
}

/** Postern over every transport that the command has, end to end and hop by hop. */
export async function findPostern(setting: Setting): Promise<Found> {
  const names = transports()
  const one = await install(setting)
  const there = MODES.flatMap(mode => names.map(transport => contender(setting, one, mode, transport)))
  return { there, missing: [] }
}

/** The command names those it has when it is told one that it has not. */
function transports(): readonly string[] {
  const args = [
    'access',
    'tcp',
    '--hostname',
    'bench.localhost',
    '--url',
    '127.0.0.1:0',
    '--transport',
    'none-of-these',
  ]
  const { stderr } = spawnSync(process.execPath, [scriptOf('postern'), ...args], { env: ENVIRONMENT, encoding: 'utf8' })
  const names = /wanted one of ([a-z0-9, -]+)/.exec(stderr)?.[1]?.split(/,? (?:or )?/) ?? []
  const found = names.filter(name => name !== '' && name !== 'auto')
  if (found.length === 0) throw new Error(`postern does not name its transports: ${stderr.trim()}`)
  return found
}

function contender(setting: Setting, one: Installed, mode: Mode, transport: string): Contender {
  return {
    name: `${mode}/${transport}`,
    facts: { version: versionOf('postern-edge'), encrypts: 'TLS 1.3, AES-128-GCM', mode, transport },
    start: () => start(setting, one, mode, transport),
  }
}

/** What an administrator, `posternd login` and a user leave behind. The edge that it takes is ended again. */
async function install({ folder, place }: Setting): Promise<Installed> {
  const base = join(folder, 'postern')
  mkdirSync(base, { mode: 0o700 })
  const [data, hostname, team] = [join(base, 'edge'), `bench.${place.domain}`, `edge.${place.domain}`]
  const call = { signal: AbortSignal.timeout(60_000), log: QUIET }
  const { caFile } = await initialiseEdge({ data, teamDomain: team }, call)
  const port = await freePort()
  await using edge = await startEdge({ data, listen: { port: 0 }, grace: 100 }, call)
  const { administration } = edge
  const identity = await createIdentity(TUNNEL)
  await administration.call('tunnel.create', { body: { name: TUNNEL, identity: identity.cert } })
  const connector = await createConnector()
  const certificate = await signConnector(identity, TUNNEL, connector)
  const body = { certificate, host: connector.host }
  const { token, grantKeys } = await administration.call('connector.enrol', { params: { name: TUNNEL }, body })
  const credentials = join(base, 'connector.json')
  await writeJson(credentials, {
    ...{ version: 1, edge: `https://${team}:${port}`, ca: readFileSync(caFile, 'utf8'), tunnel: TUNNEL },
    ...{ connector: connector.id, token, certificate, key: connector.key, identity: identity.cert },
    ...(grantKeys && { grantKeys }),
  })
  const { id, secret } = await administration.call('service-token.create', { body: { name: 'bench' } })
  const rules = [{ name: 'machines', action: 'service', include: [{ anyServiceToken: true }] }]
  await administration.call('application.create', { body: { hostname, tunnel: TUNNEL, rules } } as never)
  const user = ['--id', id, '--secret-file', keep(base, 'service-token', secret), '--ca', caFile]
  return { data, hostname, port, caFile, credentials, pin: keyFingerprint(identity.key), user }
}

const QUIET = { debug() {}, info() {}, warn() {}, error() {} }

/** `postern access`, `postern-edge` and `posternd`, built, each a process. The mode is refused otherwise, at both ends. */
async function start({ place, load }: Setting, one: Installed, mode: Mode, transport: string): Promise<Peer> {
  await using owned = new AsyncDisposableStack()
  const env = { POSTERN_HOME: join(one.data, 'nobody') }
  const run = (where: readonly string[], name: Program, ...args: string[]) => {
    const [program = '', ...words] = [...where, process.execPath, scriptOf(name), ...args, '--log-level', 'warn']
    return owned.use(new Started(program, words, env))
  }
  const listen = ['--listen', `${place.address}:${one.port}`]
  const edge = run(place.near, 'postern-edge', 'run', '--data', one.data, ...listen)
  await edge.until(() => isListening(one.port, edge.pid))
  const service = `tcp://${place.address}:${load.port}`
  const served = ['--hostname', one.hostname, '--url', service, '--credentials', one.credentials, '--mode', mode]
  const daemon = run(place.near, 'posternd', ...served, '--transport', transport)
  const refusing = mode === 'end-to-end' ? ['--end-to-end', '--pin', one.pin] : []
  const to = ['--hostname', `${one.hostname}:${one.port}`, ...one.user, '--transport', transport, ...refusing]
  const script = [process.execPath, scriptOf('postern'), 'access', 'ssh', ...to, '--log-level', 'warn'] as const
  const [program = '', ...args] = [...place.far, ...script]
  const command = { words: [program, ...args] as [string, ...string[]], env }
  // The daemon says nothing at this log level: it is there when a visitor gets through.
  let said = ''
  const arrives = async () => {
    const { took, stderr } = await startToFirstByte(command)
    said = stderr
    return took !== undefined
  }
  const port = await freePort()
  try {
    await daemon.until(arrives)
    const client = run(place.far, 'postern', 'access', 'tcp', '--url', `127.0.0.1:${port}`, ...to)
    await client.until(() => load.reaches(port))
    const parts = owned.move()
    const pids = [edge.pid, daemon.pid, client.pid]
    return { port, pids, command, [Symbol.asyncDispose]: () => parts.disposeAsync() }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error([why, daemon.said, said].join('\n').trim(), { cause: error })
  }
}
