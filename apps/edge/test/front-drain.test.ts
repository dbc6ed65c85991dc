import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { describe, expect, test, vi } from 'vitest'
import type { Exchange } from '../src/front/exchange.ts'
import { Answers, ask2, type FrontWorld, refuse, startFront, tell } from './front-world.ts'
import { parseAnswer } from './visitor.ts'

const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: db.localhost\r\n\r\n`

/** A front that holds what is asked of `/held`. */
async function startHolding(limits = {}): Promise<FrontWorld & { readonly held: Exchange[] }> {
  const held: Exchange[] = []
  const exchange = (one: Exchange) => {
    if (one.target === '/held') held.push(one)
    else tell(one)
  }
  return { ...(await startFront({ limits, exchange })), held }
}

describe('row 138: a front that stops', () => {
  test('finishes what runs, over both versions, begins nothing, and is gone when that is over', async () => {
    const world = await startHolding()
    const { front, held } = world
    const idle = await world.dial()
    const idleGone = once(idle.resume(), 'close')
    const socket = await world.dial()
    const answers = new Answers(socket)
    socket.write(get('/held') + get('/behind'))
    const session = world.http2()
    const over2 = ask2(session, { ':path': '/held' })
    await vi.waitFor(() => expect(held).toHaveLength(2), 10_000)
    const goaway = once(session, 'goaway')
    front.stop()
    const finished = front.finished()
    await Promise.all([goaway, idleGone])
    await expect(world.dial()).rejects.toThrow()
    for (const one of held) tell(one)
    const over1 = parseAnswer(await answers.next())
    expect(over1).toMatchObject({ status: 200, body: 'GET db.localhost /held', headers: { connection: 'close' } })
    expect(await over2).toMatchObject({ body: 'GET db.localhost /held', rstCode: 0 })
    await finished
    expect(await answers.next()).toBe('')
    await vi.waitFor(() => expect(front.connections).toBe(0), 10_000)
    await world[Symbol.asyncDispose]()
  })

  test('that is closed aborts what runs, and nobody takes the answer for a whole one', async () => {
    const world = await startHolding()
    const socket = await world.dial()
    const chunks: string[] = []
    socket.on('data', chunk => chunks.push(String(chunk)))
    socket.write(get('/held'))
    const over2 = ask2(world.http2(), { ':path': '/held' })
    await vi.waitFor(() => expect(world.held).toHaveLength(2), 10_000)
    for (const { response } of world.held) (response as Writable).write('half')
    await vi.waitFor(() => expect(chunks.join('')).toContain('half'), 10_000)
    const closed = once(socket, 'close')
    await world.front.close()
    for (const { signal } of world.held) expect(signal.reason).toMatchObject({ code: 'DRAINING' })
    await closed
    expect(chunks.join('')).not.toContain('\r\n0\r\n\r\n')
    expect((await over2).rstCode).not.toBe(0)
    expect(world.front.connections).toBe(0)
    await world[Symbol.asyncDispose]()
  })
})

describe('row 127: connections with nothing on them', () => {
  test('end after a while, over both versions; one with a request does not', async () => {
    const world = await startHolding({ idleTime: 300 })
    const busy = await world.dial()
    const answers = new Answers(busy)
    busy.write(get('/held'))
    const kept = await world.dial()
    kept.resume().write(get('/'))
    const session = world.http2()
    await ask2(session, { ':path': '/' })
    await Promise.all([once(kept, 'close'), once(session, 'close')])
    expect(world.held[0]?.signal.aborted).toBe(false)
    if (world.held[0] !== undefined) tell(world.held[0])
    expect(parseAnswer(await answers.next()).status).toBe(200)
    await world[Symbol.asyncDispose]()
  })

  test('a connection has so many requests, then a client makes another', async () => {
    const world = await startHolding({ requests: 3 })
    const socket = await world.dial()
    const answers = new Answers(socket)
    for (const connection of ['keep-alive', 'keep-alive', 'close']) {
      socket.write(get('/'))
      expect(parseAnswer(await answers.next()).headers.connection).toBe(connection)
    }
    expect(await answers.next()).toBe('')
    const session = world.http2()
    const goaway = once(session, 'goaway')
    for (let n = 0; n < 3; n += 1) expect((await ask2(session, { ':path': '/' })).body).toBe('GET db.localhost /')
    await goaway
    await world[Symbol.asyncDispose]()
  })
})

test('who leaves aborts the signal; the twin, an answer that was whole, aborts nothing', async () => {
  const world = await startHolding()
  const socket = await world.dial()
  socket.write(get('/held'))
  await vi.waitFor(() => expect(world.held).toHaveLength(1), 10_000)
  socket.destroy()
  await vi.waitFor(() => expect(world.held[0]?.signal.aborted).toBe(true), 10_000)
  const other = await world.dial()
  other.write(get('/whole'))
  await once(other, 'data')
  other.destroy()
  await vi.waitFor(() => expect(world.front.connections).toBe(0), 10_000)
  expect(world.seen.at(-1)?.signal.aborted).toBe(false)
  await world[Symbol.asyncDispose]()
})

describe('row 73: an upgrade over HTTP/1.1', () => {
  const head = `GET /chat HTTP/1.1\r\nHost: db.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\n`

  test('gives the bytes, what came behind the request first', async () => {
    const world = await startFront({
      upgrade: one => {
        const stream = one.accept(['Sec-WebSocket-Accept', 'x', 'Connection', 'close'])
        stream.pipe(stream)
      },
    })
    const socket = await world.dial()
    let text = ''
    socket.on('data', chunk => {
      text += chunk
    })
    socket.write(`${head}\r\nfirst,`)
    await vi.waitFor(() => expect(text).toContain('first,'), 10_000)
    socket.write('second')
    await vi.waitFor(() => expect(text).toContain('first,second'), 10_000)
    expect(text).toMatch(/^HTTP\/1\.1 101 /)
    expect(text.match(/connection:/gi)).toHaveLength(1)
    expect(world.upgrades[0]).toMatchObject({ version: '1.1', target: '/chat', hostname: 'db.localhost' })
    socket.destroy()
    await vi.waitFor(() => expect(world.upgrades[0]?.signal.aborted).toBe(true), 10_000)
    await world[Symbol.asyncDispose]()
  })

  test('is refused with a problem; behind a request that is being answered it is nothing', async () => {
    const world = await startFront({ exchange: () => {}, upgrade: one => refuse(one as never) })
    const socket = await world.dial()
    const answers = new Answers(socket)
    socket.write(`${head}\r\n`)
    expect(parseAnswer(await answers.next())).toMatchObject({ status: 401, headers: { connection: 'close' } })
    const other = await world.dial()
    const closed = once(other.resume(), 'close')
    other.write(`${get('/')}${head}\r\n`)
    await closed
    expect(world.upgrades).toHaveLength(1)
    await world[Symbol.asyncDispose]()
  })
})
