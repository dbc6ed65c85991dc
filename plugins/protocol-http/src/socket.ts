import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** What node:http wants of a socket that is none, such as a stream of a tunnel. */
export function asSocket(stream: Duplex): Socket {
  const socket = stream as Socket
  for (const name of ['setNoDelay', 'setKeepAlive', 'setTimeout', 'ref', 'unref'] as const)
    if (typeof socket[name] !== 'function') Object.defineProperty(socket, name, { value: () => socket })
  return socket
}
