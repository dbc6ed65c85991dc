import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { freePort } from '@postern/dev'
import { ENVIRONMENT, Started } from '../processes.ts'
import { answers } from './nginx.ts'
import type { HttpPeer } from './peer.ts'

const root = dirname(dirname(import.meta.dirname))
const HOSTNAME = 'bench.localhost'

interface Seeded {
  readonly serviceToken: { readonly id: string; readonly secret: string }
  readonly tunnelToken: string
  readonly caFile: string
}

/** `postern-edge` and `posternd`, built, each a process. Whoever asks shows a service token with every request. */
export async function startEdge(folder: string, service: number): Promise<HttpPeer> {
  await using owned = new AsyncDisposableStack()
  const data = join(folder, 'edge')
  const flags = ['--data', data, '--hostname', HOSTNAME, '--protocols', 'http', '--tunnel', 'bench']
  const { serviceToken, tunnelToken, caFile } = JSON.parse(
    execFileSync(process.execPath, [scriptOf('edge'), 'init', ...flags, '--team-domain', 'edge.localhost', '--json'], {
      env: ENVIRONMENT,
      encoding: 'utf8',
    }),
  ) as Seeded
  const run = (app: string, ...args: string[]) =>
    owned.use(new Started(process.execPath, [scriptOf(app), ...args, '--log-level', 'warn']))
  const port = await freePort()
  const edge = run('edge', 'run', '--data', data, '--listen', `127.0.0.1:${port}`)
  const secrets = join(folder, 'secrets')
  mkdirSync(secrets, { mode: 0o700 })
  const tokenFile = join(secrets, 'tunnel-token')
  writeFileSync(tokenFile, tunnelToken, { mode: 0o600 })
  const at = ['--edge', `https://edge.localhost:${port}`, '--ca', caFile, '--token-file', tokenFile]
  const daemon = run('daemon', '--hostname', HOSTNAME, '--url', `http://127.0.0.1:${service}`, ...at)
  const url = `https://127.0.0.1:${port}`
  const headers = {
    Host: `${HOSTNAME}:${port}`,
    'postern-client-id': serviceToken.id,
    'postern-client-secret': serviceToken.secret,
  }
  await daemon.until(() => answers(`${url}/1k`, headers))
  const parts = owned.move()
  return {
    name: 'Postern',
    url,
    headers,
    pids: [edge.pid, daemon.pid],
    facts: { version: versionOf('edge'), ways: 'a decision for every request, then a stream of the tunnel' },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

const SCRIPTS = { edge: 'postern-edge', daemon: 'posternd' } as const

function scriptOf(app: string): string {
  return join(root, 'apps', app, 'bin', `${SCRIPTS[app as keyof typeof SCRIPTS]}.js`)
}

function versionOf(app: string): string {
  return JSON.parse(readFileSync(join(root, 'apps', app, 'package.json'), 'utf8')).version
}
