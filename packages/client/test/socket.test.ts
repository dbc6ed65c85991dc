import { once } from 'node:events'
import { buffer, text } from 'node:stream/consumers'
import { connect, TLSSocket } from 'node:tls'
import { PosternError } from '@postern/interface'
import { authority, leftOpen, type MemoryEnd, memoryPair, resources } from '@postern/testkit'
import { expect, it } from 'vitest'
import { ClientSocket } from '../src/socket.ts'

/** A socket, and the service’s end of what it opens. */
function pair(opening: Promise<void> = Promise.resolve()) {
  const [near, far]: readonly [MemoryEnd, MemoryEnd] = memoryPair()
  for (const end of [near, far]) end.on('error', () => {})
  const opened: AbortSignal[] = []
  const socket = new ClientSocket(async signal => {
    opened.push(signal)
    await opening
    signal.throwIfAborted()
    return near
  })
  return { socket, near, far, opened }
}

it('opens with connect() alone, says so, and tells whoever connects again', async () => {
  const { socket, far, opened } = pair()
  await new Promise(resolve => setImmediate(resolve))
  expect([opened.length, socket.connecting]).toEqual([0, false])
  socket.setNoDelay().setKeepAlive().setTimeout().ref().unref()
  const heard: string[] = []
  socket.connect(5432, 'db', () => heard.push('callback'))
  expect(socket.connecting).toBe(true)
  await once(socket, 'connect')
  expect([heard, socket.connecting, opened.length]).toEqual([['callback'], false, 1])
  const again = once(socket, 'connect')
  socket.connect()
  await again
  const cut = new Promise(resolve => far.once('error', resolve))
  socket.destroy()
  expect(await cut).toMatchObject({ code: 'STREAM_CUT' })
})

it('opens with what is written first; nothing of it is lost, and each half ends by itself', async () => {
  const { socket, far } = pair(new Promise(resolve => setTimeout(resolve, 20)))
  socket.write('early, ')
  socket.end('and the end')
  let heard = ''
  far.on('data', chunk => (heard += chunk))
  await once(far, 'end')
  expect(heard).toBe('early, and the end')
  far.end('afterwards')
  expect(await text(socket)).toBe('afterwards')
  expect(socket.destroyed).toBe(true)
})

it('opens with the first read', async () => {
  const { socket, far } = pair()
  far.end('hello')
  expect(await text(socket)).toBe('hello')
  socket.destroy()
})

it('carries a megabyte each way at once, and holds back whoever is faster', async () => {
  const { socket, far } = pair()
  const sent = Buffer.alloc(1 << 20, 'abcdefgh')
  far.pipe(far)
  socket.end(sent)
  expect((await buffer(socket)).equals(sent)).toBe(true)
  const slow = pair()
  slow.socket.connect()
  await once(slow.socket, 'connect')
  let written = 0
  while (slow.far.write(Buffer.alloc(16_384)) && written < 1000) written++
  await new Promise(resolve => setTimeout(resolve, 20))
  expect(slow.socket.readableLength).toBeLessThanOrEqual(128 * 1024)
  slow.socket.destroy()
  slow.far.destroy()
})

it('carries TLS of the library’s own', async () => {
  const { ca, issue } = await authority()
  const { cert, key } = await issue({ commonName: 'db', dnsNames: ['db'] })
  const { socket, far } = pair()
  const server = new TLSSocket(far, { isServer: true, cert, key })
  server.on('error', () => {}).on('data', chunk => server.write(`you said ${chunk}`))
  const secured = connect({ socket, servername: 'db', ca })
  secured.write('hello')
  expect(String((await once(secured, 'data'))[0])).toBe('you said hello')
  secured.destroy()
})

it('what opening it threw is its error, once, and nothing stays open', async () => {
  const before = resources()
  const socket = new ClientSocket(() => Promise.reject(new PosternError('ACCESS_DENIED', 'not you')))
  socket.write('x')
  const [error] = await once(socket, 'error')
  expect(error).toMatchObject({ code: 'ACCESS_DENIED' })
  expect(await leftOpen(before)).toEqual([])
})

it('a cut of the stream is its error, and not an end', async () => {
  const { socket, far } = pair()
  socket.connect()
  await once(socket, 'connect')
  let ended = false
  socket.on('end', () => {
    ended = true
  })
  socket.resume()
  far.destroy(new Error('cut'))
  await once(socket, 'error')
  expect(ended).toBe(false)
})

it('destroyed while it opens, it gives that up, and what comes all the same is closed', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { socket, near, opened } = pair(promise)
  socket.connect().destroy()
  expect(opened[0]?.aborted).toBe(true)
  resolve()
  await new Promise(done => setImmediate(done))
  const late = new ClientSocket(async () => {
    await promise
    return near
  })
  late.connect().destroy()
  near.on('error', () => {})
  await expect.poll(() => near.destroyed).toBe(true)
})
