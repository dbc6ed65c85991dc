import type { ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2'
import { PosternError, type Problem, type ReceivedHeaders, readProblem, type SentHeaders } from '@postern/interface'
import { percentEncoded } from '@postern/interface/grpc'
import { headerLines } from '@postern/interface/http1'
import { CONTENT_TYPE, PROBLEM, statusOf } from './wire.ts'

/** What the front answers with before any transport has a request. */
const TYPE = 'application/problem+json'
/** Bytes of a refusal that are read. */
const LONGEST = 64 * 1024

/** A refusal as the only headers of an answer: “Trailers-Only” of gRPC. @throws TypeError of node:http */
export function refusalHeaders(problem: Problem, headers: SentHeaders = {}): Record<string, string | string[]> {
  return {
    ...fieldsOf(headers),
    'content-type': CONTENT_TYPE,
    'postern-request-id': problem.requestId,
    'grpc-status': String(statusOf(problem.status)),
    'grpc-message': percentEncoded(`${problem.code}: ${problem.detail ?? problem.title}`),
    [PROBLEM]: Buffer.from(JSON.stringify(problem)).toString('base64').replace(/=+$/, ''),
  }
}

/** As node:http2 takes them. @throws TypeError of node:http for a name or value that cannot be in a head */
export function fieldsOf(headers: SentHeaders): Record<string, string | string[]> {
  headerLines(headers)
  const fields: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers))
    fields[name.toLowerCase()] = typeof value === 'string' ? value : [...value]
  return fields
}

/** Names and values in turn as every value of each, without what is not a header. */
export function receivedHeaders(raw: readonly string[]): ReceivedHeaders {
  const headers: Record<string, string[]> = Object.create(null)
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = '', value = ''] = raw.slice(at, at + 2)
    if (name.startsWith(':')) continue
    headers[name] ??= []
    headers[name].push(value)
  }
  return { ...headers }
}

/** Whether an answer lets in. */
export function isAccepted(head: IncomingHttpHeaders): boolean {
  return Number(head[':status']) === 200 && isGrpc(head['content-type']) && head['grpc-status'] === undefined
}

/** Whatever is carried in it: with `+proto`, or without a word about that. */
export function isGrpc(type: string | undefined): boolean {
  return type !== undefined && /^application\/grpc(?:\+proto)?(?:;|$)/i.test(type)
}

/** What was answered instead of a yes, as the error to throw. */
export async function readRefusal(
  stream: ClientHttp2Stream,
  head: IncomingHttpHeaders,
  headers: ReceivedHeaders,
): Promise<PosternError> {
  const status = Number(head[':status'])
  const isProblem = head['content-type']?.split(';', 1)[0]?.trim().toLowerCase() === TYPE
  const problem = readJson(isProblem ? await readBody(stream) : fromBase64(headers[PROBLEM]))
  if (problem) return PosternError.fromProblem(problem, { refusal: { status: problem.status, headers } })
  const code = headers['grpc-status']?.[0]
  const what = code === undefined || !/^\d{1,2}$/.test(code) ? status : `${status}, gRPC status ${code},`
  return new PosternError('EDGE_PROTOCOL', `the server answered ${what} and not as an edge does`, {
    refusal: { status, headers },
  })
}

function fromBase64(values: readonly string[] | undefined): string | undefined {
  const [value, ...more] = values ?? []
  if (value === undefined || more.length > 0 || value.length > LONGEST || !/^[A-Za-z0-9+/]*={0,2}$/.test(value))
    return undefined
  return Buffer.from(value, 'base64').toString()
}

async function readBody(stream: ClientHttp2Stream): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > LONGEST) return undefined
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString()
  } catch {
    return undefined
  }
}

function readJson(text: string | undefined): Problem | undefined {
  try {
    return text === undefined ? undefined : readProblem(JSON.parse(text))
  } catch {
    // Not a refusal of ours.
    return undefined
  }
}
