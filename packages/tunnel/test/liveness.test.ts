import { describe, expect, test } from 'vitest'
import type { Tunnel } from '../src/index.ts'
import { FakeClock } from './fake-clock.ts'
import { type PipeEnd, pipePair, turns } from './pipe.ts'
import { call, headerOf, type Seen, taking, tunnels, watch } from './rig.ts'

async function rig(): Promise<{
  clock: FakeClock
  client: Tunnel
  server: Tunnel
  pipes: [PipeEnd, PipeEnd]
  taken: ReturnType<typeof taking>
  seen: Seen
}> {
  const clock = new FakeClock()
  const pipes = pipePair()
  const taken = taking()
  const { client, server } = await tunnels({ clock }, { ...taken, clock: new FakeClock() }, pipes)
  const seen = watch(await client.open(headerOf(), call))
  return { clock, client, server, pipes, taken, seen }
}

describe('liveness', () => {
  test('an idle session lives', async () => {
    const { clock, client, server, seen } = await rig()
    await clock.advance(600_000)
    expect(seen.closed).toBe(false)
    await client.close()
    await server.closed
    expect(clock.pending).toBe(0)
  })

  test('a peer that was stopped is found within 15 s, whenever it stopped', async () => {
    for (const before of [0, 1000, 3000, 5000, 7000]) {
      const { clock, client, pipes, seen } = await rig()
      await clock.advance(before)
      for (const pipe of pipes) pipe.frozen = true
      await clock.advance(6_000)
      expect(seen.closed).toBe(false) // one ping or two without an answer are no proof
      await clock.advance(9_000)
      expect(seen).toMatchObject({ ended: false, closed: true, error: { code: 'PEER_SILENT' } })
      expect(await client.closed).toMatchObject({ code: 'PEER_SILENT' })
      expect(clock.pending).toBe(0)
      pipes[1].destroy()
    }
  })

  test('bytes are a sign of life though no ping is answered', async () => {
    const { clock, client, pipes, taken, seen } = await rig()
    pipes[0].frozen = true // nothing of ours arrives, so no ping is answered
    for (let round = 0; round < 6; round++) {
      taken.streams[0]!.write('x')
      await clock.advance(10_000)
    }
    expect(seen).toMatchObject({ bytes: 6, closed: false })
    await clock.advance(15_000)
    expect(await client.closed).toMatchObject({ code: 'PEER_SILENT' })
    pipes[1].destroy()
  })

  test('so is a part of what is not handed over yet: a line may be slower than that', async () => {
    const { clock, client, pipes } = await rig()
    for (const pipe of pipes) pipe.frozen = true
    for (let round = 0; round < 6; round++) {
      pipes[0].emit('progress')
      await clock.advance(10_000)
    }
    await clock.advance(3_000)
    pipes[0].emit('progress')
    await clock.advance(13_000)
    expect(client.streams).toBe(1)
    await clock.advance(2_000)
    expect(await client.closed).toMatchObject({ code: 'PEER_SILENT' })
    expect(pipes[0].listenerCount('progress')).toBe(0)
    pipes[1].destroy()
  })

  test('a machine that slept asks afresh before it gives up, and then finds the dead', async () => {
    const { clock, client, pipes, seen } = await rig()
    for (const asleep of [10_000, 15_000, 60_000, 3_600_000]) {
      await clock.advance(13_000)
      await clock.jump(asleep)
      expect(seen.closed).toBe(false)
      await clock.advance(20_000)
      expect(seen.closed).toBe(false)
    }
    for (const pipe of pipes) pipe.frozen = true
    await clock.advance(10_000)
    await clock.jump(3_600_000)
    expect(seen.closed).toBe(false)
    await clock.advance(15_000)
    expect(await client.closed).toMatchObject({ code: 'PEER_SILENT' })
    await turns()
    pipes[1].destroy()
  })
})
