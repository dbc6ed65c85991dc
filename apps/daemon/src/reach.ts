import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { lookup } from '@postern/client'
import { type Call, type Code, type Destination, PosternError } from '@postern/interface'

/** How long a service may take to answer a connection: what people wait at a prompt. */
const DEADLINE = 10_000

const CODES: Readonly<Record<string, Code>> = {
  ECONNREFUSED: 'ORIGIN_REFUSED',
  ENOENT: 'ORIGIN_REFUSED', // a Unix socket that is not there
  EACCES: 'ORIGIN_REFUSED',
  ENOTFOUND: 'ORIGIN_NOT_RESOLVED',
  EAI_AGAIN: 'ORIGIN_NOT_RESOLVED',
  ETIMEDOUT: 'ORIGIN_TIMEOUT',
}

/**
 * The one place of the daemon that opens a connection to a service. A destination that is not the rule's own service is
 * refused before a name is resolved, whoever asks: the edge, a client or a plugin.
 *
 * @throws PosternError DESTINATION_FORBIDDEN, ORIGIN_*; `call.signal.reason`
 */
export async function reach(service: URL, to: Destination | undefined, call: Call): Promise<Duplex> {
  call.signal.throwIfAborted()
  const where = addressOf(service)
  if (to && !('port' in where && to.host.toLowerCase() === where.host && to.port === where.port)) {
    throw new PosternError('DESTINATION_FORBIDDEN', 'the ingress rule does not allow this destination', {
      speaker: 'daemon',
    })
  }
  const socket =
    'path' in where
      ? connect({ path: where.path, allowHalfOpen: true })
      : connect({ ...where, lookup, allowHalfOpen: true, noDelay: true, keepAlive: true, autoSelectFamily: true })
  return connected(socket, call)
}

function addressOf(service: URL): { host: string; port: number } | { path: string } {
  if (service.protocol === 'unix:') return { path: decodeURIComponent(service.pathname) }
  return { host: service.hostname.replace(/^\[|\]$/g, '').toLowerCase(), port: Number(service.port) }
}

function connected(socket: Socket, call: Call): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () =>
        fail(
          new PosternError('ORIGIN_TIMEOUT', `the service did not answer within ${DEADLINE / 1000} s`, {
            speaker: 'daemon',
          }),
        ),
      DEADLINE,
    )
    const settle = () => {
      clearTimeout(timer)
      call.signal.removeEventListener('abort', aborted)
      socket.off('connect', succeed).off('error', failed)
    }
    const succeed = () => {
      settle()
      resolve(socket)
    }
    const fail = (reason: unknown) => {
      settle()
      socket.on('error', () => {}).destroy()
      reject(reason)
    }
    const failed = (error: NodeJS.ErrnoException) => {
      const first = error instanceof AggregateError ? (error.errors[0] as NodeJS.ErrnoException | undefined) : error
      const code = CODES[first?.code ?? ''] ?? 'ORIGIN_UNREACHABLE'
      fail(
        new PosternError(code, `the service cannot be reached (${first?.code ?? error.message})`, {
          cause: error,
          speaker: 'service',
        }),
      )
    }
    const aborted = () => fail(call.signal.reason)
    socket.on('connect', succeed).on('error', failed)
    call.signal.addEventListener('abort', aborted)
  })
}
