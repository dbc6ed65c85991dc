import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { type AuthProvider, type Call, type Code, PosternError, type ProtocolServer, problem } from '@postern/interface'
import tcp from '@postern/protocol-tcp/origin'
import {
  leftOpen,
  type MemoryEdge,
  memoryEdge,
  openOrigin,
  recordingLog,
  resources,
  type TestOrigin,
} from '@postern/testkit'
import { Memory } from '@postern/tunnel'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type DaemonConfig, type RunningDaemon, readRule, startDaemon } from '../src/index.ts'

const TOKEN = 'ptt_this-is-the-token'
const HOST = 'db.example.com'
const log = recordingLog()
const call: Call = { signal: AbortSignal.timeout(60_000), log }
const token: AuthProvider = { authenticate: async () => ({ headers: { 'postern-tunnel-token': TOKEN } }) }

let before = resources()
let edge: MemoryEdge
let origin: TestOrigin
let daemon: RunningDaemon | undefined
beforeEach(async () => {
  before = resources()
  edge = await memoryEdge(log)
  origin = await openOrigin()
})
afterEach(async () => {
  await daemon?.[Symbol.asyncDispose]()
  daemon = undefined
  await edge[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
  expect(await leftOpen(before)).toEqual([])
  expect(log.text()).not.toContain(TOKEN)
})

async function config(more: Partial<DaemonConfig> = {}): Promise<DaemonConfig> {
  const server: ProtocolServer = await tcp.create({}, {} as never)
  const rule = readRule(HOST, `tcp://127.0.0.1:${origin.port}`, () => 'none')
  const url = new URL('https://edge.example.com')
  return {
    edge: url,
    rules: [{ ...rule, server }],
    auth: [token],
    transports: [{ name: 'memory', transport: edge.transport }],
    connections: 1,
    ...more,
  }
}

async function start(more: Partial<DaemonConfig> = {}, ...calls: [] | [Call] | [Call, Call]): Promise<RunningDaemon> {
  const [starting = call, running] = calls
  daemon = await startDaemon(await config(more), starting, running)
  return daemon
}

/** A user's stream, as the edge opens it. */
function open(hostname = HOST, tunnel = edge.tunnels.at(-1)): Promise<Duplex> {
  if (!tunnel) throw new Error('no daemon is connected')
  return tunnel.open({ hostname, requestId: 'r-1', purpose: 'tcp' }, call)
}

async function echoed(stream: Duplex, text: string): Promise<string> {
  stream.end(text)
  let back = ''
  for await (const chunk of stream) back += chunk
  return back
}

function refuse(code: Code): void {
  edge.admit = () => ({ problem: problem(code, 'r-9', { speaker: 'edge' }) })
}

describe('a daemon', () => {
  it('dials the edge as a connector and serves its rule', async () => {
    await start()
    expect(edge.arrivals.map(({ purpose, host }) => [purpose, host])).toEqual([['connector', 'edge.example.com']])
    expect(await echoed(await open(), 'through')).toBe('through')
    expect(origin.connections).toBe(1)
  })

  it('says which process it is, which of its connections, and its version', async () => {
    await start({ connections: 2 })
    await expect.poll(() => daemon?.connections).toBe(2)
    const said = edge.tunnels.map(({ peerAbout }) => peerAbout)
    const uuid = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    expect(said).toEqual([0, 1].map(connection => ({ connector: uuid, connection, version: expect.any(String) })))
    expect(said[0]?.connector).toBe(said[1]?.connector)
    expect(JSON.stringify(said)).not.toContain(TOKEN)
  })

  it('serves nothing else', async () => {
    await start()
    await expect(open('other.example.com')).rejects.toMatchObject({ code: 'INGRESS_NOT_FOUND', speaker: 'daemon' })
    expect(origin.connections).toBe(0)
  })

  it('row 134: holds as much as it may for slow readers: new streams are refused, open ones go on, then there is room', async () => {
    await start()
    const stream = await open()
    const isFull = vi.spyOn(Memory.prototype, 'isFull').mockReturnValue(true)
    try {
      const web = { hostname: HOST, requestId: 'r-2', purpose: 'http' } as const
      await expect(open()).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED', speaker: 'daemon' })
      await expect(edge.tunnels.at(-1)?.open(web, call)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
      expect(origin.connections).toBe(1)
      expect(await echoed(stream, 'goes on')).toBe('goes on')
    } finally {
      isFull.mockRestore()
    }
    expect(await echoed(await open(), 'room')).toBe('room')
  })

  it('tells of a service that is down with a code, and no address', async () => {
    await start()
    await origin.refuse()
    const error = await open().catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'ORIGIN_REFUSED', requestId: 'r-1' })
    expect(JSON.stringify([error, error.message])).not.toContain('127.0.0.1')
  })

  it('keeps several connections, and each serves', async () => {
    const { connections } = await start({ connections: 4 })
    expect(connections).toBeGreaterThan(0)
    await expect.poll(() => daemon?.connections).toBe(4)
    expect(await Promise.all(edge.tunnels.map(async tunnel => echoed(await open(HOST, tunnel), 'x')))).toEqual([
      'x',
      'x',
      'x',
      'x',
    ])
  })

  it.each([0, 17, 1.5, Number.NaN])('does not keep %d', async connections => {
    await expect(start({ connections })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    expect(edge.arrivals).toHaveLength(0)
  })

  it('does not choose between two rules for one hostname', async () => {
    const { rules } = await config()
    await expect(start({ rules: [...rules, ...rules] })).rejects.toMatchObject({ code: 'OPTION_CONFLICT' })
  })
})

describe('an edge that is away', () => {
  it('is waited for, with growing pauses, and the log says why', async () => {
    edge.admit = () => {
      if (edge.arrivals.length < 3) throw new PosternError('EDGE_UNREACHABLE', 'nothing listens there')
      return {}
    }
    await start()
    expect(edge.arrivals).toHaveLength(3)
    const pauses = log.lines.filter(line => line.message === 'no connection to the edge').slice(-2)
    expect(pauses).toMatchObject([
      { level: 'warn', fields: { cause: 'nothing listens there', connection: 0 } },
      { level: 'warn', fields: { cause: 'nothing listens there', connection: 0 } },
    ])
    expect(Number(pauses[0]?.fields.retryInMs)).toBeLessThanOrEqual(1000)
    expect(Number(pauses[1]?.fields.retryInMs)).toBeLessThanOrEqual(2000)
  })

  it('is not waited for after an abort: its own reason', async () => {
    edge.admit = () => {
      throw new PosternError('EDGE_UNREACHABLE', 'nothing listens there')
    }
    const stop = new AbortController()
    const starting = start({}, { signal: stop.signal, log }, call)
    await expect.poll(() => edge.arrivals.length).toBeGreaterThan(0)
    stop.abort(new Error('enough'))
    await expect(starting).rejects.toThrow('enough')
  })

  it('does not answer at all: an abort is still heard', async () => {
    edge.admit = () => new Promise(() => {})
    const stop = new AbortController()
    const starting = start({}, { signal: stop.signal, log }, call)
    await expect.poll(() => edge.arrivals.length).toBe(1)
    stop.abort(new Error('enough'))
    await expect(starting).rejects.toThrow('enough')
  })

  it('in mid-life: the stream is cut, the connection is dialled again', async () => {
    await start()
    origin.script = 'hold'
    const stream = await open()
    const broken = once(stream, 'error')
    edge.kill()
    expect((await broken)[0]).toMatchObject({ code: 'SESSION_LOST' })
    await expect.poll(() => origin.open).toBe(0) // the service heard of it too
    await expect.poll(() => daemon?.connections, { timeout: 5000 }).toBe(1)
    origin.script = 'echo'
    expect(await echoed(await open(), 'again')).toBe('again')
    expect(edge.arrivals).toHaveLength(2)
  })
})

describe('a refusal', () => {
  it.each(['AUTH_REJECTED', 'TOKEN_REVOKED', 'TOKEN_EXPIRED', 'ACCESS_DENIED', 'VERSION_UNSUPPORTED'] as const)(
    '%s ends it: no waiting mends that',
    async code => {
      refuse(code)
      await expect(start()).rejects.toMatchObject({ code, requestId: 'r-9' })
      expect(edge.arrivals).toHaveLength(1)
    },
  )

  it.each(['EDGE_UNAVAILABLE', 'RATE_LIMITED', 'DRAINING'] as const)('%s is waited out', async code => {
    edge.admit = () => (edge.arrivals.length === 1 ? { problem: problem(code, 'r-9') } : {})
    await start()
    expect(edge.arrivals).toHaveLength(2)
  })

  it('in mid-life ends it too, and `closed` tells', async () => {
    const { closed } = await start()
    refuse('TOKEN_REVOKED')
    edge.kill()
    expect(await closed).toMatchObject({ code: 'TOKEN_REVOKED' })
  })

  it('being put out by the edge’s administrator ends it: it does not knock again', async () => {
    const { closed } = await start()
    edge.tunnels[0]?.cut(new PosternError('CONNECTOR_EVICTED', 'put out', { speaker: 'edge' }))
    expect(await closed).toMatchObject({ code: 'CONNECTOR_EVICTED' })
    expect(edge.arrivals).toHaveLength(1)
  })

  it('a certificate nobody trusts ends it at the start, and is waited out once it was connected', async () => {
    const strange = () => {
      throw new PosternError('EDGE_UNTRUSTED', 'somebody is in the way')
    }
    edge.admit = strange
    await expect(start()).rejects.toMatchObject({ code: 'EDGE_UNTRUSTED' })
    edge.admit = () => ({})
    const daemon = await start()
    const before = edge.arrivals.length
    edge.admit = () => (edge.arrivals.length < before + 3 ? strange() : {})
    edge.kill()
    await expect.poll(() => daemon.connections, { timeout: 15_000 }).toBe(1)
  })

  it('nothing of this machine’s own making is tried again and again', async () => {
    await expect(start({ auth: [token, token] })).rejects.toMatchObject({ code: 'OPTION_CONFLICT' })
    await expect(start({ edge: new URL('http://edge.example.com') })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })
})

describe('an edge that drains', () => {
  it('keeps its streams, and a new connection is there before the old one ends', async () => {
    await start()
    const [old] = edge.tunnels
    const stream = await open()
    const drained = old?.drain(call)
    await expect.poll(() => edge.tunnels.length, { timeout: 5000 }).toBe(2)
    await expect.poll(() => daemon?.connections).toBe(1) // the edge has it a moment earlier
    expect(await echoed(await open(), 'young')).toBe('young')
    expect(await echoed(stream, 'old')).toBe('old')
    await drained
    await old?.closed
    expect(edge.tunnels).toHaveLength(1)
  })
})

describe('an edge that means harm', () => {
  it('cannot have itself dialled without a pause by taking connections and dropping them', {
    timeout: 40_000,
  }, async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const dropped = setInterval(() => edge.kill(), 100)
    await start({ connections: 4 })
    const before = edge.arrivals.length
    setTimeout(resolve, 10_000)
    await promise
    clearInterval(dropped)
    expect(edge.arrivals.length - before).toBeLessThan(50) // each waits 3 s on average once it failed a few times
  })

  it('cannot gather connections by draining one after the other: beyond four each the oldest is cut', {
    timeout: 60_000,
  }, async () => {
    await start({ connections: 1 })
    const streams: Duplex[] = []
    const drained: unknown[] = []
    for (let at = 0; at <= 5; at++) {
      const young = () => edge.tunnels.findLast(tunnel => !tunnel.draining)
      await expect.poll(young, { timeout: 15_000 }).toBeDefined()
      const stream = await open(HOST, young())
      streams.push(stream.on('error', () => {}))
      if (at < 5)
        drained.push(
          young()
            ?.drain(call)
            .catch(() => {}),
        )
    }
    await expect.poll(() => streams.map(stream => stream.destroyed)).toEqual([true, ...Array(5).fill(false)])
    expect(streams[0]?.errored).toMatchObject({ code: 'LIMIT_EXCEEDED' })
    expect(await echoed(streams[1] as Duplex, 'still')).toBe('still')
    for (const stream of streams) stream.destroy()
  })
})

describe('a stop', () => {
  it('lets open streams finish, takes no new ones, and dials no more', async () => {
    const running = await start()
    const stream = await open()
    const draining = running.drain(call)
    await expect.poll(() => edge.tunnels[0]?.draining).toBe(true)
    await expect(open()).rejects.toMatchObject({ code: 'DRAINING' })
    expect(await echoed(stream, 'finished')).toBe('finished')
    await draining
    edge.kill()
    await new Promise(resolve => setTimeout(resolve, 1200)) // longer than the first pause before dialling
    expect(edge.arrivals).toHaveLength(1)
  })

  it('that is not waited for ends it at once: streams are cut, the service hears of it, nothing is left', async () => {
    const running = await start({ connections: 2 })
    origin.script = 'hold'
    const stream = await open()
    const broken = once(stream, 'error')
    const late = new AbortController()
    const draining = running.drain({ signal: late.signal, log })
    late.abort(new Error('the grace period is over'))
    await expect(draining).rejects.toThrow('the grace period is over')
    await running[Symbol.asyncDispose]()
    expect((await broken)[0]).toMatchObject({ code: 'DRAINING' })
    expect(await running.closed).toBeUndefined()
    await expect.poll(() => [origin.open, edge.tunnels.length]).toEqual([0, 0])
  })

  it('by the abort of the call it runs under', async () => {
    const stop = new AbortController()
    const { closed } = await start({}, call, { signal: stop.signal, log })
    stop.abort(new Error('enough'))
    expect(await closed).toBeUndefined()
  })

  it('of one that never connected', async () => {
    refuse('EDGE_UNAVAILABLE')
    await expect(start({}, { signal: AbortSignal.abort(new Error('before')), log })).rejects.toThrow('before')
    expect(edge.arrivals).toHaveLength(0)
  })
})
