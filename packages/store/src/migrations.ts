import type { DatabaseSync } from 'node:sqlite'
import { PosternError } from '@postern/interface'

/**
 * Forward only. Each runs once, in a transaction with the version it brings; what was released is never edited.
 */
export const MIGRATIONS: readonly string[] = [
  `
  create table state (id integer primary key check (id = 1), version integer not null) strict;
  insert into state (id, version) values (1, 0);
  create table settings (key text primary key, value text not null) strict, without rowid;
  create table tunnels (id text primary key, name text not null) strict, without rowid;
  create table applications (
    id text primary key,
    hostname text not null unique,
    tunnel_id text not null references tunnels (id),
    protocols text not null
  ) strict, without rowid;
  create table rules (
    application_id text not null references applications (id) on delete cascade,
    position integer not null,
    name text not null,
    body text not null,
    primary key (application_id, position),
    unique (application_id, name)
  ) strict, without rowid;
  create table records (
    namespace text not null, id text not null, value text not null,
    primary key (namespace, id)
  ) strict, without rowid;
  create table revocations (key text primary key, version integer not null) strict, without rowid;
  create table audit (
    sequence integer primary key,
    at integer not null,
    class text not null,
    action text not null,
    actor text,
    hostname text,
    request_id text,
    remote_address text,
    allowed integer,
    code text,
    detail text,
    hash blob not null
  ) strict;
  create index audit_by_request on audit (request_id) where request_id is not null;
  `,
  `
  alter table revocations add column at integer;
  alter table tunnels add column created_at integer;
  alter table applications add column created_at integer;
  -- The newest row's number and hash a second time: rows cut off the newest end are missed.
  create table audit_end (id integer primary key check (id = 1), sequence integer not null, hash blob not null) strict;
  insert into audit_end
    select 1, coalesce(max(sequence), 0), coalesce((select hash from audit order by sequence desc limit 1), zeroblob(32))
    from audit;
  -- Rows removed for their age, first to last, and the hash the chain goes on from.
  create table audit_removed (first integer primary key, last integer not null, hash blob not null) strict;
  create index audit_changes on audit (sequence) where class = 'change';
  `,
  `
  alter table applications add column options text not null default '{}';
  create table groups (name text primary key, selectors text not null) strict, without rowid;
  `,
  `
  alter table tunnels add column identity text;
  `,
]

/** Marks a file as ours: "PSTN" in SQLite's application_id. */
const APPLICATION_ID = 0x5053544e

/**
 * Brings a database to this version.
 *
 * @returns how many migrations ran
 * @throws PosternError STORE_NEWER when a newer Postern wrote it; STORE_UNUSABLE when it is somebody else's
 */
export function migrate(database: DatabaseSync, path: string, migrations: readonly string[] = MIGRATIONS): number {
  const from = pragma(database, 'user_version')
  const owner = pragma(database, 'application_id')
  const tables = database.prepare('select count(*) as count from sqlite_schema').get()?.count
  if (owner !== APPLICATION_ID && (owner !== 0 || from !== 0 || tables !== 0)) {
    throw new PosternError('STORE_UNUSABLE', `${path} is not a Postern database`)
  }
  if (from > migrations.length) {
    throw new PosternError('STORE_NEWER', `${path} has version ${from}; this Postern knows up to ${migrations.length}`)
  }
  for (let version = from; version < migrations.length; version += 1) {
    transaction(database, () => {
      database.exec(migrations[version] ?? '')
      database.exec(`pragma user_version = ${version + 1}; pragma application_id = ${APPLICATION_ID}`)
    })
  }
  return migrations.length - from
}

/** All of it, or nothing. */
export function transaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('begin immediate')
  try {
    const result = work()
    database.exec('commit')
    return result
  } catch (error) {
    // A full disk may have rolled back already.
    if (database.isTransaction) database.exec('rollback')
    throw error
  }
}

function pragma(database: DatabaseSync, name: 'user_version' | 'application_id'): number {
  return Number(database.prepare(`pragma ${name}`).get()?.[name])
}
