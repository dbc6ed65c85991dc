import net, { type Socket } from 'node:net'
import { listen, shut, track } from './listening.ts'

/** What a {@link TestOrigin} does with each connection. Default `echo`. */
export type OriginScript =
  /** Sends back every byte, and a FIN after the visitor's. */
  | 'echo'
  /** Reads, says nothing, and never ends. */
  | 'hold'
  /** Does not even read. */
  | 'stall'
  /** A TCP reset after the first bytes. */
  | 'reset'
  /** Waits for the visitor's FIN, then sends so many bytes and its own FIN. */
  | { readonly afterEnd: number }
  /** Anything else. */
  | ((socket: Socket) => void)

/** A TCP service on loopback that counts its visitors. In a test of a refusal `connections` must stay 0. */
export interface TestOrigin extends AsyncDisposable {
  readonly host: '127.0.0.1'
  readonly port: number
  /** Ever made. */
  readonly connections: number
  readonly open: number
  readonly received: number
  script: OriginScript
  /** From now on connections are refused. The port stays known. */
  refuse(): Promise<void>
}

export async function openOrigin(script: OriginScript = 'echo'): Promise<TestOrigin> {
  let received = 0
  let connections = 0
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    connections++
    socket.on('error', () => {})
    if (origin.script === 'stall') return
    perform(socket, origin.script)
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
  })
  const sockets = track(server)
  const port = await listen(server)
  const close = (): Promise<void> => shut(server, sockets)
  const origin: TestOrigin = {
    host: '127.0.0.1',
    port,
    script,
    get connections() {
      return connections
    },
    get open() {
      return sockets.size
    },
    get received() {
      return received
    },
    refuse: close,
    [Symbol.asyncDispose]: async () => {
      if (server.listening) await close()
    },
  }
  return origin
}

function perform(socket: Socket, script: Exclude<OriginScript, 'stall'>): void {
  if (typeof script === 'function') script(socket)
  else if (script === 'echo') socket.pipe(socket)
  else if (script === 'reset') socket.once('data', () => socket.resetAndDestroy())
  else if (script === 'hold') socket.resume()
  else socket.resume().on('end', () => socket.end(Buffer.alloc(script.afterEnd, 'a')))
}
