import { type AddressInfo, createServer, isIP, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { isLoopbackName } from '@postern/client/hostname'
import { type Call, type LocalListener, type Logger, PosternError } from '@postern/interface'

/** Connections that wait for the protocol to take them. Past it, new ones are reset. */
const BACKLOG = 128

/**
 * Listens at `localhost:5432`, `127.0.0.1:0` (any free port), `:5432`, `5432` or `[::1]:5432`. An address that other machines
 * can reach is allowed and warned about: whoever connects there is let in as you.
 *
 * @throws PosternError OPTION_INVALID, LISTEN_FAILED
 */
export async function listenLocally(where: string, log: Logger): Promise<LocalListener & AsyncDisposable> {
  const { host, port } = readAddress(where)
  const waiting: Socket[] = []
  const open = new Set<Socket>()
  let wake = () => {}
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, socket => {
    if (waiting.length >= BACKLOG) return void socket.resetAndDestroy()
    open.add(socket)
    socket.on('error', () => {}).on('close', () => open.delete(socket))
    waiting.push(socket)
    wake()
  })
  const address = await listening(server, host, port, where)
  server.on('error', error => log.warn('a local connection was not taken', { cause: error.message })) // no more files, say
  if (!isLoopback(host))
    log.warn(`${address} can be reached from other machines: whoever connects there is let in as you`)
  return {
    address,
    async *connections(call: Call): AsyncGenerator<Duplex> {
      for (;;) {
        call.signal.throwIfAborted()
        const next = waiting.shift()
        if (next) yield next
        else await arrival(woken => (wake = woken), call.signal)
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of waiting) socket.resetAndDestroy() // nobody served it: that must not look like an end
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

function readAddress(where: string): { host: string; port: number } {
  const match = /^(?:tcp:\/\/)?(?:(\[[0-9a-f:.]+\]|[\w.*-]*):)?(\d{1,5})\/?$/i.exec(where)
  const port = Number(match?.[2])
  if (!match || port > 65535) {
    throw new PosternError(
      'OPTION_INVALID',
      `--url: ${JSON.stringify(where)} is not a local address such as localhost:5432`,
    )
  }
  const name = (match[1] ?? '').replace(/^\[|\]$/g, '')
  return { host: name === '' || isLoopbackName(name) ? '127.0.0.1' : name === '*' ? '0.0.0.0' : name, port }
}

function listening(server: Server, host: string, port: number, where: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EADDRINUSE' ? 'another program listens there' : cause.code
      reject(new PosternError('LISTEN_FAILED', `cannot listen at ${where}: ${why}`, { cause }))
    }
    server.once('error', failed).listen({ host, port }, () => {
      server.off('error', failed)
      const { address, port: bound, family } = server.address() as AddressInfo
      resolve(`${family === 'IPv6' ? `[${address}]` : address}:${bound}`)
    })
  })
}

function isLoopback(host: string): boolean {
  return isIP(host) === 4 ? host.startsWith('127.') : host === '::1'
}
