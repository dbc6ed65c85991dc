import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { getCACertificates } from 'node:tls'
import serviceToken from '@postern/auth-service-token/client'
import { type Client, createClient, use } from '@postern/client'
import { leftOpen, resources } from '@postern/testkit'
import tls from '@postern/transport-tls/client'
import websocket from '@postern/transport-websocket/client'
import { createVerifier } from '@postern/verify'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type DevSite, startDev } from '../src/index.ts'

/** What a library has no business with. */
function ofProcess() {
  const events = process.eventNames().map(name => `${String(name)} ×${process.listenerCount(name)}`)
  const variables = JSON.stringify(process.env)
  // tslib and zod, which libraries bring, leave theirs there once they are loaded.
  const names = Object.getOwnPropertyNames(globalThis).filter(name => !name.startsWith('__'))
  const state = { cwd: process.cwd(), umask: process.umask(), title: process.title, exitCode: process.exitCode }
  return {
    ...state,
    variables,
    events: events.sort(),
    names: names.sort(),
    authorities: getCACertificates('default').length,
  }
}

/** Every place that a socket of this process was connected to. */
function watchSockets() {
  const places = new Set<string>()
  const onSocket = (message: unknown) => {
    const { socket } = message as { socket: Socket }
    socket.once('connect', () => places.add(socket.remoteAddress ?? 'a Unix socket'))
    socket.once('connectionAttempt', (ip: string) => places.add(ip))
  }
  subscribe('net.client.socket', onSocket)
  return { places, [Symbol.dispose]: () => void unsubscribe('net.client.socket', onSocket) }
}

interface Service extends AsyncDisposable {
  readonly port: number
}

