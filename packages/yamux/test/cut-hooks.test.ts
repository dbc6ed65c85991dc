import { describe, expect, test } from 'vitest'
import { YamuxSession, type YamuxStream } from '../src/index.ts'
import { pipePair } from './pipe.ts'
import { turns } from './raw-peer.ts'

describe('the owner’s say in cuts', () => {
  test('cutError names the error of a reset, and of the end of the session', async () => {
    const [near, far] = pipePair()
    const taken: YamuxStream[] = []
    const server = new YamuxSession(far, { role: 'server', onStream: stream => taken.push(stream) })
    const client = new YamuxSession(near, {
      role: 'client',
      cutError: (id, reason) => new Error(`stream ${id}`, { cause: reason }),
    })
    const streams = [client.open(), client.open()]
    await turns()
    taken[0]!.destroy()
    await turns()
    expect(streams[0]!.errored).toMatchObject({ message: 'stream 1', cause: { code: 'STREAM_REFUSED' } })
    expect(streams[1]!.errored).toBe(null)
    server.destroy()
    await client.closed
    expect(streams[1]!.errored).toMatchObject({ message: 'stream 3', cause: { code: 'PIPE_LOST' } })
  })

  test('sendReset holds a reset back until what is to go first has gone', async () => {
    const [near, far] = pipePair()
    const taken: YamuxStream[] = []
    const held: { id: number; error: Error | null; send: () => void }[] = []
    const server = new YamuxSession(far, { role: 'server', onStream: stream => taken.push(stream) })
    const client = new YamuxSession(near, {
      role: 'client',
      sendReset: (id, error, send) => held.push({ id, error, send }),
    })
    const stream = client.open()
    await turns()
    const reason = new Error('enough')
    stream.destroy(reason)
    await turns()
    expect(stream.destroyed).toBe(true)
    expect(held).toMatchObject([{ id: 1, error: reason }])
    expect(taken[0]!.destroyed).toBe(false)
    held[0]!.send()
    await turns()
    expect(taken[0]!.errored).toMatchObject({ code: 'STREAM_RESET' })
    client.destroy()
    await server.closed
  })
})
