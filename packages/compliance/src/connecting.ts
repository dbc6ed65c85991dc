import net, { type Socket } from 'node:net'
import tls from 'node:tls'
import { type Call, type DialRequest, PosternError, type Securing } from '@postern/interface'

export interface Connecting {
  readonly connect: DialRequest['connect']
  /** Every socket it gave out. */
  readonly sockets: readonly Socket[]
  /** What it was asked for, in order. */
  readonly asked: readonly (Securing | undefined)[]
}

/** What a host lends a transport: real TCP, and with `securing` real, verified TLS. Keeps what it gave out. */
export function connecting(request: Pick<DialRequest, 'edge' | 'host' | 'credential' | 'ca'>): Connecting {
  const sockets: Socket[] = []
  const asked: (Securing | undefined)[] = []
  return {
    sockets,
    asked,
    connect: async (securing, call) => {
      asked.push(securing)
      call.signal.throwIfAborted()
      const to = { host: request.edge.hostname, port: Number(request.edge.port) }
      const socket = securing
        ? tls.connect({
            ...to,
            servername: request.host,
            ca: [...request.ca],
            ALPNProtocols: [...securing.alpn],
            ...request.credential.tls,
          })
        : net.connect(to)
      sockets.push(socket)
      await connected(socket, securing ? 'secureConnect' : 'connect', call)
      return socket
    },
  }
}

function connected(socket: Socket, event: string, call: Call): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (outcome: () => void): void => {
      socket.off(event, up)
      socket.off('error', failed)
      call.signal.removeEventListener('abort', aborted)
      outcome()
    }
    const up = (): void => settle(resolve)
    const failed = (cause: Error): void =>
      settle(() => reject(new PosternError('EDGE_UNREACHABLE', 'the edge cannot be reached', { cause })))
    const aborted = (): void => {
      settle(() => reject(call.signal.reason))
      socket.on('error', () => {})
      socket.destroy()
    }
    socket.on(event, up)
    socket.on('error', failed)
    call.signal.addEventListener('abort', aborted)
  })
}
