import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { type EdgeConfig, initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import type { Call, PipePurpose, Transport } from '@postern/interface'
import client from '@postern/transport-websocket/client'
import { dialTls, HELLO, RawSession, type Target } from './attacker.ts'
import { type Running, start } from './program.ts'

export const quiet = { debug() {}, info() {}, warn() {}, error() {} }

export interface Lab extends Target, AsyncDisposable {
  readonly edge: RunningEdge
  readonly folder: string
  readonly token: { readonly id: string; readonly secret: string }
  readonly tunnelToken: string
  readonly caFile: string
  headers(token?: { readonly id: string; readonly secret: string }): Record<string, string>
  /** The daemon's process, where there is one. */
  readonly daemon: Running | undefined
  /** An accepted WebSocket, as a pipe. */
  pipe(host: string, purpose: PipePurpose, headers: Record<string, string>): Promise<Duplex>
  /** A visitor with the token, who speaks yamux by hand. Said hello already. */
  visitor(hello?: Uint8Array): Promise<RawSession>
  /** A connector with the tunnel's token, who speaks yamux by hand. */
  connector(): Promise<RawSession>
}

/** An edge in this process, where everything it leaves behind can be counted, and a real daemon before a service. */
export async function startLab(service?: string, config: Partial<EdgeConfig> = {}): Promise<Lab> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-lab-'))
  const data = join(folder, 'edge')
  const call: Call = { signal: new AbortController().signal, log: quiet }
  const seed = { data, hostname: 'db.localhost', tunnel: 'home', teamDomain: 'edge.localhost' }
  const { serviceToken, tunnelToken, caFile } = await initialiseEdge(seed, call)
  const edge = await startEdge({ data, listen: { port: 0 }, grace: 500, ...config }, call)
  const token = join(folder, 'token')
  writeFileSync(token, tunnelToken, { mode: 0o600 })
  const at = `https://edge.localhost:${edge.port}`
  const flags = ['--hostname', 'db.localhost', '--edge', at, '--ca', caFile, '--token-file', token]
  const daemon = service && start('posternd', [...flags, '--url', service, '--log-level', 'debug'])
  if (daemon) await daemon.says(/connected to the edge/)
  const transport = (await client.create({} as never, {} as never)) as Transport
  const pipe: Lab['pipe'] = async (host, purpose, headers) => {
    const at = new URL(`https://127.0.0.1:${edge.port}`)
    const connect = () => dialTls({ port: edge.port, caFile }, host)
    return (
      await transport.dial({ edge: at, host, purpose, headers: {}, credential: { headers }, connect, ca: [] }, call)
    ).pipe
  }
  const lab: Lab = {
    edge,
    folder,
    token: serviceToken,
    tunnelToken,
    caFile,
    port: edge.port,
    daemon: daemon || undefined,
    pipe,
    headers: ({ id, secret } = serviceToken) => ({ 'postern-client-id': id, 'postern-client-secret': secret }),
    visitor: async (hello = HELLO) => {
      const session = new RawSession(await pipe('db.localhost', 'session', lab.headers()))
      session.send(hello)
      return session
    },
    connector: async () =>
      new RawSession(await pipe('edge.localhost', 'connector', { 'postern-tunnel-token': tunnelToken })),
    async [Symbol.asyncDispose]() {
      if (daemon) await daemon.stop('SIGKILL')
      await edge.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return lab
}
