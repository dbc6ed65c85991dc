import { describe, it } from 'vitest'
import { freezeEdge, freezeEnds } from '../world/frozen.ts'

// A program that stands still (SIGSTOP, a laptop that sleeps) for longer than the fifteen seconds after which its peers give it up.
// A minute of it is the soak `e2e-frozen`.

const SECONDS = 18
/** Generous: 5 s are wanted of it, and said by the soak. */
const BACK = 20

describe.concurrent('rows 148, 151: a program that stands still', { timeout: 120_000 }, () => {
  it('the edge: both notice, and are back when it goes on; a moment’s standstill costs nobody anything', async ({
    expect,
  }) => {
    const { cut, connected, served } = await freezeEdge(SECONDS, 3)
    expect(cut).toBe(true)
    expect(connected).toBeLessThan(BACK)
    expect(served).toBeLessThan(BACK)
  })

  it('the daemon, and another’s client: the edge forgets the one, both serve again when they go on', async ({
    expect,
  }) => {
    const { daemon, client } = await freezeEnds(SECONDS)
    expect([daemon.cut, client.cut]).toEqual([true, true])
    expect(daemon.connected).toBeLessThan(BACK)
    expect(Math.max(daemon.served, client.served)).toBeLessThan(BACK)
  })
})
