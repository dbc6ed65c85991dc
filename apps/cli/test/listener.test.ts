import { connect, createServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Call } from '@postern/interface'
import { leftOpen, resources } from '@postern/testkit'
import { describe, expect, it } from 'vitest'
import { listenLocally } from '../src/listener.ts'
import { readLocalAddress } from '../src/local-address.ts'

const warned: string[] = []
const log = { debug() {}, info() {}, error() {}, warn: (message: string) => void warned.push(message) }
const call: Call = { signal: AbortSignal.timeout(15_000), log }

async function first(listener: AsyncIterable<Duplex>): Promise<Duplex> {
  for await (const one of listener) return one
  throw new Error('no connection came')
}

function port(address: string): number {
  return Number(address.split(':').at(-1))
}

describe('the local listener', () => {
  it.each(['localhost:0', '127.0.0.1:0', ':0', '0', 'tcp://localhost:0', 'db.localhost:0', 'localhost.:0'])(
    '%s is loopback',
    async where => {
      warned.length = 0
      await using listener = await listenLocally(readLocalAddress(where, '--url', '/tmp'), { log })
      expect(listener.address).toMatch(/^127\.0\.0\.1:[1-9]\d*$/)
      expect(warned).toEqual([])
    },
  )

  it('warns when other machines can reach it', async () => {
    warned.length = 0
    await using listener = await listenLocally(readLocalAddress('0.0.0.0:0', '--url', '/tmp'), { log })
    expect(warned).toEqual([
      `${listener.address} can be reached from other machines: whoever connects there is let in as you`,
    ])
  })

  it('says when another program listens there', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => other.once('listening', resolve))
    const taken = (other.address() as { port: number }).port
    await expect(listenLocally(readLocalAddress(`localhost:${taken}`, '--url', '/tmp'), { log })).rejects.toMatchObject(
      {
        code: 'LISTEN_FAILED',
        message: expect.stringContaining('another program listens there'),
      },
    )
    await new Promise(resolve => other.close(resolve))
  })

  it('hands over connections with every byte, those that came early too, and half-close', async () => {
    await using listener = await listenLocally(readLocalAddress('localhost:0', '--url', '/tmp'), { log })
    const client = connect({ port: port(listener.address), host: '127.0.0.1', allowHalfOpen: true })
    client.end('early')
    await new Promise(resolve => setTimeout(resolve, 50))
    const served = await first(listener.connections(call))
    let text = ''
    for await (const chunk of served.iterator({ destroyOnReturn: false })) text += chunk
    served.end('late')
    let answer = ''
    for await (const chunk of client) answer += chunk
    expect([text, answer]).toEqual(['early', 'late'])
  })

  it('ends with the call, with its reason', async () => {
    await using listener = await listenLocally(readLocalAddress('localhost:0', '--url', '/tmp'), { log })
    const stop = new AbortController()
    const waiting = first(listener.connections({ signal: stop.signal, log }))
    stop.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
  })

  it('resets a connection that nobody served, when it closes', async () => {
    let client: Socket
    {
      await using listener = await listenLocally(readLocalAddress('localhost:0', '--url', '/tmp'), { log })
      client = connect(port(listener.address), '127.0.0.1')
      client.resume()
      await new Promise(resolve => client.once('connect', resolve))
      await new Promise(resolve => setTimeout(resolve, 50))
    }
    const ended = await new Promise(resolve => client.on('end', () => resolve('end')).on('error', resolve))
    expect(ended).toMatchObject({ code: 'ECONNRESET' })
  })

  it('leaves nothing open', async () => {
    const before = resources()
    const sockets: Socket[] = []
    {
      await using listener = await listenLocally(readLocalAddress('localhost:0', '--url', '/tmp'), { log })
      sockets.push(connect(port(listener.address), '127.0.0.1').on('error', () => {}))
      await first(listener.connections(call))
    }
    await new Promise(resolve => sockets[0]?.once('close', resolve))
    expect(await leftOpen(before)).toEqual([])
  })
})
