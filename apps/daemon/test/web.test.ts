// HTTP applications: streams of requests to the rules for requests, each request by the rules of now. Real services, the edge in memory.
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { AuthProvider, Call, ProtocolServer } from '@postern/interface'
import http from '@postern/protocol-http/origin'
import tcp from '@postern/protocol-tcp/origin'
import { type MemoryEdge, memoryEdge, openOrigin, recordingLog, type TestOrigin } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type DaemonObserver,
  originHost,
  type RequestEnd,
  type RunningDaemon,
  readRule,
  type ServedRule,
  startDaemon,
  type Web,
  type WebRule,
} from '../src/index.ts'

const log = recordingLog()
const call: Call = { signal: AbortSignal.timeout(60_000), log }
const nobody: AuthProvider = { authenticate: async () => ({}) }
const url = new URL('https://edge.example.com')
const APP = 'app.example.com'

let edge: MemoryEdge
let bytes: TestOrigin
let servers: Server[]
let server: ProtocolServer
let plain: ProtocolServer
let daemon: RunningDaemon
beforeEach(async () => {
  edge = await memoryEdge(log)
  bytes = await openOrigin()
  servers = []
  server = await http.create({}, originHost({ edge: url }))
  plain = await tcp.create({}, {} as never)
})
afterEach(async () => {
  await daemon[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]?.()
  await edge[Symbol.asyncDispose]()
  await bytes[Symbol.asyncDispose]()
  for (const one of servers) one.close().closeAllConnections()
})

/** A service that says its name and the path; `/slow` begins an answer and `/hang` none. */
async function service(name: string): Promise<{ service: URL; connections: () => number }> {
  let connections = 0
  const one = createServer((request, response) => {
    if (request.url?.endsWith('/slow')) response.write('half')
    else if (!request.url?.endsWith('/hang')) response.end(`${name}:${request.url}`)
  }).listen(0, '127.0.0.1')
  one.on('connection', () => connections++)
  servers.push(one)
  await once(one, 'listening')
  return { service: new URL(`http://localhost:${(one.address() as AddressInfo).port}`), connections: () => connections }
}

const rule = (service: URL | number, path = '', hostname: string | null = APP): WebRule => ({
  ...(hostname !== null && { hostname }),
  segments: path.split('/').filter(Boolean),
  service,
  options: {},
})
const web = (...rules: WebRule[]): Web => ({ server, rules })
const forBytes = (hostname = APP): ServedRule => ({
  hostname,
  service: readRule('x.example.com', `tcp://127.0.0.1:${bytes.port}`, () => 'none').service,
  server: plain,
})

async function start(rules: readonly ServedRule[], applications: Web | undefined, observer: DaemonObserver = {}) {
  const config = {
    edge: url,
    rules,
    auth: [nobody],
    transports: [{ name: 'memory', transport: edge.transport }],
    connections: 1,
    observer,
  }
  daemon = await startDaemon({ ...config, ...(applications && { web: applications }) }, call)
}

function open(purpose: 'http' | 'tcp' = 'http', hostname = APP): Promise<Duplex> {
  const [tunnel] = edge.tunnels
  if (!tunnel) throw new Error('no daemon is connected')
  return tunnel.open({ hostname, requestId: 'r-1', purpose }, call)
}

/** Whether an answer with a length is all there. */
const whole = {
  test(text: string): boolean {
    const [head = '', body] = text.split('\r\n\r\n')
    return body?.length === Number(/content-length: (\d+)/i.exec(head)?.[1])
  },
}

async function get(stream: Duplex, path: string, wanted: { test(text: string): boolean } = whole): Promise<string> {
  let text = ''
  stream.write(`GET ${path} HTTP/1.1\r\nHost: ${APP}\r\n\r\n`)
  return new Promise((resolve, reject) => {
    const onClose = () => reject(stream.errored ?? new Error(`closed after ${text}`))
    stream.once('close', onClose)
    stream.on('data', function onData(chunk) {
      text += chunk
      if (!wanted.test(text)) return
      stream.off('data', onData).off('close', onClose)
      resolve(text)
    })
  })
}

describe('one hostname with a service for bytes and one for requests', () => {
  it('gets each stream to where it belongs, and neither to the other', async () => {
    const one = await service('one')
    await start([forBytes()], web(rule(one.service)))
    const stream = await open()
    expect(await get(stream, '/x')).toMatch(/one:\/x$/)
    expect(await get(stream, '/y')).toMatch(/one:\/y$/)
    expect(one.connections()).toBe(1)
    expect(bytes.connections).toBe(0)
    const raw = await open('tcp')
    raw.end('ping')
    let back = ''
    for await (const chunk of raw) back += chunk
    expect(back).toBe('ping')
    expect(one.connections()).toBe(1)
    expect(log.text()).toContain(`${APP} → ${one.service.origin}`)
    expect(log.text()).toContain(`${APP} → tcp://127.0.0.1:${bytes.port}`)
  })

  it('a stream of the kind that no rule is for is refused, whatever the other kind has', async () => {
    const one = await service('one')
    await start([forBytes('db.example.com')], web(rule(one.service)))
    await expect(open('tcp')).rejects.toMatchObject({ code: 'INGRESS_NOT_FOUND', speaker: 'daemon' })
    await expect(open('http', 'db.example.com')).rejects.toMatchObject({ code: 'INGRESS_NOT_FOUND', speaker: 'daemon' })
    expect([one.connections(), bytes.connections]).toEqual([0, 0])
    expect(await get(await open(), '/')).toMatch(/one:\/$/)
  })
})

