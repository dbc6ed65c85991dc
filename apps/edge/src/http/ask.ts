import { type Agent, type ClientRequest, type IncomingMessage, request as newRequest } from 'node:http'
import { PosternError } from '@postern/interface'
import type { Exchange, UpgradeExchange } from '../front/exchange.ts'
import { type Framing, trailersOf } from './headers.ts'
import type { HttpLimits } from './limits.ts'
import { toldByDaemon } from './told.ts'

/** How a request goes to the daemon. */
export interface Order {
  /** Whose streams carry it. */
  readonly agent: Agent
  /** Names and values in turn. */
  readonly headers: readonly string[]
  readonly framing: Framing
  /** Aborted when the visitor left or may not go on. */
  readonly signal: AbortSignal
  readonly limits: HttpLimits
}

/** A request on its way to the origin, with none of its body. */
export function begin({ hostname, method, target }: Asked, { agent, headers, limits }: Order): ClientRequest {
  return newRequest({
    agent,
    host: hostname,
    // Over HTTP/2 it is CONNECT; the origin gets an upgrade of HTTP/1.1.
    method: method === 'CONNECT' ? 'GET' : method,
    path: target,
    headers: [...headers],
    setHost: false,
    maxHeaderSize: limits.headBytes,
  })
}

type Asked = Pick<Exchange | UpgradeExchange, 'hostname' | 'method' | 'target'>

/** What a stream ends with that was left by its daemon between two requests. */
const LEFT: readonly string[] = ['ECONNRESET', 'STREAM_CUT', 'SESSION_LOST', 'PEER_SILENT', 'DRAINING']
/** RFC 9110 §9.2.1. */
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * Sends a request with its body, and gives the answer once its head is there. A stream that waited may have been left just then: a
 * request that changes nothing and has no body is asked once more, on a stream of its own. Nothing else is ever sent twice.
 *
 * @param fresh for streams that carried nothing yet
 * @throws PosternError ORIGIN_TIMEOUT, TIMED_OUT (the visitor's body stopped coming), ORIGIN_FAILED; what opening a stream throws;
 *   `order.signal.reason`; errors of node:http where the answer was no HTTP
 */
export async function ask(exchange: Exchange, order: Order, fresh: () => Agent): Promise<Asking> {
  order.signal.throwIfAborted()
  const request = begin(exchange, order)
  try {
    return await send(exchange, request, order)
  } catch (error) {
    const left = LEFT.includes((error as NodeJS.ErrnoException).code ?? '') && !order.signal.aborted
    if (!(left && request.reusedSocket && order.framing === 'none' && SAFE.has(exchange.method))) throw error
    return send(exchange, begin(exchange, { ...order, agent: fresh() }), order)
  }
}

async function send(exchange: Exchange, request: ClientRequest, order: Order): Promise<Asking> {
  const { signal, limits } = order
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const odd = (what: string) => {
    const error = new PosternError('ORIGIN_FAILED', `the service’s answer ${what}`, { speaker: 'service' })
    reject(error)
    request.destroy(error)
  }
  const onAbort = () => request.destroy(signal.reason as Error)
  signal.addEventListener('abort', onAbort)
  request.once('close', () => signal.removeEventListener('abort', onAbort))
  request.on('error', reject)
  request.once('response', answer => {
    const told = toldByDaemon(answer)
    if (told !== undefined) answer.resume()
    if (told !== undefined) reject(told)
    else if (isFinal(answer)) resolve(answer)
    else odd('has a status that is none')
  })
  request.once('upgrade', (_answer, socket) => {
    socket.destroy()
    odd('changes the protocol, which nobody asked for')
  })
  passInformation(exchange, request, limits, odd)
  const late = new Patience(limits.answerTime, () => whoIsLate(exchange, request, reject))
  sendBody(exchange, request, order.framing, late)
  try {
    return { request, answer: await promise }
  } finally {
    late.end()
  }
}

export interface Asking {
  readonly request: ClientRequest
  readonly answer: IncomingMessage
}

function isFinal({ statusCode = 0 }: IncomingMessage): boolean {
  return statusCode >= 200 && statusCode <= 599
}

/** 100 and 103 go on; of more than a few, none is meant. */
function passInformation(
  { response }: Exchange,
  request: ClientRequest,
  { informational }: HttpLimits,
  odd: (what: string) => void,
): void {
  let count = 0
  request.on('information', ({ statusCode, headers }) => {
    count += 1
    if (count > informational) return odd('never begins')
    if (response.headersSent) return
    // Nobody could catch it here: over HTTP/2 both throw when the visitor has just left, and a hint may be one that cannot be written.
    try {
      if (statusCode === 100) response.writeContinue()
      if (statusCode === 103 && headers.link !== undefined) response.writeEarlyHints({ link: headers.link })
    } catch {
      // Not worth an answer.
    }
  })
}

/** Who of the two is late: a visitor whose body stopped coming, or the origin. */
function whoIsLate({ request: body }: Exchange, request: ClientRequest, reject: (error: Error) => void): void {
  const waitsForVisitor = !body.complete && !request.writableNeedDrain
  const error = waitsForVisitor
    ? new PosternError('TIMED_OUT', 'the request’s body stopped coming', { speaker: 'edge' })
    : new PosternError('ORIGIN_TIMEOUT', 'the service did not answer in time', { speaker: 'service' })
  reject(error)
  request.destroy(error)
}

/** Passes the body on, as fast as the origin takes it. */
function sendBody({ request: body }: Exchange, request: ClientRequest, framing: Framing, late: Patience): void {
  if (framing === 'none') {
    request.end()
    return
  }
  request.flushHeaders()
  body.on('data', () => late.again())
  body.pipe(request, { end: false })
  body.once('end', () => {
    if (!isWhole(body)) return void request.destroy()
    if (framing === 'chunked' && body.rawTrailers.length > 0) request.addTrailers(trailersOf(body.rawTrailers))
    request.end()
  })
}

/** Over HTTP/2 a reset comes as an end too, one without an error even as nothing else. */
function isWhole(body: Exchange['request']): boolean {
  if (body.aborted) return false
  return !('stream' in body) || (body.stream.rstCode === 0 && !body.stream.destroyed)
}

/** Patience that is renewed as long as something moves. */
class Patience {
  readonly #timer: NodeJS.Timeout

  constructor(milliseconds: number, over: () => void) {
    this.#timer = setTimeout(over, milliseconds)
  }

  again(): void {
    this.#timer.refresh()
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}
