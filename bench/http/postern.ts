import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { Started } from '../processes.ts'
import { HOSTNAME, initialise, keep, type Program, scriptOf, versionOf } from '../programs.ts'
import { answers } from './nginx.ts'
import type { HttpPeer } from './peer.ts'

/** `postern-edge` and `posternd`, built, each a process. Whoever asks shows a service token with every request. */
export async function startEdge(folder: string, service: number): Promise<HttpPeer> {
  await using owned = new AsyncDisposableStack()
  const data = join(folder, 'edge')
  const { serviceToken, tunnelToken, caFile } = initialise(data, '--protocols', 'http')
  const run = (name: Program, ...args: string[]) =>
    owned.use(new Started(process.execPath, [scriptOf(name), ...args, '--log-level', 'warn']))
  const port = await freePort()
  const edge = run('postern-edge', 'run', '--data', data, '--listen', `127.0.0.1:${port}`)
  const tokenFile = keep(folder, 'tunnel-token', tunnelToken)
  const at = ['--edge', `https://edge.localhost:${port}`, '--ca', caFile, '--token-file', tokenFile]
  const daemon = run('posternd', '--hostname', HOSTNAME, '--url', `http://127.0.0.1:${service}`, ...at)
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
    facts: { version: versionOf('postern-edge'), ways: 'a decision for every request, then a stream of the tunnel' },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
