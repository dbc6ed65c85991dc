import net, { type Socket } from 'node:net'
import { listen, shut, track } from './listening.ts'

export interface Relay extends AsyncDisposable {
  readonly url: URL
  /** The network fails: a TCP reset at both ends. */
  reset(): void
  /** Something between closes the connection in good manners: a TCP FIN at both ends, and nothing more gets through. */
  close(): void
}

/**
 * A bad network between client and edge.
 * @param slice the most bytes it delivers at once
 */
export async function openRelay(to: URL, slice: number = Number.MAX_SAFE_INTEGER): Promise<Relay> {
  const pairs = new Set<readonly [Socket, Socket]>()
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, near => {
    const far = net.connect({ host: to.hostname, port: Number(to.port), allowHalfOpen: true, noDelay: true })
    const pair = [near, far] as const
    pairs.add(pair)
    for (const [from, into] of [pair, [far, near]] as const) {
      from.on('data', (chunk: Buffer) => {
        for (let at = 0; at < chunk.length; at += slice) into.write(chunk.subarray(at, at + slice))
      })
      from.on('end', () => into.end())
      from.on('error', () => into.destroy())
      from.on('close', () => pairs.delete(pair))
    }
  })
  const sockets = track(server)
  const port = await listen(server)
  const each = (deed: (socket: Socket) => void): void => {
    for (const pair of [...pairs]) for (const socket of pair) deed(socket)
  }
  return {
    url: new URL(`${to.protocol}//127.0.0.1:${port}`),
    reset: () => each(socket => socket.resetAndDestroy()),
    close: () =>
      each(socket => {
        socket.removeAllListeners('data').removeAllListeners('end').resume()
        socket.end()
      }),
    [Symbol.asyncDispose]: async () => {
      each(socket => socket.destroy())
      await shut(server, sockets)
    },
  }
}
