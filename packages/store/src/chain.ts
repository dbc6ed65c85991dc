import { createHash } from 'node:crypto'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Json } from '@postern/interface'

/** What is noted. Changes: administration, in the transaction of the change. Traffic: decisions and stream ends. */
export interface AuditEntry {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** For example `access.decide`, `stream.end`, `application.put`. */
  readonly action: string
  readonly actor?: string | undefined
  readonly hostname?: string | undefined
  readonly requestId?: string | undefined
  readonly remoteAddress?: string | undefined
  readonly allowed?: boolean | undefined
  readonly code?: string | undefined
  /** At most 8,192 characters as JSON; a longer one is replaced by a note saying so. */
  readonly detail?: Json | undefined
}

export interface AuditRow extends AuditEntry {
  /** 1, 2, 3, …: a gap is a row that was taken out, or traffic that was removed for its age. */
  readonly sequence: number
  readonly class: 'change' | 'traffic'
}

export interface AuditCheck {
  readonly rows: number
  /** Rows removed for their age. */
  readonly removed: number
  /** The first sequence number whose row was altered, or is missing. */
  readonly broken?: number
}

const LONGEST_DETAIL = 8192
const NO_HASH = Buffer.alloc(32)
/** In the order they are hashed. */
export const COLUMNS = 'sequence, at, class, action, actor, hostname, request_id, remote_address, allowed, code, detail'

type Cells = [number, number, string, string, ...(string | number | null)[]]

/**
 * The audit table: a row's hash covers the row and the hash before it. One writer only.
 *
 * The chain has no secret: it shows rows that were altered, taken out or cut off, not the work of somebody who may write the
 * file and computes the hashes anew, and not an older copy of the whole file. Against those, keep a copy elsewhere.
 */
export class AuditChain {
  readonly #database: DatabaseSync
  readonly #insert: StatementSync
  readonly #end: StatementSync
  readonly #setEnd: StatementSync

  constructor(database: DatabaseSync) {
    this.#database = database
    this.#insert = database.prepare(`insert into audit (${COLUMNS}, hash) values (${'?, '.repeat(11)}?)`)
    this.#end = database.prepare('select sequence, hash from audit_end')
    this.#setEnd = database.prepare('update audit_end set sequence = ?, hash = ?')
  }

  /** The newest row's sequence number; 0 before the first. */
  get last(): number {
    return Number(this.#end.get()?.sequence)
  }

  /** Inside the caller's transaction. */
  append(kind: AuditRow['class'], entries: readonly AuditEntry[]): void {
    const end = this.#end.get()
    let sequence = Number(end?.sequence)
    let hash = end?.hash as Uint8Array
    for (const entry of entries) {
      sequence += 1
      const cells = cellsOf(sequence, kind, entry)
      hash = hashOf(hash, cells)
      this.#insert.run(...cells, hash)
    }
    this.#setEnd.run(sequence, hash)
  }

  /**
   * Removes traffic from before a time, the oldest first, inside the caller's transaction. Of each run the last hash stays, so
   * that the rest can still be checked.
   *
   * Behind a row that is young there are none but younger ones; behind one from the future, when the clock was wrong, there may be.
   *
   * @param after goes on behind this sequence number
   * @param most rows looked at
   */
  removeBefore(time: number, now: number, after: number, most: number): Removal {
    const oldest =
      "select sequence, at, hash from audit where class = 'traffic' and sequence > ? order by sequence limit ?"
    const rows = this.#database.prepare(oldest).all(after, most)
    const old = rows.filter(({ at }) => Number(at) < time)
    const remove = this.#database.prepare('delete from audit where sequence = ?')
    let run: Run | undefined
    for (const row of old) {
      const sequence = Number(row.sequence)
      const hash = row.hash as Uint8Array
      remove.run(sequence)
      if (run?.last === sequence - 1) run = { first: run.first, last: sequence, hash }
      else {
        this.#noteRemoved(run)
        run = { first: sequence, last: sequence, hash }
      }
    }
    this.#noteRemoved(run)
    const isMore = rows.length === most && rows.some(({ at }) => Number(at) < time || Number(at) > now)
    return { removed: old.length, ...(isMore && { next: Number(rows.at(-1)?.sequence) }) }
  }

  /** Walks the whole chain. */
  check(): AuditCheck {
    const runs = new Map(this.#database.prepare('select first, last, hash from audit_removed').all().map(runOf))
    const statement = this.#database.prepare(`select ${COLUMNS}, hash from audit order by sequence`)
    let [rows, removed, next] = [0, 0, 1]
    let hash: Uint8Array = NO_HASH
    const skip = () => {
      const run = runs.get(next)
      if (run === undefined) return
      removed += run.last - run.first + 1
      next = run.last + 1
      hash = run.hash
    }
    for (const { hash: stored, ...cells } of statement.iterate()) {
      rows += 1
      skip()
      hash = hashOf(hash, Object.values(cells))
      if (cells.sequence !== next || !same(stored, hash)) return { rows, removed, broken: next }
      next += 1
    }
    skip()
    const end = this.#end.get()
    return end?.sequence === next - 1 && same(end.hash, hash) ? { rows, removed } : { rows, removed, broken: next }
  }

  /** Runs that touch become one. */
  #noteRemoved(run: Run | undefined): void {
    if (run === undefined) return
    const prepare = (sql: string) => this.#database.prepare(sql)
    const left = prepare('delete from audit_removed where last = ? returning first').get(run.first - 1)
    const right = prepare('delete from audit_removed where first = ? returning last, hash').get(run.last + 1)
    const insert = prepare('insert into audit_removed (first, last, hash) values (?, ?, ?)')
    insert.run(
      Number(left?.first ?? run.first),
      Number(right?.last ?? run.last),
      (right?.hash ?? run.hash) as Uint8Array,
    )
  }
}

/** What one look removed, and behind which row to look next; absent at the end. */
export interface Removal {
  readonly removed: number
  readonly next?: number
}

/** Rows that were removed, and the last one's hash. */
interface Run {
  readonly first: number
  readonly last: number
  readonly hash: Uint8Array
}

function runOf(row: Record<string, unknown>): [number, Run] {
  const first = Number(row.first)
  return [first, { first, last: Number(row.last), hash: row.hash as Uint8Array }]
}

function same(stored: unknown, hash: Uint8Array): boolean {
  return Buffer.from(stored as Uint8Array).equals(hash)
}

/** Text is made whole first: what SQLite would alter on the way in would break the chain on the way out. */
function cellsOf(sequence: number, kind: string, entry: AuditEntry): Cells {
  const { at, action, actor, hostname, requestId, remoteAddress, allowed, code } = entry
  const texts = [actor, hostname, requestId, remoteAddress].map(text => (text === undefined ? null : whole(text)))
  const yes = allowed === undefined ? null : Number(allowed)
  return [sequence, Math.trunc(at), kind, whole(action), ...texts, yes, code ?? null, detailOf(entry)]
}

function whole(text: string): string {
  return text.slice(0, LONGEST_DETAIL).toWellFormed().replaceAll('\0', '\ufffd')
}

function detailOf({ detail }: AuditEntry): string | null {
  if (detail === undefined) return null
  const text = JSON.stringify(detail)
  return text.length > LONGEST_DETAIL ? JSON.stringify({ left: 'out', characters: text.length }) : text
}

function hashOf(previous: Uint8Array, cells: readonly unknown[]): Buffer {
  return createHash('sha256').update(previous).update(JSON.stringify(cells)).digest()
}
