import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type DialRequest, PosternError, problem } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { call, type Edge, readAll, startEdge, until, welcome } from './edge.ts'

/** A server that answers every connection with the same bytes. */
async function answering(
  text: string | undefined,
): Promise<AsyncDisposable & { readonly port: number; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket.on('error', () => {}))
    socket.once('close', () => sockets.delete(socket))
    socket.once('data', () => text !== undefined && socket.write(text))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function towards(edge: Edge, port: number): DialRequest {
  return edge.request({
    connect: async () => {
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      return socket
    },
  })
}

describe('what the edge is told', () => {
  test('Host with the edge’s port, the sub-protocol by purpose, the headers of host and credential', async () => {
    const seen: unknown[] = []
    await using edge = await startEdge(async (incoming, keep) => {
      const { host, purpose, presented } = incoming
      seen.push({ host, purpose, url: presented.url, one: presented.headers['x-one'], two: presented.headers['x-two'] })
      keep(await incoming.accept())
    })
    for (const purpose of ['session', 'connector', 'raw'] as const) {
      const credential = { headers: { 'x-two': ['a', 'b'] } }
      await edge.transport.dial(edge.request({ purpose, headers: { 'x-one': '1' }, credential }), call())
      expect(seen.at(-1)).toEqual({ host: `db.localhost:${edge.port}`, purpose, url: '/', one: ['1'], two: ['a', 'b'] })
    }
  })

  test('a credential that signs is asked for this request', async () => {
    let signed: unknown
    await using edge = await startEdge(async (incoming, keep) => {
      signed = incoming.presented.headers['x-signature']
      keep(await incoming.accept())
    })
    const credential: DialRequest['credential'] = {
      headers: async ({ method, url }) => ({ 'x-signature': `${method} ${url}` }),
    }
    await edge.transport.dial(edge.request({ credential }), call())
    expect(signed).toEqual([`GET http://db.localhost:${edge.port}/`])
  })

  test('the edge’s answer comes back with its headers', async () => {
    await using edge = await startEdge(async (incoming, keep) =>
      keep(await incoming.accept({ 'postern-request-id': 'r1', 'x-many': ['1', '2'] })),
    )
    const { answer } = await edge.transport.dial(edge.request(), call())
    expect(answer).toMatchObject({ 'postern-request-id': ['r1'], 'x-many': ['1', '2'] })
    // The next visitor is told nothing of that.
    expect(answer['sec-websocket-extensions']).toBeUndefined()
  })

  test('a header that HTTP cannot carry is refused without its value', async () => {
    await using edge = await startEdge()
    const credential = { headers: { 'postern-client-secret': 'top\nsecret' } }
    const failed = edge.transport.dial(edge.request({ credential }), call())
    await expect(failed).rejects.toMatchObject({ code: 'BAD_USAGE' })
    expect(JSON.stringify(await failed.catch((error: Error) => [error.message, String(error.cause)]))).not.toContain(
      'top',
    )
    await until(() => edge.sockets.size === 0)
  })
})

describe('refusals', () => {
  test('arrive as the edge’s own problem, with status and headers, and the connection ends', async () => {
    await using edge = await startEdge(incoming =>
      incoming.reject(problem('AUTH_REJECTED', 'r2', { speaker: 'edge', detail: 'no such token' }), {
        'www-authenticate': 'Negotiate',
      }),
    )
    const error: unknown = await edge.transport.dial(edge.request(), call()).catch(e => e)
    expect(error).toMatchObject({ code: 'AUTH_REJECTED', message: 'no such token', requestId: 'r2', speaker: 'edge' })
    const { refusal } = error as PosternError
    expect(refusal).toMatchObject({
      status: 401,
      headers: { 'www-authenticate': ['Negotiate'], 'cache-control': ['no-store'] },
    })
    expect(refusal?.headers['postern-request-id']).toEqual(['r2'])
    await until(() => edge.sockets.size === 0)
  })

  test('a host that answers nothing, or throws, is a refusal too', async () => {
    let mode = 'nothing'
    await using edge = await startEdge(async (incoming, keep) => {
      if (mode === 'throws') throw new Error('host failed')
      if (mode === 'well') keep(await incoming.accept())
    })
    await expect(edge.transport.dial(edge.request(), call())).rejects.toMatchObject({ code: 'INTERNAL' })
    mode = 'throws'
    await expect(edge.transport.dial(edge.request(), call())).rejects.toMatchObject({ code: 'INTERNAL' })
    mode = 'well'
    await edge.transport.dial(edge.request(), call())
  })

  test('a second answer is an error of the host, and the first one stands', async () => {
    await using edge = await startEdge(async (incoming, keep) => {
      keep(await incoming.accept())
      await incoming.reject(problem('INTERNAL', 'x'))
    })
    const { pipe } = await edge.transport.dial(edge.request(), call())
    edge.pipes[0]?.end('fine')
    expect((await readAll(pipe)).toString()).toBe('fine')
  })
})

