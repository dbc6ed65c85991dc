import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  type Call,
  type Dialled,
  type DialRequest,
  PosternError,
  type ReceivedHeaders,
  type SentHeaders,
} from '@postern/interface'
import { authorityOf, credentialHeaders, readRefusal, receivedHeaders } from '@postern/interface/http1'
import { BOUNDS, ClosingSocket, WebSocketPipe } from './pipe.ts'
import { subprotocolOf } from './upgrade.ts'

/** Milliseconds the edge has to answer the upgrade, once connected. */
const HANDSHAKE = 10_000
/** Milliseconds the edge has to answer our close. */
const CLOSE_WAIT = 5000

/** Connects through the host's own TCP and TLS, then asks for the upgrade. */
export async function dial(request: DialRequest, call: Call): Promise<Dialled> {
  call.signal.throwIfAborted()
  const secure = request.edge.protocol === 'https:'
  const headers = await credentialHeaders(request, call)
  const connection = await request.connect(secure ? { alpn: ['http/1.1'] } : undefined, call)
  try {
    call.signal.throwIfAborted()
    return await upgrade(request, headers, connection, secure, call)
  } catch (error) {
    // Whoever watched it is gone, and what it says while it dies is not news.
    connection.on('error', () => {}).destroy()
    throw error
  }
}

function upgrade(
  request: DialRequest,
  credential: SentHeaders,
  connection: Duplex,
  secure: boolean,
  call: Call,
): Promise<Dialled> {
  const subprotocol = subprotocolOf(request.purpose)
  const socket = openSocket(request, { ...request.headers, ...credential }, connection, secure)
  return new Promise((resolve, reject) => {
    let answer: ReceivedHeaders = {}
    let settled = false
    const timer = setTimeout(
      () => fail(new PosternError('TIMED_OUT', `the edge did not answer the upgrade within ${HANDSHAKE / 1000} s`)),
      HANDSHAKE,
    )
    call.signal.addEventListener('abort', aborted)
    socket.on('upgrade', response => {
      answer = receivedHeaders(response)
    })
    socket.on('unexpected-response', (_request, response: IncomingMessage) => void readRefusal(response).then(fail))
    socket.on('error', error => fail(handshakeError(error)))
    socket.on('open', () => {
      settle()
      resolve({
        pipe: new WebSocketPipe(socket, { connection, text: subprotocol === undefined, closeWait: CLOSE_WAIT }),
        answer,
      })
    })

    function aborted(): void {
      fail(call.signal.reason)
    }
    function fail(reason: unknown): void {
      if (settled) return
      settle()
      reject(reason)
      // Its own complaint about that comes later, and was answered already.
      socket.on('error', () => {}).terminate()
    }
    function settle(): void {
      settled = true
      clearTimeout(timer)
      call.signal.removeEventListener('abort', aborted)
      socket.removeAllListeners()
    }
  })
}

function openSocket(request: DialRequest, headers: SentHeaders, connection: Duplex, secure: boolean): ClosingSocket {
  const subprotocol = subprotocolOf(request.purpose)
  const options = {
    ...BOUNDS,
    headers: { ...headers, host: authorityOf(request) },
    // Connected and, where wanted, inside TLS already; so `ws:` is right for both.
    createConnection: () => connection,
    // Masking protects proxies that read plain HTTP; inside TLS there are none, and zeros cost nothing.
    ...(secure && { generateMask: (mask: Buffer) => void mask.fill(0) }),
  }
  try {
    return new ClosingSocket(`ws://${authorityOf(request)}/`, subprotocol ?? [], options as object)
  } catch (cause) {
    // A header that HTTP cannot carry. Node names it, and does not print its value.
    throw new PosternError('BAD_USAGE', `the upgrade cannot be sent: ${PosternError.from(cause).message}`, { cause })
  }
}

function handshakeError(error: NodeJS.ErrnoException): PosternError {
  if (PosternError.is(error)) return error
  const { code } = error
  if (code?.startsWith('HPE_') || code === undefined)
    return new PosternError('EDGE_PROTOCOL', `the server's answer is not an edge's: ${error.message}`, { cause: error })
  return new PosternError('EDGE_UNREACHABLE', `the connection ended before the edge answered (${code})`, {
    cause: error,
  })
}
