// The reference transport: as small as the contract lets it be, over an HTTP upgrade of its own.
import http, { type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  type Call,
  type Dialled,
  type DialRequest,
  definePlugin,
  type HttpDoor,
  type Incoming,
  type PipePurpose,
  type Plugin,
  PosternError,
  problem,
  type ReceivedHeaders,
  readProblem,
  type SentHeaders,
  type Transport,
  type TransportListener,
} from '@postern/interface'
import { FramedPipe } from './framed-pipe.ts'

const UPGRADE = 'postern-reference'
const LONGEST_BODY = 64 * 1024

export interface ReferenceTransport {
  readonly client: Plugin<'transport', 'client', Record<never, never>>
  readonly edge: Plugin<'transport', 'edge', Record<never, never>>
}

/** The parts can be replaced by worse ones, to see that the kit notices. */
export interface Parts {
  readonly Pipe: typeof FramedPipe
  readonly wrapClient: (transport: Transport) => Transport
  readonly wrapEdge: (listener: TransportListener) => TransportListener
}

export function referenceTransport(parts: Partial<Parts> = {}): ReferenceTransport {
  const { Pipe = FramedPipe, wrapClient = it => it, wrapEdge = it => it } = parts
  return {
    client: definePlugin({
      kind: 'transport',
      side: 'client',
      name: 'reference',
      options: {},
      create: () => wrapClient({ dial: (request, call) => dial(request, call, Pipe) }),
    }),
    edge: definePlugin({
      kind: 'transport',
      side: 'edge',
      name: 'reference',
      options: {},
      create: () => wrapEdge({ door: 'http', mount: async (...all) => mount(...all, Pipe) }),
    }),
  }
}

async function dial(request: DialRequest, call: Call, Pipe: typeof FramedPipe): Promise<Dialled> {
  call.signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  aborted.promise.catch(() => {})
  const abort = (): void => aborted.reject(call.signal.reason)
  call.signal.addEventListener('abort', abort, { once: true })
  let connection: Promise<Duplex> | undefined
  try {
    const url = new URL(`${request.edge.protocol}//${request.host}/`)
    const { headers } = request.credential
    const own = typeof headers === 'function' ? await headers({ method: 'GET', url }, call) : headers
    const securing = request.edge.protocol === 'https:' ? { alpn: ['http/1.1'] } : undefined
    connection = request.connect(securing, call)
    const socket = (await Promise.race([connection, aborted.promise])) as Socket
    const sent = { ...request.headers, ...own, 'postern-purpose': request.purpose, host: request.host }
    return await Promise.race([shakeHands(socket, sent, Pipe), aborted.promise])
  } catch (error) {
    void connection?.then(
      socket => socket.on('error', () => {}).destroy(),
      () => {},
    )
    throw error
  } finally {
    call.signal.removeEventListener('abort', abort)
  }
}

function shakeHands(socket: Socket, headers: SentHeaders, Pipe: typeof FramedPipe): Promise<Dialled> {
  return new Promise((resolve, reject) => {
    const strange = (): PosternError => new PosternError('EDGE_PROTOCOL', 'what answered is not an edge')
    const all = { ...headers, connection: 'Upgrade', upgrade: UPGRADE } as http.OutgoingHttpHeaders
    const request = http.request({ createConnection: () => socket, path: '/', headers: all })
    request.on('error', cause => reject(new PosternError('EDGE_PROTOCOL', 'the answer cannot be read', { cause })))
    request.on('upgrade', (response, upgraded, head) => {
      if (response.headers.upgrade !== UPGRADE) return reject(strange())
      resolve({ pipe: new Pipe(upgraded as Socket, head), answer: received(response) })
    })
    request.on('response', response => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (text: string) => {
        body += text
        if (body.length > LONGEST_BODY) reject(strange())
      })
      response.on('error', () => reject(strange()))
      response.on('end', () => {
        const told = readProblem(parsed(body))
        const refusal = { status: response.statusCode ?? 0, headers: received(response) }
        reject(told ? PosternError.fromProblem(told, { refusal }) : strange())
      })
    })
    request.end()
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function received(message: IncomingMessage): ReceivedHeaders {
  return { ...message.headersDistinct } as ReceivedHeaders
}

function mount(
  door: HttpDoor,
  accept: (incoming: Incoming) => Promise<void>,
  call: Call,
  Pipe: typeof FramedPipe,
): void {
  call.signal.throwIfAborted()
  const release = door.onUpgrade((request, socket, head) => {
    if (request.headers.upgrade !== UPGRADE) return false
    const incoming = arrival(door, request, socket as Socket, head, Pipe)
    accept(incoming).catch(() => incoming.reject(problem('INTERNAL', 'none')))
    return true
  })
  call.signal.addEventListener('abort', release, { once: true })
}

function arrival(
  door: HttpDoor,
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
  Pipe: typeof FramedPipe,
): Incoming {
  let answered = false
  const left = (): void => {
    if (!answered) socket.destroy()
  }
  socket.on('error', left).on('end', left)
  // Nothing is expected before the answer, but only a socket that is read tells that its peer has left.
  const early: Buffer[] = [head]
  const keep = (chunk: Buffer): void => void early.push(chunk)
  socket.on('data', keep)
  return {
    purpose: request.headers['postern-purpose'] as PipePurpose,
    host: request.headers.host ?? '',
    presented: door.present(request),
    reject: async (refusal, headers = {}) => {
      answered = true
      const body = JSON.stringify(refusal)
      socket.end(
        lines(`${refusal.status} Refused`, { ...headers, 'content-length': String(Buffer.byteLength(body)) }) + body,
      )
    },
    accept: async (answer = {}) => {
      if (socket.destroyed) throw new PosternError('STREAM_CUT', 'the client has left')
      answered = true
      socket.off('data', keep)
      socket.write(lines('101 Switching Protocols', { connection: 'Upgrade', upgrade: UPGRADE, ...answer }))
      return new Pipe(socket, Buffer.concat(early))
    },
  }
}

function lines(status: string, headers: SentHeaders): string {
  const fields = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map(value => `${name}: ${value}\r\n`),
  )
  return `HTTP/1.1 ${status}\r\n${fields.join('')}\r\n`
}
