import type { SigningKey } from '@postern/admin'
import type { GrantKeys } from '../keys/grant-keys.ts'
import type { TeamKeys } from '../keys/team-keys.ts'
import type { Handlers } from './handling.ts'
import { instantOf } from './records.ts'

export const KEYS: Handlers<'key.list' | 'key.rotate' | 'key.remove' | 'grant-key.list' | 'grant-key.rotate'> = {
  'key.list': ({ keys }) => shown(keys),
  'key.rotate': async ({ keys, note }) => {
    await keys.rotate(note)
    return shown(keys)
  },
  'key.remove': ({ keys, note }, { params: { id } }) => keys.remove(id, note) as Promise<undefined>,
  'grant-key.list': ({ grants }) => shown(grants),
  'grant-key.rotate': async ({ grants, note }) => {
    await grants.rotate(note)
    return shown(grants)
  },
}

function shown(keys: Pick<TeamKeys | GrantKeys, 'list'>): SigningKey[] {
  return keys.list().map(({ kid, alg, state, since, until }) => ({
    id: kid,
    algorithm: alg,
    state,
    since: instantOf(since),
    ...(until !== undefined && { until: instantOf(until) }),
  }))
}
