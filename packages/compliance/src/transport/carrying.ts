import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { arrived, Flow, KIB, MIB, reading, sendAll } from '../bytes.ts'
import { type Case, testCase } from '../case.ts'
import { pause, within } from '../expect.ts'
import { carries, stalls } from '../flowing.ts'
import { FrameSession } from '../frames.ts'
import { type Pair, type TransportRig, type TransportSubject, withRig } from './rig.ts'

const DIRECTIONS = ['client to edge', 'edge to client'] as const
type Direction = (typeof DIRECTIONS)[number]

/** Bytes: that all arrive, in order, at any size, many at once, and no more than fit. */
export function carryingCases(subject: TransportSubject): readonly Case[] {
  return [
    testCase('10,000 small writes arrive in order, both ways at once', call =>
      withRig(subject, call, {}, async rig => {
        const { pipe, edge } = await rig.pair()
        await Promise.all([smallWrites(pipe, edge), smallWrites(edge, pipe)])
      }),
    ),
    ...DIRECTIONS.map(direction =>
      testCase(
        `64 MiB arrive unchanged, ${direction}`,
        call =>
          withRig(subject, call, {}, async rig => {
            const { from, to } = ends(await rig.pair(), direction)
            await carries(from, to, 64 * MIB)
          }),
        60_000,
      ),
    ),
    testCase('bytes arrive unchanged through a network that delivers a few at a time', call =>
      withRig(subject, call, { relay: { slice: 3 } }, async rig => {
        const { pipe, edge } = await rig.pair()
        await carries(pipe, edge, 64 * KIB, 2)
        await carries(edge, pipe, 64 * KIB, 3)
      }),
    ),
    testCase('the first bytes sent right behind the handshake arrive', call =>
      withRig(subject, call, {}, async rig => {
        rig.onIncoming(async incoming => {
          const pipe = await incoming.accept()
          pipe.on('error', () => {})
          pipe.write('spoken first')
        })
        const { pipe } = await rig.dial()
        await pause(100)
        const [first] = await within(once(pipe, 'data'), 'what the edge wrote at once must arrive')
        assert.equal(String(first), 'spoken first')
      }),
    ),
    testCase('200 pipes at once', call => withRig(subject, call, {}, manyPipes), 40_000),
    testCase('streams over the pipe: half-close both ways, then receive', call =>
      withRig(subject, call, {}, async rig => halfClosing(await rig.pair())),
    ),
    testCase('streams over the pipe: 200 at once', call =>
      withRig(subject, call, {}, async rig => manyStreams(await rig.pair())),
    ),
    ...DIRECTIONS.map(direction =>
      testCase(
        `a reader that stops holds the writer back, ${direction}`,
        call =>
          withRig(subject, call, {}, async rig => {
            const { from, to } = ends(await rig.pair(), direction)
            await stalls(from, to)
          }),
        60_000,
      ),
    ),
  ]
}

function ends({ pipe, edge }: Pair, direction: Direction): { readonly from: Duplex; readonly to: Duplex } {
  return direction === 'client to edge' ? { from: pipe, to: edge } : { from: edge, to: pipe }
}

async function smallWrites(from: Duplex, to: Duplex): Promise<void> {
  const lines = Array.from({ length: 10_000 }, (_, at) => `${at}${'.'.repeat(at % 23)}\n`)
  const wanted = lines.join('')
  const received = reading(to)
  for (const line of lines) if (!from.write(line)) await once(from, 'drain')
  await arrived(received, wanted.length)
  assert.ok(received.head() === wanted, 'what arrived is not what was written, in its order')
}

async function manyPipes(rig: TransportRig): Promise<void> {
  rig.onIncoming(async incoming => {
    const pipe = await incoming.accept()
    pipe.on('error', () => {})
    pipe.on('data', (chunk: Buffer) => pipe.write(chunk))
  })
  const pipes = await Promise.all(Array.from({ length: 200 }, () => rig.dial()))
  await Promise.all(
    pipes.map(async ({ pipe }, at) => {
      const received = reading(pipe)
      const flow = new Flow(pipe, at)
      await flow.send(16 * KIB)
      await arrived(received, 16 * KIB)
      assert.equal(received.hash(), flow.hash(), `pipe ${at} gave back other bytes than its own`)
    }),
  )
}

async function halfClosing({ pipe, edge }: Pair): Promise<void> {
  const { promise: accepted, resolve } = Promise.withResolvers<Duplex>()
  new FrameSession(edge, resolve)
  const client = new FrameSession(pipe)
  const opened = client.open()
  const atClient = reading(opened)
  const first = await sendAll(opened, MIB, 5)
  const other = await within(accepted, 'the stream must arrive')
  const atEdge = await within(reading(other).done, 'the stream must end at the edge', 15_000)
  assert.deepEqual([atEdge.end, atEdge.length, atEdge.hash], ['clean', MIB, first], 'client to edge, up to its FIN')
  const second = await sendAll(other, MIB, 6)
  const back = await within(atClient.done, 'the stream must end at the client', 15_000)
  assert.deepEqual([back.end, back.length, back.hash], ['clean', MIB, second], 'edge to client, after the FIN')
}

async function manyStreams({ pipe, edge }: Pair): Promise<void> {
  new FrameSession(edge, stream => stream.pipe(stream))
  const client = new FrameSession(pipe)
  await Promise.all(
    Array.from({ length: 200 }, async (_, at) => {
      const stream = client.open()
      const received = reading(stream)
      const sent = await sendAll(stream, 32 * KIB, at)
      const back = await within(received.done, `stream ${at} must end`, 15_000)
      assert.deepEqual([back.end, back.hash], ['clean', sent], `stream ${at}`)
    }),
  )
}
