import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { bridge } from '../src/index.ts'
import { memoryPair, readAll, tcpPair } from './pairs.ts'

const never = new AbortController().signal

test('what the local side sent while the stream was opened arrives first', async () => {
  const [local, stream] = [await tcpPair(), await memoryPair()]
  local.far.end('early')
  const done = bridge(local.near, () => new Promise(resolve => setTimeout(resolve, 50, stream.near)), never)
  expect((await readAll(stream.far)).toString()).toBe('early')
  stream.far.end('answer')
  expect((await readAll(local.far)).toString()).toBe('answer')
  expect(await done).toEqual({ sent: 5, received: 6 })
})

test('a stream that is refused resets the local side, and the refusal is thrown', async () => {
  const local = await tcpPair()
  const refusal = new Error('refused')
  const reset = once(local.far.resume(), 'error')
  await expect(bridge(local.near, () => Promise.reject(refusal), never)).rejects.toBe(refusal)
  expect((await reset)[0]).toMatchObject({ code: 'ECONNRESET' })
})

test('a local side that breaks aborts the opening', async () => {
  const local = await tcpPair()
  const opening = bridge(local.near, aborted, never)
  local.near.destroy(new Error('gone'))
  await expect(opening).rejects.toThrow('gone')
  local.far.on('error', () => {}).destroy()
})

test('an abort while it is opened, and before', async () => {
  for (const early of [false, true]) {
    const local = await tcpPair()
    const controller = new AbortController()
    const reason = new Error('enough')
    if (early) controller.abort(reason)
    let opens = 0
    const opening = bridge(
      local.near,
      signal => {
        opens++
        return aborted(signal)
      },
      controller.signal,
    )
    local.far.on('error', () => {}).resume()
    controller.abort(reason)
    await expect(opening).rejects.toBe(reason)
    expect(opens).toBe(early ? 0 : 1)
    if (!local.far.closed) await new Promise(resolve => local.far.once('close', resolve))
  }
})

test('a local side that breaks later is told as a', async () => {
  const [local, stream] = [await tcpPair(), await memoryPair()]
  const done = bridge(local.near, async () => stream.near, never)
  stream.far.on('error', () => {})
  local.far.resetAndDestroy()
  expect(await done).toMatchObject({ failed: 'a', error: { code: 'ECONNRESET' } })
})

function aborted(signal: AbortSignal): Promise<Duplex> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason))
  })
}
