import type { Json } from '@postern/interface'
import type { Groups, Rule, Selector } from '@postern/policy'

/** How one application is served. What is absent has its default. */
export interface ApplicationOptions {
  /** What people read instead of the hostname. */
  readonly name?: string
  /** Whom to ask for access, for the page that says no: an address, a link or a sentence. */
  readonly contact?: string
  /** Seconds from a person's sign-in until it ends here, 60 to ten years; default: as long as the team's sign-in. */
  readonly sessionSeconds?: number
  /** Seconds without a request or an open connection until a person signs in again; default: no such end. */
  readonly idleSeconds?: number
  /** Whether `Authorization: Bearer` is ours here: then it is judged, and does not reach the origin. Default false. */
  readonly authorizationHeader?: boolean
  /** Whether true CORS preflights, which carry no credential, reach the origin. Default false. */
  readonly preflight?: boolean
  /** Origins besides the application's own whose pages may open WebSockets here. */
  readonly upgradeOrigins?: readonly string[]
}

/** A hostname with its policy and its route. */
export interface ApplicationRecord {
  readonly id: string
  /** Lower case, no port; one application each. */
  readonly hostname: string
  readonly tunnelId: string
  /** Names of the protocols it speaks, for example `ssh`. */
  readonly protocols: readonly string[]
  readonly rules: readonly Rule[]
  readonly options?: ApplicationOptions
  /** Milliseconds since the epoch; absent where an older Postern made it. */
  readonly createdAt?: number
}

/** A named way to one place of services; its daemons prove a tunnel token, and a certificate where they were given one. */
export interface TunnelRecord {
  readonly id: string
  readonly name: string
  /** Milliseconds since the epoch; absent where an older Postern made it. */
  readonly createdAt?: number
  /** PEM of the certificate that vouches for its daemons’ ones. Its key was never here; absent: none was made. */
  readonly identity?: string
}

/** Ends what was admitted under a key. */
export interface Revocation {
  /** Whoever was let in before this version is cut. */
  readonly version: number
  /** Milliseconds since the epoch, from which on they are cut; absent: at once. */
  readonly at?: number
}

/** All the edge decides from, in memory. Replaced as a whole by every change, never changed in place. */
export interface Snapshot {
  /** Counts changes. What was decided under an older version may have to be looked at again. */
  readonly version: number
  readonly settings: ReadonlyMap<string, Json>
  /** By hostname. */
  readonly applications: ReadonlyMap<string, ApplicationRecord>
  readonly tunnels: ReadonlyMap<string, TunnelRecord>
  /** Selectors that rules share, by name. The very same object for as long as no group is changed. */
  readonly groups: Groups
  /** Plugins' own rows, by namespace, then id. */
  readonly records: ReadonlyMap<string, ReadonlyMap<string, Json>>
  /** By revoke key. */
  readonly revocations: ReadonlyMap<string, Revocation>
}

/** One step of a change: plain data, since the writer thread carries it out. */
export type Change =
  | { readonly put: 'setting'; readonly key: string; readonly value: Json }
  | { readonly put: 'tunnel'; readonly value: TunnelRecord }
  | { readonly put: 'application'; readonly value: ApplicationRecord }
  | { readonly put: 'record'; readonly namespace: string; readonly id: string; readonly value: Json }
  | { readonly put: 'group'; readonly name: string; readonly value: readonly Selector[] }
  | { readonly delete: 'group'; readonly name: string }
  | { readonly delete: 'tunnel'; readonly id: string }
  | { readonly delete: 'application'; readonly id: string }
  | { readonly delete: 'record'; readonly namespace: string; readonly id: string }
  /** Forgets one that nothing is open any more from before. */
  | { readonly delete: 'revocation'; readonly key: string }
  /** `at`: see {@link Revocation}. A later one of the same key takes the place of an earlier one. */
  | { readonly revoke: string; readonly at?: number }

/** Steps that nobody decides on. */
export type Bookkeeping = Extract<Change, { put: 'record' } | { delete: 'record' } | { delete: 'revocation' }>

/** Who changes what, for the audit row that is written in the same transaction. Never a secret. */
export interface ChangeNote {
  /** For example `application.put`. */
  readonly action: string
  readonly actor: string
  readonly detail?: Json
  /** Of the application, where it is about one. */
  readonly hostname?: string
  /** Where somebody asked for it over HTTP. */
  readonly requestId?: string
  readonly remoteAddress?: string
}

export const EMPTY: Snapshot = {
  version: 0,
  settings: new Map(),
  applications: new Map(),
  tunnels: new Map(),
  groups: {},
  records: new Map(),
  revocations: new Map(),
}

/** The snapshot after a change that the writer has made durable. However many steps it has, each map is copied once. */
export function afterChange(before: Snapshot, changes: readonly Change[], version: number): Snapshot {
  const settings = new Map(before.settings)
  const tunnels = new Map(before.tunnels)
  const records = new Map<string, Map<string, Json>>()
  const rows = (namespace: string) => {
    const copy = records.get(namespace) ?? new Map(before.records.get(namespace))
    records.set(namespace, copy)
    return copy
  }
  const revocations = new Map(before.revocations)
  const applications = new Applications(before.applications)
  let groups: Record<string, readonly Selector[]> | undefined
  const changedGroups = () => {
    groups ??= { ...before.groups }
    return groups
  }
  for (const change of changes) {
    if ('revoke' in change) revocations.set(change.revoke, revocationOf(version, change.at))
    else if ('put' in change) {
      if (change.put === 'setting') settings.set(change.key, change.value)
      if (change.put === 'tunnel') tunnels.set(change.value.id, change.value)
      if (change.put === 'record') rows(change.namespace).set(change.id, change.value)
      if (change.put === 'group') changedGroups()[change.name] = change.value
      if (change.put === 'application') applications.put(change.value)
    } else if (change.delete === 'group') delete changedGroups()[change.name]
    else if (change.delete === 'record') rows(change.namespace).delete(change.id)
    else if (change.delete === 'revocation') revocations.delete(change.key)
    else if (change.delete === 'tunnel') tunnels.delete(change.id)
    else applications.delete(change.id)
  }
  return {
    version,
    settings,
    applications: applications.byHostname,
    tunnels,
    groups: groups ?? before.groups,
    records: new Map([...before.records, ...records]),
    revocations,
  }
}

/** A copy that is changed by id. */
class Applications {
  readonly byHostname: Map<string, ApplicationRecord>
  #hostnames: Map<string, string> | undefined

  constructor(before: ReadonlyMap<string, ApplicationRecord>) {
    this.byHostname = new Map(before)
  }

  put(application: ApplicationRecord): void {
    this.delete(application.id)
    this.byHostname.set(application.hostname, application)
    this.#hostnames?.set(application.id, application.hostname)
  }

  delete(id: string): void {
    this.#hostnames ??= new Map([...this.byHostname].map(([hostname, one]) => [one.id, hostname]))
    const hostname = this.#hostnames.get(id)
    if (hostname === undefined) return
    this.byHostname.delete(hostname)
    this.#hostnames.delete(id)
  }
}

/** @param at as a change or a row says it */
export function revocationOf(version: number, at: unknown): Revocation {
  return { version, ...(typeof at === 'number' && { at: Math.trunc(at) }) }
}
