import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { connect } from 'node:tls'
import { startTunnel } from '@postern/tunnel'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Daemon, type Enrolled, fateOf, type JoinWorld, read, startJoinWorld } from './join-world.ts'
import { comesBare, helloFor, remains, type TicketWorld, ticketWorld } from './ticket-world.ts'
import { parseAnswer, readAll } from './visitor.ts'
import { call, header, quiet, textOf } from './world.ts'

const PREFACE = (ticket: string) => `POSTERN-JOIN/1 ${ticket}\n`

let joins: JoinWorld
let tickets: TicketWorld
let who: Enrolled
let daemon: Daemon
/** What the daemon does with the next ticket instead of coming. */
let instead: ((ticket: string) => void) | undefined
const sessions = () => joins.world.edge.counts().sessions

beforeAll(async () => {
  joins = await startJoinWorld({ limits: { headTime: 700 } })
  tickets = ticketWorld(joins)
  who = await joins.enrol()
  const comes = comesBare(tickets)
  daemon = await joins.daemon(who, (self, message) => {
    const own = instead
    instead = undefined
    if (own === undefined) comes(self, message)
    else own(message.ticket)
  })
})
afterAll(() => joins[Symbol.asyncDispose]())

/** Sends a hello and reads it back: the other end echoes. */
async function works(pipe: Duplex, serverName: string): Promise<void> {
  const hello = helloFor(serverName)
  pipe.write(hello)
  expect(await read(pipe, hello.length)).toBe(hello.toString())
}

async function isOver(pipe: Duplex): Promise<void> {
  pipe.end()
  expect(await remains(pipe)).toEqual({ text: '', cut: false })
  await expect.poll(sessions).toBe(0)
}

const raced = async (requestId: string | undefined) =>
  (await joins.rows('join.raced')).filter(row => row.requestId === requestId)

const idOf = ({ answer }: { readonly answer: Readonly<Record<string, readonly string[]>> }) =>
  answer['postern-request-id']?.[0]

describe('a client and a daemon on bare connections', () => {
  test('are joined: every byte both ways, an end one way alone, and the asking connection goes', async () => {
    const coming = await tickets.client()
    expect(coming.serverName).toMatch(/^[a-z2-7]{26}\.edge\.localhost$/)
    expect(coming.answer['postern-mode']).toEqual(['end-to-end'])
    expect(daemon.told.at(-1)?.legs).toEqual(['tls'])
    // Unrelated: who sees one leg knows nothing of the other.
    expect(coming.serverName).not.toContain(daemon.told.at(-1)!.ticket)
    await works(coming.pipe, coming.serverName)
    await expect.poll(() => coming.asking.destroyed).toBe(true)
    const bytes = Buffer.alloc(3_000_001, 'postern')
    coming.pipe.end(bytes)
    const { text, cut } = await remains(coming.pipe)
    expect([text.length, text === bytes.toString(), cut]).toEqual([bytes.length, true, false])
    await expect.poll(() => joins.rows('session.end')).toMatchObject([{ requestId: idOf(coming), code: undefined }])
  })

  test('each leg alone: a daemon by WebSocket to a client by tls, and the other way round', async () => {
    instead = ticket => void daemon.leg(ticket).then(pipe => void pipe.on('error', () => {}).pipe(pipe))
    const bare = await tickets.client()
    await works(bare.pipe, bare.serverName)
    await isOver(bare.pipe)
    const { pipe } = await joins.client()
    await works(pipe, 'anything')
    pipe.end()
    await expect.poll(sessions).toBe(0)
  })

  test('a session through the edge needs no second connection', async () => {
    const { pipe, answer } = await tickets.dial('db.localhost', 'session', joins.world.headers())
    expect(answer['postern-mode']).toEqual(['hop'])
    const tunnel = await startTunnel(pipe, { role: 'client', log: quiet }, call)
    const stream = await tunnel.open(header(), call)
    stream.end('there and back')
    expect(await textOf(stream)).toBe('there and back')
    await tunnel.close()
    await expect.poll(sessions).toBe(0)
  })

  test('a cut of one is a reset at the other', async () => {
    const leg = Promise.withResolvers<Duplex>()
    instead = ticket => void tickets.come(ticket).then(leg.resolve)
    const coming = await tickets.client()
    coming.pipe.write(helloFor(coming.serverName))
    const daemons = await leg.promise
    await read(daemons, 10)
    const fate = fateOf(daemons)
    coming.pipe.resetAndDestroy()
    expect(await fate).toMatchObject({ code: 'ECONNRESET' })
    await expect.poll(sessions).toBe(0)
    await expect
      .poll(async () => (await joins.rows('session.end'))[0])
      .toMatchObject({ requestId: idOf(coming), code: 'STREAM_CUT' })
  })

  test('the name in capitals, and the hello in records of 40 bytes and in pieces of one', async () => {
    const coming = await tickets.client()
    const hello = helloFor(coming.serverName.toUpperCase(), 40)
    for (const byte of hello) {
      coming.pipe.write(Buffer.from([byte]))
      await new Promise(resolve => setImmediate(resolve))
    }
    expect(await read(coming.pipe, hello.length)).toBe(hello.toString())
    await isOver(coming.pipe)
  })
})

