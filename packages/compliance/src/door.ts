import http, { IncomingMessage } from 'node:http'
import http2, { type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import net, { type AddressInfo, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import tls, { TLSSocket } from 'node:tls'
import type { HttpDoor, Presented, ReceivedHeaders } from '@postern/interface'
import type { Certificate } from './certificates.ts'
import { TEAM_DOMAIN } from './hosts.ts'
import { listen, track } from './listening.ts'

export interface DoorTls extends Certificate {
  /** PEM of the CA whose client certificates are asked for. */
  readonly ca: string
}

/** An edge's public port, on loopback. Connections are offered as requests, and by how they begin to nobody. */
export interface TestDoor extends HttpDoor, AsyncDisposable {
  readonly url: URL
  /** How many claims are in place. */
  readonly claims: number
  /** Connections that are open. */
  readonly connections: number
}

/** Opens it over TLS with `tls`, else in the clear; HTTP/1.1 and HTTP/2. Disposing it destroys what is still connected. */
export async function openDoor(security?: DoorTls): Promise<TestDoor> {
  const claims = new Set<Parameters<HttpDoor['onUpgrade']>[0]>()
  const requestClaims = new Set<Parameters<HttpDoor['onRequest']>[0]>()
  const others = new Set<object>()
  const claiming = (claim: object): (() => void) => {
    const own = { claim }
    others.add(own)
    return () => void others.delete(own)
  }
  const http1 = http.createServer((_request, response) => void response.writeHead(404).end())
  http1.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    for (const claim of claims) if (claim(request, socket, head)) return
    socket.on('error', () => {})
    socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
  })
  const requests = http2.createServer((request: Http2ServerRequest, response: Http2ServerResponse) => {
    for (const claim of requestClaims) if (claim(request, response)) return
    response.writeHead(404).end()
  })
  const server = security ? secure(security, http1, requests) : plain(http1, requests)
  const sockets = track(server)
  await listen(server)
  const { port } = server.address() as AddressInfo
  return {
    kind: 'http',
    teamDomain: TEAM_DOMAIN,
    url: new URL(`${security ? 'https' : 'http'}://127.0.0.1:${port}`),
    get claims() {
      return claims.size + requestClaims.size + others.size
    },
    get connections() {
      return sockets.size
    },
    onUpgrade: claim => {
      claims.add(claim)
      return () => void claims.delete(claim)
    },
    onRequest: claim => {
      requestClaims.add(claim)
      return () => void requestClaims.delete(claim)
    },
    onServerName: claiming,
    onPreface: claiming,
    present,
    [Symbol.asyncDispose]: () => {
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      for (const socket of sockets) socket.destroy()
      return closed
    },
  }
}

function secure(security: DoorTls, http1: Server, requests: Server): Server {
  const asking = { requestCert: true, rejectUnauthorized: false, ALPNProtocols: ['h2', 'http/1.1'] }
  const server = tls.createServer({ ...security, ...asking })
  server.on('tlsClientError', () => {})
  server.on('secureConnection', socket => {
    hand(socket, socket.alpnProtocol === 'h2' ? requests : http1)
  })
  return server
}

/** Without TLS the first bytes say which HTTP it is: no method begins as the preface of HTTP/2 does. */
function plain(http1: Server, requests: Server): Server {
  return net.createServer({ noDelay: true }, socket => {
    socket.on('error', () => {})
    const left = () => void socket.destroy()
    const look = () => {
      const first: Buffer | null = socket.read(3)
      if (first === null) return void socket.once('readable', look)
      socket.off('end', left).unshift(first)
      const isHttp2 = first.equals(Buffer.from('PRI'))
      socket.allowHalfOpen = !isHttp2
      hand(socket, isHttp2 ? requests : http1)
    }
    socket.once('end', left).once('readable', look)
  })
}

function hand(socket: Socket, server: Server): void {
  server.emit('connection', socket)
}

function present(request: IncomingMessage | Http2ServerRequest): Presented {
  const socket = request instanceof IncomingMessage ? request.socket : request.stream.session?.socket
  const leaf = socket instanceof TLSSocket && socket.authorized ? socket.getPeerX509Certificate() : undefined
  return {
    method: request.method ?? '',
    url: request.url ?? '',
    headers:
      request instanceof IncomingMessage ? ({ ...request.headersDistinct } as ReceivedHeaders) : headersOf(request),
    remoteAddress: socket?.remoteAddress ?? '',
    ...(leaf && { peerCertificate: new Uint8Array(leaf.raw) }),
  }
}

/** As the edge has them: every value of each, and :authority as the Host that it is. */
function headersOf({ rawHeaders }: Http2ServerRequest): ReceivedHeaders {
  const headers: Record<string, string[]> = {}
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const [sent = '', value = ''] = rawHeaders.slice(at, at + 2)
    const name = sent === ':authority' ? 'host' : sent
    if (!name.startsWith(':')) headers[name] = [...(headers[name] ?? []), value]
  }
  return headers
}
