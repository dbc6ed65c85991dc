import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Crowd, startCrowd, type Worker } from '../world/crowd.ts'
import type { Attack, AttackerAsked, AttackerTold } from '../world/crowd-attacker.ts'
import type { VictimAsked, VictimTold } from '../world/crowd-victim.ts'

const MIB = 2 ** 20
/** Streams that the attacker leaves unread in each of two sessions. */
const UNREAD = 32

// How long the victim waits under each attack, ten thousand times, is the soak `e2e-fairness`. Here: that it is served, to the byte.
describe.each(['hop', 'end-to-end'] as const)('rows 126 and 134: one visitor does its worst (%s)', mode => {
  let crowd: Crowd
  let victim: Worker<VictimAsked, VictimTold>
  let attacker: Worker<AttackerAsked, AttackerTold>
  beforeAll(async () => {
    crowd = await startCrowd()
    victim = crowd.worker('crowd-victim.ts')
    attacker = crowd.worker('crowd-attacker.ts')
    await ask(5)
  })
  afterAll(() => crowd?.[Symbol.asyncDispose]())

  /** Rejects where an answer is not what was sent, or does not come within a minute. */
  const ask = (requests: number) => victim.ask({ who: crowd.visitor('victim', mode), requests })
  const attack = async (begin: Attack, requests: number, during = async () => {}) => {
    await attacker.ask({ begin, who: crowd.visitor('attacker', mode), streams: UNREAD })
    const { warm, opened } = await ask(requests)
    await during()
    const told = await attacker.ask({ end: true })
    expect([warm.length, opened.length]).toEqual([requests, requests])
    await ask(5) // and after it
    return told
  }
  const limited = async () => {
    // Rows of streams end-to-end are the daemon's word.
    const action = mode === 'hop' ? 'stream.refused' : 'stream.end'
    const rows = await crowd.edge.store.readAudit({ most: 3000, action })
    return rows.filter(({ code }) => code === 'LIMIT_EXCEEDED').length
  }

  it('streams opened and reset at once: all others are served, and those that come to nothing are limited', async () => {
    const told = await attack('resets', 50)
    expect(told.opened).toBeGreaterThan(1000)
    expect(told.refused + told.ended).toBeGreaterThan(0)
    await expect.poll(limited, { timeout: 20_000 }).toBeGreaterThan(0)
    // One a second for each session there was, and not one for each stream.
    expect(await limited()).toBeLessThan(Math.max(100, told.opened / 20))
  })

  it('thousands of streams wanted at once: it has its share, and the others theirs', async () => {
    const told = await attack('flood', 50, async () => {
      // 512 of one visitor over the daemon’s one connection, 1,024 end-to-end, and the victim’s.
      expect(await crowd.open()).toBeLessThan(mode === 'hop' ? 600 : 1100)
    })
    expect(told.refused + told.ended).toBeGreaterThan(0)
  })

  it('readers that stop: what they leave unread is bounded at the edge and the daemon', async () => {
    const before = held(crowd)
    await attack('stalled', 20, async () => {
      const after = held(crowd)
      // docs/architecture.md, Limits: a window of 1 MiB on arrival and 1 MiB in the writer, each; and what is not collected yet.
      const most = 2 * UNREAD * 2 + 64
      expect(after.edge - before.edge).toBeLessThan(mode === 'hop' ? most : 64)
      expect(after.daemon - before.daemon).toBeLessThan(most)
    })
  })

  it('one stream as fast as it goes: others are served beside it', async () => {
    const told = await attack('bulk', 20)
    expect(told.bytes).toBeGreaterThan(MIB)
  })
})

/** Mebibytes: bytes in buffers of this process, the edge with it; and all of the daemon. */
function held({ daemon }: Crowd): { readonly edge: number; readonly daemon: number } {
  const status = readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8')
  const resident = Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024
  return { edge: process.memoryUsage().arrayBuffers / MIB, daemon: resident }
}
