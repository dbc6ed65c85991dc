import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { Duplex } from 'node:stream'
import { connectEdge, type EdgeAddress } from '@postern/client/connect'
import { certificateAmong } from '@postern/client/credentials'
import { type Call, type Credential, PosternError } from '@postern/interface'
import type { Credentials } from './credential.ts'
import { unwanted } from './local-guard.ts'
import { type Pair, type Rewriting, requestHeaders, responseHeaders } from './local-headers.ts'
import { headerPairs } from './present.ts'
import type { Presenting } from './presenting.ts'

/** Connections of local programs, and as many to the edge. */
const MOST = 256

export interface LocalProxy {
  readonly application: string
  readonly at: Credentials['at']
  readonly presenting: Presenting
  readonly call: Call
}

/** A server that asks the application whatever it is asked, with a credential. Who listens says where; who closes it ends all. */
export function createLocalProxy(proxy: LocalProxy): Server {
  const agent = new EdgeAgent(proxy)
  const server = createServer({ requestTimeout: 0, headersTimeout: 15_000 })
  server.maxConnections = MOST
  const forwarding = new Forwarding(proxy, agent, () => {
    const address = server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  })
  server.on('request', (request, response) => void forwarding.serve(request, response))
  server.on('upgrade', (request, socket, head) => void forwarding.upgrade(request, socket, head))
  server.on('clientError', (_error, socket) => socket.destroy())
  server.on('close', () => agent.destroy())
  return server
}

/** What a connection is made for besides its place: with another certificate it is another one. */
interface Showing extends RequestOptions {
  readonly showing: Credential['tls']
}

/** Connections to the edge, kept while they are of use. */
class EdgeAgent extends Agent {
  readonly #proxy: LocalProxy

  constructor(proxy: LocalProxy) {
    super({ keepAlive: true, maxSockets: MOST, maxFreeSockets: 16, timeout: 0 })
    this.#proxy = proxy
  }

  override getName(options?: Showing): string {
    return `${super.getName(options)}:${options?.showing?.cert ?? ''}`
  }

  override createConnection({ showing }: Showing, done: (error: Error | null, stream: Duplex) => void): undefined {
    this.dial(showing).then(
      stream => done(null, stream),
      error => done(error, undefined as unknown as Duplex),
    )
  }

  /** What is idle was made under other rules than now. */
  forgetIdle(): void {
    for (const sockets of Object.values(this.freeSockets)) for (const socket of sockets ?? []) socket.destroy()
  }

  dial(tls: Credential['tls']): Promise<Duplex> {
    const { at, call } = this.#proxy
    const { hostname, port } = at.edge
    const to: EdgeAddress = {
      host: hostname.replace(/^\[|\]$/g, ''),
      port: port === '' ? 443 : Number(port),
      serverName: at.hostname,
    }
    return connectEdge(to, { alpn: ['http/1.1'] }, at.trust, tls ? { tls } : {}, call)
  }
}

class Forwarding {
  readonly #proxy: LocalProxy
  readonly #agent: EdgeAgent
  readonly #port: () => number

  constructor(proxy: LocalProxy, agent: EdgeAgent, port: () => number) {
    this.#proxy = proxy
    this.#agent = agent
    this.#port = port
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refused = unwanted(request.headers, this.#port(), { method: request.method ?? '', isUpgrade: false })
    if (refused) return answer(request, response, refused.status, refused.why)
    try {
      const { presenting } = this.#proxy
      const credentials = await presenting.get()
      const first = await this.#sendAnew(request, credentials)
      const challenge = challengeIn(first)
      if (!challenge || !isEmpty(request)) return this.#relay(request, first, response)
      const others = await presenting.instead(credentials, challenge).catch(() => undefined)
      if (!others) return this.#relay(request, first, response) // the edge says why
      first.resume()
      return this.#relay(request, await this.#send(request, others), response)
    } catch (error) {
      this.#failed(request, response, error)
    }
  }

  /** Once more, over a new connection, where the edge asks for other certificates now (RFC 9110 §15.5.20). */
  async #sendAnew(request: IncomingMessage, credentials: readonly Credential[]): Promise<IncomingMessage> {
    const first = await this.#send(request, credentials)
    if (first.statusCode !== 421 || !isEmpty(request)) return first
    first.resume()
    this.#agent.forgetIdle()
    return this.#send(request, credentials)
  }

