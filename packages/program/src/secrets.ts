import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Call, PosternError, type Secrets } from '@postern/interface'
import { makePrivateFolder, readPrivate, unwritable, writePrivate } from './files.ts'

const POLL = 50
const SQLITE_BUSY = 5

/** The user's secrets as files 0600, one a key, in a folder 0700. */
export function fileSecrets(folder: string): Secrets {
  const path = (key: string) => {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/.test(key))
      throw new PosternError('INTERNAL', 'a secret’s key is letters, digits, dots and hyphens')
    return join(folder, key)
  }
  return {
    get: async key => readPrivate(path(key)),
    set: async (key, value) => writePrivate(path(key), value),
    delete: async key => rm(path(key), { force: true }).catch(unwritable(path(key))),
    async exclusively(key, work, call) {
      await makePrivateFolder(folder)
      const release = await lock(`${path(key)}.lock`, call)
      try {
        return await work()
      } finally {
        release()
      }
    },
  }
}

/**
 * A lock between processes that the kernel takes back when its holder dies, however it dies: SQLite's own on an empty
 * database. Lock files with a process id in them cannot be taken over without a race.
 */
async function lock(file: string, call: Call): Promise<() => void> {
  await (await open(file, 'a', 0o600).catch(unwritable(file))).close()
  const { DatabaseSync } = await import('node:sqlite')
  const database = new DatabaseSync(file, { timeout: 0 })
  for (;;) {
    try {
      call.signal.throwIfAborted()
      database.exec('BEGIN EXCLUSIVE')
      return () => database.close()
    } catch (error) {
      if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) {
        database.close()
        throw error
      }
    }
    await sleep(POLL, undefined, { signal: call.signal }).catch(() => {})
  }
}
