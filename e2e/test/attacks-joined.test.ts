import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { makeSessionKey } from '@postern/end-to-end/session-key'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { DATA, dialTls, framed, HELLO, PING, RawSession, RST, SYN, WINDOW, yamux } from '../world/attacker.ts'
import { floods, nuisances } from '../world/floods.ts'
import { PREFACE } from '../world/h2frames.ts'
import { type JoinedWorld, startJoined } from '../world/joined.ts'
import { askToJoin, type Granted, helloWith, joinedSession, secure } from '../world/joined-client.ts'
import { FRAMES_THAT_LIE } from '../world/lies.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { Steady } from '../world/steady.ts'

// Whoever may enter, and means harm to a daemon end to end, or to the edge meanwhile: real programs, a client by hand, and somebody
// else's session through the same edge and the same daemon, whose bytes are compared from the first test to the last.

const APP = 'db.localhost'
const OTHER = 'other.localhost'
const AWAY = 'away.localhost'
const good = { v: 1, hostname: APP, requestId: 'mine', purpose: 'tcp' }

const uncaught = vi.fn()
let origin: Origin
let world: JoinedWorld
let steady: Steady
beforeAll(async () => {
  process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught)
  origin = await startOrigin(socket => socket.pipe(socket))
  const service = `tcp://127.0.0.1:${origin.port}`
  world = await startJoined({
    apps: { [APP]: { service }, [OTHER]: { service }, [AWAY]: { service, tunnel: 'away' } },
    here: true,
  })
  steady = await Steady.at((await world.forward(APP)).port)
  await steady.goesOn()
})
afterAll(async () => {
  try {
    await steady.goesOn()
    expect(world.daemon().child.exitCode).toBe(null)
  } finally {
    steady?.[Symbol.dispose]()
    await world?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
    process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  }
  expect(uncaught).not.toHaveBeenCalled()
})

/** The code that a session ended with, as the daemon told it. */
function toldEnd(session: RawSession): string | undefined {
  const cut = session
    .text(1)
    .split('\n')
    .find(line => line.includes('"cut"') && !line.includes('"stream"'))
  return cut && JSON.parse(cut).problem.code
}

/** However it ends. */
function gone(pipe: Duplex): Promise<void> {
  return new Promise(resolve => pipe.once('close', () => resolve()))
}

/** What becomes of a stream in a session: `ok`, the code of its refusal, or that of the session's end. */
async function entered(session: RawSession, header: object = good): Promise<string | undefined> {
  session.open(3, header)
  await session.until(() => session.answer(3) !== undefined || session.closed, 'an answer')
  const { ok, problem } = session.answer(3) ?? {}
  session.pipe.destroy()
  return ok ? 'ok' : (problem?.code ?? toldEnd(session) ?? 'cut')
}

