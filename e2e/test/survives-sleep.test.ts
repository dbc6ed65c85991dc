import { describe, expect, it } from 'vitest'
import { startSurvivor, WAYS } from '../world/survival.ts'

describe.concurrent('a laptop that sleeps', () => {
  it.each(WAYS)(
    'and wakes up is connected again by itself, $name',
    async way => {
      await using survivor = await startSurvivor(way)
      const { access, origin } = survivor
      access.child.kill('SIGSTOP')
      // Until nobody believes in it any more: its connection to the service is ended.
      await expect.poll(() => origin.open.size, { timeout: 60_000 }).toBe(0)
      access.child.kill('SIGCONT')
      await survivor.survived(/^(SESSION_LOST|PEER_SILENT)$/)
    },
    180_000,
  )
})
