import type { NamedTransport } from '@postern/client'
import { type Call, type Pipe, PosternError } from '@postern/interface'
import { memoryPair, recordingLog } from '@postern/testkit'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { Legs } from '../src/legs.ts'

const log = recordingLog()
const call: Call = { signal: AbortSignal.timeout(60_000), log }
const named = (name: string): NamedTransport => ({
  name,
  transport: {
    dial: async () => {
      throw new Error('not by this')
    },
  },
})
const both = [named('websocket'), named('tls')]

function legs(wrong: Readonly<Record<string, () => unknown>> = {}, transports = both) {
  const dialled: string[] = []
  const pipes: Pipe[] = []
  const dial = async (by: NamedTransport) => {
    dialled.push(by.name)
    const error = wrong[by.name]?.()
    if (error !== undefined) throw error
    const [pipe] = memoryPair()
    pipes.push(pipe)
    return pipe
  }
  return { dialled, legs: new Legs(transports, dial) }
}

describe('a daemon comes for a client', () => {
  it('by what the edge offers first, and without an offer in its own order', async () => {
    const { legs: own, dialled } = legs()
    await own.come('t', ['tls'], call)
    await own.come('t', [], call)
    await own.come('t', ['other'], call)
    expect(dialled).toEqual(['tls', 'websocket', 'websocket'])
  })

  it.each(['EDGE_PROTOCOL', 'TIMED_OUT'] as const)(
    'by the next one after %s, and after two in a row by that for a while',
    async code => {
      const { legs: own, dialled } = legs({ tls: () => new PosternError(code, 'something is between') })
      for (const ticket of ['t', 'u', 'v']) await own.come(ticket, ['tls'], call)
      expect(dialled).toEqual(['tls', 'websocket', 'tls', 'websocket', 'websocket'])
    },
  )

  it('by the same one again after a while, and then once is nothing', async () => {
    const { legs: own, dialled } = legs({ tls: () => new PosternError('TIMED_OUT', 'too late') })
    for (const ticket of ['t', 'u', 'v']) await own.come(ticket, ['tls'], call)
    vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 600_001)
    onTestFinished(() => void vi.restoreAllMocks())
    dialled.length = 0
    for (const ticket of ['w', 'x', 'y']) await own.come(ticket, ['tls'], call)
    expect(dialled).toEqual(['tls', 'websocket', 'tls', 'websocket', 'websocket'])
  })

  it('by the same one again where it got through between', async () => {
    const late = () => new PosternError('TIMED_OUT', 'too late')
    const wrong: Record<string, () => unknown> = { tls: late }
    const { legs: own, dialled } = legs(wrong)
    for (const isWrong of [true, false, true, false]) {
      wrong.tls = isWrong ? late : () => undefined
      await own.come('t', ['tls'], call)
    }
    expect(dialled).toEqual(['tls', 'websocket', 'tls', 'tls', 'websocket', 'tls'])
  })

  it.each([
    ['a ticket that nobody waits with any more, or an edge that is about to stop', 'CONFLICT'],
    ['an edge that is not there', 'EDGE_UNREACHABLE'],
  ] as const)('by the fastest after %s, however often', async (_what, code) => {
    const wrong: Record<string, () => unknown> = { tls: () => new PosternError(code, 'no') }
    const { legs: own, dialled } = legs(wrong)
    for (const ticket of ['t', 'u', 'v']) await expect(own.come(ticket, ['tls'], call)).rejects.toMatchObject({ code })
    wrong.tls = () => undefined
    await own.come('w', ['tls'], call)
    expect(dialled).toEqual(['tls', 'tls', 'tls', 'tls'])
  })

  it('by nothing else where one alone was chosen, or the edge said no', async () => {
    const late = () => new PosternError('TIMED_OUT', 'too late')
    const { legs: own, dialled } = legs({ tls: late }, [named('tls')])
    await expect(own.come('t', ['tls'], call)).rejects.toMatchObject({ code: 'TIMED_OUT' })
    const no = () => new PosternError('AUTH_REJECTED', 'no', { refusal: { status: 401, headers: {} } })
    const { legs: refused, dialled: asked } = legs({ tls: no })
    await expect(refused.come('t', ['tls'], call)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect([dialled, asked]).toEqual([['tls'], ['tls']])
  })
})
