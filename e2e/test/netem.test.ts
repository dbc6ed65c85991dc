import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WITHOUT_NAMESPACES } from '../world/namespaces.ts'
import { startWeathered, WEATHERS, type Weathered } from '../world/weathered.ts'

// Bad networks between three machines. Each kind for minutes, over each transport, is the soak `e2e-netem`.

describe.skipIf(WITHOUT_NAMESPACES !== undefined)(
  `row 141: bad networks (${WITHOUT_NAMESPACES ?? 'as root'})`,
  { timeout: 90_000 },
  () => {
    let weathered: Weathered
    beforeAll(async () => {
      weathered = await startWeathered(141)
    })
    afterAll(() => weathered?.[Symbol.asyncDispose]())

    it.each([
      ['all at once', 200_000, 16_384],
      ['64 kbit/s', 4000, 1000],
    ])(
      '%s: whoever comes then is served, every byte as it was, both through the edge and end to end',
      async (kind, bytes, most) => {
        weathered.network.weather = WEATHERS[kind] ?? {}
        // One after the other: who fills so thin a line keeps the next one from its handshake.
        using secret = weathered.visit('end-to-end', most)
        await secret.goesOn(bytes, 60)
        using open = weathered.visit('hop', most)
        await Promise.all([secret.goesOn(bytes, 60), open.goesOn(bytes, 60)])
        expect(weathered.flaps()).toBe(0)
      },
    )

    it('loss of 20 %: who is there stays, and every byte comes; no connection is given up', async () => {
      weathered.network.weather = {}
      using secret = weathered.visit('end-to-end')
      using open = weathered.visit('hop')
      await Promise.all([secret.goesOn(), open.goesOn()])
      weathered.network.weather = WEATHERS['loss of 20 %'] ?? {}
      await Promise.all([secret.goesOn(20_000, 60), open.goesOn(20_000, 60), wait(6000)])
      expect(weathered.flaps()).toBe(0)
      expect(weathered.network.lost.packets).toBeGreaterThan(20)
    })
  },
)
