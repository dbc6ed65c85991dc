import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { PosternError } from '@postern/interface'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Tickets } from '../src/tickets.ts'

const server = createServer()
let near: Socket[] = []

/** A socket as the edge has it, and whether it is still open. */
async function socket(): Promise<Socket> {
  const came = once(server, 'connection')
  near.push(connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {}))
  const [taken] = (await came) as [Socket]
  return taken.on('error', () => {})
}

beforeEach(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterEach(async () => {
  for (const one of near) one.destroy()
  near = []
  server.close()
  await once(server, 'close')
})

const ZONE = '.edge.localhost'
const why = new PosternError('STREAM_CUT', 'left')

describe('a ticket', () => {
  test('is 128 random bits in the zone, and brings who says it', async () => {
    const tickets = new Tickets(ZONE)
    const names = new Set(Array.from({ length: 100 }, () => tickets.make().serverName))
    expect(names.size).toBe(100)
    for (const name of names) expect(name).toMatch(/^[a-z2-7]{25}[aeimquy4]\.edge\.localhost$/)
    const { serverName, came } = tickets.make()
    const one = await socket()
    expect(tickets.take(serverName, one)).toBe(true)
    expect(await came).toBe(one)
    expect(one.destroyed).toBe(false)
    tickets.close(why)
  })

  test('of another zone, of none, or never made, is nobody’s: the socket is left alone', async () => {
    const tickets = new Tickets(ZONE)
    const { serverName } = tickets.make()
    const one = await socket()
    const text = serverName.slice(0, 26)
    for (const name of [
      text,
      `${text}.localhost`,
      `${text}.db.localhost`,
      `x${serverName}`,
      `a.${serverName}`,
      ZONE,
      '',
    ])
      expect(tickets.take(name, one)).toBe(false)
    expect(tickets.take(`${'a'.repeat(26)}${ZONE}`, one)).toBe(false)
    expect(one.destroyed).toBe(false)
    expect(tickets.take(serverName, one)).toBe(true)
    tickets.close(why)
  })

  test('used again: cut, and told once; after half a minute it is a name like any other', async () => {
    let now = 0
    const told: string[][] = []
    const tickets = new Tickets(ZONE, 10_000, () => now)
    const { serverName } = tickets.make((...both) => told.push(both))
    tickets.take(serverName, await socket())
    now = 29_999
    for (let times = 0; times < 3; times += 1) {
      const again = await socket()
      expect(tickets.take(serverName, again)).toBe(true)
      expect(again.destroyed).toBe(true)
    }
    expect(told).toEqual([['127.0.0.1', '127.0.0.1']])
    now = 30_000
    const late = await socket()
    expect(tickets.take(serverName, late)).toBe(false)
    expect(late.destroyed).toBe(false)
  })

  test('that nobody came with in time, or that was given up: cut, and nobody raced', async () => {
    const told: string[][] = []
    const tickets = new Tickets(ZONE, 20)
    const [late, left] = [tickets.make((...both) => told.push(both)), tickets.make((...both) => told.push(both))]
    left.giveUp(why)
    await expect(left.came).rejects.toBe(why)
    await expect(late.came).rejects.toMatchObject({ code: 'TIMED_OUT' })
    for (const { serverName } of [late, left]) {
      const one = await socket()
      expect(tickets.take(serverName, one)).toBe(true)
      expect(one.destroyed).toBe(true)
    }
    expect(told).toEqual([])
    expect(tickets.waiting).toBe(0)
  })

  test('given up after somebody came: who came stays', async () => {
    const tickets = new Tickets(ZONE)
    const { serverName, came, giveUp } = tickets.make()
    const one = await socket()
    tickets.take(serverName, one)
    giveUp(why)
    tickets.close(why)
    expect(await came).toBe(one)
    expect(one.destroyed).toBe(false)
  })

  test('of one more than 1,024 is refused; whoever comes, or leaves, makes room', async () => {
    const tickets = new Tickets(ZONE)
    const all = Array.from({ length: 1024 }, () => tickets.make())
    expect(() => tickets.make()).toThrow('too many')
    all[0]!.giveUp(why)
    all[0]!.giveUp(why)
    tickets.make()
    expect(() => tickets.make()).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }))
    tickets.take(all[1]!.serverName, await socket())
    tickets.make()
    tickets.close(why)
    expect(tickets.waiting).toBe(0)
    for (const { came } of all.slice(2)) await expect(came).rejects.toBe(why)
  })

  test('is remembered within a bound: of 20,000 used ones the last 8,192', () => {
    const tickets = new Tickets(ZONE)
    const fake = { remoteAddress: '', resetAndDestroy() {} } as unknown as Socket
    const names = Array.from({ length: 20_000 }, () => {
      const { serverName } = tickets.make()
      tickets.take(serverName, fake)
      return serverName
    })
    expect(names.filter(name => tickets.take(name, fake))).toEqual(names.slice(-8192))
  })
})
