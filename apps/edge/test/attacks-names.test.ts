import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

/** Ends with an answer, or with a handshake that came to nothing. */
async function visit(servername: string, host = 'db.localhost'): Promise<string> {
  const socket: TLSSocket = connect({
    port: world.edge.port,
    host: '127.0.0.1',
    servername,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
  })
  let said = ''
  socket.on('error', () => {}).on('data', chunk => (said += String(chunk)))
  socket.once('secureConnect', () => socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`))
  await once(socket, 'close')
  return said.split('\r\n', 1)[0] ?? ''
}

const openFiles = (): number => readdirSync('/proc/self/fd').length

describe('row 47: names in a TLS hello', () => {
  test.each([
    ['a label of 255', 'a'.repeat(255)],
    ['a label of 250 below ours', `${'a'.repeat(240)}.localhost`],
    ['a pictograph', '\u{1f6aa}.localhost'],
    ['none', ''],
    ['__proto__', '__proto__'],
    ['constructor.prototype', 'constructor.prototype'],
    ['a path', '../../etc/passwd'],
    ['upper case', 'DB.LOCALHOST'],
    ['a line break', 'db.localhost\r\nx'],
    ['a dot at its end', 'db.localhost.'],
  ])('%s: whoever it is has a certificate or none, and the next visitor is served', async (_name, servername) => {
    // Who may come in is decided by the Host alone: the same answer, or none at all.
    expect(['', 'HTTP/1.1 401 Unauthorized']).toContain(await visit(servername))
    expect(await visit('db.localhost')).toBe('HTTP/1.1 401 Unauthorized')
  })

  test.skipIf(process.platform !== 'linux')('two hundred of them leave nothing open', { timeout: 60_000 }, async () => {
    await visit('db.localhost')
    await expect.poll(() => world.edge.counts().sockets, { timeout: 10_000 }).toBeLessThanOrEqual(1)
    const { sockets } = world.edge.counts() // the daemon’s
    const before = openFiles()
    for (let round = 0; round < 20; round++)
      await Promise.all(
        Array.from({ length: 10 }, (_, at) => visit(`${'x'.repeat(round + 1)}${at}.example`, `nobody${at}.localhost`)),
      )
    await expect.poll(() => world.edge.counts().sockets, { timeout: 10_000 }).toBe(sockets)
    await expect.poll(openFiles, { timeout: 10_000 }).toBeLessThanOrEqual(before)
  })
})

describe('row 129: names of fields', () => {
  test('__proto__, constructor and numbers are fields like any other; nothing is polluted', async () => {
    const socket = connect({
      port: world.edge.port,
      host: '127.0.0.1',
      servername: 'db.localhost',
      rejectUnauthorized: false,
    })
    let said = ''
    socket.on('data', chunk => (said += String(chunk)))
    const odd = ['__proto__', 'constructor', 'hasOwnProperty', '0', '1', '4294967295'].map(
      name => `${name}: polluted\r\n`,
    )
    await once(socket, 'secureConnect')
    socket.write(`GET / HTTP/1.1\r\nHost: db.localhost\r\nConnection: close\r\n${odd.join('')}\r\n`)
    await once(socket, 'close')
    expect(said).toMatch(/^HTTP\/1\.1 401 /)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
    expect(Object.keys(Object.prototype)).toEqual([])
    expect(await visit('db.localhost')).toBe('HTTP/1.1 401 Unauthorized')
  })
})
