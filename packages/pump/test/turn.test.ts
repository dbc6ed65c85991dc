import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Budget } from '../src/room.ts'
import { isEnough, type Reader } from '../src/turn.ts'

const KIB = 1024
const [ann, bob] = [new Budget(KIB * KIB), new Budget(KIB * KIB)]
const reader = (): Reader => ({ next: undefined, goOn() {} })
const download = reader()

/** KiB that are read in one turn until it is enough. */
async function turnOf(one: Reader, whose: Budget): Promise<number> {
  await nextTurn()
  for (let read = 64; ; read += 64) if (isEnough(64 * KIB, one, whose)) return read
}

test('who is alone reads for longer at a time, until another visitor has sent a little', async () => {
  expect(await turnOf(download, ann)).toBe(1024 + 64)
  // What goes the other way, window updates and acknowledgements, is no company.
  expect(isEnough(64, reader(), ann)).toBe(false)
  expect(await turnOf(download, ann)).toBe(1024 + 64)
  expect(isEnough(64, reader(), bob)).toBe(false)
  for (let n = 0; n < 63; n += 1) expect(await turnOf(download, ann)).toBe(256 + 64)
  await turnOf(download, ann)
  expect(await turnOf(download, ann)).toBe(1024 + 64)
})

test('two that read much at once share a turn', async () => {
  await nextTurn()
  expect(isEnough(64 * KIB, reader(), bob)).toBe(false)
  for (let n = 0; n < 3; n += 1) expect(isEnough(64 * KIB, download, ann)).toBe(false)
  expect(isEnough(64 * KIB, download, ann)).toBe(true)
})
