import { createHash } from 'node:crypto'
import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite'
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
  /** 1, 2, 3, …: a gap is a row that was taken out. */
  readonly sequence: number
  readonly class: 'change' | 'traffic'
}

/** `broken`: the first sequence number whose row was altered, or is missing. */
export interface AuditCheck {
  readonly rows: number
  readonly broken?: number
}

const LONGEST_DETAIL = 8192
const NO_HASH = Buffer.alloc(32)
const COLUMNS = 'sequence, at, class, action, actor, hostname, request_id, remote_address, allowed, code, detail'

type Cells = [number, number, string, string, ...(string | number | null)[]]

/** The audit table: a row's hash covers the row and the hash before it. One writer only. */
export class AuditChain {
  readonly #database: DatabaseSync
  readonly #insert: StatementSync
  readonly #last: StatementSync

  constructor(database: DatabaseSync) {
    this.#database = database
    this.#insert = database.prepare(`insert into audit (${COLUMNS}, hash) values (${'?, '.repeat(11)}?)`)
    this.#last = database.prepare('select sequence, hash from audit order by sequence desc limit 1')
  }

  /** Inside the caller's transaction. */
  append(kind: AuditRow['class'], entries: readonly AuditEntry[]): void {
    const last = this.#last.get()
    let sequence = Number(last?.sequence ?? 0)
    let hash: Uint8Array = (last?.hash as Uint8Array | undefined) ?? NO_HASH
    for (const entry of entries) {
      sequence += 1
      const cells = cellsOf(sequence, kind, entry)
      hash = hashOf(hash, cells)
      this.#insert.run(...cells, hash)
    }
  }

  /** The newest rows, newest first. */
  read(most: number, requestId?: string): AuditRow[] {
    const where = requestId === undefined ? '' : 'where request_id = ?'
    const statement = this.#database.prepare(`select ${COLUMNS} from audit ${where} order by sequence desc limit ?`)
    const rows = requestId === undefined ? statement.all(most) : statement.all(requestId, most)
    return rows.map(rowOf)
  }

  /** Walks the whole chain. Rows taken off its newest end leave no trace in it. */
  check(): AuditCheck {
    const statement = this.#database.prepare(`select ${COLUMNS}, hash from audit order by sequence`)
    let rows = 0
    let hash: Uint8Array = NO_HASH
    for (const { hash: stored, ...cells } of statement.iterate()) {
      rows += 1
      hash = hashOf(hash, Object.values(cells))
      if (cells.sequence !== rows || !Buffer.from(stored as Uint8Array).equals(hash)) return { rows, broken: rows }
    }
    return { rows }
  }
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
