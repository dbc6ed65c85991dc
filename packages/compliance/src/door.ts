import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { HttpDoor, Presented } from '@postern/interface'
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

/** Opens it over TLS with `tls`, else in the clear. Disposing it destroys what is still connected. */
export async function openDoor(tls?: DoorTls): Promise<TestDoor> {
  const claims = new Set<Parameters<HttpDoor['onUpgrade']>[0]>()
  const others = new Set<object>()
  const claiming = (claim: object): (() => void) => {
    const own = { claim }
    others.add(own)
    return () => void others.delete(own)
  }
  const answer: http.RequestListener = (_request, response) => void response.writeHead(404).end()
  const server = tls
    ? https.createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, answer)
    : http.createServer(answer)
  const sockets = track(server)
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    for (const claim of claims) if (claim(request, socket, head)) return
    socket.on('error', () => {})
    socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
  })
  await listen(server)
  const { port } = server.address() as AddressInfo
  return {
    kind: 'http',
    teamDomain: TEAM_DOMAIN,
    url: new URL(`${tls ? 'https' : 'http'}://127.0.0.1:${port}`),
    get claims() {
      return claims.size + others.size
    },
    get connections() {
      return sockets.size
    },
    onUpgrade: claim => {
      claims.add(claim)
      return () => void claims.delete(claim)
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

function present(request: IncomingMessage): Presented {
  const { socket } = request
  const leaf = socket instanceof TLSSocket && socket.authorized ? socket.getPeerX509Certificate() : undefined
  return {
    method: request.method ?? '',
    url: request.url ?? '',
    headers: { ...request.headersDistinct } as Presented['headers'],
    remoteAddress: socket.remoteAddress ?? '',
    ...(leaf && { peerCertificate: new Uint8Array(leaf.raw) }),
  }
}
