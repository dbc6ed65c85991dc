// Sessions over gRPC: at a real edge with a real daemon behind it, alone and behind nginx. Numbers are rows of docs/security.md.
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type ClientHttp2Session, connect as connectHttp2, createSecureServer } from 'node:http2'
import { type AddressInfo, connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect } from 'node:tls'
import { type TestAuthority, testAuthority } from '@postern/compliance'
import { freePort } from '@postern/dev'
import type { Call, Credential, Dialled, Transport } from '@postern/interface'
import grpc from '@postern/transport-grpc/client'
import { startTunnel, type Tunnel } from '@postern/tunnel'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Lab, quiet, startLab } from '../world/lab.ts'
import { type Nginx, startNginx } from '../world/nginx.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { start } from '../world/program.ts'

const HOST = 'db.localhost'
const SERVICE = '/postern.transport.v1.Pipe'
const TEN_MEGABYTES = 10 * 1024 * 1024
const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const call: Call = { signal: new AbortController().signal, log: quiet }

interface Way {
  readonly port: number
  readonly ca: string
}

let origin: Origin
let lab: Lab
let transport: Transport
let authority: TestAuthority
let nginx: Nginx | undefined
let direct: Way
let proxied: Way
const ways = { direct: () => direct, 'behind nginx': () => proxied }
const names = (peers.includes('nginx') ? ['direct', 'behind nginx'] : ['direct']) as (keyof typeof ways)[]

beforeAll(async () => {
  origin = await startOrigin(socket => socket.pipe(socket))
  lab = await startLab(`tcp://127.0.0.1:${origin.port}`)
  transport = await grpc.create({}, {} as never)
  direct = { port: lab.edge.port, ca: readFileSync(lab.caFile, 'utf8') }
  if (!peers.includes('nginx')) return
  authority = testAuthority()
  const { cert, key } = authority.issue({ commonName: HOST, dnsNames: [HOST] })
  const port = await freePort()
  // Shorter than a session may be idle, and longer than its pings are apart.
  const server = `listen 127.0.0.1:${port} ssl http2; server_name .localhost;
    ssl_certificate www/cert.pem; ssl_certificate_key www/key.pem;
    client_max_body_size 0; client_body_timeout 9s;
    location ${SERVICE}/ {
      grpc_pass grpcs://127.0.0.1:${lab.edge.port};
      grpc_set_header Host $host; grpc_ssl_server_name on; grpc_ssl_name $host;
      grpc_read_timeout 9s; grpc_send_timeout 9s;
    }`
  nginx = await startNginx(server, { 'cert.pem': cert, 'key.pem': key })
  proxied = { port, ca: authority.ca }
}, 60_000)

afterAll(async () => {
  for (const one of [nginx, lab, origin]) await one?.[Symbol.asyncDispose]()
})

async function secured({ port, ca }: Way, alpn: readonly string[]): Promise<Duplex> {
  const socket = connect({ port, host: '127.0.0.1', servername: HOST, ca, ALPNProtocols: [...alpn] })
  await once(socket, 'secureConnect')
  return socket.on('error', () => {})
}

async function dial(way: Way, credential: Credential = { headers: lab.headers() }): Promise<Dialled> {
  const edge = new URL(`https://${HOST}:${way.port}`)
  const dialled = await transport.dial(
    {
      edge,
      host: HOST,
      purpose: 'session',
      headers: {},
      credential,
      connect: securing => secured(way, securing?.alpn ?? []),
      ca: [way.ca],
    },
    call,
  )
  dialled.pipe.on('error', () => {})
  return dialled
}

async function session(way: Way): Promise<Tunnel> {
  const { pipe, answer } = await dial(way)
  expect(JSON.parse(answer['postern-application']?.[0] ?? '')).toMatchObject({ hostname: HOST })
  return startTunnel(pipe, { role: 'client', log: quiet }, call)
}

const opened = (tunnel: Tunnel): Promise<Duplex> =>
  tunnel.open({ hostname: HOST, requestId: 'mine', purpose: 'tcp' }, call)

/** What was sent came back, every byte. */
async function echoes(stream: Duplex, length: number): Promise<void> {
  const sent = randomBytes(length)
  const hash = createHash('sha256')
  let received = 0
  const back = (async () => {
    for await (const chunk of stream) {
      hash.update(chunk as Buffer)
      received += (chunk as Buffer).length
    }
  })()
  for (let at = 0; at < length; at += 65_536)
    if (!stream.write(sent.subarray(at, at + 65_536))) await once(stream, 'drain')
  stream.end()
  await back
  expect([received, hash.digest('hex')]).toEqual([length, createHash('sha256').update(sent).digest('hex')])
}

