import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { type AuthProvider, type Call, PosternError, type ProtocolServer } from '@postern/interface'
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
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type DaemonObserver, type RunningDaemon, readRule, type ServedRule, startDaemon } from '../src/index.ts'

const log = recordingLog()
const call: Call = { signal: AbortSignal.timeout(60_000), log }
const nobody: AuthProvider = { authenticate: async () => ({}) }
const A = 'a.example.com'
const B = 'b.example.com'

let before = resources()
let edge: MemoryEdge
let one: TestOrigin
let two: TestOrigin
let plain: ProtocolServer
let daemon: RunningDaemon
beforeEach(async () => {
  before = resources()
  edge = await memoryEdge(log)
  one = await openOrigin()
  two = await openOrigin()
  plain = await tcp.create({}, {} as never)
})
afterEach(async () => {
  await daemon[Symbol.asyncDispose]()
  await edge[Symbol.asyncDispose]()
  await one[Symbol.asyncDispose]()
  await two[Symbol.asyncDispose]()
  expect(await leftOpen(before)).toEqual([])
})

/** A new object each time, as a config file that is read again makes them. */
function rule(hostname: string, origin: TestOrigin, server = plain): ServedRule {
  const { service } = readRule('x.example.com', `tcp://127.0.0.1:${origin.port}`, () => 'none')
  return { hostname, service, server }
}

async function start(rules: readonly ServedRule[], more: { unserved?: string[]; observer?: DaemonObserver } = {}) {
  const url = new URL('https://edge.example.com')
  const config = {
    edge: url,
    rules,
    auth: [nobody],
    transports: [{ name: 'memory', transport: edge.transport }],
    connections: 1,
    ...more,
  }
  daemon = await startDaemon(config, call)
}

function open(hostname: string): Promise<Duplex> {
  const [tunnel] = edge.tunnels
  if (!tunnel) throw new Error('no daemon is connected')
  return tunnel.open({ hostname, requestId: 'r-1', purpose: 'tcp' }, call)
}

async function echoed(stream: Duplex, text: string): Promise<string> {
  stream.end(text)
  let back = ''
  for await (const chunk of stream) back += chunk
  return back
}

/** Opens a stream that stays. */
async function held(hostname: string): Promise<{ stream: Duplex; broken: Promise<{ code: string }> }> {
  const stream = await open(hostname)
  stream.write('x')
  await once(stream, 'data')
  return { stream, broken: once(stream, 'error').then(([error]) => error) }
}

describe('other rules', () => {
  it('are served from now on, and the log says what changed', async () => {
    const counted: number[] = []
    await start([rule(A, one)], { observer: { onRules: count => counted.push(count) } })
    await expect(open(B)).rejects.toMatchObject({ code: 'INGRESS_NOT_FOUND' })
    const { added, removed, changed } = daemon.setRules([rule(A, two), rule(B, one)])
    expect(await echoed(await open(B), 'to one')).toBe('to one')
    expect(await echoed(await open(A), 'to two')).toBe('to two')
    expect([one.connections, two.connections]).toEqual([1, 1])
    const [first, second] = [`tcp://127.0.0.1:${one.port}`, `tcp://127.0.0.1:${two.port}`]
    expect(added).toEqual([`${B} → ${first}`])
    expect(changed).toEqual([`${A} → ${second} (was ${first})`])
    expect(removed).toEqual([])
    expect(log.text()).toContain(`added ${B} → ${first}`)
    daemon.setRules([rule(B, one)])
    expect(log.text()).toContain(`removed ${A} → ${second}`)
    expect(counted).toEqual([1, 2, 1])
  })

  it('that contradict each other change nothing', async () => {
    await start([rule(A, one)])
    expect(() => daemon.setRules([rule(B, one), rule(B, two)])).toThrow(
      expect.objectContaining({ code: 'OPTION_CONFLICT' }),
    )
    expect(await echoed(await open(A), 'still')).toBe('still')
  })

  it('go from the special to the general, and a hostname that nothing answers stays one', async () => {
    await start([rule(A, one), rule('*.example.com', two)], { unserved: ['none.example.com'] })
    await echoed(await open(A), 'x')
    await echoed(await open('any.example.com'), 'x')
    expect([one.connections, two.connections]).toEqual([1, 1])
    for (const hostname of ['none.example.com', 'x.any.example.com', 'example.com'])
      await expect(open(hostname)).rejects.toMatchObject({ code: 'INGRESS_NOT_FOUND' })
    expect([one.connections, two.connections]).toEqual([1, 1])
  })
})

