import type { DatabaseSync, SQLInputValue, SQLOutputValue } from 'node:sqlite'
import type { Json } from '@postern/interface'
import type { Rule, Selector } from '@postern/policy'
import {
  type ApplicationOptions,
  type ApplicationRecord,
  type Change,
  revocationOf,
  type Snapshot,
  type TunnelRecord,
} from './records.ts'

type Row = Record<string, SQLOutputValue>

/** Reads everything the edge decides from. */
export function readState(database: DatabaseSync): Snapshot {
  const all = (sql: string): Row[] => database.prepare(sql).all()
  const rules = Map.groupBy(all('select * from rules order by application_id, position'), row =>
    String(row.application_id),
  )
  const applications = all('select * from applications').map(
    (row): ApplicationRecord => ({
      id: String(row.id),
      hostname: String(row.hostname),
      tunnelId: String(row.tunnel_id),
      protocols: parse(row.protocols) as string[],
      rules: (rules.get(String(row.id)) ?? []).map(rule => parse(rule.body) as unknown as Rule),
      ...optionsOf(row),
      ...created(row),
    }),
  )
  const records = new Map<string, Map<string, Json>>()
  for (const { namespace, id, value } of all('select * from records')) {
    const rows = records.get(String(namespace)) ?? new Map<string, Json>()
    records.set(String(namespace), rows.set(String(id), parse(value)))
  }
  const tunnels = all('select * from tunnels').map(
    (row): TunnelRecord => ({
      id: String(row.id),
      name: String(row.name),
      ...created(row),
      ...(typeof row.identity === 'string' && { identity: row.identity }),
    }),
  )
  return {
    version: versionOf(database),
    settings: new Map(all('select * from settings').map(row => [String(row.key), parse(row.value)])),
    applications: new Map(applications.map(application => [application.hostname, application])),
    tunnels: new Map(tunnels.map(tunnel => [tunnel.id, tunnel])),
    groups: Object.fromEntries(
      all('select * from groups').map(row => [String(row.name), parse(row.selectors) as unknown as Selector[]]),
    ),
    records,
    revocations: new Map(
      all('select * from revocations').map(row => [String(row.key), revocationOf(Number(row.version), row.at)]),
    ),
  }
}

/**
 * Carries out a change, inside the caller's transaction.
 *
 * @param reached a version that was reached before, perhaps by another copy of the file
 * @returns the version it brought
 */
export function writeState(database: DatabaseSync, changes: readonly Change[], reached: number): number {
  const run = (sql: string, ...values: SQLInputValue[]) => database.prepare(sql).run(...values)
  const row = database.prepare('update state set version = max(version, ?) + 1 returning version').get(reached)
  const version = Number(row?.version)
  for (const change of changes) {
    if ('revoke' in change) revoke(change, version, run)
    else if ('put' in change) put(change, run)
    else if (change.delete === 'record')
      run('delete from records where namespace = ? and id = ?', change.namespace, change.id)
    else if (change.delete === 'group') run('delete from groups where name = ?', change.name)
    else if (change.delete === 'revocation') run('delete from revocations where key = ?', change.key)
    else if (change.delete === 'tunnel') run('delete from tunnels where id = ?', change.id)
    else run('delete from applications where id = ?', change.id)
  }
  return version
}

type Run = (sql: string, ...values: SQLInputValue[]) => unknown

function revoke({ revoke: key, at }: Extract<Change, { revoke: string }>, version: number, run: Run): void {
  run('insert or replace into revocations (key, version, at) values (?, ?, ?)', key, version, wholeOrNull(at))
}

function put(change: Extract<Change, { put: string }>, run: Run): void {
  if (change.put === 'setting')
    run('insert or replace into settings values (?, ?)', change.key, JSON.stringify(change.value))
  if (change.put === 'record') {
    run('insert or replace into records values (?, ?, ?)', change.namespace, change.id, JSON.stringify(change.value))
  }
  if (change.put === 'group')
    run('insert or replace into groups values (?, ?)', change.name, JSON.stringify(change.value))
  if (change.put === 'tunnel') {
    // Not `or replace`: that deletes first, and applications hang on the row.
    run(
      `insert into tunnels (id, name, created_at, identity) values (?, ?, ?, ?) on conflict (id)
       do update set name = excluded.name, created_at = excluded.created_at, identity = excluded.identity`,
      change.value.id,
      change.value.name,
      wholeOrNull(change.value.createdAt),
      change.value.identity ?? null,
    )
  }
  if (change.put === 'application') putApplication(change.value, run)
}

function putApplication(application: ApplicationRecord, run: Run): void {
  const { id, hostname, tunnelId, protocols, rules, options = {}, createdAt } = application
  run(
    `insert into applications (id, hostname, tunnel_id, protocols, options, created_at) values (?, ?, ?, ?, ?, ?)
     on conflict (id) do update set hostname = excluded.hostname, tunnel_id = excluded.tunnel_id,
       protocols = excluded.protocols, options = excluded.options, created_at = excluded.created_at`,
    id,
    hostname,
    tunnelId,
    JSON.stringify(protocols),
    JSON.stringify(options),
    wholeOrNull(createdAt),
  )
  run('delete from rules where application_id = ?', id)
  for (const [position, rule] of rules.entries()) {
    run('insert into rules values (?, ?, ?, ?)', id, position, rule.name, JSON.stringify(rule))
  }
}

/** None set is as good as none there: a record is the same after it was read again. */
function optionsOf(row: Row): { readonly options?: ApplicationOptions } {
  const options = parse(row.options) as ApplicationOptions
  return Object.keys(options).length > 0 ? { options } : {}
}

export function versionOf(database: DatabaseSync): number {
  return Number(database.prepare('select version from state').get()?.version)
}

function created(row: Row): { readonly createdAt?: number } {
  return typeof row.created_at === 'number' ? { createdAt: row.created_at } : {}
}

function wholeOrNull(time: number | undefined): number | null {
  return time === undefined ? null : Math.trunc(time)
}

function parse(text: SQLOutputValue | undefined): Json {
  return JSON.parse(String(text)) as Json
}
