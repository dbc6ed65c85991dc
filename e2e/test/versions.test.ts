import { createApplicationClient } from '@postern/client'
import { startDaemon } from '@postern/daemon'
import type { AuthProvider, Call, OriginHost } from '@postern/interface'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { DATA, framed, type RawSession, WINDOW, yamux } from '../world/attacker.ts'
import { HandDaemon } from '../world/hand-daemon.ts'
import { type JoinedWorld, startJoined } from '../world/joined.ts'
import { joinedSession } from '../world/joined-client.ts'
import { quiet } from '../world/lab.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { intoOurHands } from '../world/our-hands.ts'

// Row 153: a client, a daemon and an edge that are one version ahead of the other ends, by hand; the others are the programs.

const APP = 'db.localhost'
/** Of a daemon by hand. */
const NEXT = 'next.localhost'
const good = { v: 1, hostname: APP, requestId: 'mine', purpose: 'tcp' }
/** What a later version may say beside what this one knows. */
const LATER = { type: 'something-later', v: 2, list: [{ deep: true }] }
/** Exit status of docs/errors.md. */
const VERSION_UNSUPPORTED = 25

let origin: Origin
let world: JoinedWorld
beforeAll(async () => {
  origin = await startOrigin(socket => socket.pipe(socket))
  const service = `tcp://127.0.0.1:${origin.port}`
  world = await startJoined({ apps: { [APP]: { service }, [NEXT]: { service, tunnel: 'next' } }, here: true })
  await world.daemon('next').stop('SIGKILL') // its credentials are what is wanted
  await vi.waitFor(() => expect(world.here.counts().connectors).toBe(4), 10_000)
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await origin?.[Symbol.asyncDispose]()
})

const toldEnd = (session: RawSession): string | undefined => {
  const line = session
    .text(1)
    .split('\n')
    .find(one => one.includes('"cut"') && !one.includes('"stream"'))
  return line && JSON.parse(line).problem.code
}

describe('a client of the next version', () => {
  it('whose session is another is told so by the daemon, end to end', async () => {
    const session = await joinedSession(world, APP, {
      hello: grant => yamux(DATA, 1, 1, `${JSON.stringify({ v: 2, type: 'hello', about: { grant } })}\n`),
    })
    await session.until(() => toldEnd(session) !== undefined || session.closed, 'the reason')
    expect(toldEnd(session)).toBe('VERSION_UNSUPPORTED')
  })

  it('that says more in its hello and on its control stream is served; its streams of another version or kind are not', async () => {
    const session = await joinedSession(world, APP, {
      hello: grant =>
        yamux(DATA, 1, 1, `${JSON.stringify({ v: 1, type: 'hello', about: { grant, later: [1] }, more: {} })}\n`),
    })
    session.send(yamux(DATA, 0, 1, `${JSON.stringify(LATER)}\n`))
    const answered = async (id: number, header: object) => {
      session.open(id, header)
      await session.until(() => session.answer(id) !== undefined, 'an answer')
      return session.answer(id)?.problem?.code ?? 'ok'
    }
    expect(await answered(3, { ...good, v: 2 })).toBe('VERSION_UNSUPPORTED')
    expect(await answered(5, { ...good, purpose: 'datagrams' })).toBe('VERSION_UNSUPPORTED')
    expect(await answered(7, { ...good, later: true })).toBe('PROTOCOL_VIOLATION')
    expect(await answered(9, good)).toBe('ok')
    session.pipe.destroy()
  })
})

