import dns from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import type { Call } from '@postern/interface'
import { authority, leftOpen, resources } from '@postern/testkit'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { connectEdge } from '../src/connect.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: AbortSignal.timeout(15_000), log }
const tls = { alpn: ['http/1.1'] }
const servers: Server[] = []
const sockets = new Set<Socket>()

async function listen(server: Server): Promise<number> {
  servers.push(server.on('connection', (socket: Socket) => sockets.add(socket)))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await Promise.all(servers.splice(0).map(server => new Promise(resolve => server.close(resolve))))
})

const to = (port: number, serverName = 'edge.localhost', host = 'edge.localhost') => ({ host, port, serverName })

async function tlsServer(names: readonly string[]): Promise<{ port: number; ca: string }> {
  const ca = await authority()
  const { cert, key } = await ca.issue({ commonName: names[0] ?? '', dnsNames: names })
  return {
    port: await listen(
      createTlsServer({ cert, key, ALPNProtocols: ['http/1.1'] }, socket => socket.on('error', () => {}).write('hi')),
    ),
    ca: ca.ca,
  }
}

describe('a connection to the edge', () => {
  it('reaches *.localhost on loopback whatever DNS says, over verified TLS with ALPN', async () => {
    const { port, ca } = await tlsServer(['edge.localhost'])
    const socket = await connectEdge(to(port), tls, { ca: [ca] }, {}, call)
    expect([(socket as TLSSocket).alpnProtocol, (socket as TLSSocket).authorized]).toEqual(['http/1.1', true])
    socket.destroy()
  })

  it('shows a certificate, and says beforehand that it has one: the edge asks nobody else at its own domain', async () => {
    const issuer = await authority()
    const server = await issuer.issue({ commonName: 'edge.localhost', dnsNames: ['edge.localhost'] })
    const own = await issuer.issue({ commonName: 'a daemon', usage: 'client' })
    const offered: (readonly string[])[] = []
    const shown: (string | undefined)[] = []
    const answers = createTlsServer(
      {
        cert: server.cert,
        key: server.key,
        requestCert: true,
        rejectUnauthorized: false,
        ALPNCallback: ({ protocols }) => {
          offered.push(protocols)
          return 'http/1.1'
        },
      },
      socket => {
        shown.push(socket.getPeerX509Certificate()?.raw.toString('hex'))
        socket.on('error', () => {}).write('hi')
      },
    )
    const port = await listen(answers)
    for (const credential of [{}, { tls: { cert: own.cert, key: own.key } }]) {
      const socket = await connectEdge(to(port), tls, { ca: [issuer.ca] }, credential, call)
      await new Promise(resolve => socket.once('data', resolve))
      expect((socket as TLSSocket).alpnProtocol).toBe('http/1.1')
      socket.destroy()
    }
    expect(offered).toEqual([['http/1.1'], ['http/1.1', 'postern-certificate']])
    expect(shown).toEqual([undefined, Buffer.from(own.der).toString('hex')])
  })

  it('is bare TCP where no TLS is wanted', async () => {
    const port = await listen(createServer(socket => socket.end('plain')))
    const socket = await connectEdge(to(port), undefined, { ca: [] }, {}, call)
    let text = ''
    for await (const chunk of socket) text += chunk
    expect(text).toBe('plain')
  })

  it('says that nothing listens there', async () => {
    const port = await listen(createServer())
    await new Promise(resolve => servers.pop()?.close(resolve))
    await expect(connectEdge(to(port), tls, { ca: [] }, {}, call)).rejects.toMatchObject({
      code: 'EDGE_UNREACHABLE',
      message: expect.stringContaining('nothing listens there'),
      cause: expect.anything(),
    })
  })

  it('says that a name does not resolve', async () => {
    await expect(connectEdge(to(1, 'x.invalid', 'x.invalid'), tls, { ca: [] }, {}, call)).rejects.toMatchObject({
      code: 'EDGE_UNREACHABLE',
    })
  })

  it('refuses a certificate of a CA that is not trusted', async () => {
    const { port } = await tlsServer(['edge.localhost'])
    await expect(connectEdge(to(port), tls, { ca: [] }, {}, call)).rejects.toMatchObject({ code: 'EDGE_UNTRUSTED' })
  })

  it('refuses a certificate for another name', async () => {
    const { port, ca } = await tlsServer(['other.localhost'])
    await expect(connectEdge(to(port), tls, { ca: [ca] }, {}, call)).rejects.toMatchObject({ code: 'EDGE_UNTRUSTED' })
  })

  it('verifies even where the environment says not to', async () => {
    const { port } = await tlsServer(['edge.localhost'])
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    try {
      await expect(connectEdge(to(port), tls, { ca: [] }, {}, call)).rejects.toMatchObject({ code: 'EDGE_UNTRUSTED' })
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
    }
  })

  it('says that what answers does not speak TLS', async () => {
    const port = await listen(
      createServer(socket => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n')),
    )
    await expect(connectEdge(to(port), tls, { ca: [] }, {}, call)).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
  })

  it('ends with the call while TLS hangs, with its own reason, and leaves no socket', async () => {
    const before = resources()
    const port = await listen(createServer(socket => socket.on('error', () => {})))
    const stop = new AbortController()
    const dialling = connectEdge(to(port), tls, { ca: [] }, {}, { signal: stop.signal, log })
    setTimeout(() => stop.abort(new Error('enough')), 100)
    await expect(dialling).rejects.toThrow('enough')
    for (const socket of sockets) socket.destroy()
    await Promise.all(servers.splice(0).map(server => new Promise(resolve => server.close(resolve))))
    expect(await leftOpen(before)).toEqual([])
  })

  it('does not begin for a call that was aborted before', async () => {
    await expect(
      connectEdge(to(1), tls, { ca: [] }, {}, { signal: AbortSignal.abort(new Error('before')), log }),
    ).rejects.toThrow('before')
  })
})

// RFC 6761, section 6.3: a resolver may answer anything for localhost, so none is asked.
describe('the resolver', () => {
  const asked: string[] = []
  const watch = () => {
    asked.length = 0
    vi.spyOn(dns, 'lookup').mockImplementation(((name: string, _options: unknown, done: (error: Error) => void) => {
      asked.push(name)
      done(Object.assign(new Error('asked'), { code: 'ENOTFOUND' }))
    }) as typeof dns.lookup)
    syncBuiltinESMExports()
  }
  afterEach(() => {
    vi.restoreAllMocks()
    syncBuiltinESMExports()
  })

  it.each(['localhost', 'localhost.', 'db.localhost', 'a.db.localhost.', 'DB.LOCALHOST'])(
    'is not asked for %s',
    async name => {
      const port = await listen(createServer(socket => socket.end('here')))
      watch()
      const socket = await connectEdge(to(port, 'edge.localhost', name), undefined, { ca: [] }, {}, call)
      let text = ''
      for await (const chunk of socket) text += chunk
      expect([text, asked]).toEqual(['here', []])
    },
  )

  it('is asked for everything else: the twin', async () => {
    watch()
    await expect(connectEdge(to(1, 'x', 'notlocalhost'), undefined, { ca: [] }, {}, call)).rejects.toMatchObject({
      code: 'EDGE_UNREACHABLE',
    })
    expect(asked).toEqual(['notlocalhost'])
  })
})
