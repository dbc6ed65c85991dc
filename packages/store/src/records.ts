import type { Json } from '@postern/interface'
import type { Rule } from '@postern/policy'

/** A hostname with its policy and its route. */
export interface ApplicationRecord {
  readonly id: string
  /** Lower case, no port; one application each. */
  readonly hostname: string
  readonly tunnelId: string
  /** Names of the protocols it speaks, for example `ssh`. */
  readonly protocols: readonly string[]
  readonly rules: readonly Rule[]
}

/** A named way to one place of services; its daemons prove a tunnel token. */
export interface TunnelRecord {
  readonly id: string
  readonly name: string
}

/** All the edge decides from, in memory. Replaced as a whole by every change, never changed in place. */
export interface Snapshot {
  /** Counts changes. What was decided under an older version may have to be looked at again. */
  readonly version: number
  readonly settings: ReadonlyMap<string, Json>
  /** By hostname. */
  readonly applications: ReadonlyMap<string, ApplicationRecord>
  readonly tunnels: ReadonlyMap<string, TunnelRecord>
  /** Plugins' own rows, by namespace, then id. */
  readonly records: ReadonlyMap<string, ReadonlyMap<string, Json>>
  /** Revoke keys and the version that revoked them: whoever was let in before that version is cut. */
  readonly revocations: ReadonlyMap<string, number>
}

/** One step of a change: plain data, since the writer thread carries it out. */
export type Change =
  | { readonly put: 'setting'; readonly key: string; readonly value: Json }
  | { readonly put: 'tunnel'; readonly value: TunnelRecord }
  | { readonly put: 'application'; readonly value: ApplicationRecord }
  | { readonly put: 'record'; readonly namespace: string; readonly id: string; readonly value: Json }
  | { readonly delete: 'tunnel'; readonly id: string }
  | { readonly delete: 'application'; readonly id: string }
  | { readonly delete: 'record'; readonly namespace: string; readonly id: string }
  | { readonly revoke: string }

/** Who changes what, for the audit row that is written in the same transaction. Never a secret. */
export interface ChangeNote {
  /** For example `application.put`. */
  readonly action: string
  readonly actor: string
  readonly detail?: Json
}

export const EMPTY: Snapshot = {
  version: 0,
  settings: new Map(),
  applications: new Map(),
  tunnels: new Map(),
  records: new Map(),
  revocations: new Map(),
}

/** The snapshot after a change that the writer has made durable. */
export function afterChange(before: Snapshot, changes: readonly Change[], version: number): Snapshot {
  const settings = new Map(before.settings)
  const applications = new Map(before.applications)
  const tunnels = new Map(before.tunnels)
  const records = new Map(before.records)
  const revocations = new Map(before.revocations)
  const dropApplication = (id: string) => {
    for (const [hostname, application] of applications) if (application.id === id) applications.delete(hostname)
  }
  const rows = (namespace: string) => {
    const copy = new Map(records.get(namespace))
    records.set(namespace, copy)
    return copy
  }
  for (const change of changes) {
    if ('revoke' in change) revocations.set(change.revoke, version)
    else if ('put' in change) {
      if (change.put === 'setting') settings.set(change.key, change.value)
      if (change.put === 'tunnel') tunnels.set(change.value.id, change.value)
      if (change.put === 'record') rows(change.namespace).set(change.id, change.value)
      if (change.put === 'application') {
        dropApplication(change.value.id)
        applications.set(change.value.hostname, change.value)
      }
    } else if (change.delete === 'record') rows(change.namespace).delete(change.id)
    else if (change.delete === 'tunnel') tunnels.delete(change.id)
    else dropApplication(change.id)
  }
  return { version, settings, applications, tunnels, records, revocations }
}
