import { isDeepStrictEqual } from 'node:util'
import type { AccessChange, Answer, Applied, Checked, WantedApplication } from '@postern/admin'
import { type Json, PosternError } from '@postern/interface'
import type { Selector } from '@postern/policy'
import type { ApplicationRecord, Change, Snapshot, TunnelRecord } from '@postern/store'
import { authoritiesIn } from '../certificates/authorities.ts'
import { sshAuthorityRemoval } from '../ssh-certificates/authorities.ts'
import { isSame, mustBeVersion, newApplication, successorOf } from './applications.ts'
import { checkAll } from './groups.ts'
import type { Handlers, Planned, Workings } from './handling.ts'
import { optionsChanged, sentOptions } from './options.ts'
import { administratorsOf, type ServiceTokenRecord, serviceTokensOf } from './records.ts'
import { authorityFinder, fitting, readSelectors, rulesChanged, sentRules, sentSelectors } from './rules.ts'
import { nameable, newServiceToken, revocationOf, tokenChange, tokenFinder } from './service-tokens.ts'
import { inUse, newTunnel, removalOf } from './tunnels.ts'

export const ACCESS: Handlers<'access.get' | 'access.apply'> = {
  'access.get': ({ store }) => documentOf(store.snapshot),
  'access.apply': (handling, { body }) => handling.change((snapshot, now) => plan(body, snapshot, now, handling)),
}

/** Characters that names, and rules, fill of an audit row, which takes 8,192 in all. */
const MOST_NAMED = 3000
const MOST_RULES = 4500
/** Of either side of one application's. */
const MOST_TOLD = 2000

/** Of a thing, in an answer. */
type Told = NonNullable<AccessChange['before']>
type Wanted = Checked<'access.apply'>['body']
type Edge = Pick<Workings, 'teamDomain' | 'protocols'>

/** Everything as the document: what is applied to where it came from changes nothing. */
export function documentOf(snapshot: Snapshot): Answer<'access.get'> {
  const names = nameable(serviceTokensOf(snapshot))
  const nameOfToken = nameOf(names)
  return {
    version: 1,
    tunnels: [...snapshot.tunnels.keys()].sort().map(name => ({ name })),
    serviceTokens: [...names.keys()].sort().map(name => ({ name })),
    groups: Object.entries(snapshot.groups)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, selectors]) => ({ name, selectors: sentSelectors(selectors, nameOfToken) })),
    applications: [...snapshot.applications.values()]
      .sort((one, other) => (one.hostname < other.hostname ? -1 : 1))
      .map(one => wantedOf(one, nameOfToken)),
  }
}

/** One change for the whole document. @throws PosternError CONFLICT, BAD_USAGE, HOSTNAME_INVALID */
function plan({ access, ...how }: Wanted, snapshot: Snapshot, now: number, edge: Edge): Planned<Applied> {
  mustBeVersion(snapshot, how.ifVersion)
  const draft = new Draft(snapshot, how.prune, now)
  if (access.tunnels !== undefined) draft.tunnels(access.tunnels)
  if (access.serviceTokens !== undefined) draft.serviceTokens(access.serviceTokens)
  if (access.groups !== undefined) draft.groups(access.groups)
  if (access.applications !== undefined) draft.applications(access.applications, edge)
  const { changes, told, unlisted, secrets } = draft.done()
  return {
    changes: how.dryRun ? [] : changes,
    action: 'access.apply',
    detail: { prune: how.prune, changes: told.length, ...detailOf(told) },
    answer: ({ version }) => ({
      version,
      done: !how.dryRun,
      changes: told,
      unlisted,
      secrets: how.dryRun ? [] : secrets,
    }),
  }
}

/** What was changed, and the rules that were and are, of as many as there is room for. */
function detailOf(told: readonly AccessChange[]): { readonly [key: string]: Json } {
  const named = told.map(({ action, kind, name }) => `${action} ${kind} ${name}`)
  const rulesOf = (one: AccessChange['before']) => (one as Partial<WantedApplication> | undefined)?.rules ?? []
  const optionsOf = (one: AccessChange['before']) => (one as Partial<WantedApplication> | undefined)?.options
  const rules = told
    .filter(({ kind }) => kind === 'application')
    .map(({ name, before, after }) => ({
      hostname: name,
      ...(rulesChanged(rulesOf(before), rulesOf(after), MOST_TOLD) as object),
      ...optionsChanged(optionsOf(before), optionsOf(after)),
    }))
  return { named: fitting(named, MOST_NAMED), ...(rules.length > 0 && { rules: fitting(rules, MOST_RULES) }) }
}

