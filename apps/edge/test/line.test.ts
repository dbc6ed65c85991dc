import { describe, expect, test } from 'vitest'
import { Line } from '../src/sign-in/line.ts'

const never = new AbortController().signal

/** Asks for turns, and notes who got one, in order. */
function asking(mostWaiting: number) {
  const line = new Line({ mostAtOnce: 1, mostWaiting })
  const served: string[] = []
  const held: Disposable[] = []
  return {
    served,
    ask: (who: string, signal: AbortSignal = never): Promise<string> =>
      line.turn(who, signal).then(
        turn => {
          served.push(who)
          held.push(turn)
          return 'served'
        },
        error => (error.name === 'AbortError' ? 'left' : error.code),
      ),
    /** Ends turns until nobody has one. */
    async end(): Promise<void> {
      await new Promise(setImmediate)
      for (let turn = held.shift(); turn !== undefined; turn = held.shift()) {
        turn[Symbol.dispose]()
        await new Promise(setImmediate)
      }
    },
  }
}

describe('a line for what few may do at once', () => {
  test('serves in turns of who asks, whoever asked more often', async () => {
    const { ask, served, end } = asking(10)
    const all = ['mallory', 'mallory', 'mallory', 'mallory', 'ann', 'bob', 'ann'].map(who => ask(who))
    await end()
    expect(await Promise.all(all)).toEqual(Array(7).fill('served'))
    expect(served).toEqual(['mallory', 'mallory', 'ann', 'bob', 'mallory', 'ann', 'mallory'])
  })

  test('row 97: whoever fills it makes room for whoever asks once, and is turned away themselves', async () => {
    const { ask, served, end } = asking(4)
    const flood = Array.from({ length: 100 }, () => ask('mallory'))
    const good = ['ann', 'bob'].map(who => ask(who))
    const more = Array.from({ length: 100 }, () => ask('mallory'))
    await end()
    expect(await Promise.all(good)).toEqual(['served', 'served'])
    const outcomes = await Promise.all([...flood, ...more])
    expect(outcomes.filter(one => one === 'EDGE_UNAVAILABLE')).toHaveLength(197)
    expect(served).toEqual(['mallory', 'mallory', 'ann', 'bob', 'mallory'])
  })

  test('turns away who comes where everybody waits once, and who leaves makes room', async () => {
    const { ask, served, end } = asking(2)
    const leaving = new AbortController()
    const all = [ask('at work'), ask('one', leaving.signal), ask('two'), ask('three')]
    expect(await all[3]).toBe('EDGE_UNAVAILABLE')
    leaving.abort()
    const four = ask('four')
    await end()
    expect(await Promise.all([...all, four])).toEqual(['served', 'left', 'served', 'EDGE_UNAVAILABLE', 'served'])
    expect(served).toEqual(['at work', 'two', 'four'])
    expect(await ask('somebody', AbortSignal.abort())).toBe('left')
    // Nothing is left behind: the next is served at once.
    expect(await ask('later')).toBe('served')
  })
})
