import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Enrolled, type JoinWorld, read, startJoinWorld } from './join-world.ts'
import { helloFor, type TicketWorld, ticketWorld } from './ticket-world.ts'

let joins: JoinWorld
let tickets: TicketWorld
let who: Enrolled
/** What the daemon does with its tickets. */
let answers: (ticket: string) => void
const loose: Duplex[] = []
const unheard: unknown[] = []
const onUnheard = (reason: unknown) => void unheard.push(reason)
let before: ReturnType<JoinWorld['world']['edge']['counts']>

beforeAll(async () => {
  process.on('unhandledRejection', onUnheard)
  joins = await startJoinWorld({ limits: { headTime: 700 } })
  tickets = ticketWorld(joins)
  who = await joins.enrol()
  await joins.daemon(who, (_self, { ticket }) => answers(ticket))
  before = joins.world.edge.counts()
})
afterAll(async () => {
  process.off('unhandledRejection', onUnheard)
  for (const one of loose) one.destroy()
  await joins[Symbol.asyncDispose]()
})

const comesAs = (then: (pipe: Duplex) => void) => (ticket: string) =>
  void tickets.come(ticket).then(
    pipe => {
      loose.push(pipe.on('error', () => {}))
      then(pipe)
    },
    () => {},
  )
const echoes = comesAs(pipe => void pipe.pipe(pipe))

/** Nothing of what went wrong is left, and whoever comes next is joined. */
async function nothingIsLeft(): Promise<void> {
  for (const one of loose.splice(0)) one.destroy()
  await expect.poll(() => joins.world.edge.counts(), { timeout: 15_000 }).toEqual(before)
  answers = echoes
  const coming = await tickets.client()
  const hello = helloFor(coming.serverName)
  coming.pipe.write(hello)
  expect(await read(coming.pipe, hello.length)).toBe(hello.toString())
  coming.pipe.destroy()
  await expect.poll(() => joins.world.edge.counts(), { timeout: 15_000 }).toEqual(before)
  expect(unheard).toEqual([])
}

const turns = async (count: number) => {
  for (let turn = 0; turn < count; turn += 1) await new Promise(resolve => setImmediate(resolve))
}
type Leaves = (socket: Socket) => unknown
const WAYS: readonly Leaves[] = [socket => socket.resetAndDestroy(), socket => socket.destroy(), socket => socket.end()]

describe('whoever leaves, at whatever step', () => {
  test.each([0, 1, 2, 5, 20])('a client on its own connection, %i turns behind its hello', async after => {
    answers = echoes
    for (const leave of WAYS) {
      const coming = await tickets.client()
      coming.pipe.on('error', () => {}).write(helloFor(coming.serverName))
      await turns(after)
      leave(coming.pipe)
      coming.pipe.resume()
    }
    await nothingIsLeft()
  })

  test.each([0, 1, 2, 5, 20])('a client that asked and never comes, %i turns behind the answer', async after => {
    answers = echoes
    for (let time = 0; time < 3; time += 1) {
      const coming = await tickets.client()
      await turns(after)
      // Both, in either order.
      if (time > 0) coming.asking.destroy()
      coming.pipe.resetAndDestroy()
      if (time === 0) coming.asking.destroy()
    }
    await nothingIsLeft()
  })

  test.each([0, 1, 2, 5, 20])('a daemon, %i turns behind its ticket', async after => {
    for (const leave of WAYS) {
      const left = Promise.withResolvers<void>()
      answers = async ticket => {
        const leg = await tickets.bare()
        leg.on('error', () => {}).write(`POSTERN-JOIN/1 ${ticket}\n`)
        await turns(after)
        leave(leg)
        leg.resume()
        loose.push(leg)
        left.resolve()
      }
      const asked = tickets.client()
      await left.promise
      const coming = await asked.catch(() => undefined)
      coming?.pipe.on('error', () => {}).write(helloFor(coming.serverName))
      if (coming) loose.push(coming.pipe)
    }
    await nothingIsLeft()
  })

  test('both at once, in the middle of much', async () => {
    for (const leave of WAYS) {
      const leg = Promise.withResolvers<Duplex>()
      answers = comesAs(leg.resolve)
      const coming = await tickets.client()
      coming.pipe.on('error', () => {}).write(helloFor(coming.serverName))
      const daemons = (await leg.promise) as Socket
      daemons.write(Buffer.alloc(4_000_000))
      coming.pipe.write(Buffer.alloc(4_000_000))
      await turns(5)
      leave(daemons)
      leave(coming.pipe)
      loose.push(daemons.resume(), coming.pipe.resume())
    }
    await nothingIsLeft()
  })
})

describe('what is said in the wrong way', () => {
  test.each([
    'POST / HTTP/1.1\r\n\r\n',
    'POSTERN-JOIN/1',
    'POSTERN-JOIN/2 aaaaaaaaaaaaaaaaaaaaaaaaaa\n',
    `POSTERN-JOIN/1 ${'a'.repeat(27)}\n`,
    `POSTERN-JOIN/1 ${'\0'.repeat(26)}\n`,
    `POSTERN-JOIN/1 ${'a'.repeat(100_000)}`,
    'postern-join/1 aaaaaaaaaaaaaaaaaaaaaaaaaa\n',
    'é'.repeat(60),
  ])('%j', async said => {
    const socket = await tickets.bare()
    const over = new Promise(resolve => socket.once('end', resolve).once('close', resolve))
    socket.write(said)
    let back = ''
    socket.on('data', chunk => (back += chunk.toString('latin1')))
    await over
    expect(back).not.toContain('ok')
    socket.destroy()
    await nothingIsLeft()
  })

  test('bytes behind a hello and behind a ticket are the other end’s, however they come', async () => {
    answers = async ticket => {
      const leg = await tickets.bare()
      loose.push(leg)
      leg.write(`POSTERN-JOIN/1 ${ticket}\nand more of it`)
    }
    const coming = await tickets.client()
    coming.pipe.write(Buffer.concat([helloFor(coming.serverName), Buffer.from('early')]))
    expect(await read(coming.pipe, 14)).toBe('and more of it')
    coming.pipe.destroy()
    await nothingIsLeft()
  })

  test('a client that speaks on the connection on which it asked is given up', async () => {
    answers = echoes
    const coming = await tickets.client()
    coming.asking.write('hello?')
    await new Promise(resolve => coming.asking.once('close', resolve))
    coming.pipe.on('error', () => {}).write(helloFor(coming.serverName))
    await new Promise(resolve => coming.pipe.resume().once('close', resolve))
    await nothingIsLeft()
  })
})
