import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Application, WantedApplication } from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { ApplicationRecord, Snapshot } from '@postern/store'
import { isHostname } from '../front/hostname.ts'
import { sshAuthorityRemoval } from '../ssh-certificates/authorities.ts'
import type { Handlers, Planned, Workings } from './handling.ts'
import { optionsChanged, readOptions, sentOptions } from './options.ts'
import { livesOf } from './records.ts'
import { type Known, knownIn, readRules, rulesChanged, sentRules } from './rules.ts'

export const APPLICATIONS: Handlers<
  'application.list' | 'application.create' | 'application.get' | 'application.put' | 'application.delete'
> = {
  'application.list': ({ store: { snapshot }, ...edge }) =>
    [...snapshot.applications.values()].map(one => shown(one, edge)),
  'application.get': ({ store: { snapshot }, ...edge }, { params: { hostname } }) =>
    shown(mustBeApplication(snapshot, hostname), edge),
  'application.create': (handling, { body }) =>
    handling.change((snapshot, now) => {
      if (snapshot.applications.has(body.hostname))
        throw new PosternError('ALREADY_EXISTS', `${body.hostname} exists already`, { speaker: 'edge' })
      const value = newApplication(body, handling.teamDomain, knownIn(snapshot, handling), now)
      return saving(value, undefined, 'application.create', snapshot, handling)
    }),
  'application.put': (handling, { params: { hostname }, body: { ifVersion, ...body } }) =>
    handling.change((snapshot, now) => {
      mustBeVersion(snapshot, ifVersion)
      const before = snapshot.applications.get(hostname)
      const made = newApplication({ ...body, hostname }, handling.teamDomain, knownIn(snapshot, handling), now)
      return saving(successorOf(before, made), before, 'application.put', snapshot, handling)
    }),
  'application.delete': (handling, { params: { hostname } }) =>
    handling.change(snapshot => {
      const { id, tunnelId, rules } = mustBeApplication(snapshot, hostname)
      return {
        changes: [{ delete: 'application', id }, sshAuthorityRemoval(id)],
        action: 'application.delete',
        hostname,
        detail: { tunnel: tunnelId, rules: rulesChanged(rules, [], MOST_TOLD) },
        answer: () => undefined,
      }
    }),
}

/** Characters of each side's rules in an audit row, which takes 8,192 in all. */
const MOST_TOLD = 3500

/** @throws PosternError HOSTNAME_INVALID; BAD_USAGE: the team domain, or rules that cannot be */
export function newApplication(
  { hostname, tunnel, protocols, rules, options }: WantedApplication,
  teamDomain: string,
  known: Known,
  now: number,
): ApplicationRecord {
  if (!isHostname(hostname))
    throw new PosternError('HOSTNAME_INVALID', `${JSON.stringify(hostname)} is not a hostname`, { speaker: 'edge' })
  if (hostname === teamDomain) throw badUsage('the team domain cannot be an application')
  return {
    id: randomUUID(),
    hostname,
    tunnelId: tunnel,
    protocols,
    rules: readRules(rules, known, hostname),
    ...readOptions(options, hostname),
    createdAt: now,
  }
}

/** What replaces an application: whoever is connected to it and still let in stays. */
export function successorOf(before: ApplicationRecord | undefined, made: ApplicationRecord): ApplicationRecord {
  if (before === undefined) return made
  const { id, hostname, createdAt } = before
  const { tunnelId, protocols, rules, options } = made
  const wanted = { tunnelId, protocols, rules, ...(options !== undefined && { options }) }
  return { id, hostname, ...wanted, ...(createdAt !== undefined && { createdAt }) }
}

export function isSame(one: ApplicationRecord, other: ApplicationRecord): boolean {
  const wanted = ({ hostname, tunnelId, protocols, rules, options }: ApplicationRecord) => ({
    hostname,
    tunnelId,
    protocols,
    rules,
    options,
  })
  return isDeepStrictEqual(wanted(one), wanted(other))
}

/** An application as it is to be, noted with what of its rules is another. */
export function saving(
  value: ApplicationRecord,
  before: ApplicationRecord | undefined,
  action: string,
  snapshot: Snapshot,
  edge: Workings,
): Planned<Application> {
  const { hostname, tunnelId, protocols, rules } = value
  if (!snapshot.tunnels.has(tunnelId)) throw badUsage(`no tunnel ${tunnelId}`)
  const unchanged = before !== undefined && isSame(before, value)
  return {
    changes: unchanged ? [] : [{ put: 'application', value }],
    action,
    hostname,
    detail: {
      tunnel: tunnelId,
      protocols,
      rules: rulesChanged(before?.rules ?? [], rules, MOST_TOLD),
      ...optionsChanged(before?.options, value.options),
    },
    answer: () => shown(value, edge),
  }
}

/** @throws PosternError NOT_FOUND */
export function mustBeApplication(snapshot: Snapshot, hostname: string): ApplicationRecord {
  const found = snapshot.applications.get(hostname)
  if (found === undefined)
    throw new PosternError('NOT_FOUND', `no application ${JSON.stringify(hostname)}`, { speaker: 'edge' })
  return found
}

function shown(
  { hostname, tunnelId, protocols, rules, options, createdAt }: ApplicationRecord,
  { routes }: Pick<Workings, 'routes'>,
): Application {
  return {
    hostname,
    tunnel: tunnelId,
    protocols: [...protocols],
    rules: sentRules(rules, id => id),
    ...(options !== undefined && { options: sentOptions(options) }),
    ...(createdAt !== undefined && livesOf({ createdAt })),
    online: routes.isOnline(tunnelId),
  }
}

/** @throws PosternError CONFLICT */
export function mustBeVersion({ version }: Snapshot, wanted: number | undefined): void {
  if (wanted === undefined || wanted === version) return
  throw new PosternError('CONFLICT', `the edge is at version ${version}, not ${wanted}`, {
    speaker: 'edge',
    next: 'Somebody changed something: look at what there is now, then do it again.',
  })
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