/** The edge as it will be, and what leads there. */
class Draft {
  readonly #now: number
  readonly #before: Snapshot
  readonly #prune: boolean
  readonly #tunnels: Map<string, TunnelRecord>
  readonly #tokens: Map<string, ServiceTokenRecord>
  readonly #applications: Map<string, ApplicationRecord>
  readonly #groups: Map<string, readonly Selector[]>
  readonly #administrators: readonly Selector[]
  /** How the service tokens there are now are called. */
  readonly #names: ReadonlyMap<string, string>
  readonly #first: Change[] = []
  /** After everything else: what others hung on. */
  readonly #last: Change[] = []
  readonly #told: AccessChange[] = []
  readonly #unlisted: Applied['unlisted'] = []
  readonly #secrets: Applied['secrets'] = []

  constructor(snapshot: Snapshot, prune: boolean, now: number) {
    this.#now = now
    this.#before = snapshot
    this.#prune = prune
    this.#tunnels = new Map(snapshot.tunnels)
    this.#tokens = new Map(serviceTokensOf(snapshot))
    this.#applications = new Map(snapshot.applications)
    this.#groups = new Map(Object.entries(snapshot.groups))
    this.#administrators = administratorsOf(snapshot)
    this.#names = nameable(this.#tokens)
  }

  tunnels(wanted: NonNullable<Wanted['access']['tunnels']>): void {
    const listed = listOf('tunnels', wanted, ({ name }) => name)
    for (const name of listed) {
      if (this.#tunnels.has(name)) continue
      const value = newTunnel(name, this.#now)
      this.#tunnels.set(name, value)
      this.#first.push({ put: 'tunnel', value })
      this.#told.push({ action: 'create', kind: 'tunnel', name, after: { name } })
    }
    this.#others('tunnel', this.#tunnels.keys(), listed, name => {
      this.#tunnels.delete(name)
      this.#last.push(...removalOf(name, this.#before))
      return { name }
    })
  }

