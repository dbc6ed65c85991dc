import type { Duplex } from 'node:stream'
import { PosternError, problem } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { reasonOf, type Tunnel } from '../src/index.ts'
import { pipePair, tcpPair, turns, until } from './pipe.ts'
import { call, headerOf, type Seen, taking, tunnels, watch } from './rig.ts'

interface Many {
  readonly client: Tunnel
  readonly server: Tunnel
  readonly pipes: readonly [Duplex, Duplex]
  readonly ours: Duplex[]
  readonly theirs: Duplex[]
  readonly seen: Seen[]
}

async function many(count: number, pipes?: [Duplex, Duplex]): Promise<Many> {
  const taken = taking()
  const made = await tunnels({}, taken, pipes ?? (await tcpPair()))
  const ours: Duplex[] = []
  for (let at = 0; at < count; at += 200) {
    const part = Array.from({ length: Math.min(200, count - at) }, (_, n) =>
      made.client.open(headerOf(`req-${at + n}`), call),
    )
    ours.push(...(await Promise.all(part)))
  }
  for (const stream of ours) watch(stream)
  return { ...made, ours, theirs: taken.streams, seen: taken.streams.map(stream => watch(stream)) }
}

/** Stops the other end's reading and writes until the pipe is full. */
async function fill(rig: Many, streams: number): Promise<void> {
  rig.pipes[1].pause()
  for (const stream of rig.ours.slice(0, streams)) {
    for (let written = 0; written < 1_000_000; written += 65_536) stream.write(Buffer.alloc(65_536))
    await turns(5)
  }
  await turns(50)
  expect(rig.pipes[0].writableLength).toBeGreaterThan(250_000)
}

async function close({ client, server }: Many): Promise<void> {
  await client.close()
  await server.closed
}

const ended = (requestId: string): PosternError => new PosternError('ACCESS_ENDED', 'not for the wire', { requestId })

describe('who said it', () => {
  test('another end may not speak for this one; who may, is believed', async () => {
    const taken = taking()
    const { client, server } = await tunnels({}, { ...taken, hears: ['client', 'plugin'] }, await tcpPair())
    const told = { ACCESS_ENDED: 'edge', DRAINING: undefined, TOKEN_EXPIRED: 'plugin' } as const
    for (const [at, [code, speaker]] of Object.entries(told).entries()) {
      const stream = await client.open(headerOf(), call)
      const seen = watch(taken.streams[at]!)
      watch(stream)
      client.cutStream(stream, reasonOf(problem(code as keyof typeof told, 'x', speaker && { speaker })))
      await until('the cut', () => seen.closed)
      expect(seen.error).toMatchObject({ code, speaker: speaker === 'plugin' ? 'plugin' : 'client' })
    }
    client.cut(reasonOf(problem('AUTH_REJECTED', 'x', { speaker: 'edge' })))
    expect(await server.closed).toMatchObject({ code: 'AUTH_REJECTED', speaker: 'client' })
  })
})

describe('the reason of a cut', () => {
  test('arrives with its code, request id and who said it; the message stays here', async () => {
    const rig = await many(2)
    rig.client.cutStream(rig.ours[0]!, ended('req-x'))
    await until('the cut', () => rig.seen[0]!.closed)
    const reason = {
      code: 'ACCESS_ENDED',
      requestId: 'req-x',
      speaker: 'client',
      message: 'Access ended while the connection was open',
    }
    expect(rig.seen[0]).toMatchObject({ ended: false, error: reason })
    expect(rig.seen[1]!.closed).toBe(false)
    await close(rig)
  })

  test('a problem made for the other end arrives whole', async () => {
    const rig = await many(1)
    const told = problem('TOKEN_EXPIRED', 'req-y', {
      speaker: 'edge',
      detail: 'It expired at noon.',
      next: 'Renew it.',
    })
    rig.ours[0]!.destroy(reasonOf(told))
    await until('the cut', () => rig.seen[0]!.closed)
    expect(rig.seen[0]!.error).toMatchObject({
      code: 'TOKEN_EXPIRED',
      message: 'It expired at noon.',
      next: 'Renew it.',
    })
    await close(rig)
  })

  test('none is STREAM_CUT, with the request id', async () => {
    for (const error of [undefined, new Error('ECONNRESET of the origin')]) {
      const rig = await many(1)
      rig.ours[0]!.destroy(error)
      await until('the cut', () => rig.seen[0]!.closed)
      expect(rig.seen[0]).toMatchObject({ ended: false, error: { code: 'STREAM_CUT', requestId: 'req-0' } })
      await close(rig)
    }
  })

  test('goes before the reset even when the pipe is full', async () => {
    const rig = await many(9, pipePair())
    await fill(rig, 8)
    rig.client.cutStream(rig.ours[8]!, ended('req-full'))
    expect(rig.ours[8]!.destroyed).toBe(true) // here at once
    await turns(50)
    rig.pipes[1].resume()
    await until('the cut', () => rig.seen[8]!.closed)
    expect(rig.seen[8]!.error).toMatchObject({ code: 'ACCESS_ENDED', requestId: 'req-full' })
    await close(rig)
  })

  test('a thousand at once, each with its own; the rest of the streams live', async () => {
    const rig = await many(1020)
    for (const [at, stream] of rig.ours.slice(0, 1000).entries()) stream.destroy(ended(`own-${at}`))
    await until('all cuts', () => rig.seen.slice(0, 1000).every(({ closed }) => closed))
    expect(rig.seen.slice(0, 1000).map(({ error }) => (error as PosternError).requestId)).toEqual(
      Array.from({ length: 1000 }, (_, at) => `own-${at}`),
    )
    rig.ours[1010]!.end('still here')
    await until('the end', () => rig.seen[1010]!.ended)
    expect(rig.seen[1010]).toMatchObject({ bytes: 10, error: undefined })
    expect(rig.seen.slice(1000).filter(({ closed }) => closed)).toEqual([])
    await close(rig)
  })

  test('past the queue’s bound the cut goes without it, and memory stays bounded', async () => {
    const rig = await many(1000, pipePair())
    await fill(rig, 8)
    const long = 'x'.repeat(1000)
    for (const stream of rig.ours.slice(8)) {
      stream.destroy(reasonOf(problem('ACCESS_ENDED', 'r', { detail: long, next: long })))
    }
    await turns(50)
    rig.pipes[1].resume()
    await until('all cuts', () => rig.seen.slice(8).every(({ closed }) => closed))
    const codes = rig.seen.slice(8).map(({ error }) => (error as PosternError).code)
    expect(new Set(codes)).toEqual(new Set(['ACCESS_ENDED', 'STREAM_CUT']))
    expect(codes.filter(code => code === 'ACCESS_ENDED').length).toBeGreaterThan(400)
    await close(rig)
  })
})

test('one visitor’s thousand resets, from either end, do not end others’ streams', async () => {
  const taken = taking()
  const { client, server } = await tunnels({}, taken, await tcpPair())
  const other = await client.open(headerOf('other'), call)
  const seen = watch(taken.streams[0]!)
  watch(other)
  for (let reset = 0; reset < 1000; reset++) {
    const stream = await client.open(headerOf('visitor'), call)
    ;(reset % 2 === 0 ? stream : taken.streams.at(-1)!).destroy()
    if (reset % 100 === 0) other.write('on')
  }
  other.end('!')
  await until('the end', () => seen.ended)
  expect(seen).toMatchObject({ bytes: 21, error: undefined })
  taken.streams[0]!.end()
  await until('nothing to be left', () => client.streams + server.streams === 0)
  await client.close()
  expect(await server.closed).toBe(undefined)
})