const sessions = () => lab.edge.counts().sessions

describe.each(names)('a session over gRPC, %s', name => {
  const way = () => ways[name]()

  test('10 MB both ways are the same bytes, and it ends cleanly', { timeout: 30_000 }, async () => {
    const tunnel = await session(way())
    await echoes(await opened(tunnel), TEN_MEGABYTES)
    await tunnel.close()
    expect(await tunnel.closed).toBeUndefined()
    await expect.poll(sessions).toBe(0)
  })

  test('a refusal is the edge’s own, with its request id; the right token is let in', async () => {
    await expect(dial(way(), {})).rejects.toMatchObject({ code: 'LOGIN_REQUIRED', requestId: expect.any(String) })
    const wrong = { headers: lab.headers({ ...lab.token, secret: 'wrong' }) }
    const error = await dial(way(), wrong).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'AUTH_REJECTED', refusal: { status: 401 } })
    const { pipe } = await dial(way())
    pipe.destroy()
  })

  test('a client that is gone is a cut at the edge, and the service hears of it', async () => {
    const { pipe } = await dial(way())
    const tunnel = await startTunnel(pipe, { role: 'client', log: quiet }, call)
    const stream = await opened(tunnel)
    stream.on('error', () => {})
    stream.write('x')
    await once(stream, 'data')
    expect([sessions(), origin.open.size]).toEqual([1, 1])
    pipe.destroy()
    await expect.poll(() => [sessions(), origin.open.size], { timeout: 10_000 }).toEqual([0, 0])
  })

  test('an edge that cuts is a cut for the client, never an end', async () => {
    const { pipe } = await dial(way())
    const ended = new Promise(resolve => pipe.on('end', () => resolve('end')).on('error', resolve))
    pipe.resume()
    pipe.write('GET / HTTP/1.1\r\n\r\n this is no session of ours')
    expect(await ended).toMatchObject({ code: 'STREAM_CUT' })
  })

  test('an idle session lives by its own pings', { timeout: 40_000 }, async () => {
    const tunnel = await session(way())
    const stream = await opened(tunnel)
    await new Promise(resolve => setTimeout(resolve, 12_000)) // more than nginx waits
    await echoes(stream, 100_000)
    await tunnel.close()
    expect(await tunnel.closed).toBeUndefined()
  })
})

test('the daemon’s and the user’s program, both over gRPC alone', { timeout: 40_000 }, async () => {
  await using own = await startLab()
  const files = { token: join(own.folder, 'tunnel'), secret: join(own.folder, 'secret') }
  writeFileSync(files.token, own.tunnelToken, { mode: 0o600 })
  writeFileSync(files.secret, own.token.secret, { mode: 0o600 })
  const at = ['--edge', `https://edge.localhost:${own.edge.port}`, '--ca', own.caFile, '--transport', 'grpc']
  const service = ['--hostname', HOST, '--url', `tcp://127.0.0.1:${origin.port}`, '--token-file', files.token]
  const daemon = start('posternd', [...at, ...service])
  await daemon.says(/connected to the edge/)
  const port = await freePort()
  const credential = ['--auth', 'service-token', '--id', own.token.id, '--secret-file', files.secret]
  const local = ['--hostname', HOST, '--listener', `127.0.0.1:${port}`]
  const user = start('postern', ['access', 'tcp', ...at, ...local, ...credential])
  await user.says(new RegExp(String(port)))
  const socket = connectTcp(port, '127.0.0.1')
  await echoes(socket, 1_000_000)
  expect(own.edge.counts()).toMatchObject({ sessions: 1 })
  await user.stop('SIGTERM')
  await daemon.stop('SIGTERM')
})

