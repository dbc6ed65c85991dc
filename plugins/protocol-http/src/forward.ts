import { request as ask, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import type { Exchange } from './exchange.ts'
import { failure } from './failures.ts'
import { pairs, type RequestHead, readAnswerHead, readTrailers } from './headers.ts'
import type { Pool } from './pool.ts'
import type { RuleOptions } from './rule.ts'

/** Answers of the kind 1xx before the real one. */
export const MOST_INFORMATIONAL = 32
/** Bytes of an answer’s head. */
const LARGEST_HEAD = 64 * 1024
/** Requests that may be said twice: they ask for nothing to be done (RFC 9110 §9.2.1). */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
/** Those that node:http gives chunks by itself where no length is said. */
const BODYLESS = new Set([...SAFE, 'DELETE', 'CONNECT'])

/** One request to the service over HTTP/1.1, and its answer. Never rejects. */
export async function forward(exchange: Exchange, pool: Pool, options: RuleOptions, isAgain = false): Promise<void> {
  const { request } = exchange
  const asked = send(exchange, pool, headersFor(exchange.head, request.method ?? ''))
  const answered = expectAnswer(exchange, asked, options)
  let isHeard = false
  let isRepeated = false
  asked.once('information', () => {
    isHeard = true
  })
  asked.on('response', answer => {
    answered()
    receive(exchange, asked, answer)
  })
  asked.on('error', error => {
    answered()
    if (isAgain || isHeard || !mayRepeat(exchange, asked)) return exchange.fail(error)
    isRepeated = true
    pool.agent.forget() // what was kept alive was dead, and the others are as old
    void forward(exchange, pool, options, true)
  })
  asked.once('close', () => {
    // Node drops a 101 that nobody asked for without a word.
    if (!isRepeated && !exchange.isAnswered) exchange.fail(failure('ORIGIN_FAILED', 'the service gave no answer'))
  })
  sendBody(exchange, asked)
}

/** Begins a request over one of the pool’s connections. */
export function send({ request, left }: Exchange, pool: Pool, headers: readonly string[]): ClientRequest {
  const asking: RequestOptions & { readonly left: AbortSignal } = {
    agent: pool.agent,
    method: request.method,
    path: request.url,
    headers: headers as string[],
    setHost: false,
    maxHeaderSize: LARGEST_HEAD,
    insecureHTTPParser: false,
    left,
  }
  const asked = ask(asking)
  asked.maxHeadersCount = 0
  const onLeft = (): void => void asked.destroy(left.reason)
  left.addEventListener('abort', onLeft)
  asked.once('close', () => left.removeEventListener('abort', onLeft))
  return asked
}

/** A message for the service: with the framing of its body, which belongs to one connection only. */
export function headersFor({ headers, isChunked, wantsTrailers }: RequestHead, method: string): string[] {
  const sent: string[] = []
  let hasLength = false
  for (const [spelt, value] of pairs(headers)) {
    const name = spelt.toLowerCase()
    hasLength ||= name === 'content-length'
    if (name !== 'trailer' || isChunked) sent.push(spelt, value)
  }
  if (isChunked) sent.push('Transfer-Encoding', 'chunked')
  else if (!hasLength && !BODYLESS.has(method)) sent.push('Content-Length', '0')
  if (wantsTrailers) sent.push('TE', 'trailers', 'Connection', 'keep-alive, TE')
  return sent
}

function sendBody({ request, head }: Exchange, asked: ClientRequest): void {
  if (!head.hasBody) {
    request.resume()
    asked.end()
    return
  }
  request.pipe(asked, { end: false })
  request.once('end', () => {
    if (!request.complete || asked.destroyed) return
    const trailers = head.isChunked ? readTrailers(request.rawTrailers) : []
    if (trailers.length > 0) asked.addTrailers(trailers)
    asked.end()
  })
}

/** Passes interim answers on, and ends a request that is not answered. @returns what to call when it is */
export function expectAnswer(exchange: Exchange, asked: ClientRequest, { responseTimeout }: RuleOptions): () => void {
  const { request, response } = exchange
  let interim = 0
  const late = (): void => {
    asked.destroy(failure('ORIGIN_TIMEOUT', `the service did not answer within ${responseTimeout / 1000} s`))
  }
  const timer = responseTimeout > 0 ? setTimeout(late, responseTimeout) : undefined
  const restart = (): void => void timer?.refresh()
  const stop = (): void => {
    clearTimeout(timer)
    request.off('data', restart)
  }
  if (exchange.head.hasBody) request.on('data', restart)
  asked.once('socket', restart).once('finish', restart).once('close', stop)
  asked.on('information', ({ statusCode, statusMessage, rawHeaders }) => {
    restart()
    interim++
    if (interim > MOST_INFORMATIONAL)
      asked.destroy(failure('ORIGIN_FAILED', `the service sent more than ${MOST_INFORMATIONAL} interim answers`))
    else if (statusCode === 100) response.writeContinue()
    else sayInterim(exchange, statusCode, statusMessage, readAnswerHead(rawHeaders))
  })
  return stop
}

/** Node’s own way knows 103 with links and nothing else. */
export function sayInterim({ response }: Exchange, status: number, message: string, headers: readonly string[]): void {
  if (response.headersSent || !response.socket) return
  const lines = pairs(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  response.socket.write(`HTTP/1.1 ${status} ${message}\r\n${lines.join('')}\r\n`, 'latin1')
}

/** The service’s answer goes on as it comes, and one that breaks off is cut there as well. */
export function receive(exchange: Exchange, asked: ClientRequest, answer: IncomingMessage): void {
  const { request, response } = exchange
  const { statusCode = 0, statusMessage = '', rawHeaders } = answer
  const broken = (): void => {
    if (!answer.complete) asked.destroy()
    exchange.fail(failure('ORIGIN_FAILED', 'the service’s answer broke off'))
  }
  answer.on('error', broken)
  if (statusCode < 200) {
    asked.destroy()
    exchange.fail(failure('ORIGIN_FAILED', `the service answered ${statusCode} to a request that is no upgrade`))
    return
  }
  try {
    exchange.answer(statusCode, statusMessage, readAnswerHead(rawHeaders))
  } catch (cause) {
    asked.destroy()
    exchange.fail(failure('ORIGIN_FAILED', 'the head of the service’s answer cannot be passed on', cause))
    return
  }
  answer.pipe(response, { end: false })
  answer.once('end', () => {
    if (!answer.complete) return broken()
    const trailers = readTrailers(answer.rawTrailers)
    if (trailers.length > 0) response.addTrailers(trailers)
    response.end()
    if (asked.writableFinished) return
    // It answered without the rest of the request: the connection is good for no other.
    request.unpipe(asked)
    request.resume()
    asked.destroy()
  })
}

/** Nothing came back over a connection that had been idle, and the request asks for nothing to be done. */
function mayRepeat({ request, head, left, isAnswered }: Exchange, asked: ClientRequest): boolean {
  return asked.reusedSocket && !isAnswered && !left.aborted && !head.hasBody && SAFE.has(request.method ?? '')
}
