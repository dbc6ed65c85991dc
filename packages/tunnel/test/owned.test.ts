import { type Duplex, duplexPair, PassThrough } from 'node:stream'
import { Budget, roomOf } from '@postern/pump'
import { YamuxSession } from '@postern/yamux'
import { expect, test, vi } from 'vitest'
import { ownedAs, ownedBy } from '../src/index.ts'

test('both ends of what is carried are their visitor’s: in the pump’s budgets, and in the session it comes in', async () => {
  const [here, there] = duplexPair()
  const session = new YamuxSession(here, { role: 'client' })
  there.resume()
  const stream = session.open()
  const whose = vi.spyOn(stream, 'ownedBy')
  const room = [new Budget(2 ** 20)] as const
  const daemon: Duplex = new PassThrough()
  ownedBy(daemon, room)
  ownedAs(stream, daemon)
  expect(roomOf(stream, new PassThrough())).toBe(room)
  expect(whose).toHaveBeenCalledExactlyOnceWith(room[0])
  session.destroy()
  await session.closed
})
