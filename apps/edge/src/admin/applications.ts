import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Application, WantedApplication } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { checkRules, type Rule, type Selector } from '@postern/policy'
import type { ApplicationRecord, Snapshot } from '@postern/store'
import { isHostname } from '../front/hostname.ts'
import type { Handlers, Planned, Workings } from './handling.ts'
import { livesOf, serviceTokensOf } from './records.ts'
import { type FindToken, tokenFinder } from './service-tokens.ts'

export const APPLICATIONS: Handlers<
  | 'application.list'
  | 'application.create'
  | 'application.get'
  | 'application.put'
  | 'application.delete'
  | 'policy.put'
> = {
  'application.list': ({ store: { snapshot }, ...edge }) =>
    [...snapshot.applications.values()].map(one => shown(one, edge)),
  'application.get': ({ store: { snapshot }, ...edge }, { params: { hostname } }) =>
    shown(mustBeApplication(snapshot, hostname), edge),
  'application.create': (handling, { body }) =>
    handling.change((snapshot, now) => {
      if (snapshot.applications.has(body.hostname))
        throw new PosternError('ALREADY_EXISTS', `${body.hostname} exists already`, { speaker: 'edge' })
      const value = newApplication(body, handling.teamDomain, tokensIn(snapshot), now)
      return saving(value, undefined, 'application.create', snapshot, handling)
    }),
  'application.put': (handling, { params: { hostname }, body }) =>
    handling.change((snapshot, now) => {
      const before = snapshot.applications.get(hostname)
      const made = newApplication({ ...body, hostname }, handling.teamDomain, tokensIn(snapshot), now)
      return saving(successorOf(before, made), before, 'application.put', snapshot, handling)
    }),
  'application.delete': (handling, { params: { hostname } }) =>
    handling.change(snapshot => ({
      changes: [{ delete: 'application', id: mustBeApplication(snapshot, hostname).id }],
      action: 'application.delete',
      hostname,
      answer: () => undefined,
    })),
  'policy.put': (handling, { params: { hostname }, body: { rules } }) =>
    handling.change(snapshot => {
      const before = mustBeApplication(snapshot, hostname)
      const value = { ...before, rules: readRules(rules, tokensIn(snapshot)) }
      return saving(value, before, 'policy.put', snapshot, handling)
    }),
}

function tokensIn(snapshot: Snapshot): FindToken {
  return tokenFinder(serviceTokensOf(snapshot))
}

/** @throws PosternError HOSTNAME_INVALID; BAD_USAGE: the team domain, or rules that cannot be */
export function newApplication(
  { hostname, tunnel, protocols, rules }: WantedApplication,
  teamDomain: string,
  findToken: FindToken,
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
    rules: readRules(rules, findToken, hostname),
    createdAt: now,
  }
}

/** What replaces an application: whoever is connected to it and still let in stays. */
export function successorOf(before: ApplicationRecord | undefined, made: ApplicationRecord): ApplicationRecord {
  if (before === undefined) return made
  const { id, hostname, createdAt } = before
  const { tunnelId, protocols, rules } = made
  return { id, hostname, tunnelId, protocols, rules, ...(createdAt !== undefined && { createdAt }) }
}

export function isSame(one: ApplicationRecord, other: ApplicationRecord): boolean {
  const wanted = ({ hostname, tunnelId, protocols, rules }: ApplicationRecord) => ({
    hostname,
    tunnelId,
    protocols,
    rules,
  })
  return isDeepStrictEqual(wanted(one), wanted(other))
}

/**
 * Rules as they are kept: service tokens by id.
 *
 * @throws PosternError BAD_USAGE: no such token, or rules that cannot be
 */
function readRules(sent: WantedApplication['rules'], findToken: FindToken, hostname?: string): readonly Rule[] {
  const where = (...path: (string | number)[]) =>
    (hostname === undefined ? '' : `${hostname}: `) +
    path.map(part => (typeof part === 'number' ? `[${part}]` : part)).join('')
  const rules = sent.map((rule, index): Rule => {
    const read = (list: 'include' | 'require' | 'exclude') =>
      rule[list]?.map((selector, place): Selector => {
        if (!('serviceToken' in selector)) return selector
        const id = findToken(selector.serviceToken)
        if (id !== undefined) return { serviceToken: id }
        const named = JSON.stringify(selector.serviceToken)
        throw badUsage(`${where('rules', index, '.', list, place)}: no service token ${named}`)
      })
    const [require, exclude] = [read('require'), read('exclude')]
    return {
      name: rule.name,
      action: rule.action,
      include: read('include') ?? [],
      ...(require !== undefined && { require }),
      ...(exclude !== undefined && { exclude }),
      ...(rule.permit !== undefined && { permit: rule.permit }),
    }
  })
  const [wrong] = checkRules(rules)
  if (wrong !== undefined) throw badUsage(where(wrong))
  return rules
}

function saving(
  value: ApplicationRecord,
  before: ApplicationRecord | undefined,
  action: string,
  snapshot: Snapshot,
  edge: Workings,
): Planned<Application> {
  const { hostname, tunnelId, rules } = value
  if (!snapshot.tunnels.has(tunnelId)) throw badUsage(`no tunnel ${tunnelId}`)
  const unchanged = before !== undefined && isSame(before, value)
  return {
    changes: unchanged ? [] : [{ put: 'application', value }],
    action,
    hostname,
    detail: { tunnel: tunnelId, rules: rules.map(({ name }) => name) },
    answer: () => shown(value, edge),
  }
}

/** @throws PosternError NOT_FOUND */
function mustBeApplication(snapshot: Snapshot, hostname: string): ApplicationRecord {
  const found = snapshot.applications.get(hostname)
  if (found === undefined)
    throw new PosternError('NOT_FOUND', `no application ${JSON.stringify(hostname)}`, { speaker: 'edge' })
  return found
}

function shown(
  { hostname, tunnelId, protocols, rules, createdAt }: ApplicationRecord,
  { routes }: Pick<Workings, 'routes'>,
): Application {
  return {
    hostname,
    tunnel: tunnelId,
    protocols: [...protocols],
    rules: sentRules(rules, id => id),
    ...(createdAt !== undefined && livesOf({ createdAt })),
    online: routes.isOnline(tunnelId),
  }
}

/** Rules as they are sent. @param nameOf of a service token, by id */
export function sentRules(rules: readonly Rule[], nameOf: (id: string) => string): WantedApplication['rules'] {
  const sent = (selectors: readonly Selector[]) =>
    selectors.map(one => ('serviceToken' in one ? { serviceToken: nameOf(one.serviceToken) } : one))
  return rules.map(({ include, require, exclude, ...rule }) => ({
    ...rule,
    include: sent(include),
    ...(require !== undefined && { require: sent(require) }),
    ...(exclude !== undefined && { exclude: sent(exclude) }),
  })) as WantedApplication['rules']
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