describe('a ticket that an onlooker saw', () => {
  test('the client’s, used first: the onlooker has no key, the client is cut, both addresses are in the audit log, the retry works', async () => {
    const coming = await tickets.client()
    const racer = await tickets.bare({ localAddress: '127.0.0.9' })
    const stolen = helloFor(coming.serverName)
    racer.write(stolen)
    // What it is joined to is the TLS of a daemon that wants a grant and its key; here, an echo.
    expect(await read(racer, stolen.length)).toBe(stolen.toString())
    coming.pipe.write(helloFor(coming.serverName))
    expect(await remains(coming.pipe)).toEqual({ text: '', cut: true })
    await expect
      .poll(() => raced(idOf(coming)))
      .toMatchObject([
        {
          code: 'TICKET_RACED',
          allowed: false,
          hostname: 'db.localhost',
          remoteAddress: '127.0.0.1',
          detail: { leg: 'client', first: '127.0.0.9', second: '127.0.0.1' },
        },
      ])
    // Once, however often.
    for (let times = 0; times < 3; times += 1) {
      const again = await tickets.bare()
      again.write(helloFor(coming.serverName))
      expect(await remains(again)).toEqual({ text: '', cut: true })
    }
    expect(await raced(idOf(coming))).toHaveLength(1)
    racer.destroy()
    const retry = await tickets.client()
    await works(retry.pipe, retry.serverName)
    await isOver(retry.pipe)
    expect(await raced(idOf(retry))).toHaveLength(0)
  })

  test('the client’s, replayed behind it: cut, audited, and the session goes on', async () => {
    const coming = await tickets.client()
    await works(coming.pipe, coming.serverName)
    const late = await tickets.bare({ localAddress: '127.0.0.9' })
    late.write(helloFor(coming.serverName))
    expect(await remains(late)).toEqual({ text: '', cut: true })
    const detail = { leg: 'client', first: '127.0.0.1', second: '127.0.0.9' }
    await expect.poll(() => raced(idOf(coming))).toMatchObject([{ detail }])
    await works(coming.pipe, coming.serverName)
    await isOver(coming.pipe)
    const after = await tickets.bare()
    after.write(helloFor(coming.serverName))
    expect(await remains(after)).toEqual({ text: '', cut: true })
  })

  test('the daemon’s, used first: the daemon is turned away and says so, the client meets somebody without the key', async () => {
    let racer: Duplex | undefined
    const turnedAway = Promise.withResolvers<unknown>()
    instead = async ticket => {
      racer = await tickets.bare({ localAddress: '127.0.0.9' })
      racer.write(PREFACE(ticket))
      await read(racer, 18)
      tickets.come(ticket).then(() => turnedAway.resolve('came'), turnedAway.resolve)
    }
    const coming = await tickets.client()
    expect(await turnedAway.promise).toMatchObject({ code: 'EDGE_PROTOCOL' })
    const inside = connect({ socket: coming.pipe as never, servername: coming.serverName, rejectUnauthorized: true })
    inside.on('error', () => {})
    const met = once(inside, 'secureConnect').then(
      () => 'a daemon',
      () => 'nobody',
    )
    racer!.resume()
    racer!.end('I have no key')
    expect(await met).toBe('nobody')
    const detail = { leg: 'daemon', first: '127.0.0.9', second: '127.0.0.1' }
    await expect.poll(() => raced(idOf(coming))).toMatchObject([{ code: 'TICKET_RACED', detail }])
    await expect.poll(sessions).toBe(0)
    const retry = await tickets.client()
    await works(retry.pipe, retry.serverName)
    await isOver(retry.pipe)
  })
})

