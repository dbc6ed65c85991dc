import { chmod, lstat, unlink } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import type { Duplex } from 'node:stream'
import { type Call, type Logger, PosternError } from '@postern/interface'
import { ensurePrivateFolder } from '@postern/store'
import type { EdgeConfig } from '../config.ts'
import { answerProblem } from '../front/answer.ts'
import { receivedHeaders } from '../front/head.ts'
import type { AdminRequest } from './http.ts'

/** `sun_path` of unix(7) holds 108 bytes with a zero at the end; macOS 104. */
const LONGEST_PATH = process.platform === 'darwin' ? 103 : 107
const MOST_CONNECTIONS = 256
/** Milliseconds for a request's head, and for a whole request. */
const HEAD_TIME = 10_000
const REQUEST_TIME = 30_000
/** Milliseconds until whoever holds an old socket has answered, or is nobody. */
const LOOK_TIME = 1000

export interface AdminSocketOptions {
  readonly path: string
  readonly serve: (asked: AdminRequest) => Promise<void>
  readonly log: Logger
}

/**
 * Serves the API on a Unix socket (0600) in a folder that only this user can look into: whoever connects is this user, or root.
 *
 * @throws PosternError LISTEN_FAILED: another edge listens there; FILE_UNSAFE: something else is
 *   there, or others may look into the folder; FILE_UNREADABLE
 */
export async function startAdminSocket(options: AdminSocketOptions, call: Call): Promise<AsyncDisposable> {
  const { path, log } = options
  await ensurePrivateFolder(dirname(path))
  await removeStale(path)
  call.signal.throwIfAborted()
  const server = createServer({
    headersTimeout: HEAD_TIME,
    requestTimeout: REQUEST_TIME,
    connectionsCheckingInterval: 1000,
  })
  server.maxConnections = MOST_CONNECTIONS
  serveOn(server, options)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(path, resolve)
  await promise.catch((cause: NodeJS.ErrnoException) => {
    throw new PosternError('LISTEN_FAILED', `cannot listen on ${path} (${cause.code})`, { cause, next: NEXT })
  })
  server.off('error', reject)
  server.on('error', error => log.error('the administration’s socket failed', { error: error.message }))
  // Nobody else can have connected before: the folder is closed to them.
  await chmod(path, 0o600)
  return {
    // Closing removes the file.
    [Symbol.asyncDispose]: () =>
      new Promise<void>(done => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

/** Where an edge's socket is, if it has one. @throws PosternError LISTEN_FAILED: the path is too long */
export function adminSocketOf({ data, adminSocket = join(data, 'admin.sock') }: EdgeConfig): string | undefined {
  if (adminSocket === false || process.platform === 'win32') return undefined
  mustFit(adminSocket)
  return adminSocket
}

function mustFit(path: string): void {
  const length = Buffer.byteLength(path)
  if (length <= LONGEST_PATH) return
  throw new PosternError('LISTEN_FAILED', `the administration’s socket ${path} has a path of ${length} bytes`, {
    next: `Choose one of at most ${LONGEST_PATH} bytes with --admin-socket, or --admin-socket off.`,
  })
}

const NEXT = 'Choose another path with --admin-socket, or --admin-socket off.'

function serveOn(server: ReturnType<typeof createServer>, { serve }: AdminSocketOptions): void {
  const asked = new WeakSet<Duplex>()
  const take = (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request
    // One request a connection, as on the public port.
    if (asked.has(socket)) return void socket.destroy()
    asked.add(socket)
    const { method = '', url = '', rawHeaders } = request
    const headers = Object.fromEntries(receivedHeaders(rawHeaders))
    void serve({
      request,
      response,
      presented: { method, url, headers, remoteAddress: '' },
      local: true,
      refuse: (problem, headers) => answerProblem(socket, problem, headers, method === 'HEAD'),
    })
  }
  server.on('connection', socket => socket.on('error', () => {}))
  for (const event of ['request', 'checkContinue', 'checkExpectation'] as const) server.on(event, take)
}

/** A socket that a killed edge left. What is anything else, or has somebody behind it, stays. */
async function removeStale(path: string): Promise<void> {
  const there = await lstat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined
    throw new PosternError('FILE_UNREADABLE', `${path} cannot be used (${cause.code})`, { cause })
  })
  if (there === undefined) return
  if (!there.isSocket() || there.uid !== process.getuid?.())
    throw new PosternError('FILE_UNSAFE', `${path} is not a socket of this user’s`, {
      next: 'Move it away, or choose another path with --admin-socket.',
    })
  if (await isAnswered(path))
    throw new PosternError('LISTEN_FAILED', `somebody listens on ${path} already`, { next: NEXT })
  await unlink(path)
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path)
    const done = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    // Full is not gone: it takes longer, and somebody is there.
    socket.setTimeout(LOOK_TIME, () => done(true))
    socket.once('connect', () => done(true))
    socket.once('error', (error: NodeJS.ErrnoException) =>
      done(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    )
  })
}
