import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type { CertificateRule } from '../src/front/handshake.ts'
import { Hellos } from '../src/front/hellos.ts'
import { FRONT_LIMITS } from '../src/front/limits.ts'
import { visitIn, Wire } from './aborts.ts'
import { ask, authorityOf, type Pair } from './certificate-world.ts'
import { type FrontWorld, startFront } from './front-world.ts'
import { anyHello, generator, helloMessage, mutated, records } from './hello.ts'

const rules = new Map<string, CertificateRule>()
const uncaught = vi.fn()
let world: FrontWorld
let ann: Pair
beforeAll(async () => {
  process.on('uncaughtException', uncaught)
  const ours = await authorityOf('Ours')
  ann = await ours.issue('ann')
  rules.set('a.localhost', ours.rule)
  world = await startFront({ rules, limits: { headTime: 1000 } })
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  expect(uncaught).not.toHaveBeenCalled()
  process.off('uncaughtException', uncaught)
})
afterEach(async () => {
  await vi.waitFor(() => expect(world.front.connections).toBe(0), 10_000)
})

const request = (host: string) => `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`

async function raw(port = world.port): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true }).on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** What it is answered with before the connection is over. */
async function answerTo(sent: Uint8Array | string): Promise<Buffer> {
  const socket = await raw()
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.write(sent)
  await once(socket, 'close')
  return Buffer.concat(chunks)
}

describe('a hello that comes in its own manner', () => {
  test.each([
    ['byte by byte', { piece: 1 }],
    ['in records of one byte', { record: 1 }],
    ['in records of three bytes, byte by byte', { record: 3, piece: 1 }],
    ['in records of 100 bytes, two and a half at a time', { record: 100, piece: 260 }],
  ])('%s: it is read, and so is what follows', { timeout: 30_000 }, async (_, manner) => {
    await using patient = await startFront({ rules })
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      for (const servername of ['a.localhost', 'db.localhost']) {
        const options = { servername, maxVersion, ...ann }
        expect(await visitIn(manner, patient.port, options, request(servername))).toBe(true)
        const { peerCertificate, peerCertificateError } = patient.seen.at(-1)?.presented ?? {}
        expect([peerCertificate !== undefined, peerCertificateError]).toEqual([servername === 'a.localhost', undefined])
      }
    }
  })

  test('post-quantum: a hello of two segments, at a server of either kind', async () => {
    for (const servername of ['a.localhost', 'db.localhost'])
      expect(await ask(world.port, servername, { ecdhCurve: 'X25519MLKEM768', ...ann })).toMatchObject({ status: 200 })
  })
})

describe('row 127: a hello that is none', () => {
  const alert = 21

  test.each<[string, Uint8Array | string]>([
    ['an HTTP request', 'GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n'],
    ['zeros', Buffer.alloc(1000)],
    ['a hello of SSLv2', Buffer.from('802e0103010015000000100100800300800700c0', 'hex')],
    ['another message', Buffer.from('160301000402000000', 'hex')],
    ['two names', records(helloMessage({ names: ['a.localhost', 'db.localhost'] }))],
    ['a hello of nobody’s TLS', records(helloMessage({ names: ['a.localhost'] }))],
  ])('%s: the connection is over, OpenSSL says why where it can', async (_, sent) => {
    const answer = await answerTo(sent)
    expect([alert, undefined]).toContain(answer[0])
    expect(await ask(world.port, 'a.localhost', ann)).toMatchObject({ status: 200 })
  })

  test('row 127: held after every byte, or trickling in: others are served meanwhile, and it is gone by its deadline', async () => {
    const sent = records(helloMessage({ names: ['a.localhost'] }))
    const sockets = await Promise.all(Array.from({ length: 40 }, () => raw()))
    for (const [n, socket] of sockets.entries()) socket.write(sent.subarray(0, n * 3))
    const trickle = await raw()
    let at = 0
    const timer = setInterval(() => trickle.write(sent.subarray(at, ++at)), 50)
    expect(await ask(world.port, 'a.localhost', ann)).toMatchObject({ status: 200 })
    // A byte that comes right behind the end is answered by RST: it is gone either way.
    const gone = (socket: Socket) =>
      new Promise(resolve =>
        socket
          .on('error', () => {})
          .resume()
          .once('close', resolve),
      )
    await Promise.all([...sockets, trickle].map(gone))
    clearInterval(timer)
    expect(at).toBeLessThan(sent.length)
  })

  test('too long, said at once or little by little: gone, without an answer', async () => {
    expect(await answerTo(Buffer.from('160301400001004000', 'hex'))).toHaveLength(0)
    const long = records(helloMessage({ extensions: [[21, Buffer.alloc(16_000)]] }), 50)
    expect(long.length).toBeGreaterThan(16_384)
    expect(await answerTo(long.subarray(0, 16_384))).toHaveLength(0)
  })

  test('a thousand of any kind: nobody is surprised, nothing is left', { timeout: 60_000 }, async () => {
    const random = generator(11)
    const before = readdirSync('/proc/self/fd').length
    for (let round = 0; round < 25; round += 1) {
      const visits = Array.from({ length: 40 }, async () => {
        const socket = await raw()
        const sent = records(anyHello(random).message, 1 + random(500))
        socket.write(random(3) === 0 ? sent : mutated(sent, random))
        const leaves = random(4)
        if (leaves === 0) socket.resetAndDestroy()
        else if (leaves === 1) setImmediate(() => socket.resetAndDestroy())
        else if (leaves === 2) setImmediate(() => socket.destroy())
        else socket.end()
        if (!socket.closed) await once(socket.resume(), 'close')
      })
      await Promise.all(visits)
    }
    await vi.waitFor(() => expect(world.front.connections).toBe(0), 10_000)
    await vi.waitFor(() => expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before), 10_000)
    expect(await ask(world.port, 'a.localhost', ann)).toMatchObject({ status: 200 })
  })
})

