import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connectEdge, type EdgeAddress } from '@postern/client/connect'
import { certificateAmong } from '@postern/client/credentials'
import { type Call, type Credential, type Json, PosternError, readProblem } from '@postern/interface'
import type { Credentials } from './credential.ts'
import { headerPairs } from './present.ts'
import { Presenting } from './presenting.ts'

/** Bytes of an answer. */
const LARGEST = 256 * 1024
/** Milliseconds from the request to the end of its answer. */
const DEADLINE = 30_000

/**
 * Asks a path of the edge’s own on an application’s hostname, with a credential; once more with another where the edge did not take
 * the first.
 *
 * @returns what a 200 says
 * @throws PosternError the edge's refusal; EDGE_UNREACHABLE, EDGE_UNTRUSTED, EDGE_PROTOCOL, TIMED_OUT; what the credential's
 *   providers throw; `call.signal.reason`
 */
export async function postJson(credentials: Credentials, path: string, body: Json, outer: Call): Promise<Json> {
  const presenting = new Presenting(credentials, outer)
  const first = await presenting.get()
  const answer = await post(credentials, path, body, first, outer)
  if (answer.status !== 401) return resultOf(answer, credentials)
  const others = await presenting.instead(first, answer.headers).catch((error: unknown) => {
    if (PosternError.is(error) && error.code === 'AUTH_REJECTED') return resultOf(answer, credentials) as never
    throw error
  })
  return resultOf(await post(credentials, path, body, others, outer), credentials)
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly headers: Record<string, readonly string[]>
  readonly text: string
}

async function post(
  { at, application = at.hostname }: Credentials,
  path: string,
  body: Json,
  given: readonly Credential[],
  outer: Call,
): Promise<Answer> {
  const late = AbortSignal.timeout(DEADLINE)
  const call = { ...outer, signal: AbortSignal.any([outer.signal, late]) }
  const tls = certificateAmong(given)
  const { hostname, port } = at.edge
  const to: EdgeAddress = {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? 443 : Number(port),
    serverName: at.hostname,
  }
  const text = JSON.stringify(body)
  const url = new URL(path, `https://${application}`)
  try {
    const pairs = await headerPairs(given, { method: 'POST', url }, call)
    const headers = {
      ...Object.fromEntries(pairs),
      host: application,
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(text)),
      connection: 'close',
    }
    const socket = await connectEdge(to, { alpn: ['http/1.1'] }, at.trust, tls ? { tls } : {}, call)
    const { signal } = call
    const asked = { createConnection: () => socket, method: 'POST', path, headers, signal }
    return await new Promise<Answer>((resolve, reject) => {
      httpRequest(asked, answer => read(answer, at.hostname).then(resolve, reject))
        .on('error', reject)
        .end(text)
    }).finally(() => socket.destroy())
  } catch (error) {
    outer.signal.throwIfAborted()
    if (late.aborted) throw new PosternError('TIMED_OUT', `${at.hostname} did not answer within ${DEADLINE / 1000} s`)
    throw PosternError.from(error, 'EDGE_UNREACHABLE')
  }
}

async function read(answer: IncomingMessage, hostname: string): Promise<Answer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of answer) {
    size += chunk.length
    if (size > LARGEST) throw new PosternError('EDGE_PROTOCOL', `${hostname} answered with more than 256 KiB`)
    chunks.push(chunk)
  }
  const headers: Record<string, string[]> = {}
  for (const [name, values] of Object.entries(answer.headersDistinct)) headers[name] = values ?? []
  const type = (headers['content-type']?.[0] ?? '').split(';')[0]?.trim() ?? ''
  return { status: answer.statusCode ?? 0, type, headers, text: Buffer.concat(chunks).toString() }
}

/** @throws PosternError the refusal that it is; EDGE_PROTOCOL */
function resultOf({ status, type, headers, text }: Answer, { at: { hostname } }: Credentials): Json {
  const said = parsed(text)
  if (status === 200 && type === 'application/json' && said !== undefined) return said
  const refusal = type === 'application/problem+json' ? readProblem(said) : undefined
  if (refusal && status >= 400)
    throw PosternError.fromProblem(refusal, { refusal: { status, headers }, speaker: 'edge' })
  throw new PosternError('EDGE_PROTOCOL', `${hostname} answered with status ${status}, which is no answer of an edge`)
}

function parsed(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json
  } catch {
    return undefined
  }
}