describe('open streams', () => {
  it('of a rule that stays are byte-exact through fifty changes', async () => {
    await start([rule(A, one), rule(B, two)])
    const stream = await open(A)
    const sent = createHash('sha256')
    const got = createHash('sha256')
    let received = 0
    stream.on('data', (chunk: Buffer) => {
      got.update(chunk)
      received += chunk.length
    })
    const ended = once(stream, 'end')
    const size = 64 * 1024
    for (let change = 0; change < 50; change++) {
      daemon.setRules(change % 2 === 0 ? [rule(A, one)] : [rule(B, change % 3 === 0 ? one : two), rule(A, one)])
      for (let part = 0; part < 4; part++) {
        const chunk = randomBytes(size)
        sent.update(chunk)
        if (!stream.write(chunk)) await once(stream, 'drain')
      }
    }
    stream.end()
    await ended
    expect(received).toBe(50 * 4 * size)
    expect(got.digest('hex')).toBe(sent.digest('hex'))
  })

  it('of a rule that is removed are cut, and told why; the others notice nothing', async () => {
    await start([rule(A, one), rule(B, two)])
    const a = await held(A)
    const b = await held(B)
    expect(daemon.setRules([rule(B, two)]).cut).toBe(1)
    expect(await a.broken).toMatchObject({ code: 'INGRESS_NOT_FOUND', speaker: 'daemon' })
    await expect.poll(() => [one.open, two.open]).toEqual([0, 1])
    await expect(open(A)).rejects.toMatchObject({ code: 'INGRESS_NOT_FOUND' })
    expect(one.connections).toBe(1)
    b.stream.end('y')
    await once(b.stream, 'end')
  })

  it('of a rule that is changed are cut, and the next one goes to the new service', async () => {
    await start([rule(A, one)])
    const a = await held(A)
    daemon.setRules([rule(A, two)])
    expect(await a.broken).toMatchObject({ code: 'STREAM_CUT', speaker: 'daemon' })
    await expect.poll(() => one.open).toBe(0)
    expect(await echoed(await open(A), 'now two')).toBe('now two')
    expect(two.connections).toBe(1)
  })

  it('of a wildcard are cut when a rule of their own sends them elsewhere, or nowhere', async () => {
    await start([rule('*.example.com', one)])
    const [a, b, c] = [await held(A), await held(B), await held('c.example.com')]
    daemon.setRules([rule('*.example.com', one), rule(A, two), rule(B, one)], ['c.example.com'])
    expect(await a.broken).toMatchObject({ code: 'STREAM_CUT' })
    expect(await c.broken).toMatchObject({ code: 'INGRESS_NOT_FOUND' })
    await expect.poll(() => one.open).toBe(1) // b’s service is the same as before
    b.stream.end('y')
    await once(b.stream, 'end')
  })
})

// security.md row 77: the daemon reaches its ingress services and nothing else, whatever a plugin does.
describe('a plugin that does not listen', () => {
  it('loses its stream and its connection with the rule', async () => {
    const deaf: ProtocolServer = {
      async serve(offered, remote) {
        const signal = new AbortController().signal
        const service = await remote.dial({ signal, log })
        const stream = offered.accept().on('error', () => {})
        stream
          .pipe(service)
          .on('error', () => {})
          .pipe(stream)
        await new Promise<void>(resolve => setTimeout(resolve, 300)) // what it does does not matter
        stream.end()
      },
    }
    await start([rule(A, one, deaf)])
    const a = await held(A)
    daemon.setRules([])
    expect(await a.broken).toMatchObject({ code: 'INGRESS_NOT_FOUND' })
    await expect.poll(() => one.open).toBe(0)
  })

  it('is refused a connection when its rule is gone before it dials, or accepts', async () => {
    const dialled = Promise.withResolvers<unknown>()
    const begun = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    const slow: ProtocolServer = {
      async serve(offered, remote) {
        begun.resolve()
        await go.promise
        await remote.dial({ signal: new AbortController().signal, log }).catch(dialled.resolve)
        offered.accept().end('hello')
      },
    }
    await start([rule(A, one, slow)])
    const opening = open(A).catch(error => error)
    await begun.promise
    daemon.setRules([rule(B, two)])
    go.resolve()
    expect(await dialled.promise).toMatchObject({ code: 'INGRESS_NOT_FOUND' })
    expect(await opening).toMatchObject({ code: 'INGRESS_NOT_FOUND', speaker: 'daemon' })
    expect(one.connections).toBe(0)
  })

  it('that keeps its way to the service for later reaches nothing when the stream is over', async () => {
    let later: (() => Promise<Duplex>) | undefined
    const hoarder: ProtocolServer = {
      async serve(offered, remote, inner) {
        later = () => remote.dial({ ...inner, signal: new AbortController().signal })
        offered.accept().end('bye')
      },
    }
    await start([rule(A, one, hoarder)])
    await echoed(await open(A), 'x')
    daemon.setRules([])
    await expect.poll(() => later?.().catch(error => error)).toMatchObject({ code: 'DESTINATION_FORBIDDEN' })
    expect(one.connections).toBe(0)
  })

  it('that names another rule’s service is refused, and that rule’s own users are not', async () => {
    const elsewhere: ProtocolServer = {
      async serve(_offered, remote, inner) {
        await remote.dial(inner, { host: '127.0.0.1', port: two.port })
      },
    }
    await start([rule(A, one, elsewhere), rule(B, two)])
    await expect(open(A)).rejects.toMatchObject({ code: 'DESTINATION_FORBIDDEN' })
    expect(two.connections).toBe(0)
    expect(await echoed(await open(B), 'mine')).toBe('mine')
  })
})

describe('an observer', () => {
  it('is told of each stream and its end once', async () => {
    const told: string[] = []
    await start([rule(A, one)], {
      observer: {
        onStream: ({ hostname, rule: own }) => told.push(`open ${hostname} ${own}`),
        onService: ({ service }, socket) => told.push(`service ${service === `tcp://127.0.0.1:${socket.remotePort}`}`),
        onStreamEnd: ({ hostname }, { code }) => told.push(`end ${hostname} ${code}`),
        onConnected: ({ index }) => told.push(`up ${index}`),
        onDisconnected: ({ index }) => told.push(`down ${index}`),
        onStopping: () => told.push('stopping'),
      },
    })
    await echoed(await open(A), 'x')
    await expect.poll(() => told.length).toBe(4)
    await expect(open(B)).rejects.toBeInstanceOf(PosternError)
    await expect.poll(() => told.length).toBe(6)
    await daemon.drain(call)
    await daemon[Symbol.asyncDispose]()
    await expect
      .poll(() => told)
      .toEqual([
        'up 0',
        `open ${A} ${A}`,
        'service true',
        `end ${A} undefined`,
        `open ${B} undefined`,
        `end ${B} INGRESS_NOT_FOUND`,
        'stopping',
        'down 0',
      ])
  })
})
