import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { builtins, originHost, type RunningDaemon, readRule, type ServedRule, startDaemon } from '@postern/daemon'
import { initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import { type Call, type ClientHost, PosternError } from '@postern/interface'
import { createRegistry } from '@postern/registry'
import { startSampleEcho, startSampleSsh } from './samples.ts'
import { makeSshKeys, type SshKeys } from './ssh-keys.ts'

/** The names of the sample world. All end in `.localhost`, which is this machine (RFC 6761): no DNS, no hosts file. */
export const TEAM_DOMAIN = 'edge.localhost'
export const SSH_HOST = 'ssh.localhost'
export const ECHO_HOST = 'echo.localhost'
const TUNNEL = 'sample'
/** Milliseconds that open connections have when it stops: Ctrl-C should feel like one. */
const GRACE = 1_000

export interface DevOptions {
  /** The edge's port on loopback. Default: any free one. */
  readonly port?: number
}

/** A whole Postern in this process: edge, daemon, two private services, and a credential to reach them. */
export interface Dev extends AsyncDisposable {
  /** Everything it wrote; removed with it. */
  readonly folder: string
  readonly port: number
  readonly edge: RunningEdge
  /** The CA of the edge's certificate. */
  readonly caFile: string
  readonly serviceToken: { readonly id: string; readonly secretFile: string }
  readonly ssh: { readonly what: string; readonly user: string; readonly keys: SshKeys; readonly configFile: string }
  readonly echo: { readonly what: string }
  /** A command that runs `postern` under this Node, for this edge: it needs no credential, CA or port to be said. */
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
  const owned = new AsyncDisposableStack()
  try {
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
    const edge = owned.use(
      await startEdge({ data, listen: { host: '127.0.0.1', port: options.port ?? 0 }, grace: GRACE }, call),
    )
    const rules = [{ name: 'the sample token', action: 'allow' as const, include: [{ serviceToken: serviceToken.id }] }]
    await edge.administration.call('application.create', {
      body: { hostname: ECHO_HOST, tunnel: TUNNEL, protocols: ['tcp'], rules },
    })
    owned.use(
      await startSampleDaemon(
        edge,
        caFile,
        tunnelToken,
        { [SSH_HOST]: `ssh://127.0.0.1:${ssh.port}`, [ECHO_HOST]: `tcp://127.0.0.1:${echo.port}` },
        call,
      ),
    )
    const secretFile = join(folder, 'service-token')
    writeFileSync(secretFile, `${serviceToken.secret}\n`, { mode: 0o600 })
    writeClientConfig(folder, edge, caFile, { id: serviceToken.id, secretFile })
    const postern = writeCommand(folder, edge)
    const access = `${postern} access ssh --hostname ${SSH_HOST}`
    const user = userInfo().username
    const configFile = writeSshConfig(folder, keys, user, access)
    const parts = owned.move()
    return {
      folder,
      port: edge.port,
      edge,
      caFile,
      serviceToken: { id: serviceToken.id, secretFile },
      ssh: { what: ssh.what, user, keys, configFile },
      echo: { what: echo.what },
      postern,
      [Symbol.asyncDispose]: () => parts.disposeAsync(),
    }
  } catch (error) {
    await owned.disposeAsync()
    throw error
  }
}

/** The daemon, composed of the same plugins by the same registry as `posternd`. */
async function startSampleDaemon(
  edge: RunningEdge,
  caFile: string,
  token: string,
  services: Readonly<Record<string, string>>,
  call: Call,
): Promise<RunningDaemon> {
  const registry = createRegistry(builtins)
  const client: ClientHost = {
    secrets: {
      get: async () => undefined,
      set: async () => {},
      delete: async () => {},
      exclusively: (_key, work) => work(),
    },
    ui: {
      show: line => call.log.info(line),
      open: async () => false,
      ask: () => Promise.reject(new PosternError('LOGIN_REQUIRED', 'nobody is there to ask')),
    },
    fetch: (input, init) => fetch(input, init),
  }
  const auth = [await registry.create('auth', 'tunnel-token', 'client', { token }, client, call)]
  const transport = await registry.create('transport', 'websocket', 'client', {}, client, call)
  const to = { edge: new URL(`https://${TEAM_DOMAIN}:${edge.port}`), trust: { ca: [readFileSync(caFile, 'utf8')] } }
  const origin = originHost(to)
  const rules: ServedRule[] = []
  for (const [hostname, service] of Object.entries(services)) {
    const rule = readRule(hostname, service, scheme => registry.forScheme(scheme)?.entry.defaultPort ?? 'none')
    const name = registry.forScheme(rule.service.protocol)?.entry.name ?? ''
    rules.push({ ...rule, server: await registry.create('protocol', name, 'origin', {}, origin, call) })
  }
  return startDaemon({ ...to, rules, auth, transport, connections: 2 }, call)
}

/** What a person would have in `~/.config/postern/config.yaml`. */
function writeClientConfig(folder: string, edge: RunningEdge, ca: string, credential: Dev['serviceToken']): void {
  const applications = { [SSH_HOST]: credential, [ECHO_HOST]: credential }
  const config = { edge: `https://localhost:${edge.port}`, ca, applications }
  writeFileSync(join(folder, 'config.yaml'), `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })
}

/** `postern`, for a shell whose own Node may be older than this one. */
function writeCommand(folder: string, edge: RunningEdge): string {
  const file = join(folder, 'postern')
  const script = fileURLToPath(import.meta.resolve('@postern/cli/package.json')).replace(
    /package\.json$/,
    'bin/postern.js',
  )
  const env = `POSTERN_CONFIG='${join(folder, 'config.yaml')}' POSTERN_ADMIN_SOCKET='${edge.adminSocket ?? ''}'`
  writeFileSync(file, `#!/bin/sh\n${env} exec '${process.execPath}' '${script}' "$@"\n`)
  chmodSync(file, 0o700)
  return file
}

function writeSshConfig(folder: string, keys: SshKeys, user: string, proxyCommand: string): string {
  const file = join(folder, 'ssh_config')
  mkdirSync(join(folder, 'ssh'), { recursive: true })
  writeFileSync(join(folder, 'ssh', 'known_hosts'), `${SSH_HOST} ${keys.hostPublicKey}\n`)
  const lines = [
    `Host ${SSH_HOST}`,
    `  User ${user}`,
    `  IdentityFile ${keys.userKeyFile}`,
    '  IdentitiesOnly yes',
    `  UserKnownHostsFile ${join(folder, 'ssh', 'known_hosts')}`,
    '  StrictHostKeyChecking yes',
    `  ProxyCommand ${proxyCommand}`,
    '',
  ]
  writeFileSync(file, lines.join('\n'))
  return file
}
