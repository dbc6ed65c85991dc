import { describe, expect, it } from 'vitest'
import run, { boundsOf, stated } from '../soak/memory.ts'

describe.skipIf(process.platform !== 'linux')('memory, at a small size (needs: Linux)', () => {
  it('stalled readers, idle connections and busy streams stay within what the limits let them', async () => {
    const figures = await run({ ...stated, stalled: 10, idle: 50, busy: 20, seconds: 0.3 })
    for (const what of ['10 stalled readers', '50 idle connections', '20 busy streams'])
      for (const name of ['edge', 'daemon', 'client']) {
        const [seen, most] = [figures[`${what}: ${name}, MB`], figures[`${what}: ${name}, at most MB`]]
        expect(Number(seen), what).toBeLessThanOrEqual(Number(most))
      }
  })

  it('the edge’s bound does not grow with streams that it only copies', () => {
    expect(boundsOf('stall', 1000, true).edge).toBe(boundsOf('stall', 1, true).edge)
    expect(boundsOf('stall', 1000, false).edge).toBeGreaterThan(boundsOf('stall', 1, false).edge)
  })
})
