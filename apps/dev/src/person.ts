import { randomBytes } from 'node:crypto'
import type { RunningEdge } from '@postern/edge'
import type { Call } from '@postern/interface'

/** Somebody in the edge’s own directory. */
export interface SamplePerson {
  readonly email: string
  readonly name: string
  /** Made for this run: there is no default one. */
  readonly password: string
}

/** Invites a person, as an administrator does, has them open their link, and lets them administer as well. */
export async function addPerson(edge: RunningEdge, groups: readonly string[], call: Call): Promise<SamplePerson> {
  const person = { email: 'ann@example.com', name: 'Ann', password: randomBytes(9).toString('hex') }
  const { email, name, password } = person
  const { link } = await edge.administration.call('user.invite', { body: { email, groups: [...groups] } })
  await edge.administration.call('settings.put', { body: { administrators: [{ email }] } })
  const token = new URL(link).pathname.split('/').at(-1) ?? ''
  await edge.directory.accept(token, { name, password }, { remoteAddress: '127.0.0.1', signal: call.signal })
  return person
}
