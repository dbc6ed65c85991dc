import type { Json, Logger } from '@postern/interface'
import type { Change, Snapshot, Store } from '@postern/store'
import { hashId } from '@postern/tokens'
import { ADMIN_TOKENS, SERVICE_TOKENS, TUNNEL_TOKENS, tunnelHashesOf } from '../admin/records.ts'
import { SEEN, SESSIONS } from './session-record.ts'

/** Rows of people who are signed in: all of them go, since nobody knows which were ended meanwhile. */
const SIGNED_IN = [SESSIONS, SEEN, 'oauth']
/** Audit rows name as many. */
const MOST_NAMED = 50

/**
 * Where the database is an older copy of itself: what was revoked since is not undone. Every sign-in ends, and tokens that the
 * edge remembers to have revoked are revoked again. What it cannot know (users who were disabled, rules that were tightened) is
 * for an administrator to look at, so it is said loudly.
 *
 * @returns kids of signing keys that were removed since
 */
export async function endRestored(store: Store, log: Logger): Promise<readonly string[]> {
  const { restored, snapshot } = store
  if (restored === undefined) return []
  const { from, was, missed } = restored
  const ended = SIGNED_IN.flatMap(namespace =>
    [...(snapshot.records.get(namespace)?.keys() ?? [])].map((id): Change => ({ delete: 'record', namespace, id })),
  )
  const again = missed.flatMap(key => revokedAgain(key, snapshot))
  const detail = { from, was, again: again.length, revokedSince: missed.slice(-MOST_NAMED) }
  await store.apply([...ended, ...again], { action: 'store.restored', actor: 'edge', detail })
  log.warn(
    'the database is an older copy of itself: everybody has to sign in again, and what is remembered to be revoked is revoked ' +
      'again; look through users, rules and tokens for what was taken away since',
    { from, was, revokedAgain: again.length, revokedSince: missed.slice(-MOST_NAMED).join(' ') },
  )
  return missed.flatMap(key => (key.startsWith('key:') ? [key.slice('key:'.length)] : []))
}

/** The record of a token as it was after it was revoked. */
function revokedAgain(key: string, snapshot: Snapshot): readonly Change[] {
  const at = key.indexOf(':')
  const [namespace, id] = [key.slice(0, at), key.slice(at + 1)]
  if (namespace === TUNNEL_TOKENS) return tunnelRevoked(id, snapshot)
  if (namespace !== SERVICE_TOKENS && namespace !== ADMIN_TOKENS) return []
  const row = snapshot.records.get(namespace)?.get(id)
  return isOpen(row) ? [{ put: 'record', namespace, id, value: { ...row, revokedAt: Date.now() } }] : []
}

/** `<tunnel>:<id of the hash>`, or `<tunnel>`, which was removed with all its tokens. */
function tunnelRevoked(id: string, snapshot: Snapshot): readonly Change[] {
  const [tunnel = '', hash] = id.split(':')
  const hashes = tunnelHashesOf(snapshot, tunnel).map(one =>
    (hash === undefined || hashId(one.hash) === hash) && one.revokedAt === undefined
      ? { ...one, revokedAt: Date.now() }
      : one,
  )
  if (hashes.length === 0) return []
  return [{ put: 'record', namespace: TUNNEL_TOKENS, id: tunnel, value: { hashes: hashes as unknown as Json } }]
}

function isOpen(row: Json | undefined): row is { readonly [member: string]: Json } {
  return typeof row === 'object' && row !== null && !Array.isArray(row) && !('revokedAt' in row)
}
