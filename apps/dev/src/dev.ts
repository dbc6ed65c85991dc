import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import type { Call } from '@postern/interface'
import { type TokenFile, writeClientConfig, writeCommand, writeSshConfig } from './files.ts'
import { APP_HOST, ECHO_HOST, SSH_HOST, TEAM_DOMAIN, VAULT_HOST, WIKI_HOST } from './names.ts'
import { addPerson, type SamplePerson } from './person.ts'
import { startSampleDaemon } from './sample-daemon.ts'
import { startSampleEcho, startSampleSsh } from './samples.ts'
import { makeSshKeys, type SshKeys } from './ssh-keys.ts'
import { startSampleWeb } from './web.ts'

const TUNNEL = 'sample'
const STAFF = 'staff'
/** Milliseconds that open connections have when it stops: Ctrl-C should feel like one. */
const GRACE = 1_000

export interface DevOptions {
  /** The edge's port on loopback. Default: any free one. */
  readonly port?: number
}

/** A whole Postern in this process: edge, daemon, private services, a person and a service token to reach them. */
export interface Dev extends AsyncDisposable {
  /** Everything it wrote; removed with it. */
  readonly folder: string
  readonly port: number
  readonly edge: RunningEdge
  /** The CA of the edge's certificate. */
  readonly caFile: string
  readonly serviceToken: TokenFile
  /** May open everything but the vault. */
  readonly person: SamplePerson
  /** For a browser; each ends in `/`. */
  readonly urls: { readonly team: string; readonly app: string; readonly wiki: string; readonly vault: string }
  readonly ssh: { readonly what: string; readonly user: string; readonly keys: SshKeys; readonly configFile: string }
  readonly echo: { readonly what: string }
  readonly web: { readonly what: string }
  /** A command that runs `postern` under this Node, for this edge: it needs no CA or port to be said, and keeps what it keeps in `folder`. */
  readonly postern: string
}

/**
 * Starts it all, and takes it all down with `await using`.
 *
 * @example
 * await using dev = await startDev({}, { signal, log })
 * await promisify(execFile)('ssh', ['-F', dev.ssh.configFile, 'ssh.localhost', 'uptime'])
 * @throws PosternError LISTEN_FAILED, and what edge and daemon throw
 */
export async function startDev(options: DevOptions, call: Call): Promise<Dev> {
  await using owned = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-dev-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  const keys = makeSshKeys(join(folder, 'ssh'))
  const ssh = owned.use(await startSampleSsh(join(folder, 'ssh'), keys))
  const echo = owned.use(await startSampleEcho())
  const data = join(folder, 'edge')
  const { tunnelToken, serviceToken, caFile } = await initialiseEdge(
    { data, hostname: SSH_HOST, tunnel: TUNNEL, teamDomain: TEAM_DOMAIN, protocols: ['ssh'] },
    call,
  )
  const listen = { host: '127.0.0.1', port: options.port ?? 0 }
  const edge = owned.use(await startEdge({ data, listen, grace: GRACE }, call))
  const to = { edge: new URL(`https://${TEAM_DOMAIN}:${edge.port}`), trust: { ca: [readFileSync(caFile, 'utf8')] } }
  const web = owned.use(await startSampleWeb(to))
  await addApplications(edge, serviceToken.id)
  const adding = addPerson(edge, [STAFF], call) // a password takes its time; the daemon connects meanwhile
  adding.catch(() => {})
  const pages = [APP_HOST, WIKI_HOST, VAULT_HOST].map(host => [host, `http://127.0.0.1:${web.port}`] as const)
  const bytes = [SSH_HOST, APP_HOST].map(host => [host, `ssh://127.0.0.1:${ssh.port}`] as const)
  const services = [...pages, ...bytes, [ECHO_HOST, `tcp://127.0.0.1:${echo.port}`] as const]
  owned.use(await startSampleDaemon(to, tunnelToken, services, call))
  const person = await adding
  const token = { id: serviceToken.id, secretFile: join(folder, 'service-token') }
  writeFileSync(token.secretFile, `${serviceToken.secret}\n`, { mode: 0o600 })
  writeClientConfig(folder, edge, caFile, token)
  const postern = writeCommand(folder, edge)
  const user = userInfo().username
  const configFile = writeSshConfig(folder, keys, user, postern)
  const parts = owned.move()
  return {
    folder,
    port: edge.port,
    edge,
    caFile,
    serviceToken: token,
    person,
    urls: urlsOf(edge.port),
    ssh: { what: ssh.what, user, keys, configFile },
    echo: { what: echo.what },
    web: { what: web.what },
    postern,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** Who may open what: staff and the sample token everything, but for the vault. */
async function addApplications({ administration }: RunningEdge, serviceToken: string): Promise<void> {
  const rules = [
    { name: 'staff', action: 'allow' as const, include: [{ group: STAFF }] },
    { name: 'the sample token', action: 'allow' as const, include: [{ serviceToken }] },
  ]
  const keepers = [{ name: 'keepers', action: 'allow' as const, include: [{ group: 'keepers' }] }]
  await administration.call('policy.put', { params: { hostname: SSH_HOST }, body: { rules } })
  const applications = [
    { hostname: ECHO_HOST, protocols: ['tcp'], rules, options: { name: 'Sample echo' } },
    { hostname: APP_HOST, protocols: ['http', 'ssh'], rules, options: { name: 'Sample application' } },
    { hostname: WIKI_HOST, protocols: ['http'], rules, options: { name: 'Sample wiki' } },
    {
      hostname: VAULT_HOST,
      protocols: ['http'],
      rules: keepers,
      options: { name: 'Sample vault', contact: 'keepers@example.com' },
    },
  ]
  for (const one of applications) await administration.call('application.create', { body: { tunnel: TUNNEL, ...one } })
}

function urlsOf(port: number): Dev['urls'] {
  const at = (hostname: string) => `https://${hostname}${port === 443 ? '' : `:${port}`}/`
  return { team: at(TEAM_DOMAIN), app: at(APP_HOST), wiki: at(WIKI_HOST), vault: at(VAULT_HOST) }
}