async function listening(server: TcpServer, end: () => void): Promise<Service> {
  await new Promise<void>(resolve => void server.listen(0, '127.0.0.1', () => resolve()))
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      end()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

/** A web application that says its name, and who is there. */
function web(name: string, dev: DevSite, host: string): Promise<Service> {
  const verifier = createVerifier(dev.verifierOptions(host))
  const server = createServer(async (request, response) => {
    const who = await verifier.verify(request).catch(() => undefined)
    response.writeHead(who ? 200 : 401).end(`${name}: ${who?.email ?? who?.subject ?? 'nobody'}`)
  })
  return listening(server, () => server.closeAllConnections())
}

/** A service of bytes that says its name after the end. */
function bytes(name: string): Promise<Service> {
  const open = new Set<Socket>()
  const server = createTcpServer({ allowHalfOpen: true }, socket => {
    open.add(socket)
    socket.on('error', () => {}).resume()
    socket.on('end', () => socket.end(name)).on('close', () => open.delete(socket))
  })
  return listening(server, () => open.forEach(socket => void socket.destroy()))
}

const APP = 'shop.localhost'
const DB = 'db.localhost'

async function answerOf(fetch: DevSite['fetch'], url: string, init?: RequestInit) {
  const answer = await fetch(url, init)
  return [answer.status, await answer.text()]
}

const clientOf = ({ ca, serviceToken: { id, secret } }: DevSite, more: object = {}): Client =>
  createClient({ auth: use(serviceToken, { id, secret }), transport: [tls, websocket], ca, ...more })

describe('two of them in one process', { timeout: 60_000 }, () => {
  const before = ofProcess()
  const open = resources()
  const sockets = watchSockets()
  const owned = new AsyncDisposableStack()
  let one: DevSite
  let other: DevSite

  beforeAll(async () => {
    ;[one, other] = await Promise.all([
      startDev({ samples: false, endToEnd: true }),
      startDev({ samples: false, endToEnd: true }),
    ])
    for (const [name, dev] of [
      ['one', one],
      ['other', other],
    ] as const) {
      owned.use(dev)
      const [page, stream] = [owned.use(await web(name, dev, APP)), owned.use(await bytes(name))]
      await dev.expose(APP, `http://127.0.0.1:${page.port}`)
      await dev.expose(DB, `tcp://127.0.0.1:${stream.port}`)
    }
  }, 60_000)
  afterAll(async () => {
    await owned.disposeAsync()
    sockets[Symbol.dispose]()
  })

  const at = (dev: DevSite) => `https://${APP}:${dev.port}/`

  it('have ports and folders of their own', () => {
    expect(one.port).not.toBe(other.port)
    expect(one.folder).not.toBe(other.folder)
    expect([one, other].map(dev => existsSync(dev.folder))).toEqual([true, true])
  })

  it('serve their own application by the same name, each to its own person', async () => {
    const [ann, ann2] = await Promise.all([one.signIn(), other.signIn()])
    expect(await answerOf(ann.fetch, at(one))).toEqual([200, 'one: ann@example.com'])
    expect(await answerOf(ann2.fetch, at(other))).toEqual([200, 'other: ann@example.com'])
  })

  it('take nothing of each other: no password, no token, no session, no identity', async () => {
    await expect(other.signIn(one.person)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect((await answerOf(other.fetch, at(other), { headers: one.serviceToken.headers }))[0]).toBe(401)
    expect((await answerOf(other.fetch, at(other), { headers: other.serviceToken.headers }))[0]).toBe(200)
    await using mixed = clientOf({ ...one, serviceToken: other.serviceToken })
    await expect(mixed.open(`${DB}:${one.port}`)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await using strange = clientOf({ ...one, ca: other.ca })
    await expect(strange.open(`${DB}:${one.port}`)).rejects.toMatchObject({ code: 'EDGE_UNTRUSTED' })
  })

  it('carry streams of createClient(), end to end with their own key and through the edge', async () => {
    const seen = []
    for (const dev of [one, other]) {
      const pinned = { endToEnd: { pins: { [DB]: dev.pin ?? '' } } }
      for (const more of [pinned, { endToEnd: false }, { transport: websocket }]) {
        await using postern = clientOf(dev, more)
        const socket = await postern.open(`${DB}:${dev.port}`)
        socket.end('hello')
        seen.push(await text(socket))
      }
    }
    expect(seen).toEqual(['one', 'one', 'one', 'other', 'other', 'other'])
    await using wrong = clientOf(one, { endToEnd: { pins: { [DB]: other.pin ?? '' } } })
    await expect(wrong.open(`${DB}:${one.port}`)).rejects.toMatchObject({ code: 'TUNNEL_KEY_CHANGED' })
  })

  it('an application that is for some is for these: its own groups, and nobody who was not signed in', async () => {
    const page = owned.use(await web('buyers', one, 'buyers.localhost'))
    const { url } = await one.expose('buyers.localhost', `http://127.0.0.1:${page.port}`, { groups: ['buyers'] })
    const bea = await one.signIn(await one.addPerson({ email: 'bea@example.com', name: 'Bea', groups: ['buyers'] }))
    expect(await answerOf(bea.fetch, url)).toEqual([200, 'buyers: bea@example.com'])
    const ann = await one.signIn()
    for (let go = 0; go < 2; go++) expect((await answerOf(ann.fetch, url))[0]).toBe(403)
    expect((await answerOf(one.fetch, url))[0]).toBe(401)
  })

  it('what cannot be exposed leaves the others as they are', async () => {
    await expect(one.expose(DB, 'tcp://127.0.0.1:1')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(one.expose('x.localhost', 'gopher://127.0.0.1')).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    await expect(one.expose('x.localhost', '127.0.0.1:3000')).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    const stream = owned.use(await bytes('late'))
    const { address } = await one.expose('late.localhost', `tcp://127.0.0.1:${stream.port}`)
    await using postern = clientOf(one)
    for (const [name, said] of [
      [address, 'late'],
      [`${DB}:${one.port}`, 'one'],
    ] as const) {
      const socket = await postern.open(name)
      socket.end()
      expect(await text(socket)).toBe(said)
    }
  })

  it('a name that is not of this machine is neither exposed nor fetched', async () => {
    await expect(one.expose('shop.example.com', 'http://127.0.0.1:1')).rejects.toMatchObject({
      code: 'HOSTNAME_INVALID',
    })
    await expect(one.fetch('https://shop.example.com/')).rejects.toMatchObject({ code: 'DESTINATION_FORBIDDEN' })
    await expect((await one.signIn()).fetch(`http://${APP}/`)).rejects.toMatchObject({ code: 'DESTINATION_FORBIDDEN' })
  })

  it('one that cannot start leaves nothing open', async () => {
    const before = resources()
    await expect(startDev({ samples: false, port: one.port })).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
    const gone = AbortSignal.abort(new Error('not any more'))
    await expect(startDev({ samples: false }, { signal: gone })).rejects.toThrow('not any more')
    expect(await leftOpen(before)).toEqual([])
  })

  it('when one ends, the other goes on; then nothing is left, and nothing of the process was changed', async () => {
    const kept = await other.signIn()
    await one[Symbol.asyncDispose]()
    expect(existsSync(one.folder)).toBe(false)
    expect(await answerOf(kept.fetch, at(other))).toEqual([200, 'other: ann@example.com'])
    await owned.disposeAsync()
    expect(existsSync(other.folder)).toBe(false)
    expect(await leftOpen(open)).toEqual([])
    expect(ofProcess()).toEqual(before)
    expect([...sockets.places].filter(place => !['127.0.0.1', '::1', 'a Unix socket'].includes(place))).toEqual([])
    expect([...sockets.places]).toContain('127.0.0.1')
  })
})
