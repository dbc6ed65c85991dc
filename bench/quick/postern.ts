import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { connect } from 'node:tls'
import { freePort } from '@postern/dev'
import { ENVIRONMENT, Started } from '../processes.ts'
import type { Peer } from './peer.ts'
import { reachable, startToFirstByte } from './reach.ts'

const root = dirname(dirname(import.meta.dirname))
const HOSTNAME = 'bench.localhost'

interface Seeded {
  readonly serviceToken: { readonly id: string; readonly secret: string }
  readonly tunnelToken: string
  readonly caFile: string
}

/** `postern access tcp`, `postern-edge` and `posternd`, built, each a process: WebSocket over TLS on both legs. */
export async function startPostern(folder: string, service: number): Promise<Peer> {
  await using owned = new AsyncDisposableStack()
  const run = (name: keyof typeof SCRIPTS, ...args: string[]) =>
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
    facts: { version: versionOf('edge'), transport: 'WebSocket over TLS', cipher },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

const SCRIPTS = { postern: 'cli', posternd: 'daemon', 'postern-edge': 'edge' } as const

function scriptOf(name: keyof typeof SCRIPTS): string {
  return join(root, 'apps', SCRIPTS[name], 'bin', `${name}.js`)
}

function versionOf(app: string): string {
  return JSON.parse(readFileSync(join(root, 'apps', app, 'package.json'), 'utf8')).version
}

function initialise(data: string): Seeded {
  const flags = [
    '--data',
    data,
    '--hostname',
    HOSTNAME,
    '--tunnel',
    'bench',
    '--team-domain',
    'edge.localhost',
    '--json',
  ]
  const printed = execFileSync(process.execPath, [scriptOf('postern-edge'), 'init', ...flags], {
    env: ENVIRONMENT,
    encoding: 'utf8',
  })
  return JSON.parse(printed)
}

function keep(folder: string, name: string, secret: string): string {
  const secrets = join(folder, 'secrets')
  mkdirSync(secrets, { recursive: true, mode: 0o700 })
  writeFileSync(join(secrets, name), secret, { mode: 0o600 })
  return join(secrets, name)
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
