import { request } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { leftOpen, recordingLog, resources } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Health, readHealthAddress, serveHealth } from '../src/health.ts'

const CONNECTOR = '5b1f7a9e-0000-4000-8000-000000000000'
const log = recordingLog()
const call = { signal: AbortSignal.timeout(60_000), log }
let before = resources()
let health: Health | undefined
let connections = 0
let render = async () => ({ type: 'text/plain; version=0.0.4; charset=utf-8', text: 'posternd_build_info 1\n' })

beforeEach(() => {
  before = resources()
  connections = 0
})
afterEach(async () => {
  await health?.[Symbol.asyncDispose]()
  health = undefined
  expect(await leftOpen(before)).toEqual([])
})

async function serve(where = '127.0.0.1:0'): Promise<void> {
  const options = { where, connectorId: CONNECTOR, connections: () => connections, render: () => render() }
  health = await serveHealth(options, call)
}

interface Answer {
  readonly status: number | undefined
  readonly headers: NodeJS.Dict<string | string[]>
  readonly body: string
}

function ask(path: string, { method = 'GET', host }: { method?: string; host?: string } = {}): Promise<Answer> {
  const { hostname, port } = new URL(`http://${health?.address}`)
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  request(
    { hostname: hostname.replace(/^\[|\]$/g, ''), port, path, method, ...(host && { headers: { host } }) },
    async response => {
      let body = ''
      for await (const chunk of response) body += chunk
      resolve({ status: response.statusCode, headers: response.headers, body })
    },
  )
    .on('error', reject)
    .end()
  return promise
}

describe('what it answers', () => {
  it('/healthz: 200 while the process runs', async () => {
    await serve()
    expect(await ask('/healthz')).toMatchObject({ status: 200, body: 'ok\n' })
  })

  it('/ready: 503 without a connection that takes streams, 200 with one', async () => {
    await serve()
    const away = await ask('/ready')
    expect(away.status).toBe(503)
    expect(JSON.parse(away.body)).toEqual({ status: 503, readyConnections: 0, connectorId: CONNECTOR })
    connections = 4
    const there = await ask('/ready?verbose')
    expect(there).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } })
    expect(JSON.parse(there.body)).toEqual({ status: 200, readyConnections: 4, connectorId: CONNECTOR })
  })

  it('/metrics: as they were rendered, kept by nobody', async () => {
    await serve()
    expect(await ask('/metrics')).toMatchObject({
      status: 200,
      body: 'posternd_build_info 1\n',
      headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8', 'cache-control': 'no-store' },
    })
  })

  it('HEAD: the same without the body', async () => {
    await serve()
    expect(await ask('/healthz', { method: 'HEAD' })).toMatchObject({
      status: 200,
      body: '',
      headers: { 'content-length': '3' },
    })
  })

  it.each(['/', '/metrics/', '/Metrics', '/constructor', '/__proto__', '//healthz', '/debug/pprof'])(
    '%s: 404',
    async path => {
      await serve()
      expect((await ask(path)).status).toBe(404)
    },
  )

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])('%s: 405', async method => {
    await serve()
    expect(await ask('/healthz', { method })).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } })
  })

  it('a failure of its own: 500, and the cause in the log only', async () => {
    const good = render
    render = async () => {
      throw new Error('the cause')
    }
    await serve()
    const answer = await ask('/metrics')
    render = good
    expect(answer.status).toBe(500)
    expect(answer.body).not.toContain('the cause')
    expect(log.text()).toContain('the cause')
  })
})