describe('whoever has no ticket', () => {
  const RANDOM = 'abcdefghijklmnopqrstuvwxyz'

  test('a preface with an unknown ticket: a no, so that nobody takes it for a way that does not get through; with none that could be: cut; with one that is waited for: welcome', async () => {
    for (const line of [PREFACE(RANDOM), PREFACE(RANDOM.toUpperCase()), `${PREFACE(RANDOM).slice(0, -1)}x`]) {
      const socket = await tickets.bare()
      socket.write(line)
      const no = { text: 'POSTERN-JOIN/1 no\n', cut: false }
      expect(await remains(socket)).toEqual(line === PREFACE(RANDOM) ? no : { text: '', cut: true })
      socket.destroy()
    }
    await expect.poll(async () => (await joins.rows('join.refused')).length).toBe(1)
    const [row] = await joins.rows('join.refused')
    expect(row).toMatchObject({ code: 'CONFLICT', allowed: false, remoteAddress: '127.0.0.1' })
    const coming = await tickets.client()
    await works(coming.pipe, coming.serverName)
    await isOver(coming.pipe)
  })

  test('row 127: a preface byte by byte is one; a part of one is cut by its deadline, and others are served meanwhile', async () => {
    const parts = await Promise.all(
      ['P', 'POSTERN-JOIN/1 ', PREFACE(RANDOM).slice(0, -1)].map(async part => {
        const socket = await tickets.bare()
        socket.write(part)
        return socket
      }),
    )
    const told = Promise.withResolvers<string>()
    instead = told.resolve
    const asked = tickets.client()
    const leg = await tickets.bare()
    for (const byte of PREFACE(await told.promise)) {
      leg.write(byte)
      await new Promise(resolve => setTimeout(resolve, 2))
    }
    expect(await read(leg, 18)).toBe('POSTERN-JOIN/1 ok\n')
    leg.pipe(leg)
    const coming = await asked
    await works(coming.pipe, coming.serverName)
    await isOver(coming.pipe)
    for (const part of parts) expect((await remains(part)).text).toBe('')
  })

  test.each([`${RANDOM}.edge.localhost`, 'nobody.localhost', `${RANDOM}.db.localhost`])(
    'a hello for %s is anybody’s: TLS, and the answer of every hostname that is none',
    async name => {
      const own = connect({
        port: joins.world.edge.port,
        host: '127.0.0.1',
        servername: name,
        rejectUnauthorized: false,
      })
      await once(own, 'secureConnect')
      own.write(`GET / HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`)
      expect(parseAnswer(await readAll(own))).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    },
  )

  test('an application whose name looks like one is an application', async () => {
    const hostname = `${RANDOM}.edge.localhost`
    await joins.world.edge.administration.call('application.put', {
      params: { hostname },
      body: { tunnel: 'home', protocols: ['tcp'] },
    })
    const answer = await joins.world.ask(`GET / HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`, hostname)
    expect(answer).toMatchObject({ status: 401 })
    await joins.world.edge.administration.call('application.delete', { params: { hostname } })
  })

  test('a ticket is good at the edge’s own name and no other', async () => {
    const coming = await tickets.client()
    const other = await tickets.bare()
    other.write(helloFor(coming.serverName.replace('.edge.', '.db.')))
    const { text } = await remains(other)
    expect(text.charCodeAt(0)).toBe(21) // an alert of the HTTPS server's
    await works(coming.pipe, coming.serverName)
    await isOver(coming.pipe)
  })

  test('what is neither TLS nor a preface gets what it always did', async () => {
    for (const first of [
      'POST / HTTP/1.1\r\n\r\n',
      'GET / HTTP/1.1\r\n\r\n',
      'POSTERN-JOIN/2 x\r\n',
      'SSH-2.0-x\r\n',
    ]) {
      const socket = await tickets.bare()
      socket.write(first)
      const { text } = await remains(socket)
      expect(text === '' || text.charCodeAt(0) === 21).toBe(true)
    }
  })
})

