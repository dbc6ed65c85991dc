import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer as createNetServer, type Server as NetServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Call, problem } from '@postern/interface'
import { authority, leftOpen, resources } from '@postern/testkit'
import fc from 'fast-check'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createAdminClient } from '../src/client.ts'
import type { Tunnel } from '../src/index.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: new AbortController().signal, log }
const folder = mkdtempSync(join(tmpdir(), 'postern-admin-'))
const socket = join(folder, 'admin.sock')
const servers: (Server | NetServer)[] = []
const asked: { method: string | undefined; url: string | undefined; headers: object; body: string }[] = []

/** As an edge of before certificates answers; what it does not know is told as it is there. */
const TUNNEL = { name: 'home', online: false, connectors: [], applications: [], tokens: [] }
const KNOWN: Tunnel = { ...TUNNEL, needsCertificate: false, enrolled: [] }
let answer: (response: ServerResponse, request: IncomingMessage) => void = () => {}
const json = (value: unknown, status = 200, type = 'application/json') => {
  answer = response => response.writeHead(status, { 'content-type': type }).end(JSON.stringify(value))
}

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = ''
  for await (const chunk of request) body += chunk
  asked.push({ method: request.method, url: request.url, headers: request.headers, body })
  answer(response, request)
}

async function listen(server: Server | NetServer, where: string | number): Promise<number> {
  servers.push(server)
  if (typeof where === 'number') await new Promise<void>(resolve => server.listen(where, '127.0.0.1', resolve))
  else await new Promise<void>(resolve => server.listen(where, resolve))
  return typeof where === 'number' ? (server.address() as AddressInfo).port : 0
}

beforeEach(() => listen(createServer(handle), socket))
afterEach(async () => {
  vi.restoreAllMocks()
  asked.length = 0
  for (const server of servers) if ('closeAllConnections' in server) server.closeAllConnections()
  await Promise.all(servers.splice(0).map(server => new Promise(resolve => server.close(resolve))))
})
afterAll(() => rmSync(folder, { recursive: true }))

const admin = createAdminClient({ socket })

describe('a call', () => {
  it('asks as the table says, and answers what the schema knows', async () => {
    json({ ...TUNNEL, gained: 'by a newer edge' })
    expect(await admin.call('tunnel.create', { body: { name: 'home' } }, call)).toEqual(KNOWN)
    expect(asked).toMatchObject([{ method: 'POST', url: '/api/v1/tunnels', body: '{"name":"home"}' }])
    expect(asked[0]?.headers).not.toHaveProperty('authorization')
  })

  it('writes a query, and leaves out what was not given', async () => {
    json({ rows: [] })
    await admin.call('audit.list', { query: { most: '5', actor: 'a&b=c', hostname: undefined } }, call)
    expect(asked[0]?.url).toBe('/api/v1/audit?most=5&actor=a%26b%3Dc')
  })

  it('answers undefined for 204', async () => {
    answer = response => response.writeHead(204).end()
    expect(await admin.call('tunnel.delete', { params: { name: 'home' } }, call)).toBeUndefined()
  })

  it('leaves nothing open', async () => {
    const before = resources()
    json([])
    await admin.call('tunnel.list', {}, call)
    expect(await leftOpen(before)).toEqual([])
  })

  it('of a wrong input is not sent', async () => {
    const wrong = { body: { name: 'Home', nmae: 'x' } } as never
    await expect(admin.call('tunnel.create', wrong, call)).rejects.toMatchObject({
      code: 'BAD_USAGE',
      message: expect.stringMatching(/name does not have the form .*; nmae is not known; did you mean name\?/),
    })
    expect(asked).toEqual([])
  })

  it('never mistakes a parameter for more of the path', async () => {
    json({ hostname: 'a', tunnel: 'home', protocols: [], rules: [], online: false })
    await fc.assert(
      fc.asyncProperty(fc.string({ minLength: 1, maxLength: 20, unit: 'binary' }), async hostname => {
        asked.length = 0
        try {
          await admin.call('application.get', { params: { hostname } }, call)
        } catch {
          return expect(asked).toEqual([])
        }
        const [, base, version, kind, ...rest] = asked[0]?.url?.split('/') ?? []
        expect([base, version, kind, rest.map(decodeURIComponent)]).toEqual(['api', 'v1', 'applications', [hostname]])
      }),
      { numRuns: 200 },
    )
  })

  it.each(['.', '..'])('refuses %j, which every URL parser takes away', async hostname => {
    await expect(admin.call('application.get', { params: { hostname } }, call)).rejects.toMatchObject({
      code: 'BAD_USAGE',
    })
    expect(asked).toEqual([])
  })

  it('ends with its signal, with its reason', async () => {
    answer = () => aborting.abort(new Error('enough'))
    const aborting = new AbortController()
    await expect(admin.call('tunnel.list', {}, { ...call, signal: aborting.signal })).rejects.toThrow('enough')
  })

  it('ends with its deadline', async () => {
    const timeout = AbortSignal.timeout.bind(AbortSignal)
    const asked = vi.spyOn(AbortSignal, 'timeout').mockImplementation(() => timeout(100))
    answer = () => {}
    await expect(admin.call('tunnel.list', {}, call)).rejects.toMatchObject({ code: 'TIMED_OUT' })
    expect(asked).toHaveBeenCalledWith(30_000)
  })
})