describe('a daemon of the next version', () => {
  it('whose connection is another is told so by the edge, which others stay connected to', async () => {
    const daemon = await HandDaemon.start(world, 'next', {}, 2)
    await daemon.control.until(() => toldEnd(daemon.control) !== undefined, 'the reason')
    expect(toldEnd(daemon.control)).toBe('VERSION_UNSUPPORTED')
    await expect.poll(() => world.here.counts().connectors).toBe(4)
  })

  it.each([
    ['another version', { v: 2, type: 'hello' }, VERSION_UNSUPPORTED],
    ['this one, and says more', { v: 1, type: 'hello', about: { later: 1 }, more: true }, 0],
  ])('that speaks %s with a client, end to end', async (_, hello, status) => {
    const daemon = await HandDaemon.start(world, 'next', { join: 1, later: { yes: true } })
    daemon.tell(LATER)
    await expect.poll(() => world.here.counts().connectors).toBe(5)
    const access = world.tcp(NEXT)
    access.child.stdin?.on('error', () => {}).end('hello')
    const session = await daemon.join()
    await session.until(() => session.text(1).includes('hello'), 'hello')
    session.send(yamux(WINDOW, 2, 1), yamux(DATA, 0, 1, `${JSON.stringify(hello)}\n${JSON.stringify(LATER)}\n`))
    if (status === 0) {
      await session.until(() => session.text(3).includes(NEXT), 'the stream')
      session.send(
        yamux(WINDOW, 2, 3),
        yamux(DATA, 0, 3, framed({ v: 1, ok: true })),
        yamux(DATA, 4, 3, 'from later on'),
      )
    }
    expect([await access.exit, access.stdout], access.stderr).toEqual([status, status === 0 ? 'from later on' : ''])
    for (const one of [session, daemon.control]) one.pipe.destroy()
    await expect.poll(() => world.here.counts().connectors, { timeout: 10_000 }).toBe(4)
  })

  it('that joins in another way only: its clients are served through the edge, or not at all where they insist', async () => {
    const daemon = await HandDaemon.start(world, 'next', { join: 2 })
    await expect.poll(() => world.here.counts().connectors).toBe(5)
    const MODE_FORBIDDEN = 29
    expect(await world.tcp(NEXT).exit).toBe(MODE_FORBIDDEN)
    daemon.control.pipe.destroy()
    await expect.poll(() => world.here.counts().connectors, { timeout: 10_000 }).toBe(4)
  })
})

describe('an edge of the next version', () => {
  const nobody: AuthProvider = { authenticate: async () => ({ headers: {} }) }
  const call: Call = { signal: new AbortController().signal, log: quiet }
  const originHost: OriginHost = {
    resolve: async () => [],
    team: 'edge.localhost',
    fetch: () => Promise.reject(new Error('nothing to ask')),
  }
  const daemonAt = async (transport: ReturnType<typeof intoOurHands>['transport']) => {
    const { default: tcp } = await import('@postern/protocol-tcp/origin')
    const server = await tcp.create({}, originHost)
    const rule = { hostname: APP, service: new URL(`tcp://127.0.0.1:${origin.port}`), server }
    const transports = [{ name: 'ours', transport }]
    const edge = new URL('https://edge.localhost')
    return startDaemon({ edge, rules: [rule], auth: [nobody], transports, connections: 1 }, call)
  }

  it('a daemon ends, saying that it is to be updated: no waiting mends that', async () => {
    const { transport, edge } = intoOurHands()
    const starting = daemonAt(transport)
    starting.catch(() => {})
    await edge(1, '{"v":2,"type":"hello"}')
    await expect(starting).rejects.toMatchObject({ code: 'VERSION_UNSUPPORTED' })
  })

  it('a daemon serves one that only says more; a stream of another kind is refused alone', async () => {
    const { transport, edge } = intoOurHands()
    const starting = daemonAt(transport)
    const session = await edge(1, '{"v":1,"type":"hello","about":{"later":1},"more":2}')
    await using _daemon = await starting
    session.send(yamux(DATA, 0, 1, `${JSON.stringify(LATER)}\n`))
    session.open(2, { ...good, purpose: 'datagrams' })
    session.open(4, { ...good, v: 2 })
    session.open(6, good)
    await session.until(() => session.answer(6) !== undefined && session.answer(4) !== undefined, 'the answers')
    expect([2, 4, 6].map(id => session.answer(id)?.problem?.code ?? 'ok')).toEqual([
      'VERSION_UNSUPPORTED',
      'VERSION_UNSUPPORTED',
      'ok',
    ])
    session.pipe.destroy()
  })

  it.each([
    ['another', '{"v":2,"type":"hello"}', 'VERSION_UNSUPPORTED'],
    ['this one and more', '{"v":1,"type":"hello","about":{"later":1}}', undefined],
  ])('a client hears that it speaks %s', async (_, hello, code) => {
    const { transport, edge } = intoOurHands({ 'postern-later': ['yes'] })
    await using client = createApplicationClient({
      hostname: APP,
      auth: [nobody],
      transports: [{ name: 'ours', transport }],
    })
    const connected = client.connect({ ...call, signal: AbortSignal.timeout(15_000) }).then(
      () => undefined,
      error => error.code,
    )
    const session = await edge(1, hello)
    session.send(yamux(DATA, 0, 1, `${JSON.stringify(LATER)}\n`))
    expect(await connected).toBe(code)
    session.pipe.destroy()
  })
})
