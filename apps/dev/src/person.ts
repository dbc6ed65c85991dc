import { randomBytes } from 'node:crypto'
import type { RunningEdge } from '@postern/edge'

/** Somebody in the edge’s own directory. */
export interface SamplePerson {
  readonly email: string
  readonly name: string
  /** Made for this run: there is no default one. */
  readonly password: string
}

/** Whom to add. */
export interface WantedPerson {
  readonly email: string
  readonly name: string
  /** What the edge vouches for besides: rules and applications see them. Default: none. */
  readonly groups?: readonly string[]
}

/** Invites a person, as an administrator does, and has them open their link. */
export async function addPerson(edge: RunningEdge, wanted: WantedPerson, signal: AbortSignal): Promise<SamplePerson> {
  const { email, name, groups = [] } = wanted
  const password = randomBytes(9).toString('hex')
  const { link } = await edge.administration.call('user.invite', { body: { email, groups: [...groups] } })
  const token = new URL(link).pathname.split('/').at(-1) ?? ''
  await edge.directory.accept(token, { name, password }, { remoteAddress: '127.0.0.1', signal })
  return { email, name, password }
}
