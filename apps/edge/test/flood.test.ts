import { X509Certificate } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, unlink, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuthority } from '@postern/pki'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openDevCa } from '../src/front/devca.ts'
import { call, header, startWorld, textOf } from './world.ts'

const patience = () => ({ signal: AbortSignal.timeout(15_000), log: call.log })

describe('row 133: who knocks without end', () => {
  test('fills no log: refused connections are said once a second, with their number', async () => {
    const warn = vi.fn()
    const log = { debug() {}, info() {}, warn, error() {} }
    const { Front } = await import('../src/front/front.ts')
    const { FRONT_LIMITS } = await import('../src/front/limits.ts')
    const front = new Front({
      certificates: { server: {}, asking: () => Promise.reject(new Error('nobody is asked')) },
      limits: { ...FRONT_LIMITS, connectionsPerAddress: 1 },
      log,
      exchange: () => {},
      upgrade: () => {},
      teamDomain: 'edge.localhost',
      certificateRule: () => undefined,
      isTransports: () => true,
    })
    const { port } = await front.listen('127.0.0.1', 0, call)
    const knock = () => {
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      return { socket, closed: new Promise(resolve => socket.once('close', resolve)) }
    }
    const held = knock()
    await new Promise(resolve => held.socket.once('connect', resolve))
    await expect.poll(() => front.connections).toBe(1)
    const turnedAway = async () => {
      for (const { closed } of Array.from({ length: 100 }, knock)) await closed
    }
    await turnedAway()
    expect(warn.mock.calls.length).toBeGreaterThan(0)
    expect(warn.mock.calls.length).toBeLessThan(10)
    await expect
      .poll(async () => turnedAway().then(() => warn.mock.calls.at(-1)?.[1].refused), { timeout: 10_000 })
      .toBeGreaterThan(50)
    held.socket.destroy()
    await front.close()
  })

  test('from however many addresses fills no audit log; the twin: the first of them leave a row each', async () => {
    await using world = await startWorld()
    const ask = () => world.ask('GET / HTTP/1.1\r\nHost: db.localhost\r\n\r\n')
    const rowOf = async () =>
      world.edge.store.readAudit({ most: 1, requestId: (await ask()).headers['postern-request-id'] })
    expect(await rowOf()).toHaveLength(1)
    const { FailureCounter } = await import('../src/authorize/attempts.ts')
    const count = vi.spyOn(FailureCounter.prototype, 'count')
    // As if 6,000 others had been here within the minute, from addresses of their own.
    count.mockImplementation(key => (key === 'knock' ? 6001 : 1))
    const isOver = vi.spyOn(FailureCounter.prototype, 'isOver').mockImplementation(key => key === 'knock')
    expect(await rowOf()).toHaveLength(0)
    count.mockImplementation(key => (key === 'knock' ? 6100 : 1))
    expect(await rowOf()).toHaveLength(1)
    count.mockRestore()
    isOver.mockRestore()
  })
})

test('row 133: a visitor who is refused without end fills no audit log; what it did before and after is there', async () => {
  // Unbounded here: by the hundred, streams that come to nothing are reset unread (shares.test.ts).
  await using world = await startWorld({ shares: { failing: 100_000 } })
  const session = await world.session()
  const refused = () => session.open(header('other.localhost'), patience()).catch(({ code }) => code)
  for (let n = 0; n < 1500; n += 100)
    expect(new Set(await Promise.all(Array.from({ length: 100 }, refused)))).toEqual(new Set(['DESTINATION_FORBIDDEN']))
  const stream = await session.open(header(), patience())
  stream.end('let in')
  expect(await textOf(stream)).toBe('let in')
  await session.close()
  const actions = async () => (await world.edge.store.readAudit({ most: 3000 })).map(({ action }) => action)
  await expect.poll(actions, { timeout: 10_000 }).toContain('session.end')
  const counted = Map.groupBy(await actions(), action => action)
  expect(counted.get('stream.refused')?.length).toBeGreaterThan(600)
  expect(counted.get('stream.refused')?.length).toBeLessThan(650)
  expect(counted.get('stream.end')).toHaveLength(1)
})

describe('row 156: a first start that was killed while it made the CA', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'postern-born-'))
  })
  afterAll(() => rm(folder, { recursive: true }))
  const at = (name: string) => join(folder, 'ca', name)

  test('goes on where it stopped; a CA that lost its key is not made anew', async () => {
    await openDevCa(join(folder, 'ca'))
    const [cert, whole] = [await readFile(at('ca.pem'), 'utf8'), await readFile(at('ca-key.pem'), 'utf8')]
    await unlink(at('ca.pem'))
    await writeFile(at('.ca.pem.012345'), 'half', { mode: 0o600 })
    const ca = await openDevCa(join(folder, 'ca'))
    expect(await readFile(at('ca.pem'), 'utf8')).toBe(cert)
    expect(await readFile(at('ca-key.pem'), 'utf8')).toBe(whole)
    expect((await ca.issue('db.localhost')).cert).toContain('BEGIN CERTIFICATE')
    await unlink(at('ca-key.pem'))
    await expect(openDevCa(join(folder, 'ca'))).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('a key by itself, as edges wrote it once, goes with its certificate and with no other', async () => {
    const old = join(folder, 'old')
    const { cert, key } = await createAuthority({ commonName: 'old', days: 1, keyType: 'rsa' })
    await mkdir(old, { mode: 0o700 })
    await writeFile(join(old, 'ca-key.pem'), key, { mode: 0o600 })
    await expect(openDevCa(old)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await writeFile(join(old, 'ca.pem'), await readFile(at('ca.pem')), { mode: 0o600 })
    await expect(openDevCa(old)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await writeFile(join(old, 'ca.pem'), cert, { mode: 0o600 })
    const leaf = new X509Certificate((await (await openDevCa(old)).issue('db.localhost')).cert)
    expect(leaf.verify(new X509Certificate(cert).publicKey)).toBe(true)
  })
})
