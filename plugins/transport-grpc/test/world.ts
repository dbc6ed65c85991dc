// A little edge on loopback, and gRPC as others speak it: raw streams, and grpc-js made of pipe.proto alone.
import { once } from 'node:events'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
} from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import {
  credentials,
  loadPackageDefinition,
  type ServiceClientConstructor,
  type ServiceDefinition,
} from '@grpc/grpc-js'
import { loadSync, type PackageDefinition } from '@grpc/proto-loader'
import type { Call, Dialled, DialRequest, HttpDoor, Incoming, Logger, Pipe } from '@postern/interface'
import { dial } from '../src/dial.ts'
import { mount } from '../src/mount.ts'
import { pathOf, SERVICE } from '../src/wire.ts'

const silent = (): void => {}
export const log: Logger = { debug: silent, info: silent, warn: silent, error: silent }

export function call(signal: AbortSignal = new AbortController().signal): Call {
  return { signal, log }
}

/** pipe.proto as somebody else’s library reads it. */
const PROTO = fileURLToPath(new URL('../pipe.proto', import.meta.url))
export const definition: PackageDefinition = loadSync(PROTO, { keepCase: true, defaults: false })
export const service = definition[SERVICE] as ServiceDefinition

export interface Bytes {
  readonly data?: Uint8Array
  readonly end?: boolean
}

/** A message as protobuf.js writes it, behind the prefix of gRPC. */
export function message(bytes: Bytes): Buffer {
  const body = service.Session!.requestSerialize(bytes)
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(body.length, 1)
  return Buffer.concat([prefix, body])
}

export function foreignClient(port: number): InstanceType<ServiceClientConstructor> {
  const loaded = loadPackageDefinition(definition) as unknown as {
    readonly postern: { readonly transport: { readonly v1: { readonly Pipe: ServiceClientConstructor } } }
  }
  return new loaded.postern.transport.v1.Pipe(`127.0.0.1:${port}`, credentials.createInsecure())
}

export interface Edge extends AsyncDisposable {
  readonly port: number
  /** Every accepted pipe, in order. */
  readonly pipes: Pipe[]
  dial(more?: Partial<DialRequest>): Promise<Dialled>
  /** A connection of HTTP/2, as anybody makes one. */
  raw(): Promise<ClientHttp2Session>
}

type Answer = (incoming: Incoming, keep: (pipe: Pipe) => void) => Promise<void>

export async function startEdge(
  answer: Answer = async (incoming, keep) => keep(await incoming.accept()),
): Promise<Edge> {
  const server = createServer()
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', session => sessions.add(session.on('error', silent)))
  const pipes: Pipe[] = []
  const stop = new AbortController()
  const keep = (pipe: Pipe): void => void pipes.push(pipe.on('error', silent))
  await mount(door(server), incoming => answer(incoming, keep), call(stop.signal))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    pipes,
    dial: async more => {
      const dialled = await dial(dialRequest(port, more), call())
      dialled.pipe.on('error', silent)
      return dialled
    },
    raw: async () => {
      const session = connectHttp2(`http://127.0.0.1:${port}`)
      sessions.add(session.on('error', silent))
      await once(session, 'connect')
      return session
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      for (const pipe of pipes) pipe.destroy()
      for (const session of sessions) session.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

export function dialRequest(port: number, more: Partial<DialRequest> = {}): DialRequest {
  return {
    edge: new URL(`http://localhost:${port}`),
    host: 'db.localhost',
    purpose: 'session',
    headers: {},
    credential: {},
    ca: [],
    connect: async () => {
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      return socket
    },
    ...more,
  }
}

function door(server: Http2Server): HttpDoor {
  const nobody = () => () => {}
  return {
    kind: 'http',
    teamDomain: 'edge.localhost',
    onServerName: nobody,
    onPreface: nobody,
    onUpgrade: nobody,
    onRequest: claim => {
      server.on('request', (request, response) => {
        if (!claim(request, response)) response.writeHead(418).end()
      })
      return () => {}
    },
    present: ({ method = '', url = '' }) => ({ method, url, headers: {}, remoteAddress: '' }),
  }
}

/** A call as anybody can send it. */
export function rawCall(session: ClientHttp2Session, headers: Record<string, string> = {}): ClientHttp2Stream {
  const fields = { ':method': 'POST', ':path': pathOf('session'), 'content-type': 'application/grpc', te: 'trailers' }
  return session.request({ ...fields, ...headers }).on('error', silent)
}

/** Headers and trailers of an answer, once it is over. */
export async function answerOf(stream: ClientHttp2Stream): Promise<IncomingHttpHeaders> {
  const all: IncomingHttpHeaders = {}
  stream.on('response', head => Object.assign(all, head))
  stream.on('trailers', trailers => Object.assign(all, trailers))
  stream.resume()
  if (!stream.closed) await once(stream, 'close')
  return all
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 5))
}