describe('row 74: in a joined session', () => {
  it.each(FRAMES_THAT_LIE)('%s: the daemon ends that session, and no other', async (_, frames) => {
    const session = await joinedSession(world, APP)
    await session.until(() => session.text(1).includes('hello'), 'hello')
    session.send(...frames)
    await session.over()
    await steady.goesOn(1000)
  })

  it('a stream before the hello, or without a grant, is nobody’s; the twin is served', async () => {
    const before = origin.connections
    const early = await joinedSession(world, APP, { hello: () => yamux(DATA, SYN, 3, framed(good)) })
    await early.over()
    const without = await joinedSession(world, APP, { hello: () => HELLO })
    expect(await entered(without)).toBe('AUTH_REJECTED')
    expect(origin.connections - before).toBe(0)
    expect(await entered(await joinedSession(world, APP))).toBe('ok')
    await expect.poll(() => origin.connections - before).toBe(1)
  })

  it('bytes, window and resets for streams of others’ ids stay in the session that sent them', async () => {
    const [one, two] = [await joinedSession(world, APP), await joinedSession(world, APP)]
    for (const session of [one, two]) {
      session.open(3, good)
      await session.until(() => session.answer(3)?.ok === true, 'a yes')
    }
    two.open(5, good)
    await two.until(() => two.answer(5)?.ok === true, 'a yes')
    one.send(yamux(DATA, 0, 5, 'for a stream of somebody else’s'))
    await one.over()
    two.send(yamux(DATA, 0, 5, 'mine'), yamux(DATA, 0, 3, 'also mine'))
    await two.until(() => two.text(5).endsWith('mine') && two.text(3).endsWith('also mine'), 'the echoes')
    expect(two.text(5)).not.toContain('somebody')
    two.pipe.destroy()
  })

  it('what is late for a stream that is gone is dropped, and 60,000 frames of nothing are of no consequence', async () => {
    const session = await joinedSession(world, APP)
    session.open(3, good)
    await session.until(() => session.answer(3)?.ok === true, 'a yes')
    session.send(yamux(WINDOW, RST, 3), yamux(DATA, 0, 3, 'late'), yamux(WINDOW, 0, 3, '', 1000))
    session.open(5, good)
    await session.until(() => session.answer(5)?.ok === true, 'a yes')
    for (const frame of [yamux(DATA, 0, 5), yamux(WINDOW, 0, 5), yamux(PING, 2, 0)])
      session.send(Buffer.concat(Array(20_000).fill(frame)))
    session.send(yamux(DATA, 0, 5, 'on it goes'))
    await session.until(() => session.text(5).includes('on it goes'), 'the echo')
    session.pipe.destroy()
    await steady.goesOn(1000)
  })

  it('noise instead of TLS, behind TLS, or half a frame and gone: that session, and no other', async () => {
    const { pipe } = await askToJoin(world, APP)
    pipe.resume().write(randomBytes(4000))
    await gone(pipe)
    for (let turn = 0; turn < 5; turn++) {
      const session = await joinedSession(world, APP)
      session.send(randomBytes(5000))
      await session.over()
    }
    const half = await joinedSession(world, APP)
    half.send(yamux(DATA, SYN, 3, framed(good)).subarray(0, 9))
    half.pipe.destroy()
    const spoilt = await askToJoin(world, APP)
    const secured = await secure(world, spoilt)
    const ended = gone(secured)
    secured.resume()
    spoilt.pipe.write(Buffer.concat([Buffer.from([0x17, 3, 3, 0, 50]), randomBytes(50)]))
    await ended
    await steady.goesOn(1000)
  })

  it('10,000 streams opened and reset at once leave nothing', async () => {
    const before = origin.open.size
    const session = await joinedSession(world, APP)
    for (let id = 3; id < 20_003; id += 200) {
      const both = (n: number) =>
        Buffer.concat([yamux(DATA, SYN, id + 2 * n, framed(good)), yamux(WINDOW, RST, id + 2 * n)])
      session.send(...Array.from({ length: 100 }, (_, n) => both(n)))
      await new Promise(resolve => setImmediate(resolve))
    }
    await steady.goesOn(1000)
    session.pipe.destroy()
    await expect.poll(() => origin.open.size, { timeout: 10_000 }).toBe(before)
  })
})

