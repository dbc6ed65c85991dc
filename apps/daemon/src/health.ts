import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, BlockList, isIP, type Socket } from 'node:net'
import { isLoopbackName } from '@postern/client'
import { type Call, type Logger, PosternError } from '@postern/interface'

/** Ample for a scrape and a probe. */
const MOST_CONNECTIONS = 64
const HEAD_BYTES = 8 * 1024
/** Milliseconds for a request’s head, and for all of it. */
const REQUEST_TIME = 5_000
const CHECK_INTERVAL = 1_000
/** Milliseconds for a connection in all: who asks and does not read the answer must not keep one of the places. */
const CONNECTION_TIME = 10_000

export interface HealthOptions {
  /** `127.0.0.1:20241`, `[::1]:20241` or `localhost:20241`; port 0 is any free one. */
  readonly where: string
  readonly connectorId: string
  /** Connections to the edge that take streams now. */
  readonly connections: () => number
  readonly render: () => Promise<Page>
}

export interface Health extends AsyncDisposable {
  /** As it is listened at: `127.0.0.1:20241`. */
  readonly address: string
}

/**
 * Answers `/healthz` (the process runs), `/ready` (a connection to the edge takes streams) and `/metrics` in plain HTTP, until
 * disposed. Nothing can be changed here, and nothing secret is shown; still it is for this machine, or a network of its own.
 *
 * @throws PosternError OPTION_INVALID, LISTEN_FAILED; `call.signal.reason`
 */
export async function serveHealth(options: HealthOptions, call: Call): Promise<Health> {
  call.signal.throwIfAborted()
  const at = readHealthAddress(options.where)
  const local = isLoopbackAddress(at.host)
  const server = createServer(
    {
      maxHeaderSize: HEAD_BYTES,
      headersTimeout: REQUEST_TIME,
      requestTimeout: REQUEST_TIME,
      connectionsCheckingInterval: CHECK_INTERVAL,
    },
    (request, response) => void answer(request, response, { ...options, local, log: call.log }),
  )
  server.maxConnections = MOST_CONNECTIONS
  server.on('connection', endInTime)
  const address = await listening(server, at, options.where)
  server.on('error', error => call.log.warn('metrics: a connection was not taken', { cause: error.message }))
  if (!local)
    call.log.warn(`${address} can be reached from other machines, and tells them the hostnames that are served here`)
  return {
    address,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
}

function endInTime(socket: Socket): void {
  const timer = setTimeout(() => socket.destroy(), CONNECTION_TIME)
  socket.once('close', () => clearTimeout(timer))
}

/** @throws PosternError OPTION_INVALID */
export function readHealthAddress(where: string): { readonly host: string; readonly port: number } {
  const [, v6, name, digits] = /^(?:\[([\da-f:.]{2,45})\]|([\da-z.-]{1,253})):(\d{1,5})$/i.exec(where) ?? []
  const host = v6 ?? (name !== undefined && isLoopbackName(name) ? '127.0.0.1' : name)
  const port = Number(digits)
  if (host === undefined || isIP(host) !== (v6 === undefined ? 4 : 6) || port > 65_535)
    throw new PosternError(
      'OPTION_INVALID',
      `--metrics is an IP address and a port such as 127.0.0.1:20241, not ${JSON.stringify(where.slice(0, 100))}`,
    )
  return { host, port }
}

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8)
LOOPBACK.addAddress('::1', 'ipv6')

function isLoopbackAddress(host: string): boolean {
  return LOOPBACK.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4')
}

/** @throws PosternError LISTEN_FAILED */
function listening(server: Server, at: { host: string; port: number }, where: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EADDRINUSE' ? 'another program listens there' : cause.code
      reject(new PosternError('LISTEN_FAILED', `--metrics: cannot listen at ${where}: ${why}`, { cause }))
    }
    server.once('error', failed).listen(at, () => {
      server.off('error', failed)
      const { address, port, family } = server.address() as AddressInfo
      resolve(`${family === 'IPv6' ? `[${address}]` : address}:${port}`)
    })
  })
}

interface Answering extends HealthOptions {
  /** Only this machine can connect. Then a strange name in Host is a page of somebody else’s, in a browser here. */
  readonly local: boolean
  readonly log: Logger
}

async function answer(request: IncomingMessage, response: ServerResponse, asked: Answering): Promise<void> {
  const path = (request.url ?? '').split('?', 1)[0] ?? ''
  const page = Object.hasOwn(PAGES, path) ? PAGES[path] : undefined
  if (asked.local && !isOwnName(request.headers.host))
    return say(response, 421, text('ask by address, or as localhost\n'))
  if (!page) return say(response, 404, text('there are /healthz, /ready and /metrics\n'))
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD')
    return say(response, 405, text('GET or HEAD\n'))
  }
  try {
    const { status, ...content } = await page(asked)
    say(response, status, content)
  } catch (error) {
    asked.log.error('metrics cannot be shown', { cause: PosternError.from(error).message })
    say(response, 500, text('it is in the log\n'))
  }
}

/** What is sent. */
export interface Page {
  readonly type: string
  readonly text: string
}

const PAGES: Readonly<Record<string, (asked: Answering) => Promise<Page & { readonly status: number }>>> = {
  '/healthz': async () => ({ status: 200, ...text('ok\n') }),
  // The members are those that tools already read from another connector.
  '/ready': async ({ connections, connectorId }) => {
    const readyConnections = connections()
    const status = readyConnections > 0 ? 200 : 503
    return {
      status,
      type: 'application/json',
      text: `${JSON.stringify({ status, readyConnections, connectorId })}\n`,
    }
  },
  '/metrics': async ({ render }) => ({ status: 200, ...(await render()) }),
}

function text(words: string): Page {
  return { type: 'text/plain; charset=utf-8', text: words }
}

/** One request a connection: no body of one can pass for the next, and nobody idles here. */
function say(response: ServerResponse, status: number, { type, text }: Page): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    connection: 'close',
  })
  response.end(text)
}

/** A page elsewhere can point a name of its own at this machine (DNS rebinding), but neither an address nor localhost. */
function isOwnName(host: string | undefined): boolean {
  const [, v6, name = ''] = /^(?:\[([\da-f:.]+)\]|([^:]*))(?::\d{1,5})?$/i.exec(host ?? '') ?? []
  return v6 === undefined ? isIP(name) === 4 || isLoopbackName(name) : isIP(v6) === 6
}
