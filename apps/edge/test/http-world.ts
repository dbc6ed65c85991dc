import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2'
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Logger } from '@postern/interface'
import { cut, pump } from '@postern/pump'
import type { OfferedTunnelStream } from '@postern/tunnel'
import type { EdgeConfig } from '../src/index.ts'
import { Sessions } from '../src/sign-in/sessions.ts'
import { dial } from './visitor.ts'
import { quiet, startWorld, type World } from './world.ts'

/** An origin whose every connection and byte is counted: none of either is what a deny must leave. */
export interface Origin extends AsyncDisposable {
  readonly server: Server
  readonly port: number
  readonly tap: { connections: number; closed: number; bytes: number }
}

export async function startOrigin(listener: RequestListener): Promise<Origin> {
  const server = createServer({ keepAliveTimeout: 60_000 }, listener)
  const tap = { connections: 0, closed: 0, bytes: 0 }
  server.on('connection', (socket: Socket) => {
    tap.connections += 1
    // Of the handle: the parser takes the bytes past the stream's own events.
    socket.once('close', () => {
      tap.closed += 1
      tap.bytes += socket.bytesRead
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    server,
    port: (server.address() as AddressInfo).port,
    tap,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

/** A daemon's side of a stream that only carries bytes: each stream is one connection to the origin. */
export function carryTo(port: number): (offered: OfferedTunnelStream) => void {
  return offered => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.once('error', () => {})
    socket.once('connect', () => {
      const stream = offered.accept()
      if (offered.gone.aborted) cut(socket)
      else void pump(stream, socket)
    })
  }
}

export interface HttpWorld extends AsyncDisposable {
  readonly world: World
  readonly origin: Origin
  readonly caFile: string
  readonly host: string
  /** The credential that is let in. */
  readonly credential: Record<string, string>
  /** `https://app.localhost:PORT` */
  readonly url: string
  request(options: RequestOptions & { body?: string | Buffer }): Promise<Got>
  http2(host?: string): ClientHttp2Session
  raw(text: string | Buffer, host?: string): Promise<string>
}

export interface Got {
  readonly status: number
  readonly message: string
  readonly headers: IncomingMessage['headers']
  readonly rawHeaders: string[]
  readonly trailers: IncomingMessage['trailers']
  readonly body: string
  readonly code: string | undefined
  readonly information: { statusCode: number; headers: Record<string, unknown> }[]
}

/** A person with a browser, let in by the application's rules; the cookie is what the browser sends. */
export async function person({ world, host }: HttpWorld): Promise<{
  readonly headers: Record<string, string>
  leave(): Promise<unknown>
}> {
  const { store, administration } = world.edge
  const subject = randomBytes(8).toString('hex')
  const include = [{ serviceToken: world.token.id }, { email: `${subject}@example.com` }]
  await administration.call('policy.put', {
    params: { hostname: host },
    body: { rules: [{ name: 'app', action: 'allow', include }] },
  })
  await using sessions = new Sessions(store, quiet)
  const who = { issuer: 'https://idp.example.com', subject, email: `${subject}@example.com`, claims: {} }
  const { session } = await sessions.open(who, { via: 'browser', remoteAddress: '127.0.0.1', requestId: 'r' })
  const application = store.snapshot.applications.get(host)
  if (application === undefined) throw new Error('no application')
  const cookie = await sessions.admit(session, application, { actor: 'test' })
  return {
    headers: { cookie: `__Host-postern-session=${cookie}` },
    async leave() {
      await using ending = new Sessions(store, quiet)
      return ending.revoke({ session: session.id }, { actor: 'test' })
    },
  }
}

export interface HttpWorldOptions {
  readonly listener?: RequestListener
  readonly options?: {
    readonly preflight?: boolean
    readonly upgradeOrigins?: string[]
    readonly authorizationHeader?: boolean
  }
  readonly config?: Partial<EdgeConfig>
  readonly log?: Logger
  readonly onStream?: (offered: OfferedTunnelStream) => void
  readonly protocols?: readonly string[]
}

/** An edge with `app.localhost`, an HTTP application, a daemon that carries it, and a counted origin. */
export async function startHttpWorld({
  listener = (request, response) => {
    request.resume().once('end', () => response.end(`${request.method} ${request.url}`))
  },
  options,
  config = {},
  log = quiet,
  onStream,
  protocols = ['http'],
}: HttpWorldOptions = {}): Promise<HttpWorld> {
  const origin = await startOrigin(listener)
  const world = await startWorld(config, [], 0, log)
  const host = 'app.localhost'
  await world.edge.administration.call('application.create', {
    body: {
      hostname: host,
      tunnel: 'home',
      protocols: [...protocols],
      rules: [{ name: 'app', action: 'allow', include: [{ serviceToken: world.token.id }] }],
      ...(options && { options }),
    },
  })
  await world.daemon(onStream ?? carryTo(origin.port))
  const caFile = join(world.folder, 'ca', 'ca.pem')
  const ca = readFileSync(world.edge.caFile ?? caFile, 'utf8')
  const { port } = world.edge
  const agent = new Agent({ keepAlive: true, ca })
  const sessions: ClientHttp2Session[] = []
  const credential = world.headers()
  return {
    world,
    origin,
    caFile: world.edge.caFile ?? caFile,
    host,
    credential,
    url: `https://${host}:${port}`,
    request: given =>
      ask({ agent, ca, host: '127.0.0.1', servername: host, port, ...given }, `${host}:${port}`, credential),
    http2(name = host) {
      const session = connectHttp2(`https://${name}:${port}`, {
        ca,
        servername: name,
        lookup: (
          _host: string,
          _options: unknown,
          done: (error: null, address: { address: string; family: number }[]) => void,
        ) => done(null, [{ address: '127.0.0.1', family: 4 }]),
      } as never)
      session.on('error', () => {})
      sessions.push(session)
      return session
    },
    async raw(text, name = host) {
      const socket = await dial(port, world.edge.caFile ?? caFile, name)
      const chunks: Buffer[] = []
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      socket.write(text as string, 'latin1')
      await new Promise<void>(resolve => socket.once('close', () => resolve()))
      return Buffer.concat(chunks).toString('latin1')
    },
    async [Symbol.asyncDispose]() {
      agent.destroy()
      for (const session of sessions) session.destroy()
      await world[Symbol.asyncDispose]()
      await origin[Symbol.asyncDispose]()
    },
  }
}

function ask(
  { body, headers, ...options }: RequestOptions & { body?: string | Buffer },
  authority: string,
  credential: Record<string, string>,
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const information: Got['information'] = []
    const request = httpsRequest({ ...options, headers: { host: authority, ...credential, ...(headers as object) } })
    request.on('information', ({ statusCode, headers: told }) => information.push({ statusCode, headers: told }))
    request.on('error', reject)
    request.on('response', response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        const { statusCode: status = 0, statusMessage: message = '', headers: got, rawHeaders, trailers } = response
        const isProblem = got['content-type'] === 'application/problem+json' && text !== ''
        const code = isProblem ? (JSON.parse(text) as { code: string }).code : undefined
        resolve({ status, message, headers: got, rawHeaders, trailers, body: text, code, information })
      })
    })
    request.end(body)
  })
}