describe('an upgrade to our own protocol', () => {
  const ask = (headers: string, host = 'db.localhost') =>
    joins.world.ask(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\n${headers}\r\n`)
  const CREDENTIAL = () =>
    Object.entries(joins.world.headers())
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('')

  test('row 66: without a credential is refused as a WebSocket is, and nobody hears of it', async () => {
    const before = daemon.told.length
    const upgrade = 'Upgrade: postern/1\r\nPostern-Purpose: join\r\n'
    expect(await ask(upgrade)).toMatchObject({ status: 401, code: 'LOGIN_REQUIRED' })
    expect(await ask(upgrade, 'nobody.localhost')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(daemon.told).toHaveLength(before)
  })

  test.each([
    ['another version', 'Upgrade: postern/2\r\nPostern-Purpose: session\r\n', 426, 'VERSION_UNSUPPORTED'],
    ['no purpose', 'Upgrade: postern/1\r\n', 400, 'BAD_USAGE'],
    ['a purpose that is none', 'Upgrade: postern/1\r\nPostern-Purpose: raw\r\n', 400, 'BAD_USAGE'],
    ['with a body', 'Upgrade: postern/1\r\nPostern-Purpose: session\r\nContent-Length: 3\r\n', 400, 'BAD_USAGE'],
    ['two protocols', 'Upgrade: postern/1, websocket\r\nPostern-Purpose: session\r\n', 400, 'BAD_USAGE'],
    ['a stranger’s protocol', 'Upgrade: h2c\r\n', 400, 'BAD_USAGE'],
  ])('row 73: %s', async (_what, headers, status, code) => {
    expect(await ask(`${headers}${CREDENTIAL()}`)).toMatchObject({ status, code })
  })
})

describe('a ticket that nobody uses', () => {
  test('dies with the connection that asked for it', async () => {
    const coming = await tickets.client()
    coming.asking.destroy()
    await expect.poll(sessions).toBe(0)
    coming.pipe.write(helloFor(coming.serverName))
    expect(await remains(coming.pipe)).toEqual({ text: '', cut: true })
    expect(await raced(idOf(coming))).toHaveLength(0)
  })

  test('dies with the access of who asked for it: nobody is waited for who would be cut', async () => {
    const { administration } = joins.world.edge
    const db = { params: { hostname: 'db.localhost' } }
    const { rules } = await administration.call('application.get', db)
    const coming = await tickets.client()
    expect(sessions()).toBe(1)
    await administration.call('policy.put', { ...db, body: { rules: [] } })
    await expect.poll(sessions, { timeout: 5000 }).toBe(0)
    await expect.poll(() => coming.asking.destroyed).toBe(true)
    coming.pipe.write(helloFor(coming.serverName))
    expect(await remains(coming.pipe)).toEqual({ text: '', cut: true })
    await expect
      .poll(async () => (await joins.rows('session.refused')).filter(row => row.requestId === idOf(coming)))
      .toMatchObject([{ code: 'ACCESS_ENDED', allowed: false }])
    await administration.call('policy.put', { ...db, body: { rules: rules as never } })
  })

  test('dies when the edge stops, which waits for nobody', async () => {
    const coming = await tickets.client()
    const began = Date.now()
    await joins.world.edge.close()
    expect(Date.now() - began).toBeLessThan(8000)
    await expect.poll(() => coming.asking.destroyed).toBe(true)
  })
})
