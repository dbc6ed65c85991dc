import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Call, PosternError, type RequestRule, type RequestsSide } from '@postern/interface'
import { encodeProblem, failure, failureOf, PROBLEM_HEADER, problemOf } from './failures.ts'
import { type RequestHead, readRequestHead } from './headers.ts'
import { type RuleOptions, ruleOptions } from './rule.ts'

/** How long an answer that came before the end of its request may be read before the rest of the request is refused. */
export const LINGER = 5_000

/** What an answer that went through ends with. One for all of them: an error is not free. */
const OVER = new PosternError('STREAM_CUT', 'the answer is over')

/** One request that arrived, until its answer is over, whole or not. */
export class Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The edge’s stream: it carries other requests after this one. */
  readonly stream: Duplex
  readonly side: RequestsSide
  readonly call: Call
  readonly #began = performance.now()
  readonly #left = new AbortController()
  #rule: RequestRule | undefined
  #head: RequestHead | undefined
  #error: PosternError | undefined
  #status: number | undefined
  #isSwitched = false
  readonly #onRule = (): void => this.fail(this.#rule?.signal.reason)

  constructor(request: IncomingMessage, response: ServerResponse, side: RequestsSide, call: Call) {
    this.request = request
    this.response = response
    this.stream = request.socket
    this.side = side
    this.call = call
    request.on('error', () => {}) // the same as the response’s 'close'
    response.on('error', () => {})
    response.once('close', () => this.#over())
  }

  /** Aborted when it is over, and before its end when the edge gave it up. */
  get left(): AbortSignal {
    return this.#left.signal
  }

  get head(): RequestHead {
    if (!this.#head) throw new PosternError('INTERNAL', 'the request was not read yet')
    return this.#head
  }

  /** Whether its answer has begun, so that nothing else can be said. */
  get isAnswered(): boolean {
    return this.response.headersSent
  }

  /** Finds its rule, and reads what it says. @throws PosternError INGRESS_NOT_FOUND, PROTOCOL_VIOLATION, the rule’s end */
  begin(): { readonly rule: RequestRule; readonly options: RuleOptions } {
    const { url = '', rawHeaders } = this.request
    const rule = url.startsWith('/') ? this.side.at(url.split('?', 1)[0] ?? '') : undefined
    this.#rule = rule
    const options = ruleOptions(rule?.options ?? {})
    this.#head = readRequestHead(rawHeaders, options.hostHeader)
    if (!rule) throw failure('INGRESS_NOT_FOUND', 'no ingress rule answers this path')
    rule.signal.throwIfAborted()
    rule.signal.addEventListener('abort', this.#onRule)
    return { rule, options }
  }

  /** Begins the answer. @param headers names and values in turn */
  answer(status: number, message: string, headers: readonly string[]): void {
    const { response, request } = this
    this.#status = status
    response.sendDate = false
    // What is still to come of the request would stand before the next one.
    if (!request.complete && this.#head?.hasBody !== false) response.shouldKeepAlive = false
    response.writeHead(status, message, [...headers])
    // Alone where nothing else is there yet, as before an event that is far away; else with the beginning of the body.
    setImmediate(() => {
      if (!response.destroyed && !response.writableEnded) response.flushHeaders()
    })
  }

  /** The answer was 101, and the stream carries something else from now on. */
  switched(): void {
    this.#isSwitched = true
    this.#status = 101
  }

  /** Says why there is no answer of the service’s; cuts an answer that has begun, so that it cannot be taken for a whole one. */
  fail(thrown: unknown): void {
    if (this.response.destroyed || this.response.writableEnded) return
    const error = failureOf(thrown)
    this.#error ??= error
    if (this.isAnswered || this.#isSwitched) {
      this.stream.destroy(error)
      return
    }
    const told = problemOf(error, this.#head?.requestId ?? '')
    try {
      this.answer(told.status, told.title.normalize('NFKD').replace(/[^\x20-\x7e]/g, ''), [
        PROBLEM_HEADER,
        encodeProblem(told),
        'Cache-Control',
        'no-store',
        'Content-Length',
        '0',
      ])
      this.response.end()
    } catch (cause) {
      this.stream.destroy(new PosternError('STREAM_CUT', 'no answer could be given', { cause }))
    }
  }

  #over(): void {
    const { response, request, stream } = this
    this.#rule?.signal.removeEventListener('abort', this.#onRule)
    const isWhole = this.#isSwitched ? stream.errored === null && stream.writableFinished : response.writableFinished
    const error = this.#error ?? (isWhole ? undefined : new PosternError('STREAM_CUT', 'the edge gave the request up'))
    this.#left.abort(error ?? OVER)
    this.side.answered({
      rule: this.#rule,
      requestId: this.#head?.requestId ?? '',
      ...(this.#status !== undefined && { status: this.#status }),
      ...(error && { error }),
      duration: performance.now() - this.#began,
    })
    if (!isWhole || request.complete || stream.destroyed) return
    const timer = setTimeout(() => stream.destroy(), LINGER)
    stream.once('close', () => clearTimeout(timer))
  }
}
