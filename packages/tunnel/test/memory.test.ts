import { expect, test, vi } from 'vitest'
import { Memory } from '../src/index.ts'

test('is full while more than so many bytes are held, looked at four times a second at most', () => {
  let [held, now, looks] = [10, 0, 0]
  const used = () => {
    looks += 1
    return held
  }
  const memory = new Memory(100, used, () => now)
  expect(memory.isFull(100)).toBe(false)
  held = 101
  for (now = 0; now < 1000; now += 10) memory.isFull(100)
  expect(looks).toBe(4)
  expect(memory.isFull(100)).toBe(true)
  held = 100
  now += 250
  expect(memory.isFull(100)).toBe(false)
})

test('row 134: is full for those whose readers stopped before it is for everybody', () => {
  let [held, now] = [101, 0]
  const memory = new Memory(
    100,
    () => held,
    () => now,
  )
  expect([memory.isFull(9), memory.isFull(8), memory.isFull(0)]).toEqual([true, false, false])
  held = 126
  now += 250
  expect([memory.isFull(9), memory.isFull(8), memory.isFull(0)]).toEqual([true, true, true])
})

test('a clock of the machine that is set back does not keep it from looking', () => {
  const [day, now] = [vi.spyOn(Date, 'now').mockReturnValue(1e12), vi.spyOn(performance, 'now').mockReturnValue(0)]
  try {
    let held = 101
    const memory = new Memory(100, () => held)
    expect(memory.isFull(100)).toBe(true)
    held = 0
    day.mockReturnValue(1e12 - 3_600_000)
    now.mockReturnValue(300)
    expect(memory.isFull(100)).toBe(false)
  } finally {
    day.mockRestore()
    now.mockRestore()
  }
})