describe('a refusal', () => {
  it('is the edge’s, with its request id', async () => {
    json(problem('CONFLICT', 'r-1', { detail: 'the tunnel \u001b[2Jhome is used' }), 409, 'application/problem+json')
    await expect(admin.call('tunnel.list', {}, call)).rejects.toMatchObject({
      code: 'CONFLICT',
      message: 'the tunnel  [2Jhome is used',
      requestId: 'r-1',
      speaker: 'edge',
    })
  })

  it.each<[string, typeof answer]>([
    ['a page', response => response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome</h1>')],
    ['a proxy’s error', response => response.writeHead(502).end('Bad Gateway')],
    ['a redirect', response => response.writeHead(302, { location: 'https://elsewhere.example' }).end()],
    ['broken JSON', response => response.writeHead(200, { 'content-type': 'application/json' }).end('[{')],
    ['other JSON', response => response.writeHead(200, { 'content-type': 'application/json' }).end('{"tunnels":[]}')],
    [
      'half an answer',
      response => response.writeHead(200, { 'content-length': '100' }).write('x') && response.destroy(),
    ],
    ['a hang-up', response => response.destroy()],
    ['an upgrade', response => response.writeHead(101, { connection: 'upgrade', upgrade: 'x' }).end()],
  ])('that is no answer of an edge is EDGE_PROTOCOL: %s', async (_name, odd) => {
    const before = resources()
    answer = odd
    await expect(admin.call('tunnel.list', {}, call)).rejects.toMatchObject({
      code: expect.stringMatching(/EDGE_PROTOCOL|EDGE_UNREACHABLE/),
    })
    expect(await leftOpen(before)).toEqual([])
  })

  it('stops reading at 16 MiB', async () => {
    let sent = 0
    answer = response => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const more = () => {
        while (!response.destroyed && sent < 64 * 1024 * 1024) {
          sent += 65_536
          if (!response.write('['.repeat(65_536))) return response.once('drain', more)
        }
        return response.end()
      }
      more()
    }
    await expect(admin.call('tunnel.list', {}, call)).rejects.toMatchObject({
      message: expect.stringContaining('16 MiB'),
    })
    expect(sent).toBeLessThan(32 * 1024 * 1024)
  })
})

describe('no edge', () => {
  const nobody = createAdminClient({ socket: join(folder, 'nobody.sock') })

  it('at the socket says what to do', async () => {
    await expect(nobody.call('tunnel.list', {}, call)).rejects.toMatchObject({
      code: 'EDGE_UNREACHABLE',
      message: expect.stringContaining('there is no such socket'),
      next: expect.stringMatching(/Is the edge running\?.*--edge URL after `postern admin login`/),
    })
  })

  it('behind a socket that is left over', async () => {
    const left = join(folder, 'left.sock')
    const script = `require('net').createServer().listen(${JSON.stringify(left)}, () => process.kill(process.pid, 'SIGKILL'))`
    const { spawnSync } = await import('node:child_process')
    spawnSync(process.execPath, ['-e', script])
    await expect(createAdminClient({ socket: left }).call('tunnel.list', {}, call)).rejects.toMatchObject({
      code: 'EDGE_UNREACHABLE',
      message: expect.stringContaining('no edge listens there'),
    })
  })

  it('behind what speaks something else', async () => {
    const other = join(folder, 'other.sock')
    await listen(
      createNetServer(
        one =>
          void one
            .on('error', () => {})
            .resume()
            .end('SSH-2.0-OpenSSH_9.2\r\n'),
      ),
      other,
    )
    await expect(createAdminClient({ socket: other }).call('tunnel.list', {}, call)).rejects.toMatchObject({
      code: 'EDGE_PROTOCOL',
    })
  })
})

describe('over the team domain', () => {
  const TOKEN = 'pats_something'
  async function edge(names: readonly string[]): Promise<{ port: number; ca: string }> {
    const ca = await authority()
    const { cert, key } = await ca.issue({ commonName: names[0] ?? '', dnsNames: names })
    return { port: await listen(createHttpsServer({ cert, key }, handle), 0), ca: ca.ca }
  }

  it('shows the token, to the name it was told', async () => {
    const { port, ca } = await edge(['edge.localhost'])
    json([])
    const place = { edge: new URL(`https://edge.localhost:${port}`), token: TOKEN, ca: [ca] }
    await createAdminClient(place).call('tunnel.list', {}, call)
    const byAddress = { ...place, edge: new URL(`https://127.0.0.1:${port}`), teamDomain: 'edge.localhost' }
    await createAdminClient(byAddress).call('tunnel.list', {}, call)
    const headers = { host: `edge.localhost:${port}`, authorization: `Bearer ${TOKEN}` }
    expect(asked.map(one => one.headers)).toMatchObject([headers, headers])
  })

  it('shows it to nobody whose certificate is not trusted, or another’s, whatever the environment says', async () => {
    const { port, ca } = await edge(['other.localhost'])
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    try {
      const url = new URL(`https://edge.localhost:${port}`)
      for (const trust of [{ ca: [ca] }, {}, { ca: [(await authority()).ca] }]) {
        const client = createAdminClient({ edge: url, token: TOKEN, ...trust })
        await expect(client.call('tunnel.list', {}, call)).rejects.toMatchObject({ code: 'EDGE_UNTRUSTED' })
      }
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
    }
    expect(asked).toEqual([])
  })

  it('goes by https only', () => {
    const clear = { edge: new URL('http://edge.localhost'), token: TOKEN }
    expect(() => createAdminClient(clear)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })
})
