import { dirname } from 'node:path'
import { type Call, type Logger, PosternError } from '@postern/interface'
import type { AuditCheck, AuditEntry, AuditRow } from './chain.ts'
import { checkPrivateFile, ensurePrivateFile, ensurePrivateFolder } from './files.ts'
import type { Restored } from './high-water.ts'
import { WriterLink } from './link.ts'
import type { AuditQuery } from './query.ts'
import { afterChange, type Bookkeeping, type Change, type ChangeNote, type Snapshot } from './records.ts'
import { Retention } from './retention.ts'
import { TrafficQueue } from './traffic.ts'

/** The edge's state. Decisions read {@link Store.snapshot} and nothing else: no query, no wait. */
export interface Store extends AsyncDisposable {
  readonly snapshot: Snapshot
  /** Set where the file is an older copy of itself; what was revoked since must be again. Gone after the first change. */
  readonly restored: Restored | undefined
  /** False when a row of an admission could not be kept: admit nobody, AUDIT_UNAVAILABLE. */
  readonly auditable: boolean
  /** Called after every change, with the snapshot already new. */
  onChange(listener: () => void): () => void
  /**
   * All steps or none, durable when it resolves, with its audit row in the same transaction.
   *
   * @throws PosternError ALREADY_EXISTS, BAD_USAGE (a tunnel that is not there), STORE_UNUSABLE
   */
  apply(changes: readonly Change[], note: ChangeNote): Promise<void>
  /**
   * Keeps rows that nobody decided on, such as when somebody was last seen: as {@link Store.apply}, without an audit row.
   *
   * @throws PosternError STORE_UNUSABLE
   */
  keep(rows: readonly Bookkeeping[]): Promise<void>
  /**
   * Notes traffic: on disk within 50 ms, without anybody waiting for it.
   *
   * @returns false when it was dropped: the disk fails or is too slow, or the store is closed
   */
  audit(entry: AuditEntry): boolean
  /** Waits until the traffic noted so far is on disk, with that of others in one go. @returns false where the disk fails */
  flush(): Promise<boolean>
  /** Rows that fit, newest first; what waits is written before. Rows are looked through in steps, between which others write. */
  readAudit(query: AuditQuery): Promise<readonly AuditRow[]>
  /** Reads everything there is: the file's integrity (`ok`) and the audit chain. */
  check(): Promise<AuditCheck & { readonly integrity: string }>
}

export interface StoreOptions {
  /** The SQLite file, made (0600, in a folder 0700) where there is none. */
  readonly path: string
  /** Bytes the file may grow to; default 16 GiB. A full file is a failing disk. */
  readonly most?: number
}

const MOST_BYTES = 16 * 2 ** 30

/**
 * Opens the store.
 *
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE; STORE_NEWER; STORE_UNUSABLE: not ours, damaged, or open elsewhere
 * @example
 * await using store = await openStore({ path: '/var/lib/postern/edge.db' }, call)
 * store.snapshot.applications.get('db.example.com')
 */
export async function openStore({ path, most = MOST_BYTES }: StoreOptions, call: Call): Promise<Store> {
  call.signal.throwIfAborted()
  await ensurePrivateFolder(dirname(path))
  await ensurePrivateFile(path)
  for (const suffix of ['-wal', '-shm', '-journal', '.version', '.version.new']) await checkPrivateFile(path + suffix)
  call.signal.throwIfAborted()
  const link = new WriterLink({ path, most })
  try {
    const restored = await link.ask({ ask: 'restored' })
    return new SqliteStore(link, await link.ask({ ask: 'snapshot' }), restored, call.log)
  } catch (error) {
    await link.close()
    throw error
  }
}

class SqliteStore implements Store {
  restored: Restored | undefined
  readonly #link: WriterLink
  readonly #traffic: TrafficQueue
  readonly #retention: Retention
  readonly #listeners = new Set<() => void>()
  #snapshot: Snapshot
  #reading: Promise<unknown> = Promise.resolve()
  /** Whether a change was given up that may have been made all the same. */
  #unsure = false

  constructor(link: WriterLink, snapshot: Snapshot, restored: Restored | undefined, log: Logger) {
    this.#link = link
    this.restored = restored
    this.#snapshot = snapshot
    this.#traffic = new TrafficQueue(entries => link.ask({ ask: 'traffic', entries }), log)
    this.#retention = new Retention({
      remove: asked => link.ask({ ask: 'remove', ...asked }),
      days: () => this.#snapshot.settings.get('auditDays'),
      log,
    })
  }

  get snapshot(): Snapshot {
    return this.#snapshot
  }

  get auditable(): boolean {
    return this.#traffic.usable && !this.#unsure
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  apply(changes: readonly Change[], note: ChangeNote): Promise<void> {
    return this.#change(changes, note)
  }

  keep(rows: readonly Bookkeeping[]): Promise<void> {
    return this.#change(rows, undefined)
  }

  async #change(changes: readonly Change[], note: ChangeNote | undefined): Promise<void> {
    if (this.#unsure)
      throw new PosternError('STORE_UNUSABLE', 'it is not known yet what became of an earlier change', {
        next: 'Look at the disk; then try again.',
      })
    const version = await this.#link.ask({ ask: 'change', changes, ...(note && { note }) }, () => void this.#makeSure())
    // Answers come in the order of the questions, so no change is skipped here.
    this.restored = undefined
    this.#take(afterChange(this.#snapshot, changes, version))
  }

  #take(snapshot: Snapshot): void {
    this.#snapshot = snapshot
    for (const listener of this.#listeners) listener()
  }

  /** What the disk has decides: once the writer answers again, that is read. Until then nobody new is let in. */
  async #makeSure(): Promise<void> {
    if (this.#unsure) return
    this.#unsure = true
    // Where the writer is gone it stays unknown.
    const snapshot = await this.#link.wait({ ask: 'snapshot' }).catch(() => undefined)
    if (snapshot === undefined) return
    this.#unsure = false
    this.#take(snapshot)
  }

  audit(entry: AuditEntry): boolean {
    return this.#traffic.add(entry)
  }

  async flush(): Promise<boolean> {
    await this.#traffic.flush()
    return this.auditable
  }

  /** One reader at a time: however many there are, whoever writes waits for one look. */
  readAudit(query: AuditQuery): Promise<readonly AuditRow[]> {
    const mine = this.#reading.then(() => this.#read(query))
    this.#reading = mine.catch(() => {})
    return mine
  }

  async #read(query: AuditQuery): Promise<readonly AuditRow[]> {
    await this.#traffic.flush()
    const rows: AuditRow[] = []
    let before = query.before
    while (rows.length < query.most) {
      const page = await this.#link.ask({ ask: 'rows', query: { ...query, before, most: query.most - rows.length } })
      rows.push(...page.rows)
      if (page.next === undefined) break
      before = page.next
    }
    return rows
  }

  async check(): Promise<AuditCheck & { readonly integrity: string }> {
    await this.#traffic.flush()
    return this.#link.ask({ ask: 'check' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners.clear()
    this.#retention[Symbol.dispose]()
    await this.#traffic.flush()
    this.#traffic.close()
    await this.#link.close()
  }
}
