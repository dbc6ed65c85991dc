import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect as secure } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { parseAnswer, readAll } from './visitor.ts'
import { header, quiet, startWorld, type World } from './world.ts'

const patience = () => ({ signal: AbortSignal.timeout(15_000), log: quiet })
const timers: NodeJS.Timeout[] = []
const held: (Socket | Duplex)[] = []
afterEach(() => {
  for (const timer of timers.splice(0)) clearInterval(timer)
  for (const socket of held.splice(0)) socket.destroy()
})

/** A connection of one of this machine's own addresses that says nothing. */
function hold(world: World, address: string): Socket {
  const socket = connect({ port: world.edge.port, host: '127.0.0.1', localAddress: address }).on('error', () => {})
  held.push(socket)
  return socket.resume()
}

function tls(world: World, address: string) {
  const ca = readFileSync(join(world.folder, 'ca', 'ca.pem'))
  const socket = secure({ socket: hold(world, address), servername: 'db.localhost', ca, ALPNProtocols: ['http/1.1'] })
  held.push(socket)
  return socket.on('error', () => {})
}

/** A good visitor's request: 426 says that it was let in. */
async function visit(world: World, address: string): Promise<number> {
  const socket = tls(world, address)
  const all = readAll(socket)
  const credential = Object.entries(world.headers()).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`GET / HTTP/1.1\r\nHost: db.localhost\r\n${credential.join('')}Connection: close\r\n\r\n`)
  return parseAnswer(await all).status
}

/** Asks once on a stream that is open throughout. */
async function echoes(stream: Duplex, word: string): Promise<boolean> {
  const back = new Promise<string>(resolve => stream.once('data', chunk => resolve(String(chunk))))
  stream.write(word)
  return (await back) === word
}

// Other systems have one loopback address.
describe.skipIf(process.platform !== 'linux')('row 127: who connects and holds', () => {
  test('a byte at a time, of a hello, a head or a body: all are gone in time, and good visitors are served', {
    timeout: 60_000,
  }, async () => {
    await using world = await startWorld({ limits: { headTime: 1500, idleTime: 3000 } })
    const stream = await (await world.session()).open(header(), patience())
    const steady = world.edge.counts().sockets
    const drip = (socket: Duplex, text: string) => {
      let at = 0
      timers.push(
        setInterval(() => {
          if (socket.writable && at < text.length) socket.write(text.slice(at, ++at), 'latin1')
        }, 100),
      )
    }
    const slow: Duplex[] = []
    for (let n = 0; n < 5; n += 1) {
      const address = `127.0.1.${n + 1}`
      const hello = hold(world, address)
      drip(hello, `\x16\x03\x01\x02\x00\x01\x00${'\0'.repeat(1000)}`)
      const head = tls(world, address)
      drip(head, `GET / HTTP/1.1\r\nHost: db.localhost\r\nX: ${'a'.repeat(1000)}`)
      const body = tls(world, address)
      body.write('POST / HTTP/1.1\r\nHost: db.localhost\r\nContent-Length: 1000\r\n\r\n')
      drip(body, 'a'.repeat(1000))
      slow.push(hold(world, address), tls(world, address), hello, head, body)
    }
    await expect.poll(() => world.edge.counts().sockets, { timeout: 10_000 }).toBeGreaterThan(steady + 10)
    for (let n = 0; n < 5; n += 1) {
      expect(await echoes(stream, `still here ${n}`)).toBe(true)
      expect(await visit(world, '127.0.0.1')).toBe(426)
    }
    await expect.poll(() => world.edge.counts().sockets, { timeout: 20_000 }).toBe(steady)
    expect(await echoes(stream, 'and after')).toBe(true)
    expect(slow).toHaveLength(25)
  })

  test('one address gets its share and no more; another comes in', { timeout: 60_000 }, async () => {
    await using world = await startWorld({ limits: { connectionsPerAddress: 20 } })
    const before = world.edge.counts().sockets
    for (let n = 0; n < 30; n += 1) hold(world, '127.0.2.1')
    await expect.poll(() => held.filter(socket => socket.destroyed).length, { timeout: 10_000 }).toBe(10)
    expect(world.edge.counts().sockets).toBe(before + 20)
    expect(await visit(world, '127.0.2.2')).toBe(426)
    await expect(visit(world, '127.0.2.1')).resolves.toBe(0)
    for (const socket of held.splice(0)) socket.destroy()
    await expect.poll(() => world.edge.counts().sockets, { timeout: 10_000 }).toBe(before)
    expect(await visit(world, '127.0.2.1')).toBe(426)
  })

  test('all addresses together get so many; who was in before goes on, and there is room again afterwards', {
    timeout: 60_000,
  }, async () => {
    await using world = await startWorld({ limits: { connections: 60, connectionsPerAddress: 20, headTime: 3000 } })
    const stream = await (await world.session()).open(header(), patience())
    for (let n = 0; n < 80; n += 1) hold(world, `127.0.3.${(n % 10) + 1}`)
    await expect.poll(() => world.edge.counts().sockets, { timeout: 10_000 }).toBe(60)
    await expect(visit(world, '127.0.4.1')).resolves.toBe(0)
    expect(await echoes(stream, 'untouched')).toBe(true)
    // Whoever only holds is gone in time, without anybody doing anything.
    await expect.poll(() => world.edge.counts().sockets, { timeout: 20_000 }).toBeLessThan(10)
    expect(await visit(world, '127.0.4.1')).toBe(426)
    expect(await echoes(stream, 'untouched')).toBe(true)
  })
})
