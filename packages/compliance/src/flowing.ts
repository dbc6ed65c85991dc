import assert from 'node:assert/strict'
import type { Duplex } from 'node:stream'
import { arrived, Flow, MIB, type Received, reading, sendAll } from './bytes.ts'
import { pause, within } from './expect.ts'

/** The most a connection that nobody reads may swallow, both ends and the kernel's socket buffers together. */
const STALLED_LIMIT = 32 * MIB
const STALLED_TOTAL = 64 * MIB

/** Sends without ending, so that the pipe can be used again. */
export async function carries(from: Duplex, to: Duplex, total: number, seed = 1): Promise<void> {
  const received = reading(to)
  const flow = new Flow(from, seed)
  await flow.send(total)
  await arrived(received, total)
  assert.equal(received.hash(), flow.hash(), 'the bytes are not those that were sent')
}

/** The writer must come to a stand while nobody reads, and everything must be there once somebody does. */
export async function stalls(from: Duplex, to: Duplex): Promise<void> {
  const before = process.memoryUsage().arrayBuffers
  const flow = new Flow(from, 9)
  const sending = flow.send(STALLED_TOTAL)
  let last = -1
  while (last !== flow.sent && flow.sent < STALLED_TOTAL) {
    last = flow.sent
    await pause(500)
  }
  const held = process.memoryUsage().arrayBuffers - before
  assert.ok(
    flow.sent <= STALLED_LIMIT,
    `a connection that nobody read swallowed ${flow.sent} bytes: write() must say false`,
  )
  assert.ok(from.writableLength <= STALLED_LIMIT, `${from.writableLength} bytes wait in the writer`)
  assert.ok(held <= 2 * STALLED_LIMIT, `memory grew by ${held} bytes while nobody read`)
  const received = reading(to)
  await within(sending, 'the writer must go on once somebody reads', 30_000)
  await arrived(received, STALLED_TOTAL)
  assert.equal(received.hash(), flow.hash(), 'what arrived after the pause is not what was sent')
}

/** One side ends, the other takes its time and answers after: nothing is lost, and both see a clean end. */
export async function halfCloses(first: Duplex, second: Duplex, total: number): Promise<void> {
  const atFirst = reading(first)
  const atSecond = reading(second)
  const sent = await sendAll(first, total, 5)
  isClean(await within(atSecond.done, 'the first end must arrive', 15_000), total, sent)
  await pause(50)
  assert.equal(atFirst.end, undefined, 'the way back must stay open after the first end')
  const answered = await sendAll(second, total, 6)
  isClean(await within(atFirst.done, 'the answer after the first end must arrive', 15_000), total, answered)
}

export function isClean(received: Received, length: number, hash: string): void {
  assert.equal(received.end, 'clean', `a clean end must arrive as end, not as ${received.error ?? 'a mere close'}`)
  assert.equal(received.length, length, 'all bytes written before end() must arrive')
  assert.equal(received.hash, hash, 'the bytes before the end are not those that were sent')
}

export async function isCut(done: Promise<Received>): Promise<void> {
  const received = await within(done, 'a cut must arrive', 10_000)
  assert.equal(received.end, 'cut', `a cut must arrive as an error: its reader saw ${NAMED[received.end]}`)
}

const NAMED = { clean: 'end, and takes half the bytes for all', closed: 'a close without an error', cut: 'an error' }
