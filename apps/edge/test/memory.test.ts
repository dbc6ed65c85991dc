import { expect, test } from 'vitest'
import { Memory } from '../src/routes/memory.ts'
import { header, quiet, startWorld, textOf } from './world.ts'

const patience = () => ({ signal: AbortSignal.timeout(15_000), log: quiet })

test('is full while more than so many bytes are held, looked at four times a second at most', () => {
  let [held, now, looks] = [10, 0, 0]
  const used = () => {
    looks += 1
    return held
  }
  const memory = new Memory(100, used, () => now)
  expect(memory.isFull).toBe(false)
  held = 101
  for (now = 0; now < 1000; now += 10) void memory.isFull
  expect(looks).toBe(4)
  expect(memory.isFull).toBe(true)
  held = 100
  now += 250
  expect(memory.isFull).toBe(false)
})

test('while it is full new streams are refused and open ones go on; then there is room again', async () => {
  await using world = await startWorld()
  const session = await world.session()
  const stream = await session.open(header(), patience())
  Object.defineProperty(Memory.prototype, 'isFull', { get: () => full, configurable: true })
  let full = true
  try {
    const before = world.opened()
    await expect(session.open(header(), patience())).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED', speaker: 'edge' })
    await expect(world.dial('db.localhost', 'raw', world.headers())).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    expect(world.opened()).toBe(before)
    stream.end('goes on')
    expect(await textOf(stream)).toBe('goes on')
    full = false
    const next = await session.open(header(), patience())
    next.end('room')
    expect(await textOf(next)).toBe('room')
  } finally {
    Object.defineProperty(Memory.prototype, 'isFull', original)
  }
})
const original = Object.getOwnPropertyDescriptor(Memory.prototype, 'isFull') as PropertyDescriptor
