import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import WebSocket from 'ws'
import { type Origin, startOrigin } from '../world/origin.ts'
import { startWorld, type World } from '../world/world.ts'

/** What the service saw of its last connection. */
interface Seen {
  readonly socket: Socket
  text: string
  ended: Promise<'FIN' | 'RST'>
}

describe('a foreign WebSocket client: one raw TCP connection', () => {
  let origin: Origin
  let world: World
  let seen: Seen[] = []
  beforeAll(async () => {
    origin = await startOrigin(socket => {
      const one: Seen = {
        socket,
        text: '',
        ended: new Promise(resolve => socket.once('end', () => resolve('FIN')).once('error', () => resolve('RST'))),
      }
      socket.on('data', chunk => (one.text += chunk))
      seen.push(one)
    })
    world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${origin.port}` })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
  })
  afterEach(() => {
    for (const { socket } of seen) socket.destroy()
    seen = []
  })

  function open(headers: Record<string, string>): WebSocket {
    return new WebSocket(`wss://${world.address}/`, {
      headers,
      ca: readFileSync(world.trust[1] ?? ''),
      lookup: (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
    })
  }

  /** By the headers that cloudflared sends. */
  const credential = () => ({
    'Cf-Access-Client-Id': world.credential[1] ?? '',
    'Cf-Access-Client-Secret': readFileSync(world.credential[3] ?? '', 'utf8').trim(),
  })

  async function opened(): Promise<{ socket: WebSocket; service: Seen }> {
    const before = seen.length
    const socket = open(credential())
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    // The service was connected before the upgrade was accepted; this process may hear of the two in either order.
    await expect.poll(() => seen.length).toBe(before + 1)
    return { socket, service: seen[before] as Seen }
  }

  it('carries bytes both ways, text messages too', async () => {
    const { socket, service } = await opened()
    const answer = new Promise<string>(resolve => socket.once('message', data => resolve(String(data))))
    socket.send(Buffer.from('binary '))
    socket.send('text')
    await expect.poll(() => service.text).toBe('binary text')
    service.socket.write('back')
    expect(await answer).toBe('back')
    socket.terminate()
  })

  it('the service ends: everything arrives, then close 1000', async () => {
    const { socket, service } = await opened()
    let bytes = 0
    socket.on('message', data => (bytes += (data as Buffer).length))
    const code = new Promise(resolve => socket.once('close', resolve))
    service.socket.end(Buffer.alloc(3_000_000))
    expect([await code, bytes]).toEqual([1000, 3_000_000])
  })

  it('the client closes with 1000: the service gets a FIN; anything else is a reset', async () => {
    const clean = await opened()
    clean.socket.close(1000)
    expect(await clean.service.ended).toBe('FIN')
    const going = await opened()
    going.socket.close(1001)
    expect(await going.service.ended).toBe('RST')
    const gone = await opened()
    gone.socket.terminate()
    expect(await gone.service.ended).toBe('RST')
  })

  it('the service resets: never close 1000', async () => {
    const { socket, service } = await opened()
    const code = new Promise(resolve => socket.once('close', resolve))
    service.socket.resetAndDestroy()
    expect(await code).not.toBe(1000)
  })

  it('a bad credential is refused before anything opens; the service sees nobody', async () => {
    const before = origin.connections
    const refused = async (headers: Record<string, string>) => {
      const socket = open(headers)
      return new Promise(resolve =>
        socket
          .once('unexpected-response', (_request, response) => resolve(response.statusCode))
          .once('open', () => resolve(101))
          .on('error', () => {}),
      )
    }
    expect(await refused({})).toBe(401)
    expect(await refused({ ...credential(), 'Cf-Access-Client-Secret': `psts_${'A'.repeat(43)}` })).toBe(401)
    expect(origin.connections - before).toBe(0)
  })
})