describe('--transport auto, as it is without a flag', () => {
  const reach = async (port: number, ca: string) => {
    const [caFile, secret] = [join(lab.folder, `ca-${port}`), join(lab.folder, `secret-${port}`)]
    writeFileSync(caFile, ca)
    writeFileSync(secret, lab.token.secret, { mode: 0o600 })
    const at = ['--hostname', HOST, '--edge', `https://${HOST}:${port}`, '--ca', caFile]
    const user = start('postern', ['access', 'tcp', ...at, '--id', lab.token.id, '--secret-file', secret])
    user.child.stdin?.end('hello')
    return { exit: await user.exit, stdout: user.stdout, lines: user.stderr.trimEnd().split('\n') }
  }

  test.skipIf(!names.includes('behind nginx'))(
    'behind what passes gRPC alone: why the others failed, and what it chose (needs: apt-get install nginx)',
    async () => {
      const { exit, stdout, lines } = await reach(proxied.port, proxied.ca)
      expect([exit, stdout], lines.join('\n')).toEqual([0, 'hello'])
      expect(lines).toEqual([
        expect.stringMatching(/info {2}no way to the edge by tls; trying websocket .*cause=".*403.*"$/),
        expect.stringMatching(/info {2}no way to the edge by websocket; trying grpc .*cause=".*403.*"$/),
        expect.stringMatching(/info {2}the edge is reached by grpc$/),
      ])
    },
  )

  test('where nothing gets through, the error has the reason of each; where the first does, nothing is said', async () => {
    const { ca, issue } = testAuthority()
    const { cert, key } = issue({ commonName: HOST, dnsNames: [HOST] })
    const wall = createSecureServer({ cert, key, allowHTTP1: true }, (_request, response) => {
      response.writeHead(403).end('not from here')
    }).listen(0, '127.0.0.1')
    await once(wall, 'listening')
    const blocked = await reach((wall.address() as AddressInfo).port, ca)
    wall.close()
    expect([blocked.exit, blocked.stdout]).toEqual([23, ''])
    const [said] = blocked.lines.filter(line => line.startsWith('postern: '))
    for (const name of ['tls', 'websocket', 'grpc']) expect(said).toMatch(new RegExp(`by ${name} [^;]*403`))
    expect(await reach(direct.port, direct.ca)).toEqual({ exit: 0, stdout: 'hello', lines: [''] })
  })
})

describe('row 78: at the edge’s own door', () => {
  const HEAD = {
    ':method': 'POST',
    ':path': `${SERVICE}/Session`,
    ':authority': HOST,
    'content-type': 'application/grpc',
    te: 'trailers',
  }

  async function raw(): Promise<ClientHttp2Session> {
    const socket = await secured(direct, ['h2'])
    return connectHttp2(`https://${HOST}`, {
      createConnection: () => socket,
      maxSendHeaderBlockLength: 64 * 1024 * 1024,
    }).on('error', () => {})
  }

  /** The head of what is answered, or how the stream ended without. */
  async function answered(client: ClientHttp2Session, more: Record<string, string | string[]>): Promise<unknown> {
    const stream = client.request({ ...HEAD, ...more }).on('error', () => {})
    return new Promise(resolve => {
      stream.on('response', resolve).on('close', () => resolve(`closed: ${stream.rstCode}`))
    })
  }

  test('100,000 fields of metadata are nobody’s call, an invalid -bin value nobody’s business; others live', async () => {
    const tunnel = await session(direct)
    const client = await raw()
    const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`x-${at}`, 'v']))
    expect(await answered(client, many)).not.toMatchObject({ ':status': 200 })
    client.destroy()
    const other = await raw()
    const refused = await answered(other, { 'x-some-bin': '!!! no base64' })
    expect(refused).toMatchObject({ ':status': 200, 'grpc-status': '16', 'postern-problem-bin': expect.any(String) })
    const taken = await answered(other, { ...lab.headers(), 'x-some-bin': '!!! no base64' })
    expect(taken).toMatchObject({ ':status': 200, 'postern-application': expect.any(String) })
    expect(taken).not.toHaveProperty('grpc-status')
    other.destroy()
    await echoes(await opened(tunnel), 100_000)
    await tunnel.close()
  })

  test('a storm of cancelled calls costs its sender the connection and nobody else anything', async () => {
    const tunnel = await session(direct)
    const client = await raw()
    const over = new Promise(resolve => client.once('close', resolve))
    let asked = 0
    while (!client.closed && !client.destroyed && asked < 20_000) {
      for (let at = 0; at < 50 && !client.destroyed && !client.closed; at++, asked++)
        client
          .request(HEAD)
          .on('error', () => {})
          .close(8)
      await new Promise(resolve => setImmediate(resolve))
    }
    await over
    await echoes(await opened(tunnel), 100_000)
    await tunnel.close()
    await expect.poll(sessions).toBe(0)
  })

  test('a message of 100 MB, and a compressed one, end their session alone', async () => {
    const tunnel = await session(direct)
    for (const [first, status] of [
      [Buffer.from([0, 0x06, 0x40, 0, 0, 0x0a]), '8'],
      [Buffer.from([1, 0, 0, 0, 9, 0x1f]), '12'],
    ] as const) {
      const client = await raw()
      const stream = client.request({ ...HEAD, ...lab.headers() }).on('error', () => {})
      await once(stream, 'response')
      const trailers = once(stream.resume(), 'trailers')
      stream.write(first)
      expect((await trailers)[0]).toMatchObject({ 'grpc-status': status })
      client.destroy()
    }
    await echoes(await opened(tunnel), 100_000)
    await tunnel.close()
    await expect.poll(sessions).toBe(0)
  })
})
