import { describe, it } from 'vitest'
import { startSurvivor, WAYS } from '../world/survival.ts'

describe.concurrent('an edge that goes away', () => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const)
    it.each(WAYS)(
      `by ${signal}, and comes back, has its clients again, $name`,
      async way => {
        await using survivor = await startSurvivor(way)
        await survivor.world.edge.stop(signal)
        await survivor.cut
        // As long as a restart takes that something was done in between.
        await new Promise(resolve => setTimeout(resolve, 3_000))
        await survivor.world.startEdge()
        await survivor.survived(signal === 'SIGKILL' ? /^(SESSION_LOST|STREAM_CUT)$/ : /./)
      },
      180_000,
    )
})
