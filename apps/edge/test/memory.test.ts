import { Memory } from '@postern/tunnel'
import { expect, test, vi } from 'vitest'
import { header, quiet, startWorld, textOf } from './world.ts'

const patience = () => ({ signal: AbortSignal.timeout(15_000), log: quiet })

test('while it is full new streams are refused and open ones go on; then there is room again', async () => {
  await using world = await startWorld()
  const session = await world.session()
  const stream = await session.open(header(), patience())
  let full = true
  const isFull = vi.spyOn(Memory.prototype, 'isFull').mockImplementation(() => full)
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
    isFull.mockRestore()
  }
})
