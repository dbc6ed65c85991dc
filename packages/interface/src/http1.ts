import type { IncomingMessage } from 'node:http'
import { STATUS_CODES, validateHeaderName, validateHeaderValue } from 'node:http'
import type { Duplex } from 'node:stream'
import { PosternError, type Problem, readProblem } from './errors.ts'
import type { DialRequest } from './transport.ts'
import type { Call, ReceivedHeaders, SentHeaders } from './words.ts'

// How a transport that upgrades an HTTP/1.1 connection asks, says no, and reads that: the bytes of a Problem as a response.

const TYPE = 'application/problem+json'
/** Bytes of a refusal's body that are read. */
const LONGEST_BODY = 64 * 1024
/** Milliseconds a refused client has to read its answer and go. */
const LINGER = 2000

/** What Host says: the application's name, with the edge's port where it is not the scheme's own. */
export function authorityOf({ edge, host }: Pick<DialRequest, 'edge' | 'host'>): string {
  return edge.port ? `${host}:${edge.port}` : host
}

/** What the credential adds to a request for an upgrade. @throws what the credential throws */
export async function credentialHeaders(request: DialRequest, call: Call): Promise<SentHeaders> {
  const { headers = {} } = request.credential
  if (typeof headers !== 'function') return headers
  return headers({ method: 'GET', url: new URL(`${request.edge.protocol}//${authorityOf(request)}/`) }, call)
}

/** A refusal as an HTTP/1.1 response. @throws TypeError of node:http for a header that cannot be sent */
export function refusalBytes(problem: Problem, headers: SentHeaders = {}): Buffer {
  const body = Buffer.from(JSON.stringify(problem))
  const extra = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value] as const)
  const lines = headerLines({
    ...Object.fromEntries(extra),
    'content-type': TYPE,
    'content-length': String(body.length),
    'cache-control': 'no-store',
    'postern-request-id': problem.requestId,
    connection: 'close',
  })
  const head = [`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? 'Refused'}`, ...lines, '', ''].join(
    '\r\n',
  )
  return Buffer.concat([Buffer.from(head, 'latin1'), body])
}

/** Sends the last bytes of a connection; resolves when it is gone, which is made so after two seconds. */
export function endWith(socket: Duplex, bytes: Buffer): Promise<void> {
  return new Promise(resolve => {
    if (socket.closed) return resolve()
    const timer = setTimeout(() => socket.destroy(), LINGER)
    socket.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
    // What the client still sends is read and thrown away: unread bytes would turn our end into a reset, and lose the answer.
    socket.resume()
    socket.end(bytes)
  })
}

/** As they go into a response's head. @throws TypeError of node:http for a name or value that cannot be in one */
export function headerLines(headers: SentHeaders): string[] {
  const lines: string[] = []
  for (const [name, values] of Object.entries(headers)) {
    validateHeaderName(name)
    for (const value of typeof values === 'string' ? [values] : values) {
      validateHeaderValue(name, value)
      lines.push(`${name}: ${value}`)
    }
  }
  return lines
}

/** What an edge answered instead of 101, as the error to throw. */
export async function readRefusal(response: IncomingMessage): Promise<PosternError> {
  const status = response.statusCode ?? 0
  const refusal = { status, headers: receivedHeaders(response) }
  const type = response.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase()
  const problem = type === TYPE ? readProblem(await readJson(response)) : undefined
  if (problem) return PosternError.fromProblem(problem, { refusal })
  return new PosternError('EDGE_PROTOCOL', `the server answered ${status} and not as an edge does`, { refusal })
}

export function receivedHeaders(message: IncomingMessage): ReceivedHeaders {
  const headers: Record<string, readonly string[]> = {}
  for (const [name, values] of Object.entries(message.headersDistinct)) if (values) headers[name] = values
  return headers
}

async function readJson(response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > LONGEST_BODY) return undefined
      chunks.push(chunk)
    }
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    // Broken off, or not JSON: not a refusal of ours.
    return undefined
  }
}
