import { getEventListeners } from 'node:events'
import { expect, it } from 'vitest'
import { Either } from '../src/either.ts'

it('aborts with the first of its signals, once, and lets go of all when it is disposed', () => {
  const [one, other] = [new AbortController(), new AbortController()]
  const either = new Either(one.signal, other.signal)
  expect(either.signal.aborted).toBe(false)
  other.abort(new Error('other'))
  one.abort(new Error('one'))
  expect(either.signal.reason).toEqual(new Error('other'))
  either[Symbol.dispose]()
  for (const { signal } of [one, other]) expect(getEventListeners(signal, 'abort')).toEqual([])
})

it('is aborted from the start by a signal that is', () => {
  const reason = new Error('before')
  using either = new Either(new AbortController().signal, AbortSignal.abort(reason))
  expect(either.signal.reason).toBe(reason)
})