describe('grants', () => {
  it('open one application: a stream to another of the same daemon is refused; the twin is not', async () => {
    const before = origin.connections
    expect(await entered(await joinedSession(world, APP), { ...good, hostname: OTHER })).toBe('DESTINATION_FORBIDDEN')
    expect(origin.connections - before).toBe(0)
    expect(await entered(await joinedSession(world, OTHER), { ...good, hostname: OTHER })).toBe('ok')
  })

  it('are good once: replayed at the same daemon, by their own client with its own key, they are none', async () => {
    const key = await makeSessionKey()
    const first = await askToJoin(world, APP, { key })
    expect(await entered(await joinedSession(world, APP, { granted: first }))).toBe('ok')
    const again = await askToJoin(world, APP, { key })
    const replayed = { ...again, grant: first.grant }
    expect(await entered(await joinedSession(world, APP, { granted: replayed }))).toBe('AUTH_REJECTED')
    // The twin: the pipe and the key were good.
    expect(await entered(await joinedSession(world, APP, { granted: await askToJoin(world, APP, { key }) }))).toBe('ok')
  })

  it('are for one daemon: at that of another tunnel they are none', async () => {
    const key = await makeSessionKey()
    const [here, away] = [await askToJoin(world, APP, { key }), await askToJoin(world, AWAY, { key })]
    expect(here.connector).not.toBe(away.connector)
    const session = await joinedSession(world, AWAY, { granted: { ...away, grant: here.grant } })
    expect(await entered(session, { ...good, hostname: APP })).toBe('AUTH_REJECTED')
    here.pipe.destroy()
    const twin = await joinedSession(world, AWAY, { granted: await askToJoin(world, AWAY, { key }) })
    expect(await entered(twin, { ...good, hostname: AWAY })).toBe('ok')
  })

  it('are for one key: an edge that gives a client another client’s, in the hope that the daemon takes the one for the other', async () => {
    const [ann, bob] = [await askToJoin(world, APP), await askToJoin(world, APP)]
    const mixed = { ...ann, grant: bob.grant }
    expect(await entered(await joinedSession(world, APP, { granted: mixed }))).toBe('AUTH_REJECTED')
    // Bob's pipe with Ann's key is no better.
    expect(await entered(new RawSession(await secured(bob, ann)))).toBe('AUTH_REJECTED')
    expect(await entered(await joinedSession(world, APP))).toBe('ok')
  })
  const secured = async (pipe: Granted, of: Granted) => {
    const made = await secure(world, pipe, of.key)
    made.write(helloWith(pipe.grant))
    return made
  }

  it('name a daemon: joined to another, the client finds out before it says anything', async () => {
    const [here, away] = [await askToJoin(world, APP), await askToJoin(world, AWAY)]
    const { identity, tunnel, connector } = here
    await expect(secure(world, { ...away, identity, tunnel, connector })).rejects.toMatchObject({
      code: 'DAEMON_UNTRUSTED',
    })
    await expect(secure(world, { ...here, identity: away.identity })).rejects.toMatchObject({
      code: 'TUNNEL_KEY_CHANGED',
    })
    for (const { pipe } of [here, away]) pipe.destroy()
  })

  it('are nothing any more once their client is put out: the pipe is cut, and there is no other', async () => {
    const { administration } = world.here
    const token = await administration.call('service-token.create', { body: { name: 'put out' } })
    const key = await makeSessionKey()
    const granted = await askToJoin(world, APP, { key, token })
    const cut = gone(granted.pipe)
    granted.pipe.resume()
    const accomplice = await askToJoin(world, APP, { key })
    await administration.call('service-token.revoke', { params: { token: token.id } })
    await cut
    await expect(askToJoin(world, APP, { key, token })).rejects.toMatchObject({ refusal: { status: 401 } })
    // Nor in the pipe of somebody who may, and means well to them.
    const lent = await joinedSession(world, APP, { granted: { ...accomplice, grant: granted.grant } })
    expect(await entered(lent)).toBe('AUTH_REJECTED')
    expect(await entered(await joinedSession(world, APP))).toBe('ok')
  })
})

describe('row 126: floods at the public port, while a joined session goes on', () => {
  const flood = async (bytes: Buffer) => {
    const socket = await dialTls(world, APP, { ALPNProtocols: ['h2'] })
    const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
    socket.resume().write(PREFACE)
    socket.write(bytes)
    await steady.goesOn()
    return { socket, closed }
  }
  it.each(floods(APP, []))('%s: the connection is all that it costs', async (_, make) => {
    const { closed } = await flood(make())
    await closed
    await steady.goesOn()
  })
  it.each(nuisances(APP))('%s', async (_, make) => {
    const { socket } = await flood(make())
    await steady.goesOn()
    socket.destroy()
  })
})
