import type { LookupAddress } from 'node:dns'
import { once } from 'node:events'
import { type AddressInfo, createServer, type LookupFunction, type Server } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Opening } from '../src/opened.ts'
import { connectFirst } from '../src/race.ts'

const signal = AbortSignal.timeout(60_000)
const opening: Opening = {
  event: 'connect',
  deadline: 10_000,
  late: () => new Error('too late'),
  failed: error => new Error(String(error.code ?? error.message)),
}

/** A resolver with this answer. */
function names(...addresses: readonly string[]): LookupFunction {
  const all: LookupAddress[] = addresses.map(address => ({ address, family: address.includes(':') ? 6 : 4 }))
  return (_name, _options, done) => setImmediate(done, null, all)
}

describe('of several addresses', () => {
  let server: Server
  let port: number
  beforeAll(async () => {
    server = createServer(socket => void socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  })
  afterAll(() => void server.close())
  const reached = async (...addresses: readonly string[]) => {
    const socket = await connectFirst({ host: 'edge.test', port, lookup: names(...addresses) }, opening, signal)
    const { remoteAddress } = socket
    socket.destroy()
    return remoteAddress
  }

  it('the first that answers is taken, wherever it stands', async () => {
    expect(await reached('127.0.0.1', '127.0.0.2')).toBe('127.0.0.1')
    expect(await reached('127.0.0.2', '127.0.0.3', '127.0.0.1')).toBe('127.0.0.1')
    expect(await reached('::1', '127.0.0.1')).toBe('127.0.0.1')
  })

  it('none: what is wrong with the first is said', async () => {
    await expect(reached('127.0.0.2', '127.0.0.3')).rejects.toThrow('ECONNREFUSED')
    await expect(reached()).rejects.toThrow('ENOTFOUND')
  })

  it('the rest is given up: nothing is left open at the others', async () => {
    const others = createServer().listen(port, '127.0.0.2')
    await once(others, 'listening')
    const closed = new Promise<void>(resolve =>
      others.on('connection', socket => socket.on('close', () => resolve()).resume()),
    )
    const socket = await connectFirst(
      { host: 'edge.test', port, lookup: names('127.0.0.2', '127.0.0.1') },
      opening,
      signal,
    )
    socket.destroy()
    await closed
    others.close()
  })

  it('an abort ends it with its reason, also before an address is dialled', async () => {
    const stop = new AbortController()
    const asked = connectFirst({ host: '127.0.0.1', port, lookup: names() }, opening, stop.signal)
    stop.abort(new Error('enough'))
    await expect(asked).rejects.toThrow('enough')
  })

  it('an abort ends it with its reason, also while the name is looked up', async () => {
    const stop = new AbortController()
    const never: LookupFunction = () => {}
    const asked = connectFirst({ host: 'edge.test', port, lookup: never }, opening, stop.signal)
    stop.abort(new Error('enough'))
    await expect(asked).rejects.toThrow('enough')
  })
})
