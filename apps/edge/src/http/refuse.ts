import { factsOf, PosternError, type Problem, problem, type SentHeaders } from '@postern/interface'
import { percentEncoded } from '@postern/interface/grpc'
import type { Refused } from '../authorize/authorize.ts'
import type { Exchange } from '../front/exchange.ts'
import type { HttpContext } from './context.ts'

/**
 * Answers with a problem, in the form that whoever asked can read: a page for a browser, a status of gRPC, else JSON.
 */
export function refuse(exchange: Exchange, refusal: Problem, context: HttpContext, headers: SentHeaders = {}): void {
  if (exchange.signal.aborted || exchange.response.headersSent) exchange.cut()
  else if (isGrpc(exchange)) refuseGrpc(exchange, refusal, headers)
  else if (exchange.isNavigation) context.http.problemPage(exchange, refusal)
  else exchange.refuse(refusal, headers)
}

const FORGET_SESSION = '__Host-postern-session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax'

/** Somebody who was not let in: a person with a browser is told where to go, everybody else why. */
export async function deny(exchange: Exchange, refused: Refused, context: HttpContext): Promise<void> {
  const { signIn } = context.http
  const application = context.store.snapshot.applications.get(exchange.hostname)
  if (application !== undefined && signIn !== undefined && exchange.isNavigation) {
    const { code, requestId } = refused.problem
    if (refused.signIn === true) return signIn.begin(exchange, application)
    // A cookie that cannot be ours would be shown again and again.
    if (code === 'AUTH_REJECTED') exchange.response.setHeader('set-cookie', FORGET_SESSION)
    if (code === 'ACCESS_DENIED')
      return signIn.denied(exchange, { application, identities: refused.identities ?? [], requestId })
  }
  refuse(exchange, refused.problem, context, refused.headers)
}

/**
 * What failed behind the edge, as a refusal. An error of ours says what; anything else is the answer's fault, and its words, which
 * may name addresses, stay here.
 */
export function failureOf(error: unknown, requestId: string): Problem {
  const known = PosternError.is(error)
    ? error
    : new PosternError('ORIGIN_FAILED', 'the connection to the service broke, or its answer was not valid HTTP')
  const refusal = problem(known.code, requestId, {
    speaker: known.speaker ?? 'edge',
    detail: known.message,
    next: known.next,
  })
  const status = factsOf(known.code).status ?? 502
  // What the daemon finds wrong with the edge is no fault of who asked; that it wants to know who that is, may be.
  const isOurs = known.speaker !== undefined && known.speaker !== 'edge' && status < 500 && status !== 403
  return { ...refusal, status: isOurs ? 502 : status }
}

export function isGrpc({ presented }: Pick<Exchange, 'presented'>): boolean {
  const [type = ''] = presented.headers['content-type'] ?? []
  // gRPC-Web is read by browsers, which take an HTTP status.
  return /^application\/grpc(?:[+;]|$)/i.test(type)
}

/** Statuses of gRPC for those of HTTP: what a client would make of ours itself is too coarse to act on. */
function grpcStatus(status: number): number {
  if (status === 401) return 16
  if (status === 403) return 7
  if (status === 404) return 12
  return status === 429 || status >= 502 ? 14 : 13
}

/** Headers only, which are the trailers too: "Trailers-Only" of gRPC over HTTP/2. */
function refuseGrpc({ response, requestId }: Exchange, refusal: Problem, headers: SentHeaders): void {
  const { 'www-authenticate': challenge } = headers
  if (challenge !== undefined) response.setHeader('www-authenticate', challenge as string | string[])
  response.setHeader('content-type', 'application/grpc')
  response.setHeader('grpc-status', String(grpcStatus(refusal.status)))
  response.setHeader('grpc-message', grpcMessage(refusal))
  response.setHeader('postern-request-id', requestId)
  response.statusCode = 200
  response.end()
}

export function grpcMessage({ code, title, next }: Problem): string {
  return percentEncoded(`${code}: ${title}. ${next}`)
}

/** Trailers with which a call of gRPC ends that may not go on. */
export function grpcTrailers(refusal: Problem): Record<string, string> {
  const status = refusal.code === 'ACCESS_ENDED' ? 16 : grpcStatus(refusal.status)
  return { 'grpc-status': String(status), 'grpc-message': grpcMessage(refusal) }
}
