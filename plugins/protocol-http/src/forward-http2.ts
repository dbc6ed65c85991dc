import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from 'node:http2'
import { addAbortSignal } from 'node:stream'
import type { Exchange } from './exchange.ts'
import { failure, failureOf } from './failures.ts'
import { MOST_INFORMATIONAL, sayInterim } from './forward.ts'
import { asFields, fromFields, pairs, readAnswerHead, readTrailers } from './headers.ts'
import type { Pool } from './pool.ts'
import type { RuleOptions } from './rule.ts'

/** One request to the service over HTTP/2, and its answer: gRPC, with trailers both ways and both directions at once. */
export async function forwardOverHttp2(exchange: Exchange, pool: Pool, options: RuleOptions): Promise<void> {
  const { head, request, left, call } = exchange
  const { session } = await pool.session({ log: call.log, signal: left })
  if (left.aborted) return
  const { host, ...fields } = asFields(pairs(head.headers))
  const stream = session.request(
    {
      ...fields,
      ...(head.wantsTrailers && { te: 'trailers' }),
      ':method': request.method ?? '',
      ':scheme': pool.isSecure ? 'https' : 'http',
      ':authority': String(host ?? ''),
      ':path': request.url ?? '',
    },
    { endStream: !head.hasBody, waitForTrailers: head.isChunked },
  )
  // node:http2 sends freed memory for a gathered write that ends in an empty string; each piece goes alone.
  Object.assign(stream, { _writev: null })
  const cancel = cancelOn(stream, left)
  const answered = expectAnswer(exchange, stream, options, cancel)
  stream.on('error', error => {
    answered()
    exchange.fail(failureOf(error))
  })
  stream.once('response', fields => {
    answered()
    receive(exchange, stream, fields, cancel)
  })
  stream.once('close', () => {
    answered()
    // After `receive`, which looks at the end of a whole answer.
    setImmediate(() => exchange.fail(failure('ORIGIN_FAILED', `the service’s stream ended (${stream.rstCode})`)))
  })
  sendBody(exchange, stream, cancel)
}

/** The one way that the other end cannot take for the end of the request: an abort is sent as CANCEL. */
function cancelOn(stream: ClientHttp2Stream, left: AbortSignal): () => void {
  const cancelled = new AbortController()
  const cancel = (): void => cancelled.abort()
  addAbortSignal(cancelled.signal, stream)
  left.addEventListener('abort', cancel)
  stream.once('close', () => left.removeEventListener('abort', cancel))
  return cancel
}

function sendBody(exchange: Exchange, stream: ClientHttp2Stream, cancel: () => void): void {
  const { request, head } = exchange
  if (!head.hasBody) return void request.resume()
  stream.on('wantTrailers', () => {
    try {
      stream.sendTrailers(asFields(readTrailers(request.rawTrailers)))
    } catch (cause) {
      // Thrown in an event, it would be the end of this daemon.
      cancel()
      exchange.fail(failure('PROTOCOL_VIOLATION', 'the request’s trailers cannot be passed on', cause))
    }
  })
  request.pipe(stream, { end: false })
  request.once('end', () => {
    if (request.complete && stream.writable) stream.end()
  })
}

function expectAnswer(
  exchange: Exchange,
  stream: ClientHttp2Stream,
  { responseTimeout }: RuleOptions,
  cancel: () => void,
): () => void {
  const { request, response } = exchange
  let interim = 0
  const end = (error: Error): void => {
    exchange.fail(error)
    cancel()
  }
  const late = (): void =>
    end(failure('ORIGIN_TIMEOUT', `the service did not answer within ${responseTimeout / 1000} s`))
  const timer = responseTimeout > 0 ? setTimeout(late, responseTimeout) : undefined
  const restart = (): void => void timer?.refresh()
  if (exchange.head.hasBody) request.on('data', restart)
  stream.on('headers', fields => {
    restart()
    interim++
    const status = Number(fields[':status'])
    if (interim > MOST_INFORMATIONAL)
      end(failure('ORIGIN_FAILED', `the service sent more than ${MOST_INFORMATIONAL} interim answers`))
    else if (status === 100) response.writeContinue()
    else sayInterim(exchange, status, '', readAnswerHead(fromFields(fields)))
  })
  return () => {
    clearTimeout(timer)
    request.off('data', restart)
  }
}

function receive(exchange: Exchange, stream: ClientHttp2Stream, fields: IncomingHttpHeaders, cancel: () => void): void {
  const { request, response } = exchange
  let trailers: readonly string[] = []
  stream.once('trailers', more => {
    trailers = fromFields(more)
  })
  try {
    exchange.answer(Number(fields[':status']), '', readAnswerHead(fromFields(fields)))
  } catch (cause) {
    cancel()
    exchange.fail(failure('ORIGIN_FAILED', 'the head of the service’s answer cannot be passed on', cause))
    return
  }
  stream.pipe(response, { end: false })
  stream.once('end', () => {
    // A cut comes as an 'end' too; only in the next turn is it known for what it is.
    setImmediate(() => {
      if (stream.aborted || stream.rstCode !== constants.NGHTTP2_NO_ERROR || stream.errored)
        return exchange.fail(failure('ORIGIN_FAILED', 'the service’s answer broke off'))
      const sent = readTrailers(trailers)
      if (sent.length > 0) response.addTrailers(sent)
      response.end()
      if (stream.writableFinished) return
      request.unpipe(stream)
      request.resume()
      cancel()
    })
  })
}
