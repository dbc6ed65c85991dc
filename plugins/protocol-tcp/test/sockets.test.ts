// Client and origin side together over real sockets: what a user's program and its service see of each other.
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import type { Call, LocalListener, LocalSide } from '@postern/interface'
import { PosternError } from '@postern/interface'
import { afterEach, describe, expect, test } from 'vitest'
import client from '../src/client.ts'
import origin from '../src/origin.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
})

async function listening(server: Server, where: { port: number; host: string } | { path: string }): Promise<void> {
  server.listen(where)
  await once(server, 'listening')
  const sockets = new Set<Socket>()
  server.on('connection', socket => sockets.add(socket.on('error', () => {})))
  cleanups.push(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
}

const loopback = { port: 0, host: '127.0.0.1' }

/** The user's end of a connection that goes through both sides to `target`. */
async function through(target: { port: number } | { path: string }): Promise<{ user: Socket; lines: string[] }> {
  const server = createServer({ allowHalfOpen: true })
  await listening(server, loopback)
  const stop = new AbortController()
  const lines: string[] = []
  const log = {
    debug() {},
    info() {},
    warn: (m: string, f?: object) => void lines.push(`${m} ${JSON.stringify(f)}`),
    error() {},
  }
  const call: Call = { signal: stop.signal, log }
  const serving = await origin.create({}, {} as never)
  const local: LocalSide = {
    app: { hostname: 'db.localhost', id: 'a', teamDomain: 'localhost', protocols: ['tcp'] },
    stdio: duplexPair()[0],
    listener: listenerOf(server),
    open: inner => openStream(target, serving, inner),
  }
  const connecting = (await client.create({}, {} as never)).connect(local, call).catch(() => {})
  cleanups.push(async () => {
    stop.abort()
    await connecting
  })
  const { port } = server.address() as AddressInfo
  const user = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  cleanups.push(() => user.on('error', () => {}).destroy())
  await once(user, 'connect')
  return { user, lines }
}

function listenerOf(server: Server): LocalListener {
  return {
    address: '',
    async *connections({ signal }) {
      try {
        for await (const [socket] of on(server, signal)) yield socket
      } catch {
        // Aborted.
      }
    },
  }
}

async function* on(server: Server, signal: AbortSignal): AsyncGenerator<[Socket]> {
  while (!signal.aborted) yield (await once(server, 'connection', { signal })) as [Socket]
}

/** The tunnel, in memory: a stream that the origin side serves. */
function openStream(target: object, serving: Awaited<ReturnType<typeof origin.create>>, call: Call): Promise<Duplex> {
  const [near, far] = duplexPair()
  near.once('close', () => near.errored && far.destroy(new PosternError('STREAM_CUT', 'cut')))
  far.once('close', () => far.errored && near.destroy(new PosternError('STREAM_CUT', 'cut')))
  return new Promise((resolve, reject) => {
    const accept = (): Duplex => {
      resolve(near)
      return far
    }
    const dial = async (): Promise<Duplex> => {
      const socket = connect({ ...(target as { port: number }), allowHalfOpen: true })
      try {
        await once(socket, 'connect')
        return socket
      } catch (cause) {
        throw new PosternError('ORIGIN_REFUSED', 'nothing listens there', { cause, requestId: 'r7' })
      }
    }
    const remote = { service: new URL('tcp://localhost:1'), identities: [], permit: null, dial, audit() {} }
    serving.serve({ accept }, remote, call).catch(reject)
  })
}

async function serviceOn(where: { port: number; host: string } | { path: string }, serve: (socket: Socket) => void) {
  const server = createServer({ allowHalfOpen: true }, serve)
  await listening(server, where)
  const address = server.address() as AddressInfo | string
  return typeof address === 'string' ? { path: address } : { port: address.port, host: '127.0.0.1' }
}

async function readAll(stream: Duplex): Promise<number> {
  let length = 0
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) length += chunk.length
  return length
}

const TEN_MB = 10_000_000

describe('half-close', () => {
  test('the user ends, and the service answers 10 MB after that', async () => {
    const target = await serviceOn(loopback, async socket => {
      expect(await readAll(socket)).toBe(8)
      socket.end(Buffer.alloc(TEN_MB))
    })
    const { user } = await through(target)
    user.end('question')
    expect(await readAll(user)).toBe(TEN_MB)
  })

  test('the service ends, and the user sends 10 MB after that', async () => {
    let received: Promise<number> | undefined
    const target = await serviceOn(loopback, socket => {
      socket.end('banner')
      received = readAll(socket)
    })
    const { user } = await through(target)
    expect(await readAll(user)).toBe(6)
    user.end(Buffer.alloc(TEN_MB))
    await once(user, 'close')
    expect(await received).toBe(TEN_MB)
  })

  test('over a Unix socket', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tcp-'))
    cleanups.push(() => rm(folder, { recursive: true }))
    const target = await serviceOn({ path: join(folder, 's') }, async socket => {
      await readAll(socket)
      socket.end('answer')
    })
    const { user } = await through(target)
    user.end('question')
    expect(await readAll(user)).toBe(6)
  })
})

describe('cuts', () => {
  test('a service that resets is a reset for the user, and is logged with its code', async () => {
    const target = await serviceOn(loopback, socket => socket.once('data', () => socket.resetAndDestroy()))
    const { user, lines } = await through(target)
    user.write('x')
    user.resume()
    expect((await once(user, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
    expect(lines.join()).toContain('a connection was cut')
  })

  test('a user that resets is a reset for the service', async () => {
    let seen: Promise<unknown> | undefined
    const target = await serviceOn(loopback, socket => {
      socket.write('hello')
      seen = once(socket.resume(), 'error').catch(error => [error])
    })
    const { user } = await through(target)
    await once(user, 'data')
    user.resetAndDestroy()
    expect(((await seen) as unknown[])[0]).toMatchObject({ code: 'ECONNRESET' })
  })

  test('a service that is down is a reset for the user, with the reason in the log', async () => {
    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const { port } = closed.address() as AddressInfo
    closed.close()
    const { user, lines } = await through({ port })
    expect((await once(user.resume(), 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
    expect(lines.join()).toMatch(/a connection was refused.*ORIGIN_REFUSED.*r7/)
  })
})
