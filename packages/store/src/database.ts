import { DatabaseSync } from 'node:sqlite'
import { PosternError } from '@postern/interface'
import { AuditChain } from './chain.ts'
import { HighWater } from './high-water.ts'
import { migrate, transaction } from './migrations.ts'
import { readPage } from './query.ts'
import type { Change, ChangeNote } from './records.ts'
import { readState, versionOf, writeState } from './state.ts'
import type { Answers, Asked } from './wire.ts'

const PAGE_BYTES = 4096

/** The open file: the only connection there is, on the writer thread. */
export class Database {
  readonly #database: DatabaseSync
  readonly #audit: AuditChain
  readonly #highWater: HighWater

  /**
   * @param most bytes the file may grow to
   * @throws PosternError STORE_NEWER, STORE_UNUSABLE
   */
  constructor(path: string, most: number) {
    this.#database = new DatabaseSync(path, { timeout: 500 })
    try {
      // Exclusive: nobody else opens the store, and the index of the log stays in memory instead of a third file.
      this.#database.exec(`
        pragma page_size = ${PAGE_BYTES};
        pragma locking_mode = exclusive;
        pragma journal_mode = wal;
        pragma synchronous = full;
        pragma foreign_keys = on;
        pragma trusted_schema = off;
        begin immediate; commit;
      `)
      migrate(this.#database, path)
      this.#database.exec(`pragma max_page_count = ${Math.max(1, Math.floor(most / PAGE_BYTES))}`)
      this.#audit = new AuditChain(this.#database)
      this.#highWater = new HighWater(path)
    } catch (error) {
      this.#database.close()
      throw error
    }
  }

  answer(asked: Asked): Answers[keyof Answers] {
    switch (asked.ask) {
      case 'snapshot':
        return readState(this.#database)
      case 'restored':
        return this.#highWater.restored(versionOf(this.#database))
      case 'change':
        return this.#change(asked.changes, asked.note)
      case 'traffic':
        transaction(this.#database, () => this.#audit.append('traffic', asked.entries))
        return undefined
      case 'rows':
        return readPage(this.#database, asked.query, this.#audit.last)
      case 'remove':
        return transaction(this.#database, () =>
          this.#audit.removeBefore(asked.before, asked.now, asked.after, asked.most),
        )
      case 'check':
        return this.#check()
      case 'close':
        this.#database.close()
        return undefined
    }
  }

  #change(changes: readonly Change[], note: ChangeNote | undefined): number {
    const version = transaction(this.#database, () => {
      const version = writeState(this.#database, changes, this.#highWater.version)
      if (note !== undefined) this.#audit.append('change', [{ at: Date.now(), ...note }])
      return version
    })
    const revoked = changes.flatMap(change => ('revoke' in change ? [change.revoke] : []))
    // Bookkeeping takes nothing away.
    if (note !== undefined) this.#highWater.note(version, revoked)
    return version
  }

  #check(): Answers['check'] {
    const row = this.#database.prepare('pragma integrity_check(1)').get()
    return { integrity: String(row?.integrity_check), ...this.#audit.check() }
  }
}

const BUSY = 5
const UNIQUE: readonly unknown[] = [1555, 2067]
const FOREIGN_KEY = 787

/** What SQLite threw, in our words. SQL never reaches a reader. */
export function databaseError(error: unknown, path: string): PosternError {
  if (PosternError.is(error)) return error
  const { errcode, errstr } = error as { errcode?: number; errstr?: string }
  if (UNIQUE.includes(errcode)) {
    return new PosternError('ALREADY_EXISTS', 'a hostname, name or id is taken already', { cause: error })
  }
  if (errcode === FOREIGN_KEY) {
    return new PosternError('BAD_USAGE', 'the tunnel does not exist, or an application still uses it', { cause: error })
  }
  if (errcode === BUSY) {
    return new PosternError('STORE_UNUSABLE', `${path} is open in another process`, {
      cause: error,
      next: 'Stop the other edge, or use another folder.',
    })
  }
  return new PosternError('STORE_UNUSABLE', `${path} cannot be used: ${errstr ?? 'unexpected error'}`, { cause: error })
}
