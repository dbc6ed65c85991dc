import { type AddressInfo, createServer, isIP, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Call, LocalListener, Logger } from '@postern/interface'
import { type LocalAddress, listenFailed, showAddress } from './local-address.ts'

/** Connections that wait for the protocol to take them. Past it, new ones are reset. */
const BACKLOG = 128

/**
 * Listens at a local address. One that other machines can reach is allowed and warned about: whoever connects there is let in
 * as you. So is, on loopback, every other user of this machine; a Unix socket is yours alone.
 *
 * @param enough when it is aborted no more connections are taken, and those that were go on
 * @throws PosternError LISTEN_FAILED, FILE_UNSAFE
 */
export async function listenLocally(
  local: LocalAddress,
  { log }: Pick<Call, 'log'>,
  enough?: AbortSignal,
): Promise<LocalListener & AsyncDisposable> {
  const waiting: Socket[] = []
  const open = new Set<Socket>()
  let wake = () => {}
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, socket => {
    if (waiting.length >= BACKLOG) return reset(socket)
    open.add(socket)
    socket.on('error', () => {}).on('close', () => open.delete(socket))
    waiting.push(socket)
    wake()
  })
  const address = 'path' in local ? await listenAtPath(server, local.path) : await listening(server, local)
  server.on('error', error => log.warn('a local connection was not taken', { cause: error.message })) // no more files, say
  warnIfReachable(local, address, log)
  const close = () => {
    server.close()
    wake()
  }
  if (enough?.aborted) close()
  else enough?.addEventListener('abort', close, { once: true })
  return {
    address,
    async *connections(call: Call): AsyncGenerator<Duplex> {
      for (;;) {
        call.signal.throwIfAborted()
        const next = waiting.shift()
        if (next) yield next
        else if (enough?.aborted) return
        else await arrival(woken => (wake = woken), call.signal)
      }
    },
    async [Symbol.asyncDispose]() {
      enough?.removeEventListener('abort', close)
      for (const socket of waiting) reset(socket) // nobody served it: that must not look like an end
      for (const socket of open) socket.destroy()
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}

/** Resolves when a connection came or the signal was aborted. */
function arrival(register: (woken: () => void) => void, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const woken = () => {
      signal.removeEventListener('abort', woken)
      resolve()
    }
    signal.addEventListener('abort', woken)
    register(woken)
  })
}

/** A Unix socket has no reset; its other end sees an error only where it writes. */
function reset(socket: Socket): void {
  if (socket.remoteAddress === undefined) socket.destroy()
  else socket.resetAndDestroy()
}

async function listenAtPath(server: Server, path: string): Promise<string> {
  const { listenAtSocket } = await import('./unix-socket.ts') // most forwards are ports
  await listenAtSocket(server, path)
  return path
}

function listening(server: Server, local: { readonly host: string; readonly port: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) => reject(listenFailed(showAddress(local), cause))
    server.once('error', failed).listen(local, () => {
      server.off('error', failed)
      const { address, port } = server.address() as AddressInfo
      resolve(showAddress({ host: address, port }))
    })
  })
}

function warnIfReachable(local: LocalAddress, address: string, log: Logger): void {
  if ('path' in local || isLoopback(address.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''))) return
  log.warn(`${address} can be reached from other machines: whoever connects there is let in as you`)
}

function isLoopback(host: string): boolean {
  return isIP(host) === 4 ? host.startsWith('127.') : host === '::1'
}
