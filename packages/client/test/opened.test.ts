import { getEventListeners, once } from 'node:events'
import { createServer, Socket } from 'node:net'
import { leftOpen, resources } from '@postern/testkit'
import { describe, expect, it } from 'vitest'
import { errnoOf, type Opening, opened } from '../src/opened.ts'

const opening: Opening = {
  event: 'connect',
  deadline: 30,
  late: () => new Error('late'),
  failed: error => new Error(`failed: ${error.message}`),
}

describe('waiting for a socket to be open', () => {
  it('has a deadline, and leaves neither socket nor timer nor listener', async () => {
    const before = resources()
    const { signal } = new AbortController()
    const socket = new Socket() // which nobody connects
    await expect(opened(socket, opening, signal)).rejects.toThrow('late')
    expect([socket.destroyed, getEventListeners(signal, 'abort'), await leftOpen(before)]).toEqual([true, [], []])
  })

  it('says that it was closed meanwhile', async () => {
    const socket = new Socket()
    const waiting = opened(socket, opening, new AbortController().signal)
    socket.destroy()
    await expect(waiting).rejects.toThrow('failed: it closed the connection')
  })

  it('an open one may fail before anybody listens to it', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { signal } = new AbortController()
    const socket = new Socket().connect(server.address() as { port: number })
    expect(await opened(socket, { ...opening, deadline: 10_000 }, signal)).toBe(socket)
    socket.destroy(new Error('nobody hears this'))
    await new Promise(resolve => socket.once('close', resolve))
    expect(getEventListeners(signal, 'abort')).toEqual([])
    server.close()
  })
})

it('the word for a failure of several addresses is that of the first', () => {
  const refused = Object.assign(new Error('x'), { code: 'ECONNREFUSED' })
  expect([errnoOf(refused), errnoOf(new AggregateError([refused, new Error('y')])), errnoOf(new Error('z'))]).toEqual([
    'ECONNREFUSED',
    'ECONNREFUSED',
    undefined,
  ])
})