describe('what is not an edge', () => {
  const body = '{"code":"ACCESS_DENIED","title":"x"}'
  test.each([
    ['another status', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi', /answered 200/],
    ['a redirect', 'HTTP/1.1 302 Found\r\nlocation: https://elsewhere/\r\ncontent-length: 0\r\n\r\n', /answered 302/],
    ['a problem of another type', `HTTP/1.1 403 No\r\ncontent-length: ${body.length}\r\n\r\n${body}`, /answered 403/],
    [
      'a body that is no JSON',
      'HTTP/1.1 403 No\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n{]',
      /answered 403/,
    ],
    [
      'a body without end',
      `HTTP/1.1 403 No\r\ncontent-type: application/problem+json\r\n\r\n${' '.repeat(100_000)}`,
      /answered 403/,
    ],
    ['something else than HTTP', 'SSH-2.0-OpenSSH_9.2\r\n', /not an edge's/],
    [
      'a wrong accept key',
      'HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n',
      /not an edge's/,
    ],
  ])('%s', async (_name, answer, message) => {
    await using edge = await startEdge()
    await using server = await answering(answer)
    const error = await edge.transport.dial(towards(edge, server.port), call()).catch((e: unknown) => e)
    expect(error).toMatchObject({ code: 'EDGE_PROTOCOL' })
    expect((error as Error).message).toMatch(message)
    await until(() => server.sockets.size === 0)
  })

  test('a server that agrees to another sub-protocol', async () => {
    await using edge = await startEdge(async (incoming, keep) => keep(await incoming.accept()))
    // Through a proxy that changes what the edge said.
    await using proxy = await rewriting(edge.port, 'postern-session-1', 'postern-session-9')
    const failed = edge.transport.dial(towards(edge, proxy.port), call())
    await expect(failed).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
  })

  test('a connection that ends before any answer', async () => {
    await using edge = await startEdge()
    const server = createServer(socket => socket.once('data', () => socket.resetAndDestroy()))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const failed = edge.transport.dial(towards(edge, (server.address() as AddressInfo).port), call())
    await expect(failed).rejects.toMatchObject({ code: 'EDGE_UNREACHABLE' })
    server.close()
  })

  test('what connect throws is thrown as it is', async () => {
    await using edge = await startEdge()
    const error = new PosternError('EDGE_UNREACHABLE', 'nothing listens there')
    const failed = edge.transport.dial(edge.request({ connect: () => Promise.reject(error) }), call())
    await expect(failed).rejects.toBe(error)
  })
})

describe('abort', () => {
  const reason = new Error('enough')

  test('before: nothing is dialled', async () => {
    await using edge = await startEdge()
    let connected = false
    const request = edge.request({
      connect: async () => {
        connected = true
        throw new Error('not reached')
      },
    })
    await expect(edge.transport.dial(request, call(AbortSignal.abort(reason)))).rejects.toBe(reason)
    expect(connected).toBe(false)
  })

  test('during the upgrade: rejects with the reason, and the socket goes', async () => {
    await using edge = await startEdge()
    await using server = await answering(undefined)
    const controller = new AbortController()
    const failed = edge.transport.dial(towards(edge, server.port), call(controller.signal))
    await until(() => server.sockets.size === 1)
    controller.abort(reason)
    await expect(failed).rejects.toBe(reason)
    await until(() => server.sockets.size === 0)
  })

  test('while a refusal is read', async () => {
    await using edge = await startEdge()
    await using server = await answering(
      'HTTP/1.1 403 No\r\ncontent-type: application/problem+json\r\ncontent-length: 9999\r\n\r\n{',
    )
    const controller = new AbortController()
    const failed = edge.transport.dial(towards(edge, server.port), call(controller.signal))
    await until(() => server.sockets.size === 1)
    setTimeout(() => controller.abort(reason), 50)
    await expect(failed).rejects.toBe(reason)
    await until(() => server.sockets.size === 0)
  })

  test('during connect: a socket that comes too late is destroyed', async () => {
    await using edge = await startEdge()
    const controller = new AbortController()
    const { connect: really } = edge.request()
    const request = edge.request({
      connect: async (securing, inner) => {
        const socket = await really(securing, inner)
        controller.abort(reason)
        return socket
      },
    })
    await expect(edge.transport.dial(request, call(controller.signal))).rejects.toBe(reason)
    await until(() => edge.sockets.size === 0)
  })

  test('after: the pipe is the caller’s and lives on', async () => {
    await using edge = await startEdge(welcome)
    const controller = new AbortController()
    const { pipe } = await edge.transport.dial(edge.request(), call(controller.signal))
    controller.abort(reason)
    await until(() => edge.pipes.length === 1)
    edge.pipes[0]?.end('alive')
    expect((await readAll(pipe)).toString()).toBe('alive')
  })
})

async function rewriting(port: number, from: string, to: string): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets = new Set<Socket>()
  const server = createServer(near => {
    const far = connect(port, '127.0.0.1')
    for (const socket of [near, far]) sockets.add(socket.on('error', () => {}))
    near.pipe(far)
    far.on('data', (chunk: Buffer) => near.write(Buffer.from(chunk.toString('latin1').replace(from, to), 'latin1')))
    far.on('end', () => near.end())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