  serviceTokens(wanted: NonNullable<Wanted['access']['serviceTokens']>): void {
    const listed = listOf('serviceTokens', wanted, ({ name }) => name)
    for (const { name, expiresInSeconds } of wanted) {
      if (this.#names.has(name)) continue
      const lives = expiresInSeconds === undefined ? {} : { expiresAt: this.#now + expiresInSeconds * 1000 }
      const { id, secret, record } = newServiceToken(name, lives, this.#now)
      this.#tokens.set(id, record)
      this.#first.push(tokenChange(id, record))
      this.#secrets.push({ name, id, secret })
      this.#told.push({ action: 'create', kind: 'service-token', name, after: { name } })
    }
    this.#others('service-token', this.#names.keys(), listed, name => {
      const id = this.#names.get(name) ?? ''
      const record = this.#tokens.get(id) as ServiceTokenRecord
      this.#tokens.set(id, { ...record, revokedAt: this.#now })
      this.#first.push(...revocationOf(id, record, this.#before, this.#now))
      return { name }
    })
  }

  groups(wanted: NonNullable<Wanted['access']['groups']>): void {
    const listed = listOf('groups', wanted, ({ name }) => name)
    const known = { findToken: tokenFinder(this.#tokens), findAuthority: authorityFinder(this.#before) }
    const [namesBefore, names] = [nameOf(this.#names), nameOf(nameable(this.#tokens))]
    const toldOf = (name: string, selectors: readonly Selector[], called: (id: string) => string) =>
      ({ name, selectors: sentSelectors(selectors, called) }) as Told
    for (const [index, { name, selectors }] of wanted.entries()) {
      const there = this.#groups.get(name)
      const value = readSelectors(selectors, known, `groups[${index}]: selectors`)
      if (isDeepStrictEqual(there, value)) continue
      this.#groups.set(name, value)
      this.#first.push({ put: 'group', name, value })
      const told = { kind: 'group', name, after: toldOf(name, value, names) } as const
      this.#told.push(
        there ? { ...told, action: 'update', before: toldOf(name, there, namesBefore) } : { ...told, action: 'create' },
      )
    }
    this.#others('group', this.#groups.keys(), listed, name => {
      const there = this.#groups.get(name) ?? []
      this.#groups.delete(name)
      this.#last.push({ delete: 'group', name })
      return toldOf(name, there, namesBefore)
    })
  }

  applications(wanted: readonly WantedApplication[], { teamDomain, protocols }: Edge): void {
    const listed = listOf('applications', wanted, ({ hostname }) => hostname)
    const namesBefore = nameOf(this.#names)
    const before = (one: ApplicationRecord) => wantedOf(one, namesBefore) as Told
    const names = nameOf(nameable(this.#tokens))
    const [findToken, findAuthority] = [tokenFinder(this.#tokens), authorityFinder(this.#before)]
    const known = { findToken, findAuthority, groups: Object.fromEntries(this.#groups), protocols }
    for (const one of wanted) {
      const there = this.#applications.get(one.hostname)
      const value = successorOf(there, newApplication(one, teamDomain, known, this.#now))
      if (there !== undefined && isSame(there, value)) continue
      this.#applications.set(one.hostname, value)
      this.#first.push({ put: 'application', value })
      const after = wantedOf(value, names) as Told
      const told = { kind: 'application', name: one.hostname, after } as const
      this.#told.push(there ? { ...told, action: 'update', before: before(there) } : { ...told, action: 'create' })
    }
    this.#others('application', this.#applications.keys(), listed, hostname => {
      const there = this.#applications.get(hostname) as ApplicationRecord
      this.#applications.delete(hostname)
      this.#first.push({ delete: 'application', id: there.id }, sshAuthorityRemoval(there.id))
      return before(there)
    })
  }

  /** @throws PosternError CONFLICT, BAD_USAGE: an application whose tunnel will not be there */
  done(): { changes: Change[]; told: AccessChange[]; unlisted: Applied['unlisted']; secrets: Applied['secrets'] } {
    const all = [...this.#applications.values()]
    const lost = all.find(({ tunnelId }) => !this.#tunnels.has(tunnelId))
    if (lost !== undefined) {
      const { hostname, tunnelId } = lost
      const wasThere = this.#told.some(({ kind, name }) => kind === 'tunnel' && name === tunnelId)
      if (!wasThere) throw new PosternError('BAD_USAGE', `${hostname}: no tunnel ${tunnelId}`, { speaker: 'edge' })
      throw inUse(
        tunnelId,
        all.filter(one => one.tunnelId === tunnelId),
      )
    }
    if (this.#told.some(({ kind }) => kind === 'group'))
      checkAll(Object.fromEntries(this.#groups), all, this.#administrators, authoritiesIn(this.#before))
    const changes = [...this.#first, ...this.#last]
    return { changes, told: this.#told, unlisted: this.#unlisted, secrets: this.#secrets }
  }

  /** What is there and not listed: said, and taken away where that is wanted. */
  #others(
    kind: AccessChange['kind'],
    there: Iterable<string>,
    listed: ReadonlySet<string>,
    remove: (name: string) => Told,
  ): void {
    for (const name of [...there].filter(one => !listed.has(one))) {
      this.#unlisted.push({ kind, name })
      if (this.#prune) this.#told.push({ action: 'delete', kind, name, before: remove(name) })
    }
  }
}

/** @throws PosternError BAD_USAGE when something is listed twice */
function listOf<T>(kind: string, wanted: readonly T[], nameIn: (one: T) => string): ReadonlySet<string> {
  const names = new Set<string>()
  for (const [index, one] of wanted.entries()) {
    const name = nameIn(one)
    if (names.has(name))
      throw new PosternError('BAD_USAGE', `${kind}[${index}]: ${JSON.stringify(name)} is listed twice`, {
        speaker: 'edge',
      })
    names.add(name)
  }
  return names
}

function nameOf(names: ReadonlyMap<string, string>): (id: string) => string {
  const byId = new Map([...names].map(([name, id]) => [id, name]))
  return id => byId.get(id) ?? id
}

function wantedOf(
  { hostname, tunnelId, protocols, rules, options }: ApplicationRecord,
  name: (id: string) => string,
): WantedApplication {
  const kept = options === undefined ? {} : { options: sentOptions(options) }
  return { hostname, tunnel: tunnelId, protocols: [...protocols], rules: sentRules(rules, name), ...kept }
}
