import { connect, type Socket } from 'node:net'
import { connectFirst, errnoOf, lookup, type Opening, opened } from '@postern/client'
import { type Call, type Code, type Destination, PosternError } from '@postern/interface'
import { portOf } from './ingress.ts'

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
export async function reach(service: URL, to: Destination | undefined, call: Call): Promise<Socket> {
  call.signal.throwIfAborted()
  const where = addressOf(service)
  if (to && !('port' in where && to.host.toLowerCase() === where.host && to.port === where.port)) {
    throw new PosternError('DESTINATION_FORBIDDEN', 'the ingress rule does not allow this destination', {
      speaker: 'daemon',
    })
  }
  return 'path' in where
    ? opened(connect({ path: where.path, allowHalfOpen: true }), OPENING, call.signal)
    : connectFirst({ ...where, lookup }, OPENING, call.signal)
}

function addressOf(service: URL): { host: string; port: number } | { path: string } {
  if (service.protocol === 'unix:') return { path: decodeURIComponent(service.pathname) }
  return { host: service.hostname.replace(/^\[|\]$/g, '').toLowerCase(), port: portOf(service) }
}

const OPENING: Opening = {
  event: 'connect',
  deadline: DEADLINE,
  late: () =>
    new PosternError('ORIGIN_TIMEOUT', `the service did not answer within ${DEADLINE / 1000} s`, { speaker: 'daemon' }),
  failed: cause => {
    const errno = errnoOf(cause) ?? ''
    const message = `the service cannot be reached (${errno || cause.message})`
    // Only a refusal comes from there; what could not be found or reached is said here.
    const speaker = errno === 'ECONNREFUSED' ? 'service' : 'daemon'
    return new PosternError(CODES[errno] ?? 'ORIGIN_UNREACHABLE', message, { cause, speaker })
  },
}
