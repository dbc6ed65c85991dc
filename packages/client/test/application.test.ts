import type { Duplex } from 'node:stream'
import { type AuthProvider, type Call, PosternError, problem } from '@postern/interface'
import { everythingSaid, leftOpen, type MemoryEdge, memoryEdge, recordingLog, resources } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ApplicationClient, createApplicationClient } from '../src/index.ts'

const SECRET = 'psts_this-is-the-secret'
const log = recordingLog()
const call: Call = { signal: AbortSignal.timeout(60_000), log }
const token: AuthProvider = { authenticate: async () => ({ headers: { 'postern-client-secret': SECRET } }) }

let before = resources()
let edge: MemoryEdge
let client: ApplicationClient
beforeEach(async () => {
  before = resources()
  edge = await memoryEdge(log)
  client = createApplicationClient({
    hostname: 'db.example.com',
    auth: [token],
    transports: [{ name: 'memory', transport: edge.transport }],
  })
})
afterEach(async () => {
  await client[Symbol.asyncDispose]()
  await edge[Symbol.asyncDispose]()
  expect(await leftOpen(before)).toEqual([])
  expect(log.text()).not.toContain(SECRET)
})

async function echoed(stream: Duplex, text: string): Promise<string> {
  stream.end(text)
  let back = ''
  for await (const chunk of stream) back += chunk
  return back
}

/** An edge that lets nobody in until told. */
function gate(): () => void {
  const { promise, resolve } = Promise.withResolvers<void>()
  edge.admit = () => promise.then(() => ({}))
  return resolve
}

async function arrived(count: number): Promise<void> {
  await expect.poll(() => edge.arrivals.length).toBe(count)
}

describe('one session', () => {
  it('is shared by everybody who opens at once', async () => {
    const streams = await Promise.all(Array.from({ length: 20 }, () => client.open(call)))
    expect(await Promise.all(streams.map((stream, at) => echoed(stream, `${at}`)))).toEqual(
      streams.map((_, at) => `${at}`),
    )
    expect(edge.arrivals.map(({ purpose, host }) => [purpose, host])).toEqual([['session', 'db.example.com']])
  })

  it('is not made before it is wanted, and once by connect', async () => {
    expect(edge.arrivals).toHaveLength(0)
    await client.connect(call)
    await client.open(call)
    expect(edge.arrivals).toHaveLength(1)
  })

  it('an abort of the first who wanted it is his alone', async () => {
    const open = gate()
    const stop = new AbortController()
    const first = client.open({ signal: stop.signal, log })
    const second = client.open(call)
    await arrived(1)
    stop.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
    open()
    expect(await echoed(await second, 'still here')).toBe('still here')
    expect(edge.arrivals).toHaveLength(1)
  })

  it('nobody wants any more is not made on: the next one begins anew, without the abort of the last', async () => {
    const open = gate()
    const stop = new AbortController()
    const first = client.open({ signal: stop.signal, log })
    await arrived(1)
    stop.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
    const second = client.open(call)
    open()
    expect(await echoed(await second, 'x')).toBe('x')
    expect(edge.arrivals).toHaveLength(2)
  })

  it('is not even dialled for a call that was aborted before', async () => {
    await expect(client.open({ signal: AbortSignal.abort(new Error('before')), log })).rejects.toThrow('before')
  })
})

describe('what the edge says of the application', () => {
  it('is there after connecting', async () => {
    const said = { id: 'a1', teamDomain: 'edge.example.com', protocols: ['ssh', 7], hostname: 'evil.example.com' }
    edge.admit = () => ({ headers: { 'postern-application': JSON.stringify(said) } })
    await client.connect(call)
    expect(client.app).toEqual({
      hostname: 'db.example.com',
      id: 'a1',
      teamDomain: 'edge.example.com',
      protocols: ['ssh'],
    })
  })

  it.each(['', '[]', 'null', '{"id":7}', '{', 'x'.repeat(5000)])('may be nonsense: %j', async header => {
    edge.admit = () => ({ headers: { 'postern-application': header } })
    await client.connect(call)
    expect(client.app).toEqual({ hostname: 'db.example.com', id: '', teamDomain: '', protocols: [] })
  })
})

describe('a session that was lost', () => {
  it('cuts its streams, and the next open makes another', async () => {
    const stream = await client.open(call)
    const broken = new Promise(resolve => stream.on('error', resolve).on('end', () => resolve('end')))
    stream.resume()
    edge.kill()
    expect(await broken).toMatchObject({ code: 'SESSION_LOST' })
    expect(await echoed(await client.open(call), 'again')).toBe('again')
    expect(edge.arrivals).toHaveLength(2)
  })

  it('while a stream is being opened: the stream is opened on another, once', async () => {
    const answer = edge.onStream
    edge.onStream = () => {
      edge.onStream = answer
      edge.kill()
    }
    expect(await echoed(await client.open(call), 'again')).toBe('again')
    expect(edge.arrivals).toHaveLength(2)
    edge.onStream = () => edge.kill()
    await expect(client.open(call)).rejects.toMatchObject({ code: 'SESSION_LOST' })
    expect(edge.arrivals).toHaveLength(3)
  })

  it('a refused stream is not tried again: the session is fine', async () => {
    let offers = 0
    edge.onStream = offered => {
      offers += 1
      offered.reject(problem('ORIGIN_REFUSED', 'r-9', { speaker: 'service' }))
    }
    await expect(client.open(call)).rejects.toMatchObject({
      code: 'ORIGIN_REFUSED',
      requestId: 'r-9',
      speaker: 'service',
    })
    expect([offers, edge.arrivals.length]).toEqual([1, 1])
  })
})

