import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { expect } from 'vitest'
import { type JoinedWorld, startJoined } from './joined.ts'
import { echoThenTail, type Origin, startOrigin } from './origin.ts'
import type { Running } from './program.ts'

export const APP = 'db.localhost'
const TAIL = 't'.repeat(1000)

/** Who the other end of a session is, and what carries it. */
export const WAYS = [
  { name: 'in hop', mode: 'hop', transport: 'websocket' },
  { name: 'end-to-end over websocket', mode: 'end-to-end', transport: 'websocket' },
  { name: 'end-to-end over tls', mode: 'end-to-end', transport: 'tls' },
] as const
export type Way = (typeof WAYS)[number]

/** `postern access tcp` at work, with somebody connected to it. */
export interface Survivor extends AsyncDisposable {
  readonly world: JoinedWorld
  readonly origin: Origin
  readonly access: Running
  /** What is to be found out: that this ends, and how. */
  readonly cut: Promise<string>
  /** That it lives on: told once, with a reason; connected again by itself; the listener is the same. */
  survived(code: RegExp): Promise<void>
}

/** @param through where the client is to find the edge, when not there: what it gets is the edge's port */
export async function startSurvivor(way: Way, through?: (port: number) => Promise<number>): Promise<Survivor> {
  await using owned = new AsyncDisposableStack()
  const origin = owned.use(await startOrigin(echoThenTail))
  const apps = { [APP]: { service: `tcp://127.0.0.1:${origin.port}`, mode: way.mode } }
  const world = owned.use(await startJoined({ apps, transport: way.transport }))
  const at = through && (await through(world.port))
  const { access, port } = await world.forward(APP, at ? ['--edge', `https://${APP}:${at}`] : [])
  const listening = eventsOf(access)[0]
  expect(listening).toMatchObject({ event: 'listening', mode: way.mode, transport: way.transport })
  const { end: cut } = await visitor(port)
  const parts = owned.move()
  return {
    world,
    origin,
    access,
    cut,
    async survived(code) {
      expect(await cut).toBe('ECONNRESET')
      await access.says(/"event":"connected"/, 60)
      await access.says(/connected to the edge again/)
      const [lost, ...more] = eventsOf(access).filter(one => one.event === 'lost')
      expect([lost?.code, more]).toEqual([expect.stringMatching(code), []])
      const said = linesOf(access)
      expect(said.filter(({ message }) => message === 'connected to the edge again')).toHaveLength(1)
      const cuts = said.filter(({ message }) => message === 'a connection was cut')
      expect(cuts.map(one => one.code)).toEqual([expect.stringMatching(code)])
      expect(await ask(port)).toBe(`HELLO\nabc${TAIL}`)
      expect(eventsOf(access).at(-1)).toMatchObject({ event: 'connected', mode: way.mode, transport: way.transport })
      expect(await access.stop('SIGINT')).toBe(0)
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** Somebody who is connected, and says nothing. @returns how that ends */
async function visitor(port: number): Promise<{ readonly end: Promise<string> }> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const end = new Promise<string>(resolve => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'))
    socket.once('end', () => resolve('end'))
  })
  await once(socket, 'data')
  void end.then(() => socket.destroy())
  return { end }
}

async function ask(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  let heard = ''
  socket.on('data', chunk => (heard += chunk)).on('error', () => {})
  socket.end('abc')
  await once(socket, 'close')
  return heard
}

interface Told {
  readonly event?: string
  readonly message?: string
  readonly code?: string
}

function eventsOf({ stdout }: Running): readonly Told[] {
  return linesIn(stdout)
}

function linesOf({ stderr }: Running): readonly Told[] {
  return linesIn(stderr)
}

function linesIn(text: string): readonly Told[] {
  return text.split('\n').flatMap(line => (line.startsWith('{') ? [JSON.parse(line) as Told] : []))
}

/** What is between a client and the edge: it can fall silent, as a network does from which one has gone away. */
export interface SilentRelay extends Disposable {
  readonly port: number
  /** Not one more byte of the connections that there are, nor their end; new ones pass. */
  fallSilent(): void
}

export async function startSilentRelay(target: number): Promise<SilentRelay> {
  const sockets = new Set<Socket>()
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
  }
  const server = createServer({ allowHalfOpen: true, noDelay: true }, client => {
    const edge = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    for (const one of [client, edge]) keep(one)
    client.on('error', () => edge.resetAndDestroy())
    edge.on('error', () => client.resetAndDestroy())
    client.pipe(edge).pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as { readonly port: number }).port,
    fallSilent() {
      for (const socket of sockets) {
        socket.unpipe()
        socket
          .removeAllListeners('end')
          .removeAllListeners('error')
          .on('error', () => {})
        socket.pause()
      }
    },
    [Symbol.dispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
