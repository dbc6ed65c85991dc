import type net from 'node:net'
import type { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { until } from './pipe.ts'
import { type Chain, call, chain, headerOf, origin, type Seen, watch } from './rig.ts'

interface Connection {
  readonly chain: Chain
  readonly stream: Duplex
  readonly socket: net.Socket
  readonly client: Seen
  readonly origin: Seen
}

async function connected(leg: 'memory' | 'tcp', then: (connection: Connection) => Promise<void>): Promise<void> {
  const sockets: net.Socket[] = []
  await using server = await origin(socket => void sockets.push(socket))
  await using joined = await chain(server.port, leg)
  const stream = await joined.client.open(headerOf(), call)
  await until('the origin', () => sockets.length === 1)
  const socket = sockets[0]!
  await then({ chain: joined, stream, socket, client: watch(stream), origin: watch(socket) })
}

const MB = 1_000_000

/** Who may fail, and what the client is told then. */
const CUTS: Record<string, { cut: (connection: Connection) => void; told: object }> = {
  'the client leaves': { cut: ({ stream }) => stream.destroy(), told: {} },
  'the origin resets': { cut: ({ socket }) => socket.resetAndDestroy(), told: { code: 'STREAM_CUT' } },
  'the edge ends access': {
    cut: ({ chain: { edge, joined } }) =>
      edge.client.cutStream(
        joined.get('req-1')!.down,
        new PosternError('ACCESS_ENDED', 'expired', { requestId: 'req-1' }),
      ),
    told: { code: 'ACCESS_ENDED', requestId: 'req-1', speaker: 'edge' },
  },
  'the edge fails': {
    cut: ({ chain: { joined } }) => joined.get('req-1')!.up.destroy(new Error('bug')),
    told: { code: 'STREAM_CUT' },
  },
  'the client’s pipe breaks': {
    cut: ({ chain: { pipes } }) => pipes.client[1].destroy(),
    told: { code: 'SESSION_LOST' },
  },
  'the daemon’s pipe breaks': {
    cut: ({ chain: { pipes } }) => pipes.daemon[0].destroy(),
    told: { code: 'SESSION_LOST', speaker: 'edge' },
  },
  'the edge cuts the session': {
    cut: ({ chain: { edge } }) => edge.client.cut(new PosternError('TOKEN_REVOKED', 'by an administrator')),
    told: { code: 'TOKEN_REVOKED', speaker: 'edge' },
  },
  'the daemon cuts the session': {
    cut: ({ chain: { daemon } }) => daemon.cut(new PosternError('DRAINING', 'update')),
    told: { code: 'DRAINING', speaker: 'daemon' },
  },
}

const STATES: Record<string, { client: boolean; origin: boolean }> = {
  'both open': { client: false, origin: false },
  'the client has ended': { client: true, origin: false },
  'the origin has ended': { client: false, origin: true },
}

describe.each(['memory', 'tcp'] as const)('client ⇄ edge ⇄ daemon ⇄ origin, %s pipes', leg => {
  test.each([
    ['the client first', true, false],
    ['the origin first', false, true],
    ['both at once', true, true],
  ])('clean ends, %s: 10 MB each way after the other’s end, every byte before it', async (_name, first, second) => {
    await connected(leg, async ({ stream, socket, client, origin: atOrigin }) => {
      if (first) stream.end(Buffer.alloc(MB))
      if (second) socket.end(Buffer.alloc(MB))
      if (!second) {
        await until('the client’s end', () => atOrigin.ended)
        socket.end(Buffer.alloc(10 * MB))
      }
      if (!first) {
        await until('the origin’s end', () => client.ended)
        stream.end(Buffer.alloc(10 * MB))
      }
      await until('both ends', () => client.ended && atOrigin.ended)
      expect(client).toMatchObject({ bytes: second ? MB : 10 * MB, error: undefined })
      expect(atOrigin).toMatchObject({ bytes: first ? MB : 10 * MB, error: undefined })
    })
  })

  for (const [state, has] of Object.entries(STATES)) {
    test.each(Object.entries(CUTS))(
      `${state}, then %s: a cut for both, an end for nobody who had none`,
      async (name, { cut, told }) => {
        await connected(leg, async connection => {
          const { stream, socket, client, origin: atOrigin } = connection
          stream.write('question')
          socket.write('answer')
          if (has.client) stream.end()
          if (has.origin) socket.end()
          await until('what was sent', () => client.bytes === 6 && atOrigin.bytes === 8)
          await until('the ends', () => client.ended === has.origin && atOrigin.ended === has.client)
          cut(connection)

          // After FIN a Node socket does not read any more: its end learns of a reset when it writes.
          const writing = setInterval(() => {
            if (has.client && !socket.destroyed) socket.write('more')
            if (has.origin && !stream.destroyed) stream.write('more')
          }, 5)
          if (name !== 'the client leaves') {
            await until('the cut at the client', () => client.closed)
            expect(client.error).toMatchObject(told)
          }
          expect(client.ended).toBe(has.origin)
          if (name !== 'the origin resets') {
            await until('the cut at the origin', () => atOrigin.closed)
            expect(atOrigin.error?.code).toMatch(/ECONNRESET|EPIPE/)
          }
          clearInterval(writing)
          expect(atOrigin.ended).toBe(has.client)
          expect([client.bytes, atOrigin.bytes]).toEqual([6, 8])
        })
      },
    )
  }

  test('a cut while 10 MB are on their way is never an end', async () => {
    await connected(leg, async ({ stream, socket, client, origin: atOrigin }) => {
      stream.write(Buffer.alloc(10 * MB))
      socket.write(Buffer.alloc(10 * MB))
      await until('some bytes', () => client.bytes > 100_000 && atOrigin.bytes > 100_000)
      socket.resetAndDestroy()
      await until('the cut at the client', () => client.closed)
      expect(client).toMatchObject({ ended: false, error: { code: 'STREAM_CUT' } })
    })
  })
})
