import { readFileSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect } from 'node:tls'
import {
  type Call,
  type Logger,
  type PipePurpose,
  type PosternError,
  problem,
  type SentHeaders,
  type Transport,
} from '@postern/interface'
import type { Builtin } from '@postern/registry'
import client from '@postern/transport-websocket/client'
import { type About, type OfferedTunnelStream, startTunnel, type Tunnel } from '@postern/tunnel'
import { afterAll } from 'vitest'
import { builtins } from '../src/builtin.ts'
import { type EdgeConfig, initialiseEdge, type RunningEdge, startEdge } from '../src/index.ts'
import { type Ask, asker } from './visitor.ts'

export const quiet = { debug() {}, info() {}, warn() {}, error() {} }
export const call: Call = { signal: new AbortController().signal, log: quiet }

const transport = (await client.create({} as never, {} as never)) as Transport

let authority: string | undefined
afterAll(async () => {
  if (authority !== undefined) await rm(authority, { recursive: true })
})

/** An edge with one application, `db.localhost`, its token and a daemon that echoes. */
export interface World extends AsyncDisposable {
  readonly edge: RunningEdge
  readonly folder: string
  readonly token: { readonly id: string; readonly secret: string }
  readonly tunnelToken: string
  /** Streams the daemon was offered, in all: zero is what a deny must leave. */
  readonly opened: () => number
  readonly streams: OfferedTunnelStream[]
  readonly ask: Ask
  dial(host: string, purpose: PipePurpose, headers: SentHeaders): Promise<Duplex>
  session(headers?: SentHeaders, host?: string): Promise<Tunnel>
  daemon(onStream?: (offered: OfferedTunnelStream) => void, headers?: SentHeaders, about?: About): Promise<Tunnel>
  headers(token?: { id: string; secret: string }): Record<string, string>
}

export async function startWorld(
  config: Partial<EdgeConfig> = {},
  more: readonly Builtin[] = [],
  daemons = 1,
  log: Logger = quiet,
): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-edge-'))
  // Making RSA keys takes most of a start.
  if (authority === undefined) authority = await mkdtemp(join(tmpdir(), 'postern-ca-'))
  else await cp(join(authority, 'ca'), join(folder, 'ca'), { recursive: true })
  const seeded = await initialiseEdge(
    { data: folder, hostname: 'db.localhost', tunnel: 'home', teamDomain: 'edge.localhost' },
    call,
  )
  const edge = await startEdge(
    // A password as in production is 0.2 s of a core; directory.test.ts has what is about that.
    { data: folder, listen: { port: 0 }, grace: 500, passwordCost: 8, plugins: [...builtins, ...more], ...config },
    { ...call, log },
  )
  await cp(join(folder, 'ca'), join(authority, 'ca'), { recursive: true })
  const tunnels: Tunnel[] = []
  const streams: OfferedTunnelStream[] = []
  const ca = readFileSync(seeded.caFile, 'utf8')
  const dial: World['dial'] = async (host, purpose, headers) => {
    const dialled = await transport.dial(
      {
        edge: new URL(`https://127.0.0.1:${edge.port}`),
        host,
        purpose,
        headers: {},
        credential: { headers },
        ca: [ca],
        connect: (_securing, inner) => secure(edge.port, host, ca, inner),
      },
      call,
    )
    return dialled.pipe
  }
  const start = async (pipe: Duplex, onStream?: (offered: OfferedTunnelStream) => void, about?: About) => {
    const tunnel = await startTunnel(
      pipe,
      { role: 'client', log: quiet, ...(onStream && { onStream }), ...(about && { about }) },
      call,
    )
    tunnels.push(tunnel)
    return tunnel
  }
  const world: World = {
    edge,
    folder,
    token: seeded.serviceToken,
    tunnelToken: seeded.tunnelToken,
    opened: () => streams.length,
    streams,
    ask: asker(edge.port, seeded.caFile, 'db.localhost'),
    dial,
    session: async (headers = world.headers(), host = 'db.localhost') => start(await dial(host, 'session', headers)),
    daemon: async (onStream = echo, headers = { 'postern-tunnel-token': seeded.tunnelToken }, about) => {
      const pipe = await dial('edge.localhost', 'connector', headers)
      const take = (offered: OfferedTunnelStream) => {
        streams.push(offered)
        onStream(offered)
      }
      return start(pipe, take, about)
    },
    headers: ({ id, secret } = seeded.serviceToken) => ({ 'postern-client-id': id, 'postern-client-secret': secret }),
    async [Symbol.asyncDispose]() {
      await Promise.all(tunnels.map(tunnel => tunnel.close().catch(() => {})))
      await edge.close()
      await rm(folder, { recursive: true })
    },
  }
  for (let n = 0; n < daemons; n += 1) await world.daemon()
  return world
}

/** Sends back what comes, and ends when it ends. */
export function echo(offered: OfferedTunnelStream): void {
  const stream = offered.accept()
  stream.on('error', () => {})
  stream.pipe(stream)
}

export function refuse(code: PosternError['code']): (offered: OfferedTunnelStream) => void {
  return offered => offered.reject(problem(code, offered.header.requestId, { speaker: 'daemon' }))
}

export const header = (hostname = 'db.localhost') => ({ hostname, requestId: 'mine', purpose: 'tcp' }) as const

/** Everything until the clean end; a cut rejects. */
export async function textOf(stream: Duplex): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

async function secure(port: number, servername: string, ca: string, { signal }: Call): Promise<Duplex> {
  const socket = connect({ port, host: '127.0.0.1', servername, ca, ALPNProtocols: ['http/1.1'] })
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
  return socket
}
