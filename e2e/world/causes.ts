import { KINDS, type Kind } from './open-things.ts'
import type { Revocations, Victim } from './revocation.ts'

/** How somebody shows who they are. */
export type Credential = 'cookie' | 'token' | 'service'

/** What becomes of the applications that a case is about: they stay, go away, or let in for a minute. */
export const FATES = ['lasting', 'doomed', 'brief'] as const
export type Fate = (typeof FATES)[number]

export const VICTIM = 'victim@example.com'
const STAFF = ['staff']
/** Group of selectors that every application turns away. */
export const BARRED = 'barred'
export const NOBODY = [{ email: 'nobody@example.com' }]

export interface Cause {
  readonly credential: (kind: Kind) => Credential | undefined
  readonly fate?: Fate
  /** The action of its audit row; none for a clock. */
  readonly action?: string
  /** @returns when it was so, where that is not when it returns */
  readonly take: (victim: Victim, world: Revocations) => Promise<unknown>
  readonly restore?: (victim: Victim, world: Revocations) => Promise<unknown>
}

const isCarriedByProgram = (kind: Kind) => kind === 'tcp' || kind === 'ssh'
const person = (kind: Kind): Credential => (isCarriedByProgram(kind) ? 'token' : 'cookie')
const browser = (kind: Kind): Credential | undefined => (isCarriedByProgram(kind) ? undefined : 'cookie')

/** Every way to take access away. */
export const CAUSES: Readonly<Record<string, Cause>> = {
  'session, by id': {
    credential: person,
    action: 'session.revoke',
    take: async ({ sessions }, world) => {
      for (const session of sessions) await world.call('session.revoke', { body: { session } })
    },
  },
  'all sessions of a person': {
    credential: person,
    action: 'session.revoke',
    take: (_, world) => world.call('session.revoke', { body: { email: VICTIM } }),
  },
  'person disabled': {
    credential: person,
    action: 'user.put',
    take: (_, world) => world.call('user.put', { params: { user: VICTIM }, body: { disabled: true } }),
    restore: (_, world) => world.call('user.put', { params: { user: VICTIM }, body: { disabled: false } }),
  },
  'out of the person’s group': {
    credential: person,
    action: 'user.put',
    take: (_, world) => world.call('user.put', { params: { user: VICTIM }, body: { groups: [] } }),
    restore: (_, world) => world.call('user.put', { params: { user: VICTIM }, body: { groups: STAFF } }),
  },
  'group of selectors changed': {
    credential: person,
    action: 'group.put',
    take: (_, world) => world.call('group.put', { params: { name: BARRED }, body: { selectors: [{ email: VICTIM }] } }),
    restore: (_, world) => world.call('group.put', { params: { name: BARRED }, body: { selectors: NOBODY } }),
  },
  'rule added': {
    credential: person,
    action: 'policy.add',
    take: async ({ hostnames }, world) => {
      const rule = { name: 'not you', action: 'deny', include: [{ email: VICTIM }] } as const
      for (const hostname of hostnames)
        await world.call('policy.add', { params: { hostname }, body: { rule } as never })
    },
    restore: async ({ hostnames }, world) => {
      for (const hostname of hostnames)
        await world.call('policy.remove', { params: { hostname }, query: { name: 'not you' } })
    },
  },
  'application deleted': {
    credential: person,
    fate: 'doomed',
    action: 'application.delete',
    take: async ({ hostnames }, world) => {
      for (const hostname of hostnames) await world.call('application.delete', { params: { hostname } })
    },
    restore: ({ hostnames }, world) => Promise.all([...hostnames].map(hostname => world.create(hostname))),
  },
  'service token revoked': {
    credential: () => 'service',
    action: 'service-token.revoke',
    take: ({ service }, world) => world.call('service-token.revoke', { params: { token: service.id } }),
  },
  'signing key removed': {
    credential: () => 'token',
    action: 'key.remove',
    take: ({ key }, world) => world.call('key.remove', { params: { id: key } }),
  },
  'session expired': {
    credential: person,
    fate: 'brief',
    take: ({ ends }) => new Promise(resolve => setTimeout(resolve, ends - performance.now(), ends)),
  },
  'signed out by command': {
    credential: kind => (isCarriedByProgram(kind) ? 'token' : undefined),
    action: 'session.revoke',
    take: (victim, world) => world.runs(victim.home, ['access', 'logout', '--all']),
  },
  'signed out on the page': {
    credential: browser,
    action: 'session.revoke',
    take: async ({ visitor }, world) => {
      const { body } = await visitor.submit(await visitor.open(`${world.site.team}/logout`), {})
      if (!body.includes('signed out')) throw new Error(`not signed out: ${body}`)
    },
  },
  'signed out of one application': {
    credential: browser,
    action: 'session.revoke',
    take: async ({ visitor, hostnames }, world) => {
      for (const hostname of hostnames) {
        const page = await visitor.open(`${world.site.at(hostname)}/.postern/logout`)
        await visitor.submit(page, { from: 'here' })
      }
    },
  },
}

/** The ways that there are for something that is open. */
export function causesOf(kind: Kind): readonly string[] {
  return Object.entries(CAUSES).flatMap(([name, { credential }]) => (credential(kind) === undefined ? [] : [name]))
}

/** What a way can be tried with. */
export function kindsOf(cause: string): readonly Kind[] {
  return KINDS.filter(kind => CAUSES[cause]?.credential(kind) !== undefined)
}
