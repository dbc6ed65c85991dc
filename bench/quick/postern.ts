import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { freePort } from '@postern/dev'
import { Started } from '../processes.ts'
import { HOSTNAME, initialise, keep, type Program, scriptOf, versionOf } from '../programs.ts'
import type { Peer } from './peer.ts'
import { reachable, startToFirstByte } from './reach.ts'

/** `postern access tcp`, `postern-edge` and `posternd`, built, each a process: WebSocket over TLS on both legs. */
export async function startPostern(folder: string, service: number): Promise<Peer> {
  await using owned = new AsyncDisposableStack()
  const run = (name: Program, ...args: string[]) =>
    owned.use(new Started(process.execPath, [scriptOf(name), ...args, '--log-level', 'warn']))
  const [edgePort, port] = [await freePort(), await freePort()]
  const { serviceToken, tunnelToken, caFile } = initialise(join(folder, 'edge'))
  const secret = keep(folder, 'service-token', serviceToken.secret)
  const token = keep(folder, 'tunnel-token', tunnelToken)

  const edge = run('postern-edge', 'run', '--data', join(folder, 'edge'), '--listen', `127.0.0.1:${edgePort}`)
  const cipher = await answering(edge, edgePort, caFile)
  const at = ['--edge', `https://edge.localhost:${edgePort}`, '--ca', caFile, '--token-file', token]
  const daemon = run('posternd', '--hostname', HOSTNAME, '--url', `tcp://127.0.0.1:${service}`, ...at)
  const credential = ['--id', serviceToken.id, '--secret-file', secret, '--ca', caFile]
  const to = ['--hostname', `${HOSTNAME}:${edgePort}`, ...credential]
  const command = [process.execPath, scriptOf('postern'), 'access', 'ssh', ...to] as const
  // The daemon says nothing at this log level: it is there when a visitor gets through.
  await daemon.until(async () => (await startToFirstByte(command)) !== undefined)
  const client = run('postern', 'access', 'tcp', '--url', `localhost:${port}`, ...to)
  await client.until(() => reachable(port))
  const parts = owned.move()
  return {
    name: 'Postern',
    port,
    pids: [edge.pid, daemon.pid, client.pid],
    command: [...command],
    facts: { version: versionOf('postern-edge'), transport: 'WebSocket over TLS', cipher },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** @returns the cipher a client of today agrees on with the edge */
async function answering(edge: Started, port: number, caFile: string): Promise<string> {
  let cipher = ''
  await edge.until(async () => {
    cipher = await new Promise<string>(resolve => {
      const ca = readFileSync(caFile)
      const socket = connect({ port, host: '127.0.0.1', servername: 'edge.localhost', ca, ALPNProtocols: ['http/1.1'] })
      socket.once('secureConnect', () => resolve(socket.getCipher().standardName)).on('error', () => resolve(''))
      socket.once('secureConnect', () => socket.destroy())
    })
    return cipher !== ''
  })
  return cipher
}
