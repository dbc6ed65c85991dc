import assert from 'node:assert/strict'
import type { Duplex } from 'node:stream'
import { Flow, MIB, reading, sendAll } from '../bytes.ts'
import { type Case, testCase } from '../case.ts'
import { eventually, pause, within } from '../expect.ts'
import { isClean, isCut } from '../flowing.ts'
import { type Pair, type TransportSubject, withRig } from './rig.ts'

const SIDES = ['client', 'edge'] as const

/** More than any buffer on the way, and no round number. */
const LENGTH = 3 * MIB + 1

/** Ends: whoever reads a pipe can always tell a clean end from a cut, and a clean end loses nothing. */
export function endingCases(subject: TransportSubject): readonly Case[] {
  return [
    ...SIDES.flatMap(side => [
      testCase(`clean end by the ${side}: every byte, then end`, call =>
        withRig(subject, call, {}, async rig => {
          const { ender, reader } = roles(await rig.pair(), side)
          const received = reading(reader)
          const hash = await sendAll(ender, LENGTH)
          isClean(await within(received.done, 'the end must arrive', 10_000), LENGTH, hash)
        }),
      ),
      testCase(`clean end by the ${side}: every byte, also for a reader that comes late`, call =>
        withRig(subject, call, {}, async rig => {
          const { ender, reader } = roles(await rig.pair(), side)
          const sending = sendAll(ender, LENGTH)
          await pause(300)
          const received = reading(reader)
          const hash = await within(sending, 'the writer must finish once somebody reads', 10_000)
          isClean(await within(received.done, 'the end must arrive', 10_000), LENGTH, hash)
        }),
      ),
      testCase(`clean end by the ${side}: a last word waits for its reader`, call =>
        withRig(subject, call, {}, async rig => {
          const { ender, reader } = roles(await rig.pair(), side)
          ender.end('a last word')
          await pause(300)
          const received = reading(reader)
          const { end } = await within(received.done, 'the end must arrive')
          assert.deepEqual([received.head(), end], ['a last word', 'clean'], 'what was read, and its end')
        }),
      ),
      testCase(`clean end by the ${side}: after both ended, both close`, call =>
        withRig(subject, call, {}, async rig => {
          const { ender, reader } = roles(await rig.pair(), side)
          const ends = [reading(ender), reading(reader)]
          ender.end('last word')
          await within(ends[1]!.done, 'the end must arrive')
          reader.end()
          await eventually(() => ender.destroyed && reader.destroyed, 'both ends must close after both ended')
          assert.deepEqual([ender.errored, reader.errored], [null, null], 'a clean end is no error, for neither side')
          await eventually(() => rig.door.connections === 0, 'the connection must be closed')
        }),
      ),
      testCase(`cut by the ${side} while idle: an error, never end`, call =>
        withRig(subject, call, {}, async rig => {
          const { ender, reader } = roles(await rig.pair(), side)
          const received = reading(reader)
          ender.destroy()
          await isCut(received.done)
        }),
      ),
      testCase(`cut by the ${side} in mid-transfer: an error, never end`, call =>
        withRig(subject, call, {}, async rig => {
          const { ender, reader } = roles(await rig.pair(), side)
          const received = reading(reader)
          void new Flow(ender).send(8 * MIB)
          await eventually(() => received.length > 0, 'bytes must flow')
          ender.destroy(new Error('the kit cuts'))
          await isCut(received.done)
        }),
      ),
      testCase(`cut by the ${side}: an error also for a reader that comes late`, call =>
        withRig(subject, call, {}, async rig => {
          const { ender, reader } = roles(await rig.pair(), side)
          ender.write('some bytes')
          await pause(100)
          ender.destroy(new Error('the kit cuts'))
          await pause(300)
          await isCut(reading(reader).done)
        }),
      ),
    ]),
    ...(['reset', 'close'] as const).flatMap(how => failingNetworkCases(subject, how)),
  ]
}

function failingNetworkCases(subject: TransportSubject, how: 'reset' | 'close'): readonly Case[] {
  const isOver = how === 'close' && subject.fin === 'end' ? ends : isCut
  const what = isOver === ends ? 'ends the pipe' : 'is a cut'
  return [
    testCase(`a network that ${VERB[how]} the connection ${what} at both ends`, call =>
      withRig(subject, call, { relay: {} }, async rig => {
        const { pipe, edge } = await rig.pair()
        const both = [reading(pipe), reading(edge)]
        rig.relay?.[how]()
        for (const each of both) await isOver(each.done)
      }),
    ),
    testCase(`a network that ${VERB[how]} the connection in mid-transfer ${what} at both ends`, call =>
      withRig(subject, call, { relay: {} }, async rig => {
        const { pipe, edge } = await rig.pair()
        const both = [reading(pipe), reading(edge)] as const
        void new Flow(pipe, 1).send(16 * MIB)
        void new Flow(edge, 2).send(16 * MIB)
        await eventually(() => both[0].length > 0 && both[1].length > 0, 'bytes must flow both ways')
        rig.relay?.[how]()
        for (const each of both) await isOver(each.done)
      }),
    ),
  ]
}

/** One way or the other. */
async function ends(done: Promise<unknown>): Promise<void> {
  await within(done, 'the pipe must end')
}

const VERB = { reset: 'resets', close: 'closes' } as const

function roles({ pipe, edge }: Pair, side: 'client' | 'edge'): { readonly ender: Duplex; readonly reader: Duplex } {
  return side === 'client' ? { ender: pipe, reader: edge } : { ender: edge, reader: pipe }
}
