import { readFile } from 'node:fs/promises'
import { Agent, type ClientRequest, type ClientRequestArgs } from 'node:http'
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { type Call, PosternError, type RequestRule } from '@postern/interface'
import { cut } from '@postern/pump'
import { failure, failureOf } from './failures.ts'
import { type RuleOptions, ruleOptions } from './rule.ts'
import { asSocket } from './socket.ts'

/** Idle connections to one service that are kept. */
const MOST_IDLE = 64
/** Shorter than services keep theirs (Node.js 5 s, Apache 5 s), so that few requests meet one that is about to be closed. */
const IDLE = 4_000
/** An HTTP/2 session without a stream; services keep theirs for minutes. */
const IDLE_HTTP2 = 60_000
/** Bytes of one stream, and of a session, that may be on their way to here. */
const WINDOW = 1024 * 1024

/** What a visitor said twice over HTTP/1.1 is the service’s to judge. Node’s types know it for servers only. */
const LENIENT = { strictSingleValueFields: false }

interface Asking extends ClientRequestArgs {
  /** Ends the dial when nobody waits for it any more. */
  readonly left?: AbortSignal
}

/** The connections of one ingress rule to its service. All end with the rule. */
export class Pool implements Disposable {
  readonly agent: ServiceAgent
  readonly service: URL
  readonly #rule: RequestRule
  readonly #options: RuleOptions
  readonly #over = new AbortController()
  #session: Promise<ClientHttp2Session> | undefined

  constructor(rule: RequestRule, service: URL) {
    this.#rule = rule
    this.service = service
    this.#options = ruleOptions(rule.options)
    this.agent = new ServiceAgent(left => this.#connect(['http/1.1'], left))
  }

  /** The one HTTP/2 session, made where there is none. @returns whether it was there before */
  async session(call: Call): Promise<{ readonly session: ClientHttp2Session; readonly isReused: boolean }> {
    const known = await this.#session?.catch(() => undefined)
    if (known && !known.closed && !known.destroyed) return { session: known, isReused: true }
    const opening = this.#open(call)
    this.#session = opening
    return { session: await opening, isReused: false }
  }

  [Symbol.dispose](): void {
    this.#over.abort(failure('ORIGIN_UNREACHABLE', 'the ingress rule is gone'))
    this.agent.destroy()
    this.#session?.then(
      session => session.destroy(),
      () => {},
    )
  }

  async #open({ signal }: Call): Promise<ClientHttp2Session> {
    const socket = await this.#connect(['h2'], signal)
    const session = connectHttp2(this.service.protocol === 'https:' ? this.service : 'http://service', {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: WINDOW },
      ...LENIENT,
    })
    session.on('error', () => {}) // told to each of its streams
    session.once('connect', () => session.setLocalWindowSize(WINDOW))
    session.setTimeout(IDLE_HTTP2, () => session.close())
    session.once('goaway', () => session.close())
    return session
  }

  /** @throws PosternError ORIGIN_* */
  async #connect(alpn: readonly string[], left: AbortSignal | undefined): Promise<Duplex> {
    const { connectTimeout } = this.#options
    const late = AbortSignal.timeout(connectTimeout)
    const signal = AbortSignal.any([late, this.#over.signal, this.#rule.signal, ...(left ? [left] : [])])
    try {
      const dialled = asSocket(await this.#rule.dial({ signal, log: SILENT }))
      dialled.on('error', () => {}) // it may fail between two requests
      dialled.allowHalfOpen = false // a service that says goodbye between two requests is gone
      if (this.service.protocol !== 'https:') return dialled
      return await this.#secure(dialled, alpn, signal)
    } catch (thrown) {
      if (late.aborted && !PosternError.is(thrown))
        throw failure('ORIGIN_TIMEOUT', `the service did not answer within ${connectTimeout / 1000} s`, thrown)
      throw failureOf(thrown)
    }
  }

  async #secure(dialled: Duplex, alpn: readonly string[], signal: AbortSignal): Promise<TLSSocket> {
    const { caFile, serverName, noTlsVerify, http2 } = this.#options
    const host = this.service.hostname.replace(/^\[|\]$/g, '')
    const name = serverName ?? host
    const ca = caFile === undefined ? undefined : await readFile(caFile).catch(cause => cut(dialled, cause))
    if (caFile !== undefined && !ca) throw failure('ORIGIN_UNTRUSTED', 'the caFile of the ingress rule cannot be read')
    const socket = connectTls({
      socket: dialled,
      host: name,
      servername: isIP(name) ? '' : name,
      ALPNProtocols: [...alpn],
      minVersion: 'TLSv1.2',
      rejectUnauthorized: !noTlsVerify, // said here, so that no environment variable says otherwise
      ...(ca && { ca }),
    })
    try {
      await secured(socket, signal)
      if (http2 && socket.alpnProtocol !== 'h2') throw failure('ORIGIN_FAILED', 'the service does not speak HTTP/2')
    } catch (thrown) {
      socket.destroy()
      cut(dialled)
      throw thrown
    }
    return socket
  }

  get isSecure(): boolean {
    return this.service.protocol === 'https:'
  }
}

function secured(socket: TLSSocket, signal: AbortSignal): Promise<void> {
  socket.on('error', () => {})
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off('secureConnect', onSecure).off('error', onError).off('close', onClose)
    }
    const onSecure = (): void => {
      settle()
      resolve()
    }
    const onError = (error: Error): void => {
      settle()
      reject(error)
    }
    const onClose = (): void => onError(failure('ORIGIN_UNTRUSTED', 'the service closed the connection during TLS'))
    const onAbort = (): void => onError(signal.reason)
    socket.on('secureConnect', onSecure).on('error', onError).on('close', onClose)
    signal.addEventListener('abort', onAbort)
    if (signal.aborted) onAbort()
  })
}

/** Keeps connections, and no longer than they are good for. */
export class ServiceAgent extends Agent {
  readonly #dial: (left: AbortSignal | undefined) => Promise<Duplex>

  constructor(dial: (left: AbortSignal | undefined) => Promise<Duplex>) {
    super({ keepAlive: true, maxFreeSockets: MOST_IDLE, timeout: IDLE, scheduling: 'lifo' })
    this.#dial = dial
  }

  override createConnection({ left }: Asking, done: (error: Error | null, stream: Duplex) => void): undefined {
    const begin = (stream: Duplex): void => {
      const isEarly = stream.readableLength > 0
      if (isEarly) cut(stream)
      done(isEarly ? failure('ORIGIN_FAILED', 'the service answered before it was asked') : null, stream)
    }
    this.#dial(left).then(begin, error => done(error, undefined as never))
  }

  override getName(): string {
    return 'service'
  }

  /** What a service says unasked would be taken for the answer to the next request, which is somebody else’s. */
  override keepSocketAlive(socket: Duplex): boolean {
    const isKept: unknown = super.keepSocketAlive(socket) // false, whatever its type says
    if (isKept === false || socket.readableLength > 0 || socket.readableEnded) return false
    socket.on('data', unasked)
    socket.once('end', unasked)
    return true
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    socket.off('data', unasked).off('end', unasked)
    super.reuseSocket(socket, request)
  }

  /** Idle connections are let go, so that the next request gets a new one. */
  forget(): void {
    for (const list of Object.values(this.freeSockets)) for (const socket of [...(list ?? [])]) socket.destroy()
  }
}

function unasked(this: Duplex): void {
  cut(this)
}

const SILENT: Call['log'] = { debug() {}, info() {}, warn() {}, error() {} }
