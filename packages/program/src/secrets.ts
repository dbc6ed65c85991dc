import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { PosternError, type Secrets } from '@postern/interface'
import { readPrivate, unwritable, writePrivate } from './files.ts'
import { exclusively } from './lock.ts'

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
    exclusively: async (key, work, call) => exclusively(`${path(key)}.lock`, work, call),
  }
}
