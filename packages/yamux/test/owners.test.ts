import { describe, expect, test } from 'vitest'
import { ACK, DATA, WINDOW_UPDATE } from '../src/frame.ts'
import type { YamuxStream } from '../src/index.ts'
import { Line } from '../src/line.ts'
import { RawPeer, turns } from './raw-peer.ts'

const MIB = 1024 * 1024

/** A session whose pipe is full, and streams that wait for it, by owner. */
async function waiting(owners: readonly (object | undefined)[], bytes: number) {
  const peer = new RawPeer()
  const opened: YamuxStream[] = owners.map(owner => {
    const stream = peer.session.open()
    if (owner !== undefined) stream.ownedBy(owner)
    return stream
  })
  const filler = peer.session.open()
  for (const { id } of [...opened, filler]) peer.frame(WINDOW_UPDATE, ACK, id, 100 * MIB)
  await turns()
  peer.reading = false
  filler.write(Buffer.alloc(2 * MIB))
  await turns()
  peer.seen.length = 0
  for (const stream of opened) stream.write(Buffer.alloc(bytes))
  await turns()
  return { peer, opened, filler }
}

/** The ids whose data went, in order, of the first so many frames that are not the filler's. */
async function order({ peer, opened, filler }: Awaited<ReturnType<typeof waiting>>, frames: number): Promise<number[]> {
  peer.read()
  const sent = () =>
    peer.seen.filter(({ type, id, length }) => type === DATA && length > 0 && id !== filler.id).map(({ id }) => id)
  await expect.poll(() => sent().length, { timeout: 10_000 }).toBeGreaterThanOrEqual(frames)
  peer.session.destroy()
  return sent()
    .slice(0, frames)
    .map(id => opened.findIndex(stream => stream.id === id))
}

describe('row 134: owners take turns', () => {
  const [many, one] = [{}, {}]

  test.each([
    ['that send much', MIB, 40],
    ['that send little', 1000, 4],
  ])('streams %s: who has forty in line goes as often as who has one', async (_what, bytes, frames) => {
    const held = await waiting([...new Array<object>(40).fill(many), one], bytes)
    const went = await order(held, frames)
    // Every second frame, but for what was on its way before the others came.
    expect(went.slice(0, 4)).toContain(40)
    if (bytes === MIB) expect(went.slice(0, 30).filter(index => index === 40).length).toBeGreaterThanOrEqual(14)
  })

  test('the streams of one owner take turns with each other, and so do those of nobody', async () => {
    for (const owner of [many, undefined]) {
      const went = await order(await waiting(new Array(8).fill(owner), MIB), 16)
      expect(new Set(went.slice(0, 8)).size).toBe(8)
      expect(new Set(went.slice(8)).size).toBe(8)
    }
  })
})

test('a line is first come, first served, whatever comes and goes', () => {
  const line = new Line<number>()
  const [model, seen]: [number[], unknown[]] = [[], []]
  let next = 0
  for (let round = 0; round < 200; round++) {
    for (let n = (round * 7) % 11; n > 0; n--) {
      line.push(next)
      model.push(next++)
    }
    for (let n = (round * 5) % 12; n > 0; n--) seen.push([line.take(), model.shift()])
    expect(line.isEmpty).toBe(model.length === 0)
  }
  for (const [taken, expected] of seen as [unknown, unknown][]) expect(taken).toBe(expected)
  line.clear()
  expect([line.isEmpty, line.take()]).toEqual([true, undefined])
})
