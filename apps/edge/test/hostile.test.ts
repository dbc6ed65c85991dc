import { readdirSync } from 'node:fs'
import type { AuthVerifier } from '@postern/interface'
import type { Builtin } from '@postern/registry'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { dial } from './visitor.ts'
import { header, startWorld, textOf, type World } from './world.ts'

const uncaught = vi.fn()
beforeAll(() => void process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught))
afterAll(() => {
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})
const patience = () => ({ signal: AbortSignal.timeout(15_000), log: console })

function builtin(verifier: AuthVerifier): Builtin {
  const plugin = { api: 1, kind: 'auth', side: 'edge', name: 'odd', options: {}, create: () => verifier }
  return {
    package: 'odd',
    entry: { kind: 'auth', name: 'odd', edge: './edge.js' },
    load: { edge: async () => ({ default: plugin }) },
  }
}

describe('row 113: an edge with a verifier that', () => {
  const identity = { kind: 'service', issuer: 'x', subject: 'y', claims: {}, revokeKeys: [] }
  test.each<[string, () => unknown, number]>([
    ['is honest', async () => undefined, 426],
    ['is honest and knows somebody', async () => ({ identity }), 426],
    [
      'throws',
      () => {
        throw new Error('boom')
      },
      401,
    ],
    [
      'rejects',
      async () => {
        throw new Error('boom')
      },
      401,
    ],
    ['says "true"', async () => 'true', 401],
    ['says {allow: 1}', async () => ({ allow: 1 }), 401],
    ['says a Proxy', async () => new Proxy({}, { get: () => true }), 401],
    // biome-ignore lint/suspicious/noThenProperty: it is what is tried here
    ['is a thenable', () => ({ then: (done: (value: unknown) => void) => done(undefined) }), 401],
    ['never resolves', () => new Promise(() => {}), 401],
  ])('%s', async (_, verify, status) => {
    await using world = await startWorld({}, [builtin({ verify } as AuthVerifier)])
    const credential = Object.entries(world.headers())
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('')
    const answer = await world.ask(`GET / HTTP/1.1\r\nHost: db.localhost\r\n${credential}\r\n`)
    expect(answer).toMatchObject({ status, code: status === 401 ? 'PLUGIN_FAILED' : 'VERSION_UNSUPPORTED' })
    const [row] = await world.edge.store.readAudit({ most: 1, requestId: answer.headers['postern-request-id'] })
    expect(row?.allowed).toBe(status === 426)
    if (status === 401) {
      expect(JSON.stringify(row?.detail)).toContain('odd')
      await expect(world.session()).rejects.toMatchObject({ code: 'PLUGIN_FAILED' })
      expect(world.opened()).toBe(0)
    } else {
      const stream = await (await world.session()).open(header(), patience())
      stream.end('x')
      expect(await textOf(stream)).toBe('x')
    }
    expect(await world.ask('GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n')).toMatchObject({ status: 404 })
  })
})

describe('row 132: whoever goes away, whenever', () => {
  let world: World
  beforeAll(async () => {
    world = await startWorld()
  })
  afterAll(() => world[Symbol.asyncDispose]())

  test('leaves nothing open and ends nobody else', async () => {
    const files = () => readdirSync('/proc/self/fd').length
    const steady = await (await world.session()).open(header(), patience())
    const before = { files: files(), ...world.edge.counts() }
    const credential = Object.entries(world.headers())
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('')
    const upgrade = `GET / HTTP/1.1\r\nHost: db.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\n`
    const session = 'Sec-WebSocket-Protocol: postern-session-1\r\n'
    for (let n = 0; n < 60; n += 1) {
      const socket = await dial(world.edge.port, world.edge.caFile ?? '', 'db.localhost')
      socket.write(`${upgrade}${n % 2 ? session : ''}${n % 3 ? credential : ''}\r\n`)
      // From before the answer to well into the stream.
      if (n % 4 > 0) await new Promise(resolve => setTimeout(resolve, (n % 4) * 4))
      if (n % 5 === 0) socket.write(Buffer.alloc(100, n))
      socket.destroy()
    }
    for (let n = 0; n < 20; n += 1) {
      const visitor = await world.session()
      const stream = await visitor.open(header(), patience())
      stream.on('error', () => {})
      stream.write(Buffer.alloc(100_000))
      if (n % 2) visitor.cut(new (await import('@postern/interface')).PosternError('STREAM_CUT', 'test'))
      else stream.destroy()
      if (n % 2 === 0) await visitor.close()
    }
    await expect
      .poll(() => world.edge.counts(), { timeout: 15_000 })
      .toEqual({
        sessions: before.sessions,
        connectors: before.connectors,
        sockets: before.sockets,
        admitted: before.admitted,
      })
    await expect.poll(files, { timeout: 15_000 }).toBeLessThanOrEqual(before.files)
    steady.end('steady')
    expect(await textOf(steady)).toBe('steady')
  })
})
