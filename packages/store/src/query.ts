import type { DatabaseSync, SQLInputValue, SQLOutputValue } from 'node:sqlite'
import type { Json } from '@postern/interface'
import { type AuditRow, COLUMNS } from './chain.ts'

/** Which rows: all that fit every filter given, newest first. */
export interface AuditQuery {
  readonly most: number
  /** Only rows with a smaller sequence number: the last one seen, to go on. */
  readonly before?: number | undefined
  readonly class?: AuditRow['class'] | undefined
  /** This and the next three are compared whole. */
  readonly action?: string | undefined
  readonly actor?: string | undefined
  readonly hostname?: string | undefined
  readonly requestId?: string | undefined
  /** Milliseconds since the epoch. */
  readonly since?: number | undefined
}

/** Rows of one look, and where the next look goes on; undefined at the end. */
export interface AuditPage {
  readonly rows: readonly AuditRow[]
  readonly next?: number
}

/** Rows gone through in one look. The writer does nothing else meanwhile, so that is milliseconds. */
const LOOK = 20_000

/** One look at the newest rows before `query.before`. What is asked for never becomes part of the SQL. */
export function readPage(database: DatabaseSync, query: AuditQuery, last: number): AuditPage {
  const top = Math.min(query.before ?? Number.MAX_SAFE_INTEGER, last + 1)
  // These two have an index of their own.
  const indexed = query.requestId !== undefined || query.class === 'change'
  const bottom = indexed ? 0 : Math.max(0, top - LOOK)
  const { where, values } = filtersOf(query)
  const sql = `select ${COLUMNS} from audit where sequence < ? and sequence >= ? ${where} order by sequence desc limit ?`
  const rows = database
    .prepare(sql)
    .all(top, bottom, ...values, Math.max(0, Math.trunc(query.most)))
    .map(rowOf)
  return bottom <= 1 || isOlder(database, query.since, top, bottom) ? { rows } : { rows, next: bottom }
}

function filtersOf(query: AuditQuery): { where: string; values: SQLInputValue[] } {
  const filters: [string, SQLInputValue | undefined][] = [
    ['action = ?', query.action],
    ['actor = ?', query.actor],
    ['hostname = ?', query.hostname],
    ['request_id = ?', query.requestId],
    ['at >= ?', query.since],
  ]
  const given = filters.filter((one): one is [string, SQLInputValue] => one[1] !== undefined)
  const sql = given.map(([text]) => text)
  // Literal: else the index of the changes is not used.
  if (query.class !== undefined) sql.push(query.class === 'change' ? "class = 'change'" : "class = 'traffic'")
  return { where: sql.map(text => `and ${text}`).join(' '), values: given.map(([, value]) => value) }
}

/** Whether all rows of a look are from before a time, and so are those before them. */
function isOlder(database: DatabaseSync, since: number | undefined, top: number, bottom: number): boolean {
  if (since === undefined) return false
  const row = database
    .prepare('select max(at) as newest from audit where sequence < ? and sequence >= ?')
    .get(top, bottom)
  return typeof row?.newest === 'number' && row.newest < since
}

function rowOf(cells: Record<string, SQLOutputValue>): AuditRow {
  const text = (name: string) => (typeof cells[name] === 'string' ? cells[name] : undefined)
  const { allowed } = cells
  const detail = text('detail')
  return {
    sequence: Number(cells.sequence),
    at: Number(cells.at),
    class: cells.class as AuditRow['class'],
    action: String(cells.action),
    actor: text('actor'),
    hostname: text('hostname'),
    requestId: text('request_id'),
    remoteAddress: text('remote_address'),
    allowed: allowed === null ? undefined : allowed === 1,
    code: text('code'),
    detail: detail === undefined ? undefined : (JSON.parse(detail) as Json),
  }
}