describe('on loopback, a page of somebody else’s in a browser here', () => {
  it.each([
    'evil.example',
    'evil.example:9090',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '[::1].evil.example',
    '',
  ])('that sends the Host %j is refused', async host => {
    await serve()
    const { status, body } = await ask('/metrics', { host: host || ' ' })
    expect(status).toBe(421)
    expect(body).not.toContain('posternd')
  })

  it.each([
    '127.0.0.1',
    '127.0.0.1:1',
    'localhost:9090',
    'LOCALHOST',
    'daemon.localhost',
    '[::1]:9090',
    '10.1.2.3:9090',
  ])('cannot send the Host %s, which is answered', async host => {
    await serve()
    expect((await ask('/metrics', { host })).status).toBe(200)
  })

  it.each(['127.7.7.7:0', '[::1]:0', '[0:0:0:0:0:0:0:1]:0', '[::ffff:127.0.0.1]:0'])(
    '%s is loopback as well',
    async where => {
      await serve(where)
      expect((await ask('/metrics', { host: 'evil.example' })).status).toBe(421)
    },
  )

  it('elsewhere, names are the network’s: any Host is answered, and a warning is given', async () => {
    const lines = log.lines.length
    await serve('0.0.0.0:0')
    expect((await ask('/metrics', { host: 'posternd.monitoring:9090' })).status).toBe(200)
    expect(log.lines.slice(lines)).toMatchObject([
      { level: 'warn', message: expect.stringContaining('other machines') },
    ])
  })
})

describe('limits', () => {
  it('a request whose head does not come is ended', { timeout: 20_000 }, async () => {
    await serve()
    const { hostname, port } = new URL(`http://${health?.address}`)
    const slow = connect(Number(port), hostname)
    slow.write('GET /metrics HTTP/1.1\r\nhost: localhost\r\nx-slow: ')
    let said = ''
    for await (const chunk of slow) said += chunk
    expect(said).toMatch(/^HTTP\/1\.1 408 /)
  })

  it('who asks and does not read is cut off: the places are for those who do', { timeout: 30_000 }, async () => {
    const small = render
    render = async () => ({ type: 'text/plain', text: 'x'.repeat(32 * 1024 * 1024) }) // more than a system keeps for a reader
    await serve()
    const { hostname, port } = new URL(`http://${health?.address}`)
    const readers = Array.from({ length: 64 }, () => {
      const reader = connect(Number(port), hostname).on('error', () => {})
      reader.write('GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n')
      return reader.pause()
    })
    await expect.poll(() => ask('/ready').catch(() => undefined), { timeout: 20_000 }).toMatchObject({ status: 503 })
    for (const reader of readers) reader.destroy()
    render = small
  })

  it('a head of more than 8 KiB is refused', async () => {
    await serve()
    expect((await ask('/metrics', { host: `localhost:${'1'.repeat(9000)}` })).status).toBe(431)
  })

  it('one request a connection: what follows a body is no second request', async () => {
    await serve()
    const { hostname, port } = new URL(`http://${health?.address}`)
    const socket = connect(Number(port), hostname)
    socket.end('GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n')
    let said = ''
    for await (const chunk of socket) said += chunk
    expect(said.match(/HTTP\/1\.1 200/g)).toHaveLength(1)
    expect(said).not.toContain('posternd')
  })
})

describe('where it listens', () => {
  it.each([
    ['127.0.0.1:9090', '127.0.0.1', 9090],
    ['localhost:0', '127.0.0.1', 0],
    ['[::1]:9090', '::1', 9090],
    ['0.0.0.0:65535', '0.0.0.0', 65_535],
    ['[::]:80', '::', 80],
  ])('%s', (where, host, port) => expect(readHealthAddress(where)).toEqual({ host, port }))

  it.each([
    '9090',
    ':9090',
    'localhost',
    '127.0.0.1:65536',
    'example.com:9090',
    '::1:9090',
    '[127.0.0.1]:1',
    '1.2.3:1',
    'http://127.0.0.1:1',
    '',
  ])('not %j', where =>
    expect(() => readHealthAddress(where)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' })),
  )

  it('says when the port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => other.once('listening', resolve))
    const { port } = other.address() as AddressInfo
    await expect(serve(`127.0.0.1:${port}`)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('another program listens there'),
    })
    await new Promise(resolve => other.close(resolve))
  })
})
