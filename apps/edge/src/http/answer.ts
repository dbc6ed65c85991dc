import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerResponse } from 'node:http2'
import { PosternError } from '@postern/interface'
import type { Exchange } from '../front/exchange.ts'
import { answerHeaders, grouped, pairsOf, trailersOf } from './headers.ts'
import type { HttpLimits } from './limits.ts'
import { failureOf, grpcTrailers, isGrpc } from './refuse.ts'

/**
 * Passes an answer on, to its end. What breaks on the way, or may not go on, is cut so that nobody takes it for whole.
 *
 * @returns what cut it; undefined when it went through, or the visitor left
 */
export async function relay(
  exchange: Exchange,
  { request, answer }: { readonly request: ClientRequest; readonly answer: IncomingMessage },
  { signal, limits }: { readonly signal: AbortSignal; readonly limits: HttpLimits },
): Promise<unknown> {
  const { response } = exchange
  const over = Promise.withResolvers<unknown>()
  answer.on('error', error => {
    const reason: unknown = signal.aborted ? signal.reason : error
    over.resolve(exchange.signal.aborted ? undefined : reason)
    cutAnswer(exchange, reason, limits)
  })
  answer.once('end', () => {
    try {
      end(exchange, answer)
    } catch (error) {
      over.resolve(error)
      cutAnswer(exchange, error, limits)
    }
  })
  response.once('close', () => over.resolve(undefined))
  response.once('finish', () => over.resolve(undefined))
  try {
    writeHead(exchange, answer)
  } catch (cause) {
    request.destroy()
    unsay(response)
    throw new PosternError('ORIGIN_FAILED', 'the head of the service’s answer cannot be passed on', {
      speaker: 'service',
      cause,
    })
  }
  answer.pipe(response, { end: false })
  const error = await over.promise
  // A stream on which anything is left unsaid must not carry somebody else's request.
  if (!request.writableFinished || !answer.complete) request.destroy()
  return error
}

function writeHead(exchange: Exchange, answer: IncomingMessage): void {
  const { response, requestId } = exchange
  const { headers } = answerHeaders(answer.rawHeaders)
  const { statusCode = 502, statusMessage = '' } = answer
  headers.push('Postern-Request-Id', requestId)
  if (isHttp2(response)) {
    const fields = grouped(pairsOf(headers))
    if (answer.headers['grpc-status'] === undefined) response.writeHead(statusCode, fields)
    else holdHead(response, statusCode, fields)
    return
  }
  const isTold = answer.headers.trailer !== undefined && !isChunked(response, answer)
  const sent = isTold ? withoutTrailer(headers) : headers
  if (/^[\t\x20-\x7e\x80-\xff]+$/.test(statusMessage)) response.writeHead(statusCode, statusMessage, sent)
  else response.writeHead(statusCode, sent)
  // With the first bytes where there are some, at once where there are none: an event stream's head is news.
  setImmediate(() => {
    if (!response.destroyed && !response.writableEnded) response.flushHeaders()
  })
}

/** gRPC’s “Trailers-Only”: a status in the head counts only where the head is the end too, so it waits for what comes next. */
function holdHead(response: Http2ServerResponse, statusCode: number, fields: ReturnType<typeof grouped>): void {
  response.statusCode = statusCode
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) response.setHeader(name, value)
}

/** Takes back a head that could not be written, so that a refusal can be. */
function unsay(response: Exchange['response']): void {
  if (response.headersSent) return
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  response.statusMessage = ''
}

/** Whether an answer over HTTP/1.1 will go out in chunks. */
function isChunked({ req }: ServerResponse, { statusCode = 0, headers }: IncomingMessage): boolean {
  if (req.method === 'HEAD' || statusCode === 204 || statusCode === 304) return false
  return req.httpVersionMinor > 0 && headers['content-length'] === undefined
}

/** Only chunks have trailers in HTTP/1.1, and Node throws where they are announced for anything else. */
function withoutTrailer(headers: readonly string[]): string[] {
  return pairsOf(headers)
    .filter(([name]) => name.toLowerCase() !== 'trailer')
    .flat()
}

function end({ response }: Exchange, answer: IncomingMessage): void {
  const trailers = trailersOf(answer.rawTrailers)
  if (isHttp2(response)) response.addTrailers(grouped(trailers))
  else if (trailers.length > 0 && response.chunkedEncoding) response.addTrailers(trailers)
  response.end()
}

/** Ends an answer whose head is out. A call of gRPC is told why, where its protocol has a place for that. */
function cutAnswer(exchange: Exchange, error: unknown, { lastWord }: HttpLimits): void {
  const { response, requestId } = exchange
  const cut = () => exchange.cut(error instanceof Error ? error : undefined)
  if (!isHttp2(response) || !isGrpc(exchange) || response.stream.destroyed) {
    cut()
    return
  }
  response.addTrailers(grpcTrailers(failureOf(PosternError.from(error, 'ORIGIN_FAILED'), requestId)))
  response.end()
  const timer = setTimeout(cut, lastWord)
  response.stream.once('close', () => clearTimeout(timer))
}

function isHttp2(response: Exchange['response']): response is Http2ServerResponse {
  return 'stream' in response
}
