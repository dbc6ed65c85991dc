import type { Call, HttpDoor, Incoming, Logger, Problem, SentHeaders, Transport } from '@postern/interface'
import { type OfferedTunnelStream, startTunnel, type Tunnel } from '@postern/tunnel'
import { memoryTransport } from './memory-transport.ts'

/** What an edge answers to somebody at its door: a refusal where there is a `problem`. Throwing is an edge that is not there. */
export interface Answer {
  readonly problem?: Problem
  /** Sent with either. */
  readonly headers?: SentHeaders
}

/** The other end of a client or a daemon, in memory: it admits, and speaks the session behind the door. */
export interface MemoryEdge extends AsyncDisposable {
  readonly transport: Transport
  /** Everybody who ever came. */
  readonly arrivals: readonly Incoming[]
  /** Sessions that live. */
  readonly tunnels: readonly Tunnel[]
  /** Default: everybody is let in. */
  admit: (incoming: Incoming) => Answer | Promise<Answer>
  /** What becomes of a stream that the client opens. Default: it is accepted, and what is written comes back. */
  onStream: (offered: OfferedTunnelStream) => void
  /** The network fails. */
  kill(): void
}

export async function memoryEdge(log: Logger): Promise<MemoryEdge> {
  const memory = memoryTransport()
  const stop = new AbortController()
  const call: Call = { signal: stop.signal, log }
  const arrivals: Incoming[] = []
  const tunnels: Tunnel[] = []
  const edge: MemoryEdge = {
    transport: memory.client,
    arrivals,
    tunnels,
    admit: () => ({}),
    onStream: offered => {
      const stream = offered.accept()
      stream.on('error', () => {}).pipe(stream)
    },
    kill: () => memory.kill(),
    async [Symbol.asyncDispose]() {
      stop.abort()
      await Promise.all(tunnels.map(tunnel => tunnel.close()))
    },
  }
  const accept = async (incoming: Incoming): Promise<void> => {
    arrivals.push(incoming)
    const { problem, headers } = await edge.admit(incoming)
    if (problem) return incoming.reject(problem, headers)
    const pipe = await incoming.accept(headers)
    const onStream = (offered: OfferedTunnelStream): void => edge.onStream(offered)
    const tunnel = await startTunnel(pipe, { role: 'server', speaker: 'edge', log, onStream }, call)
    tunnels.push(tunnel)
    void tunnel.closed.then(() => tunnels.splice(tunnels.indexOf(tunnel), 1))
  }
  await memory.edge.mount({} as HttpDoor, accept, call)
  return edge
}
