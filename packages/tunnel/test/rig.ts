import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { type Call, type Logger, PosternError, problem } from '@postern/interface'
import {
  type OfferedTunnelStream,
  pump,
  type StreamHeader,
  startTunnel,
  type Tunnel,
  type TunnelOptions,
} from '../src/index.ts'
import { pipePair, tcpPair } from './pipe.ts'

export const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {} }
export const call: Call = { signal: new AbortController().signal, log: quiet }

export function headerOf(requestId = 'req-1'): StreamHeader {
  return { hostname: 'db.example.com', requestId, purpose: 'tcp' }
}

export type Options = Partial<Omit<TunnelOptions, 'role'>>

/** Two tunnels joined by one pipe; the first dialled it. */
export async function tunnels(
  near: Options = {},
  far: Options = {},
  pipes: readonly [Duplex, Duplex] = pipePair(),
): Promise<{ client: Tunnel; server: Tunnel; pipes: readonly [Duplex, Duplex] }> {
  const [client, server] = await Promise.all([
    startTunnel(pipes[0], { log: quiet, speaker: 'client', ...near, role: 'client' }, call),
    startTunnel(pipes[1], { log: quiet, speaker: 'edge', ...far, role: 'server' }, call),
  ])
  return { client, server, pipes }
}

/** An acceptor that keeps what it accepted, in order. */
export function taking(): { streams: Duplex[]; onStream: (offered: OfferedTunnelStream) => void } {
  const streams: Duplex[] = []
  return { streams, onStream: offered => void streams.push(offered.accept()) }
}

/** What became of one side of a connection. */
export interface Seen {
  bytes: number
  ended: boolean
  error: (Error & { code?: string }) | undefined
  closed: boolean
}

/** Watches a stream; reads it unless told otherwise. */
export function watch(stream: Duplex, read = true): Seen {
  const seen: Seen = { bytes: 0, ended: false, error: undefined, closed: false }
  if (read) {
    stream.on('data', (chunk: Buffer) => {
      seen.bytes += chunk.length
    })
  }
  stream.on('end', () => {
    seen.ended = true
  })
  stream.on('error', error => {
    seen.error = error
  })
  stream.on('close', () => {
    seen.closed = true
  })
  return seen
}

/** Client tunnel ⇄ edge's pump ⇄ daemon's tunnel ⇄ pump ⇄ TCP origin, as in real life. */
export interface Chain extends AsyncDisposable {
  readonly client: Tunnel
  /** The edge's ends of the client's and the daemon's session. */
  readonly edge: { readonly client: Tunnel; readonly daemon: Tunnel }
  readonly daemon: Tunnel
  readonly pipes: { readonly client: readonly [Duplex, Duplex]; readonly daemon: readonly [Duplex, Duplex] }
  /** The edge's streams of each connection, by request id. */
  readonly joined: Map<string, { down: Duplex; up: Duplex }>
}

export async function chain(port: number, leg: 'memory' | 'tcp'): Promise<Chain> {
  const pair = async (): Promise<[Duplex, Duplex]> => (leg === 'memory' ? pipePair() : await tcpPair())
  const joined: Chain['joined'] = new Map()
  const toDaemon = await tunnels(
    { speaker: 'daemon', onStream: offered => void serve(offered, port) },
    {},
    await pair(),
  )
  const join = async (offered: OfferedTunnelStream): Promise<void> => {
    try {
      const up = await toDaemon.server.open(offered.header, call)
      const down = offered.accept()
      joined.set(offered.header.requestId, { down, up })
      await pump(down, up)
      joined.delete(offered.header.requestId)
    } catch (error) {
      offered.reject(problem(PosternError.from(error).code, offered.header.requestId, { speaker: 'edge' }))
    }
  }
  const toClient = await tunnels({}, { onStream: offered => void join(offered) }, await pair())
  return {
    client: toClient.client,
    edge: { client: toClient.server, daemon: toDaemon.server },
    daemon: toDaemon.client,
    pipes: { client: toClient.pipes, daemon: toDaemon.pipes },
    joined,
    async [Symbol.asyncDispose]() {
      await Promise.all([toClient.client.close(), toDaemon.client.close()])
      await Promise.all([toClient.server.closed, toDaemon.server.closed])
    },
  }
}

async function serve(offered: OfferedTunnelStream, port: number): Promise<void> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  try {
    await once(socket, 'connect')
  } catch {
    offered.reject(problem('ORIGIN_REFUSED', offered.header.requestId, { speaker: 'daemon' }))
    return
  }
  socket.setNoDelay()
  await pump(offered.accept(), socket)
}

/** A TCP server on loopback whose connections half-close. */
export async function origin(serve: (socket: net.Socket) => void): Promise<{ port: number } & AsyncDisposable> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    serve(socket)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as net.AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise(resolve => server.close(resolve))
    },
  }
}