describe('what becomes of the session', () => {
  const told: string[] = []
  beforeEach(() => {
    told.length = 0
    client = createApplicationClient({
      hostname: 'db.example.com',
      auth: [token],
      transports: [{ name: 'memory', transport: edge.transport }],
      onSession: news => told.push(news.state === 'connected' ? news.state : `${news.state} ${news.error.code}`),
    })
  })

  it('is told: made, lost, not made, made again', async () => {
    await client.connect(call)
    edge.kill()
    await expect.poll(() => told).toEqual(['connected', 'lost SESSION_LOST'])
    edge.admit = () => ({ problem: problem('TUNNEL_OFFLINE', 'r-7') })
    await expect(client.open(call)).rejects.toMatchObject({ code: 'TUNNEL_OFFLINE' })
    edge.admit = () => ({})
    await client.open(call)
    expect(told).toEqual(['connected', 'lost SESSION_LOST', 'failed TUNNEL_OFFLINE', 'connected'])
  })

  it('is no news where it was our own doing: nobody wanted it any more, or the client was closed', async () => {
    const open = gate()
    const stop = new AbortController()
    const abandoned = client.open({ signal: stop.signal, log })
    await arrived(1)
    stop.abort(new Error('enough'))
    await expect(abandoned).rejects.toThrow('enough')
    open()
    await client.connect(call)
    await client[Symbol.asyncDispose]()
    expect(told).toEqual(['connected'])
  })

  it('is no news where the edge drains it and nothing was open', async () => {
    await client.connect(call)
    const [first] = edge.tunnels
    await first?.drain(call)
    await first?.closed
    await client.open(call)
    expect(told).toEqual(['connected', 'connected'])
  })
})

describe('an edge that drains', () => {
  it('keeps the open streams until they end, new ones go to another session', async () => {
    const old = await client.open(call)
    const [first] = edge.tunnels
    const drained = first?.drain(call)
    await expect.poll(() => first?.draining).toBe(true)
    const young = await client.open(call)
    expect(edge.arrivals).toHaveLength(2)
    expect(await Promise.all([echoed(old, 'old'), echoed(young, 'young')])).toEqual(['old', 'young'])
    await drained
    await first?.closed // the client leaves a session that has nothing left to carry
    expect(edge.tunnels).toHaveLength(1)
  })
})

describe('a refusal', () => {
  it('keeps its code, request id and advice; nothing in it tells the credential', async () => {
    edge.admit = () => ({ problem: problem('ACCESS_DENIED', 'r-7', { speaker: 'edge' }) })
    const error = await client.open(call).catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'ACCESS_DENIED', requestId: 'r-7', speaker: 'edge' })
    expect(everythingSaid(error)).not.toContain(SECRET)
    edge.admit = () => ({})
    await expect(client.connect(call)).resolves.toBeUndefined() // it is asked again, not remembered
  })

  it('is for everybody who waited', async () => {
    edge.admit = () => ({ problem: problem('NOT_FOUND', 'r-7') })
    const results = await Promise.allSettled([client.open(call), client.open(call)])
    expect(results.map(result => result.status === 'rejected' && result.reason.code)).toEqual([
      'NOT_FOUND',
      'NOT_FOUND',
    ])
    expect(edge.arrivals).toHaveLength(1)
  })

  it('no edge is EDGE_UNREACHABLE', async () => {
    edge.admit = () => {
      throw new PosternError('EDGE_UNREACHABLE', 'nothing listens there')
    }
    await expect(client.open(call)).rejects.toMatchObject({ code: 'EDGE_UNREACHABLE' })
  })
})

describe('disposing', () => {
  it('ends sessions and their streams, and nothing opens any more', async () => {
    const stream = await client.open(call)
    const broken = new Promise(resolve => stream.on('error', resolve))
    await client[Symbol.asyncDispose]()
    expect(await broken).toMatchObject({ code: 'DRAINING' })
    await expect.poll(() => edge.tunnels.length).toBe(0)
    await expect(client.open(call)).rejects.toMatchObject({ code: 'SESSION_LOST' })
    expect(edge.arrivals).toHaveLength(1)
  })

  it('does not wait for a session that is being made', async () => {
    gate()
    const opening = client.open(call)
    await arrived(1)
    await client[Symbol.asyncDispose]()
    await expect(opening).rejects.toMatchObject({ code: 'SESSION_LOST' })
  })
})
