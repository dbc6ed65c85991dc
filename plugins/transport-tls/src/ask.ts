import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  type Call,
  type Code,
  type DialRequest,
  type Pipe,
  PosternError,
  type ReceivedHeaders,
  type SentHeaders,
} from '@postern/interface'
import { authorityOf, credentialHeaders, readRefusal, receivedHeaders } from '@postern/interface/http1'
import { pipeOf } from './pipe.ts'
import { isPurpose, PROTOCOL, PURPOSE_HEADER } from './wire.ts'

/** Milliseconds the edge has to answer the upgrade, once connected. */
const ANSWER_TIME = 10_000
/** Bytes of the edge's head, a grant and a certificate in it. */
const LONGEST_HEAD = 32_768

export interface Asked {
  /** What was upgraded. */
  readonly connection: Pipe
  readonly answer: ReceivedHeaders
}

/**
 * Asks the edge for an upgrade, inside TLS.
 *
 * @param asking told when the edge is there, and what it answers is all that is waited for
 * @throws as a transport's `dial`
 */
export async function ask(request: DialRequest, call: Call, asking: () => void = () => {}): Promise<Asked> {
  if (!isPurpose(request.purpose))
    throw new PosternError('BAD_USAGE', `the transport tls carries sessions, and no ${request.purpose} connections`)
  const secure = request.edge.protocol === 'https:'
  const credential = await credentialHeaders(request, call)
  const connection = await request.connect(secure ? { alpn: ['http/1.1'] } : undefined, call)
  try {
    call.signal.throwIfAborted()
    asking()
    return await upgrade(requestOf(request, credential, connection), call.signal)
  } catch (error) {
    // Whoever watched it is gone, and what it says while it dies is not news. An edge that is still thinking is to see that nobody waits;
    // one that has answered may be ending it just now.
    const dying = call.signal.aborted ? pipeOf(connection) : connection
    dying.on('error', () => {}).destroy()
    throw error
  }
}

function requestOf(request: DialRequest, credential: SentHeaders, connection: Duplex): ClientRequest {
  const own = {
    host: authorityOf(request),
    connection: 'Upgrade',
    upgrade: PROTOCOL,
    [PURPOSE_HEADER]: request.purpose,
  }
  try {
    return httpRequest({
      createConnection: () => connection,
      method: 'GET',
      path: '/',
      headers: { ...request.headers, ...credential, ...own } as Record<string, string | string[]>,
      maxHeaderSize: LONGEST_HEAD,
    })
  } catch (cause) {
    // A header that HTTP cannot carry. Node names it, and does not print its value.
    throw new PosternError('BAD_USAGE', `the upgrade cannot be sent: ${PosternError.from(cause).message}`, { cause })
  }
}

function upgrade(asking: ClientRequest, signal: AbortSignal): Promise<Asked> {
  const { promise, resolve, reject } = Promise.withResolvers<Asked>()
  const late = () =>
    reject(new PosternError('TIMED_OUT', `the edge did not answer the upgrade within ${ANSWER_TIME / 1000} s`))
  const timer = setTimeout(late, ANSWER_TIME)
  const aborted = () => reject(signal.reason)
  signal.addEventListener('abort', aborted)
  asking.on('upgrade', (response, connection, first) => {
    if (response.headers.upgrade?.toLowerCase() !== PROTOCOL)
      return reject(notAnEdge('it agreed to another protocol than was asked for'))
    if (first.length > 0) connection.unshift(first)
    resolve({ connection: pipeOf(connection), answer: receivedHeaders(response) })
  })
  asking.on('information', ({ statusCode }) => {
    if (statusCode === 101) reject(notAnEdge('it switched to no protocol'))
  })
  asking.on('response', (response: IncomingMessage) => void refusalIn(response).then(reject))
  asking.on('error', (error: NodeJS.ErrnoException) => reject(failure(error)))
  asking.end()
  return promise.finally(() => {
    clearTimeout(timer)
    signal.removeEventListener('abort', aborted)
  })
}

/**
 * An edge that does not know the protocol, or does not see the upgrade because something in between took it out, refuses the request that
 * is left: another transport may do.
 */
async function refusalIn(response: IncomingMessage): Promise<PosternError> {
  const error = await readRefusal(response)
  const isOwn = response.headers.upgrade?.toLowerCase() === PROTOCOL
  return isOwn || !OF_THE_REQUEST.has(error.code)
    ? error
    : notAnEdge(`it knows no ${PROTOCOL}: ${error.message}`, error)
}

/** Codes that say of a request that it should have been another one. */
const OF_THE_REQUEST: ReadonlySet<Code> = new Set(['BAD_USAGE', 'VERSION_UNSUPPORTED'])

function notAnEdge(why: string, cause?: unknown): PosternError {
  return new PosternError('EDGE_PROTOCOL', `the server's answer is not an edge's: ${why}`, { cause })
}

function failure(error: NodeJS.ErrnoException): PosternError {
  if (PosternError.is(error)) return error
  const { code, message } = error
  if (code === undefined || code.startsWith('HPE_')) return notAnEdge(message, error)
  return new PosternError('EDGE_UNREACHABLE', `the connection ended before the edge answered (${code})`, {
    cause: error,
  })
}
