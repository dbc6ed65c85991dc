import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import { leftOpen, resources } from '@postern/testkit'
import { startTunnel } from '@postern/tunnel'
import fc from 'fast-check'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Carried, carried, joinSockets } from './socket-world.ts'
import { call, log, type TestTunnel, testTunnel } from './world.ts'

const QUESTION = Buffer.alloc(20_000, 'q')
const ANSWER = Buffer.alloc(20_000, 'a')
const HEADER = { hostname: 'db.example.com', requestId: 'r', purpose: 'tcp' } as const
type Way = 'up' | 'down'

/** Somebody who carries bytes, and ends a connection as if its other end had. */
class Truncating {
  readonly seen: Record<Way, number> = { up: 0, down: 0 }
  readonly #between: Carried
  #limit: { readonly way: Way; readonly bytes: number } | undefined

  constructor(between: Carried) {
    this.#between = between
    const { ofClient, ofDaemon } = between
    this.#carry(ofClient, ofDaemon, 'up')
    this.#carry(ofDaemon, ofClient, 'down')
  }

  /** From now on so many bytes that way. */
  after(way: Way, bytes: number): void {
    this.seen.up = this.seen.down = 0
    this.#limit = { way, bytes }
  }

  #carry(from: Socket, to: Socket, way: Way): void {
    from.on('data', (chunk: Buffer) => {
      const left = this.#limit?.way === way ? this.#limit.bytes - this.seen[way] : Number.POSITIVE_INFINITY
      this.seen[way] += chunk.length
      if (to.writableEnded) return
      to.write(chunk.subarray(0, Math.max(0, left)))
      if (chunk.length < left) return
      // Both ends, without a reset: as cleanly as it can.
      for (const one of [this.#between.ofClient, this.#between.ofDaemon]) one.end()
    })
    from.on('end', () => to.end())
  }
}

/** What somebody read of a stream, and how that ended. */
async function heard(stream: Duplex): Promise<{ readonly bytes: number; readonly end: string }> {
  let bytes = 0
  let end = 'cut'
  stream.on('data', chunk => (bytes += chunk.length)).on('end', () => (end = 'end'))
  stream.on('error', error => (end = PosternError.is(error) ? error.code : 'strange'))
  if (!stream.closed) await new Promise(resolve => stream.once('close', resolve))
  return { bytes, end }
}

describe('whoever carries a session over sockets, and ends it as if it were over', () => {
  let tunnel: TestTunnel
  let before = resources()
  beforeAll(async () => {
    tunnel = await testTunnel()
  })
  beforeEach(() => {
    before = resources()
  })
  afterEach(async () => {
    expect(await leftOpen(before)).toEqual([])
  })

  /** A question, an answer, and the end that the client says. */
  async function talk(limit?: { readonly way: Way; readonly bytes: number }) {
    const between = await carried()
    const carrier = new Truncating(between)
    const { client, daemon } = await joinSockets(tunnel, between)
    const asked = Promise.withResolvers<Awaited<ReturnType<typeof heard>> | undefined>()
    const starting = [
      startTunnel(client, { role: 'client', log }, call),
      startTunnel(
        daemon,
        {
          role: 'server',
          log,
          onStream: offered => {
            const stream = offered.accept()
            asked.resolve(heard(stream))
            stream.once('end', () => stream.end(ANSWER))
          },
        },
        call,
      ),
    ] as const
    const [asking, answering] = await Promise.all(starting)
    carrier.after(limit?.way ?? 'up', limit?.bytes ?? Number.POSITIVE_INFINITY)
    const stream = await asking.open(HEADER, call).catch(() => undefined)
    stream?.end(QUESTION)
    const answer = stream && (await heard(stream))
    void asking.close()
    const closed = { down: await asking.closed, up: await answering.closed }
    asked.resolve(undefined)
    return { closed, heard: { up: await asked.promise, down: answer }, seen: carrier.seen }
  }

  it('the twin: what nobody ends too early is whole at both ends, and a clean end', async () => {
    const { closed, heard } = await talk()
    expect(closed).toEqual({ up: undefined, down: undefined })
    expect(heard.up).toEqual({ bytes: QUESTION.length, end: 'end' })
    expect(heard.down).toEqual({ bytes: ANSWER.length, end: 'end' })
  })

  it('is found out, wherever that is: no stream ends that was not ended, no session does that goes on', async () => {
    const { seen } = await talk()
    const place = fc.record({
      way: fc.constantFrom<Way>('up', 'down'),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    await fc.assert(
      fc.asyncProperty(place, async ({ way, part }) => {
        const bytes = Math.floor(seen[way] * part)
        const found = await talk({ way, bytes })
        for (const side of ['up', 'down'] as const) {
          const sent = side === 'up' ? QUESTION : ANSWER
          const got = found.heard[side]
          if (got?.end === 'end') expect(got.bytes).toBe(sent.length)
          else if (got) expect(got.end).toBe('SESSION_LOST')
          // Its last words are the session's end: whoever has heard them has heard all.
          if (found.closed[side] === undefined) expect(got).toEqual({ bytes: sent.length, end: 'end' })
          else expect(found.closed[side]).toMatchObject({ code: 'SESSION_LOST' })
        }
        if (bytes < 20_000) expect(found.closed[way]).toMatchObject({ code: 'SESSION_LOST' })
      }),
      {
        numRuns: 60,
        examples: [[{ way: 'up', part: 0 }], [{ way: 'down', part: 0.5 }], [{ way: 'down', part: 0.99 }]],
      },
    )
  }, 60_000)

  it('an idle session that is ended so is lost, and never a clean end', async () => {
    for (const which of ['ofClient', 'ofDaemon'] as const) {
      const between = await carried()
      new Truncating(between)
      const { client, daemon } = await joinSockets(tunnel, between)
      const both = await Promise.all([
        startTunnel(client, { role: 'client', log }, call),
        startTunnel(daemon, { role: 'server', log }, call),
      ])
      between[which].end()
      for (const one of both) expect(await one.closed).toMatchObject({ code: 'SESSION_LOST' })
    }
  })

  it('an end before a word was said in it is no session', async () => {
    const between = await carried()
    new Truncating(between)
    const { client, daemon } = await joinSockets(tunnel, between)
    const started = startTunnel(client, { role: 'client', log }, call)
    between.ofClient.end()
    await expect(started).rejects.toMatchObject({ code: 'SESSION_LOST' })
    daemon.on('error', () => {}).destroy()
    if (!daemon.closed) await once(daemon, 'close')
  })
})
