import { Agent, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createServer, type Socket } from 'node:net'
import { type Site, startSite, startWebOrigin, type WebOrigin } from './site.ts'

/** A site whose applications, `web`, `db` and `ssh`, are let in by certificates; and what stands behind them. */
export interface CertificateSite extends AsyncDisposable {
  readonly site: Site
  readonly web: WebOrigin
  /** Connections that the TCP services saw, and bytes. */
  readonly tcp: { connections: number; bytes: number }
  /** `--id` and `--secret-file` words of a service token, and its headers. */
  readonly token: { readonly id: string; readonly headers: Record<string, string> }
  importCa(name: string, certificates: string, more?: object): Promise<void>
  rules(hostname: string, ...rules: object[]): Promise<void>
  visit(hostname: string, visit?: Visit): Promise<Visited>
}

export interface Visit {
  /** PEM: the leaf, then whatever is sent behind it. */
  readonly pair?: { readonly cert: string; readonly key: string } | undefined
  readonly headers?: Record<string, string>
  readonly path?: string
}

export interface Visited {
  readonly status: number
  readonly code: string | undefined
  readonly body: string
}

export async function startCertificateSite(): Promise<CertificateSite> {
  await using owned = new AsyncDisposableStack()
  const web = owned.use(
    await startWebOrigin((incoming, response) => response.end(String(incoming.headers['client-cert'] ?? 'nobody'))),
  )
  const tcp = { connections: 0, bytes: 0 }
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    tcp.connections += 1
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    socket.write('SSH-2.0-hello\r\n')
    socket.on('data', bytes => {
      tcp.bytes += bytes.length
      socket.write(bytes)
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  owned.defer(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise(resolve => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const nobody = [{ name: 'nobody', action: 'allow' as const, include: [] }]
  const site = owned.use(
    await startSite({
      'web.localhost': { protocols: ['http'], service: web.service, rules: nobody },
      'plain.localhost': { protocols: ['http'], service: web.service, rules: nobody },
      'db.localhost': { protocols: ['tcp'], service: `tcp://127.0.0.1:${port}`, rules: nobody },
      'ssh.localhost': { protocols: ['ssh'], service: `ssh://127.0.0.1:${port}`, rules: nobody },
    }),
  )
  const { administration } = site.edge
  const { id, secret } = await administration.call('service-token.create', { body: { name: 'ci' } })
  const parts = owned.move()
  return {
    site,
    web,
    tcp,
    token: { id, headers: { 'postern-client-id': id, 'postern-client-secret': secret } },
    importCa: async (name, certificates, more = {}) =>
      void (await administration.call('ca.import', { body: { name, certificates, ...more } } as never)),
    rules: async (hostname, ...rules) =>
      void (await administration.call('policy.put', { params: { hostname }, body: { rules } } as never)),
    visit: (hostname, visit = {}) => visitOnce(site.edge.port, hostname, visit),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** Over a connection of its own. What breaks in the handshake is status 0. */
function visitOnce(port: number, hostname: string, { pair, headers = {}, path = '/' }: Visit): Promise<Visited> {
  return new Promise(resolve => {
    const agent = new Agent({ maxCachedSessions: 0 })
    const place = { agent, host: '127.0.0.1', servername: hostname, port, path, rejectUnauthorized: false }
    const asked = request({ ...place, ...pair, headers: { host: `${hostname}:${port}`, ...headers } })
    asked.setTimeout(20_000, () => asked.destroy(new Error('no answer')))
    asked.on('error', error => resolve({ status: 0, code: (error as NodeJS.ErrnoException).code, body: '' }))
    asked.on('response', answer => {
      let body = ''
      answer.setEncoding('utf8').on('data', more => (body += more))
      answer.on('end', () => {
        const isProblem = answer.headers['content-type'] === 'application/problem+json'
        resolve({ status: answer.statusCode ?? 0, code: isProblem ? JSON.parse(body).code : undefined, body })
      })
    })
    asked.end()
  })
}
