import { unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { PosternError } from '@postern/interface'
import { type Change, readPrivateFile, type Store, writePrivateFile } from '@postern/store'
import { createSetupToken, readSetupToken } from '@postern/tokens'
import { isAdministered, SETUP_TOKENS, setupTokensOf } from './records.ts'

/** Milliseconds. */
const GOOD_FOR = 15 * 60_000

/**
 * Writes the setup token (0600) of an edge that nobody can administer from elsewhere yet.
 *
 * @returns its file; undefined when there is an admin token
 * @throws PosternError FILE_*, STORE_UNUSABLE
 */
export async function ensureSetupToken(store: Store, data: string): Promise<string | undefined> {
  const path = setupFileOf(data)
  const now = Date.now()
  const setups = [...setupTokensOf(store.snapshot)]
  const administered = isAdministered(store.snapshot, now)
  if (!administered) {
    const held = readSetupToken((await readPrivateFile(path))?.trim() ?? '')?.id
    if (setups.some(([id, { expiresAt }]) => id === held && expiresAt > now)) return path
  }
  const changes: Change[] = setups.map(([id]) => ({ delete: 'record', namespace: SETUP_TOKENS, id }))
  if (administered) {
    await forgetSetupFile(data)
    if (changes.length > 0) await store.apply(changes, { action: 'setup-token.delete', actor: 'local' })
    return undefined
  }
  const { id, token, hash } = createSetupToken()
  const value = { hash, createdAt: now, expiresAt: now + GOOD_FOR }
  await writePrivateFile(path, `${token}\n`)
  const put: Change = { put: 'record', namespace: SETUP_TOKENS, id, value }
  await store.apply([...changes, put], { action: 'setup-token.create', actor: 'local', detail: { id } })
  return path
}

export async function forgetSetupFile(data: string): Promise<void> {
  const path = setupFileOf(data)
  await unlink(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT')
      throw new PosternError('FILE_UNREADABLE', `${path} cannot be removed (${cause.code})`, { cause })
  })
}

function setupFileOf(data: string): string {
  return join(data, 'setup-token')
}