describe('paths', () => {
  it('the first rule that matches answers, by whole segments, and what reads in two ways is nobody’s', async () => {
    const [one, two] = [await service('one'), await service('two')]
    await start([], web(rule(403, '/admin'), rule(one.service, '/api/*/v1'), rule(two.service), rule(404, '', null)))
    const stream = await open()
    for (const [path, wanted] of [
      ['/api/a/v1/x', 'one:'],
      ['/api/v1', 'two:'],
      ['/', 'two:'],
      ['/administrator', 'two:'],
      ['/admin', ' 403 '],
      ['//admin', ' 403 '],
      ['/%61dmin?x', ' 403 '],
      ['/admin%2f', 'INGRESS_NOT_FOUND'],
      ['/x/../admin', 'INGRESS_NOT_FOUND'],
      ['/x/%2e%2e/admin', 'INGRESS_NOT_FOUND'],
    ] as const)
      expect([path, await get(stream, path)]).toEqual([path, expect.stringContaining(wanted)])
    expect(await get(await open('http', 'other.example.org'), '/')).toContain(' 404 Not Found')
  })

  it('a wildcard’s rules and a hostname’s own are one list', async () => {
    const [one, two] = [await service('one'), await service('two')]
    await start(
      [],
      web(rule(403, '/admin', '*.example.com'), rule(one.service), rule(two.service, '', '*.example.com')),
    )
    expect(await get(await open(), '/admin')).toContain(' 403 ')
    expect(await get(await open(), '/')).toMatch(/one:\/$/)
    expect(await get(await open('http', 'b.example.com'), '/')).toMatch(/two:\/$/)
    await expect(open('http', 'a.b.example.com')).rejects.toMatchObject({ code: 'INGRESS_NOT_FOUND' })
  })
})

describe('other rules', () => {
  it('hold for the next request of a stream that is open', async () => {
    const [one, two] = [await service('one'), await service('two')]
    await start([], web(rule(one.service)))
    const stream = await open()
    expect(await get(stream, '/')).toMatch(/one:\/$/)
    const { added, removed } = daemon.setRules([], [], web(rule(two.service)))
    expect([added, removed]).toEqual([[`${APP} → ${two.service.origin}`], [`${APP} → ${one.service.origin}`]])
    expect(await get(stream, '/')).toMatch(/two:\/$/)
    daemon.setRules([])
    expect(await get(stream, '/')).toContain('INGRESS_NOT_FOUND')
    await expect(open()).rejects.toMatchObject({ code: 'INGRESS_NOT_FOUND' })
    daemon.setRules([], [], web(rule(one.service)))
    expect(await get(stream, '/')).toMatch(/one:\/$/)
  })

  it('cut what a rule that is gone carries, and leave the others alone', async () => {
    const [one, two] = [await service('one'), await service('two')]
    await start([], web(rule(one.service, '/one'), rule(two.service)))
    const [a, b, c] = [await open(), await open(), await open()]
    await get(a, '/one/slow', /half/)
    await get(b, '/slow', /half/)
    const hanging = get(c, '/one/hang')
    await expect.poll(one.connections).toBe(2)
    const cut = once(a, 'error')
    expect(daemon.setRules([], [], web(rule(two.service))).cut).toBe(2)
    await cut
    expect(await hanging).toContain('INGRESS_NOT_FOUND')
    expect(b.destroyed).toBe(false)
    expect(two.connections()).toBe(1)
  })

  it('cut a request that another rule would answer now', async () => {
    const [one, two] = [await service('one'), await service('two')]
    await start([], web(rule(one.service)))
    const stream = await open()
    await get(stream, '/admin/slow', /half/)
    const cut = once(stream, 'error')
    expect(daemon.setRules([], [], web(rule(two.service, '/admin'), rule(one.service))).cut).toBe(1)
    await cut
    expect(await get(await open(), '/')).toMatch(/one:\/$/)
  })

  it('that say the same keep connections and what they carry', async () => {
    const one = await service('one')
    await start([], web(rule(one.service)))
    const stream = await open()
    await get(stream, '/')
    for (let count = 0; count < 5; count++) {
      expect(daemon.setRules([], [], web(rule(one.service))).cut).toBe(0)
      expect(await get(stream, '/')).toMatch(/one:\/$/)
    }
    expect(one.connections()).toBe(1)
  })
})

it('row 144: a service that is away is told to the edge by its code, and to this log by its address', async () => {
  const one = await service('one')
  servers.shift()?.close()
  const ends: RequestEnd[] = []
  await start([], web(rule(one.service)), { onRequest: (_, end) => ends.push(end) })
  const answer = await get(await open(), '/')
  expect(answer).toMatch(/^HTTP\/1\.1 502 [\s\S]*ORIGIN_REFUSED/)
  expect(answer).not.toContain('localhost')
  expect(log.text()).toMatch(/request failed.*localhost:\d+/s)
  expect(ends).toMatchObject([{ status: 502, code: 'ORIGIN_REFUSED' }])
})

it('a drain lets a request finish and does not wait for streams that nothing is asked over', async () => {
  const one = await service('one')
  await start([], web(rule(one.service)))
  const [idle, busy] = [await open(), await open()]
  await get(idle, '/')
  await get(busy, '/slow', /half/)
  const closed = new Promise<void>(resolve => busy.on('error', () => {}).once('close', () => resolve()))
  idle.on('error', () => {})
  const gone = new Promise<void>(resolve => idle.once('close', () => resolve()))
  const drained = daemon.drain(call)
  await gone
  expect(busy.destroyed).toBe(false)
  servers[0]?.closeAllConnections()
  await closed
  await drained
})
