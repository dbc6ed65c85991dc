import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { ReceiveQueue } from '../src/receive-queue.ts'

test('what was taken is not held while more waits behind it', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const queue = new ReceiveQueue()
  const added = Array.from({ length: 8 }, (_, n) => {
    const slice = Buffer.alloc(65_536, n)
    queue.add(slice)
    return new WeakRef(slice.buffer)
  })
  for (let n = 0; n < 4; n += 1) expect(queue.take()?.[0]).toBe(n)
  expect(queue.bytes).toBe(4 * 65_536)
  await nextTurn() // a reference that was just made, or asked, holds until then
  collect()
  expect(added.map(one => one.deref() !== undefined)).toEqual([...Array(4).fill(false), ...Array(4).fill(true)])
  expect(queue.take()?.[0]).toBe(4)
})
