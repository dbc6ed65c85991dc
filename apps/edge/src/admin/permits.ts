import { type Json, PosternError } from '@postern/interface'
import type { KeptRules } from '../plugins/sides.ts'

/**
 * Asks the protocols of others about every permit in what was sent, before anything is changed. Those that come with the edge are
 * asked where rules are read.
 *
 * @throws PosternError BAD_USAGE: a permit that cannot be; EDGE_UNAVAILABLE: a plugin failed
 */
export async function checkPermits(
  sent: unknown,
  protocols: ReadonlyMap<string, Pick<KeptRules, 'check'>>,
): Promise<void> {
  if (protocols.size === 0) return
  for (const permit of permitsIn(sent)) {
    for (const [name, own] of Object.entries(permit)) {
      const [wrong] = (await protocols.get(name)?.check(own)) ?? []
      if (wrong === undefined) continue
      const next = `Correct the permit; what one may say, the plugin of the protocol ${name} documents.`
      throw new PosternError('BAD_USAGE', `permit: ${name}: ${wrong}`, { speaker: 'edge', next })
    }
  }
}

/** How deep what is sent may be was looked at where it was read. */
function* permitsIn(value: unknown): Generator<{ readonly [name: string]: Json }> {
  if (typeof value !== 'object' || value === null) return
  for (const [key, member] of Object.entries(value)) {
    if (key !== 'permit') yield* permitsIn(member)
    else if (typeof member === 'object' && member !== null) yield member
  }
}
