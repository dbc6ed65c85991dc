// A little edge on loopback: its HTTP door, the listener under test, and a host's `connect` to it.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import type { Call, DialRequest, HttpDoor, Incoming, Logger, Pipe, Transport } from '@postern/interface'
import client from '../src/client.ts'
import edge from '../src/edge.ts'

const silent = (): void => {}
export const log: Logger = { debug: silent, info: silent, warn: silent, error: silent }

export function call(signal: AbortSignal = new AbortController().signal): Call {
  return { signal, log }
}

let certificate: { key: string; cert: string } | undefined
/** A self-signed certificate for localhost, made once. */
function selfSigned(): { key: string; cert: string } {
  if (certificate) return certificate
  const folder = mkdtempSync(join(tmpdir(), 'websocket-'))
  try {
    const files = ['-keyout', join(folder, 'key'), '-out', join(folder, 'cert')]
    const what = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-subj', '/CN=localhost', '-days', '2']
    execFileSync('openssl', ['req', '-x509', '-nodes', ...what, ...files], { stdio: 'ignore' })
    certificate = { key: readFileSync(join(folder, 'key'), 'utf8'), cert: readFileSync(join(folder, 'cert'), 'utf8') }
    return certificate
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export interface Edge extends AsyncDisposable {
  readonly port: number
  readonly transport: Transport
  /** Every accepted pipe, in order. */
  readonly pipes: Pipe[]
  /** Sockets the server holds now. */
  readonly sockets: Set<Socket>
  request(more?: Partial<DialRequest>): DialRequest
  /** Takes the claim at the door back. */
  unmount(): void
}

export type Answer = (incoming: Incoming, keep: (pipe: Pipe) => void) => Promise<void>

export const welcome: Answer = async (incoming, keep) => keep(await incoming.accept())

export async function startEdge(answer: Answer = welcome, how: { readonly tls?: boolean } = {}): Promise<Edge> {
  const server = how.tls ? createTlsServer(selfSigned()) : createServer()
  const sockets = new Set<Socket>()
  server.on(how.tls ? 'secureConnection' : 'connection', (socket: Socket) => {
    sockets.add(socket.on('error', silent))
    socket.once('close', () => sockets.delete(socket))
  })
  const pipes: Pipe[] = []
  const stop = new AbortController()
  const listener = await edge.create({}, {} as never)
  const keep = (pipe: Pipe): void => void pipes.push(pipe.on('error', silent))
  await listener.mount(door(server), incoming => answer(incoming, keep), call(stop.signal))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    pipes,
    sockets,
    transport: await quiet(client.create({}, {} as never)),
    unmount: () => stop.abort(),
    request: more => dialRequest(port, how.tls === true, more),
    async [Symbol.asyncDispose]() {
      stop.abort()
      for (const pipe of pipes) pipe.on('error', silent).destroy()
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Its pipes may be cut while no test looks. */
async function quiet(made: Transport | Promise<Transport>): Promise<Transport> {
  const transport = await made
  return {
    async dial(request, its) {
      const dialled = await transport.dial(request, its)
      dialled.pipe.on('error', silent)
      return dialled
    },
  }
}

function dialRequest(port: number, tls: boolean, more: Partial<DialRequest> = {}): DialRequest {
  return {
    edge: new URL(`${tls ? 'https' : 'http'}://localhost:${port}`),
    host: 'db.localhost',
    purpose: 'session',
    headers: {},
    credential: {},
    ca: [],
    connect: async securing => {
      const socket: Duplex = securing
        ? connectTls({
            port,
            host: '127.0.0.1',
            servername: 'localhost',
            ca: selfSigned().cert,
            ALPNProtocols: [...securing.alpn],
          })
        : connect(port, '127.0.0.1')
      await once(socket, securing ? 'secureConnect' : 'connect')
      return socket
    },
    ...more,
  }
}

type Claim = Parameters<HttpDoor['onUpgrade']>[0]

function door(server: ReturnType<typeof createServer>): HttpDoor {
  const claims = new Set<Claim>()
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    for (const claim of claims) if (claim(request, socket, head)) return
    socket.end('HTTP/1.1 418 Nobody claimed it\r\nconnection: close\r\n\r\n')
  })
  return {
    kind: 'http',
    teamDomain: 'edge.localhost',
    onServerName: () => () => {},
    onPreface: () => () => {},
    onRequest: () => () => {},
    onUpgrade(claim) {
      claims.add(claim)
      return () => claims.delete(claim)
    },
    present: request => ({
      method: request.method ?? '',
      url: request.url ?? '',
      headers: (request as IncomingMessage).headersDistinct as Record<string, string[]>,
      remoteAddress: request.socket.remoteAddress ?? '',
    }),
  }
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 5))
}

export async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Bytes whose every position is known. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8)) & 0xff
  return bytes
}