describe('row 91: a handshake that is left', () => {
  test('at each of its messages, in every way, with a certificate and without: nothing is left', {
    timeout: 60_000,
  }, async () => {
    const before = readdirSync('/proc/self/fd').length
    const visits: Promise<boolean>[] = []
    let [answered, left] = [0, 0]
    for (const servername of ['a.localhost', 'db.localhost'])
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const)
        for (const own of [{}, ann])
          for (const by of ['reset', 'end', 'destroy'] as const)
            for (let after = 0; after < 8; after += 1)
              visits.push(
                visitIn({ leaves: { after, by } }, world.port, { servername, maxVersion, ...own }, request(servername)),
              )
    for (const visit of await Promise.all(visits)) {
      if (visit) answered += 1
      else left += 1
    }
    // Some messages are one with others: most of eight are before the answer.
    expect(left).toBeGreaterThan(visits.length / 3)
    expect(answered).toBeGreaterThan(0)
    await vi.waitFor(() => expect(world.front.connections).toBe(0), 10_000)
    await vi.waitFor(() => expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before), 10_000)
    expect(await ask(world.port, 'a.localhost', ann)).toMatchObject({ status: 200 })
  })

  test('held before the certificate: others are served meanwhile, and it is gone by its deadline', async () => {
    const held = (['TLSv1.2', 'TLSv1.3'] as const).flatMap(maxVersion =>
      Array.from({ length: 20 }, () =>
        visitIn({ holds: 1 }, world.port, { servername: 'a.localhost', maxVersion, ...ann }, request('a.localhost')),
      ),
    )
    await vi.waitFor(() => expect(world.front.connections).toBeGreaterThan(0), 10_000)
    for (let n = 0; n < 5; n += 1) expect(await ask(world.port, 'a.localhost', ann)).toMatchObject({ status: 200 })
    expect(new Set(await Promise.all(held))).toEqual(new Set([false]))
  })
})

describe('the limits of connections', () => {
  test('count each once, whoever answers it, and those that have said nothing', async () => {
    await using few = await startFront({ rules, limits: { connections: 3 } })
    const waiting = await Promise.all([raw(few.port), raw(few.port)])
    await vi.waitFor(() => expect(few.front.connections).toBe(2), 10_000)
    for (let n = 0; n < 5; n += 1)
      expect(await ask(few.port, n % 2 === 0 ? 'a.localhost' : 'db.localhost', ann)).toMatchObject({ status: 200 })
    const third = await raw(few.port)
    await vi.waitFor(() => expect(few.front.connections).toBe(3), 10_000)
    expect(await ask(few.port, 'a.localhost', ann)).toMatchObject({ status: 0 })
    expect(few.front.connections).toBe(3)
    for (const socket of [...waiting, third]) socket.destroy()
    await vi.waitFor(() => expect(few.front.connections).toBe(0), 10_000)
    expect(await ask(few.port, 'a.localhost', ann)).toMatchObject({ status: 200 })
  })

  test('a front that stops ends who has said nothing at once, and leaves nothing open when it is closed', async () => {
    const stopping = await startFront({ rules })
    const silent = await raw(stopping.port)
    const half = new Wire(stopping.port, {})
    half.write(records(helloMessage({ names: ['a.localhost'] })).subarray(0, 20))
    await vi.waitFor(() => expect(stopping.front.connections).toBe(2), 10_000)
    // Long before their deadline of ten seconds.
    expect(FRONT_LIMITS.headTime).toBe(10_000)
    stopping.front.stop()
    await Promise.all([silent.resume(), half.socket].map(socket => once(socket, 'close')))
    await vi.waitFor(() => expect(stopping.front.connections).toBe(0), 10_000)
    await expect(raw(stopping.port)).rejects.toThrow()
    await stopping[Symbol.asyncDispose]()
  })

  test('a socket that goes while its hello is read is forgotten', () => {
    const hellos = new Hellos(60_000)
    const told = vi.fn()
    const socket = connect({ port: 1, host: '127.0.0.1' }).on('error', () => {})
    hellos.read(socket, told)
    expect(hellos.size).toBe(1)
    socket.destroy()
    return vi.waitFor(() => {
      expect(hellos.size).toBe(0)
      expect(told).not.toHaveBeenCalled()
    }, 10_000)
  })
})
