import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Call } from '@postern/interface'
import { preparePrivateFolder, unwritable } from './files.ts'

/** Milliseconds between looks whether the lock is free. */
const POLL = 50
const SQLITE_BUSY = 5

/**
 * Does something while no other process does, as far as each asks for the same file: an empty one, made where there is none, which stays.
 * The kernel takes the lock back when its holder dies, however it dies: it is SQLite's own on an empty database. Lock files with a process
 * id in them cannot be taken over without a race.
 *
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE; what `work` throws; `call.signal.reason`
 */
export async function exclusively<T>(
  file: string,
  work: () => Promise<T>,
  { signal }: Pick<Call, 'signal'>,
): Promise<T> {
  await preparePrivateFolder(dirname(file))
  await (await open(file, 'a', 0o600).catch(unwritable(file))).close()
  const { DatabaseSync } = await import('node:sqlite')
  using database = new DatabaseSync(file, { timeout: 0 })
  while (!isTaken(database)) {
    signal.throwIfAborted()
    await sleep(POLL, undefined, { signal }).catch(() => {})
  }
  signal.throwIfAborted()
  return await work()
}

function isTaken(database: { exec(sql: string): void }): boolean {
  try {
    database.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return false
    throw error
  }
}