  /** One request to the edge, and the head of its answer. */
  async #send(request: IncomingMessage, credentials: readonly Credential[]): Promise<IncomingMessage> {
    const options = await this.#optionsFor(request, credentials)
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest({ ...options, agent: this.#agent })
      outgoing.on('response', resolve).on('error', reject)
      request.once('close', () => request.complete || outgoing.destroy())
      if (isEmpty(request)) outgoing.end()
      else request.pipe(outgoing)
    })
  }

  #relay(request: IncomingMessage, incoming: IncomingMessage, response: ServerResponse): void {
    response.writeHead(
      incoming.statusCode ?? 502,
      incoming.statusMessage,
      responseHeaders(incoming.rawHeaders, this.#rewriting(request)).flat(),
    )
    response.on('close', () => response.writableFinished || incoming.destroy())
    incoming.on('error', () => response.destroy()) // never an end: it would look complete
    incoming.on('end', () => {
      if (!incoming.complete) return response.destroy()
      if (incoming.rawTrailers.length > 0) response.addTrailers(Object.fromEntries(Object.entries(incoming.trailers)))
      response.end()
    })
    incoming.pipe(response, { end: false })
  }

  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy())
    const refused = unwanted(request.headers, this.#port(), { method: request.method ?? '', isUpgrade: true })
    if (refused) return end(socket, refused.status, refused.why)
    try {
      const options = await this.#optionsFor(request, await this.#proxy.presenting.get())
      const stream = await this.#agent.dial(options.showing)
      const upgrade = ['Connection', 'Upgrade', 'Upgrade', request.headers.upgrade ?? '']
      const headers = [...options.headers, ...upgrade]
      const outgoing = httpRequest({ ...options, headers, createConnection: () => stream })
      socket.on('close', () => stream.destroy())
      outgoing.on('error', () => socket.destroy())
      outgoing.on('response', answered => {
        socket.write(
          headOf(answered, responseHeaders(answered.rawHeaders, this.#rewriting(request)), ['Connection: close']),
        )
        answered.pipe(socket)
      })
      outgoing.on('upgrade', (answered, upstream, early) => {
        const more = ['Connection: Upgrade', `Upgrade: ${answered.headers.upgrade ?? ''}`]
        socket.write(headOf(answered, responseHeaders(answered.rawHeaders, this.#rewriting(request)), more))
        socket.write(early)
        upstream.write(head)
        upstream.on('error', () => socket.destroy()).on('close', () => socket.destroy())
        socket.pipe(upstream)
        upstream.pipe(socket)
      })
      outgoing.end()
    } catch (error) {
      this.#proxy.call.log.warn('a request was not answered', { cause: PosternError.from(error).message })
      end(socket, 502, PosternError.from(error).message)
    }
  }

  async #optionsFor(
    { method = 'GET', url = '/', rawHeaders, headers }: IncomingMessage,
    credentials: readonly Credential[],
  ) {
    const { application, call } = this.#proxy
    const path = url.startsWith('/') ? url : new URL(url).pathname + new URL(url).search
    const target = { method, url: new URL(path, `https://${application}`) }
    const pairs: Pair[] = [
      ['Host', application],
      ...requestHeaders(rawHeaders, this.#rewriting({ headers })),
      ...(await headerPairs(credentials, target, call)),
    ]
    return { method, path, headers: pairs.flat(), setHost: false, showing: certificateAmong(credentials) }
  }

  #rewriting({ headers }: Pick<IncomingMessage, 'headers'>): Rewriting {
    return { application: `https://${this.#proxy.application}`, local: `http://${headers.host}` }
  }

  #failed(request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
    const { call } = this.#proxy
    if (call.signal.aborted || response.headersSent) return void response.destroy()
    const error = PosternError.from(thrown, 'EDGE_UNREACHABLE')
    call.log.warn('a request was not answered', { cause: error.message, code: error.code })
    answer(request, response, 502, `${error.message} (${error.code})\n${error.next}`)
  }
}

/** The headers of a refusal of the edge's own: another one is the application's, and for the browser. */
function challengeIn({ statusCode, headers }: IncomingMessage): Record<string, string[]> | undefined {
  const challenge = headers['www-authenticate']
  return statusCode === 401 && challenge?.includes('resource_metadata=')
    ? { 'www-authenticate': [challenge] }
    : undefined
}

/** Nothing of it is sent twice where it is asked again. */
function isEmpty({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0
}

function answer(request: IncomingMessage, response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    ...(!isEmpty(request) && { connection: 'close' }),
  })
  response.end(`${text}\n`)
}

function end(socket: Duplex, status: number, text: string): void {
  socket.end(
    `HTTP/1.1 ${status} Refused\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n${text}\n`,
  )
}

function headOf(
  { statusCode, statusMessage }: IncomingMessage,
  pairs: readonly Pair[],
  more: readonly string[],
): string {
  const lines = [...pairs.map(([name, value]) => `${name}: ${value}`), ...more]
  return `HTTP/1.1 ${statusCode} ${statusMessage}\r\n${lines.join('\r\n')}\r\n\r\n`
}
