import { type ClientHttp2Session, type ClientHttp2Stream, connect, type IncomingHttpHeaders } from 'node:http2'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { type Call, type Dialled, type DialRequest, PosternError, type SentHeaders } from '@postern/interface'
import { authorityOf } from '@postern/interface/http1'
import { ClientPipe } from './client-pipe.ts'
import { fieldsOf, isAccepted, readRefusal, receivedHeaders } from './refusal.ts'
import { CONTENT_TYPE, pathOf } from './wire.ts'

/** Milliseconds the edge has to answer the call, once connected. */
const HANDSHAKE = 10_000
/** Bytes that the edge may send before somebody reads: on a line of 100 ms, 40 MB/s. One call has the connection for itself. */
const WINDOW = 4 * 1024 * 1024

/** Connects through the host’s own TCP and TLS, then calls. */
export async function dial(request: DialRequest, call: Call): Promise<Dialled> {
  call.signal.throwIfAborted()
  const { purpose, edge } = request
  if (purpose === 'raw') throw new PosternError('BAD_USAGE', 'a single connection does not come over gRPC')
  const path = pathOf(purpose)
  const headers = await headersOf(request, path, call)
  const connection = await request.connect(edge.protocol === 'https:' ? { alpn: ['h2'] } : undefined, call)
  try {
    call.signal.throwIfAborted()
    if (connection instanceof TLSSocket && connection.alpnProtocol !== 'h2')
      throw new PosternError('EDGE_PROTOCOL', 'the server speaks no HTTP/2')
    return await begin(request, headers, connection, call)
  } catch (error) {
    // Whoever watched it is gone, and what it says while it dies is not news.
    connection.on('error', ignore).destroy()
    throw error
  }
}

type Headers = Record<string, string | string[]>

async function headersOf(request: DialRequest, path: string, call: Call): Promise<Headers> {
  const { headers = {} } = request.credential
  const { protocol } = request.edge
  const url = new URL(`${protocol}//${authorityOf(request)}${path}`)
  const credential: SentHeaders = typeof headers === 'function' ? await headers({ method: 'POST', url }, call) : headers
  try {
    return {
      ...fieldsOf({ ...request.headers, ...credential }),
      ':method': 'POST',
      ':scheme': protocol.slice(0, -1),
      ':authority': authorityOf(request),
      ':path': path,
      'content-type': CONTENT_TYPE,
      te: 'trailers',
    }
  } catch (cause) {
    // A header that HTTP cannot carry. Node names it, and does not print its value.
    throw new PosternError('BAD_USAGE', `the call cannot be sent: ${PosternError.from(cause).message}`, { cause })
  }
}

function begin(request: DialRequest, headers: Headers, connection: Duplex, call: Call): Promise<Dialled> {
  const { session, stream } = open(request, headers, connection)
  return new Promise((resolve, reject) => {
    let failure: Error | undefined
    const timer = setTimeout(
      () => settle(new PosternError('TIMED_OUT', `the edge did not answer the call within ${HANDSHAKE / 1000} s`)),
      HANDSHAKE,
    )
    const aborted = (): void => settle(call.signal.reason)
    const failed = (error: Error): void => {
      failure ??= error
    }
    const closed = (): void => settle(handshakeError(failure))
    const answered = (head: IncomingHttpHeaders, _flags: number, raw: readonly string[]): void => {
      const answer = receivedHeaders(raw)
      stream.off('response', answered)
      if (isAccepted(head)) settle(undefined, { pipe: new ClientPipe(stream), answer })
      else void readRefusal(stream, head, answer).then(error => settle(error))
    }
    call.signal.addEventListener('abort', aborted)
    session.on('error', failed).on('close', closed)
    stream.on('error', failed).on('response', answered)

    function settle(reason: unknown, dialled?: Dialled): void {
      clearTimeout(timer)
      call.signal.removeEventListener('abort', aborted)
      session.off('close', closed)
      if (dialled) {
        resolve(dialled)
        return
      }
      reject(reason)
      stream.destroy()
      session.destroy()
    }
  })
}

function open(
  request: DialRequest,
  headers: Headers,
  connection: Duplex,
): { readonly session: ClientHttp2Session; readonly stream: ClientHttp2Stream } {
  const session = connect(`${request.edge.protocol}//${authorityOf(request)}`, {
    // An end of TCP is the end of HTTP/2, both ways.
    createConnection: () => Object.assign(connection, { allowHalfOpen: false }),
    settings: { enablePush: false, initialWindowSize: WINDOW },
  })
  session.on('error', ignore)
  session.once('connect', () => session.setLocalWindowSize(WINDOW))
  try {
    return { session, stream: session.request(headers, { endStream: false }) }
  } catch (cause) {
    session.destroy()
    throw new PosternError('BAD_USAGE', 'the call cannot be sent: a header cannot be sent over HTTP/2, or not twice', {
      cause,
    })
  }
}

function handshakeError(error: NodeJS.ErrnoException | undefined): PosternError {
  const code = error?.code
  if (error === undefined || code === 'ECONNRESET' || code === 'EPIPE')
    return new PosternError(
      'EDGE_UNREACHABLE',
      `the connection ended before the edge answered${code ? ` (${code})` : ''}`,
      {
        cause: error,
      },
    )
  return new PosternError('EDGE_PROTOCOL', `the server’s answer is not an edge’s: ${error.message}`, { cause: error })
}

function ignore(): void {}
