import { describe, it } from 'vitest'
import { type SilentRelay, startSilentRelay, startSurvivor, WAYS } from '../world/survival.ts'

describe.concurrent('a network that one has gone away from', () => {
  it.each(WAYS)(
    'is noticed, and the next one used, $name',
    async way => {
      let relay: SilentRelay | undefined
      await using survivor = await startSurvivor(way, async port => {
        relay = await startSilentRelay(port)
        return relay.port
      })
      using network = relay
      network?.fallSilent()
      await survivor.survived(/^PEER_SILENT$/)
    },
    180_000,
  )
})
