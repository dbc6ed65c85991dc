import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { Call } from '@postern/interface'
import { leftOpen, openOrigin, resources, type TestOrigin } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { reach } from '../src/reach.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: AbortSignal.timeout(60_000), log }

let before = resources()
let origin: TestOrigin
beforeEach(async () => {
  before = resources()
  origin = await openOrigin()
})
afterEach(async () => {
  await origin[Symbol.asyncDispose]()
  expect(await leftOpen(before)).toEqual([])
})

async function echoed(stream: Duplex): Promise<string> {
  stream.end('x')
  let back = ''
  for await (const chunk of stream) back += chunk
  return back
}

describe('the rule’s own service', () => {
  it.each(['localhost', 'db.localhost', '127.0.0.1'])('%s is reached', async host => {
    expect(await echoed(await reach(new URL(`tcp://${host}:${origin.port}`), undefined, call))).toBe('x')
  })

  it.each(['localhost', 'LOCALHOST'])('is reached when a plugin names it, as %s', async host => {
    const service = new URL(`tcp://localhost:${origin.port}`)
    expect(await echoed(await reach(service, { host, port: origin.port }, call))).toBe('x')
  })

  it('may be a Unix socket', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern reach-'))
    const path = join(folder, 'app.sock')
    const server = createServer({ allowHalfOpen: true }, socket => socket.pipe(socket))
    await new Promise<void>(resolve => server.listen(path, resolve))
    expect(await echoed(await reach(new URL(`unix:${path}`), undefined, call))).toBe('x')
    await new Promise(resolve => server.close(resolve))
    rmSync(folder, { recursive: true })
  })
})

// security.md row 77. Each of these would get somewhere, many to the very same socket; the allow twins are above.
describe('anything else is forbidden before a name is resolved', () => {
  it.each([
    '127.0.0.1',
    'localhost.',
    '169.254.169.254',
    '::ffff:127.0.0.1',
    '[::ffff:127.0.0.1]',
    '::1',
    '0',
    '0.0.0.0',
    '2130706433',
    '0x7f000001',
    'other.localhost',
    'never-asked.invalid',
    'unix:/run/docker.sock',
    '/run/docker.sock',
    '',
    'localhost\u0000.example.com',
  ])('the host %j', async host => {
    const service = new URL(`tcp://localhost:${origin.port}`)
    await expect(reach(service, { host, port: origin.port }, call)).rejects.toMatchObject({
      code: 'DESTINATION_FORBIDDEN',
      speaker: 'daemon',
    })
    expect(origin.connections).toBe(0)
  })

  it.each([0, 22, -1, 65536, Number.NaN])('the port %d', async port => {
    const service = new URL(`tcp://localhost:${origin.port}`)
    await expect(reach(service, { host: 'localhost', port }, call)).rejects.toMatchObject({
      code: 'DESTINATION_FORBIDDEN',
    })
    expect(origin.connections).toBe(0)
  })

  it('beside a Unix socket there is no other destination', async () => {
    const to = { host: 'localhost', port: origin.port }
    await expect(reach(new URL('unix:/run/app.sock'), to, call)).rejects.toMatchObject({
      code: 'DESTINATION_FORBIDDEN',
    })
    expect(origin.connections).toBe(0)
  })
})

describe('a service that cannot be reached', () => {
  it('refuses: ORIGIN_REFUSED', async () => {
    await origin.refuse()
    const error = await reach(new URL(`tcp://127.0.0.1:${origin.port}`), undefined, call).catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'ORIGIN_REFUSED', speaker: 'service', cause: { code: 'ECONNREFUSED' } })
    expect(error.message).not.toContain('127.0.0.1')
  })

  it('refuses at both addresses of localhost: ORIGIN_REFUSED as well', async () => {
    await origin.refuse()
    await expect(reach(new URL(`tcp://localhost:${origin.port}`), undefined, call)).rejects.toMatchObject({
      code: 'ORIGIN_REFUSED',
    })
  })

  it('is a Unix socket that is not there: ORIGIN_REFUSED', async () => {
    await expect(reach(new URL('unix:/nonexistent/app.sock'), undefined, call)).rejects.toMatchObject({
      code: 'ORIGIN_REFUSED',
      speaker: 'daemon', // there is no service that could have said it
    })
  })

  it('has no address: ORIGIN_NOT_RESOLVED', async () => {
    await expect(reach(new URL('tcp://nobody.invalid:1'), undefined, call)).rejects.toMatchObject({
      code: 'ORIGIN_NOT_RESOLVED',
      speaker: 'daemon',
    })
  })

  it('is nowhere on this network: ORIGIN_UNREACHABLE', async () => {
    // TCP has no broadcast: the kernel says so at once, on any machine.
    await expect(reach(new URL('tcp://255.255.255.255:1'), undefined, call)).rejects.toMatchObject({
      code: 'ORIGIN_UNREACHABLE',
      speaker: 'daemon',
    })
  })
})

describe('an abort', () => {
  it('before: nothing is dialled', async () => {
    const aborted = { signal: AbortSignal.abort(new Error('before')), log }
    await expect(reach(new URL(`tcp://127.0.0.1:${origin.port}`), undefined, aborted)).rejects.toThrow('before')
    expect(origin.connections).toBe(0)
  })

  it('while it is dialled: rejects with its reason, and the connection is gone', async () => {
    const stop = new AbortController()
    const service = new URL(`tcp://127.0.0.1:${origin.port}`)
    const reaching = reach(service, undefined, { signal: stop.signal, log })
    stop.abort(new Error('enough'))
    await expect(reaching).rejects.toThrow('enough')
    await expect.poll(() => origin.open).toBe(0)
  })
})

it('a service that resets before anybody listens to the connection does not end the daemon', async () => {
  origin.script = socket => void setTimeout(() => socket.resetAndDestroy(), 50)
  const socket = await reach(new URL(`tcp://127.0.0.1:${origin.port}`), undefined, call)
  await new Promise(resolve => socket.once('close', resolve))
  expect(socket.errored).toMatchObject({ code: 'ECONNRESET' })
})
