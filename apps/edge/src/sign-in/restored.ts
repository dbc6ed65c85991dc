import type { Json, Logger } from '@postern/interface'
import type { Change, Snapshot, Store } from '@postern/store'
import {
  ADMIN_TOKENS,
  CONNECTOR_SETUPS,
  isGood,
  type Lives,
  SERVICE_TOKENS,
  SIGNING_REQUESTS,
  TUNNEL_TOKENS,
} from '../admin/records.ts'
import { connectorKey, putTunnelSecrets, tokenKey, tunnelSecretsOf } from '../admin/tunnel-record.ts'
import { certificatesRevokedAgain } from '../certificates/revoke.ts'
import { SEEN, SESSIONS } from './session-record.ts'

/** Rows of what is good once, or for a while: all of them go, since nobody knows which were used or ended meanwhile. */
const SIGNED_IN = [SESSIONS, SEEN, 'oauth', CONNECTOR_SETUPS, SIGNING_REQUESTS]
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
  const again = [...missed.flatMap(key => revokedAgain(key, snapshot)), ...tunnelsRevoked(new Set(missed), snapshot)]
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
  if (namespace.startsWith('certificate')) return certificatesRevokedAgain(key, snapshot, Date.now())
  if (namespace !== SERVICE_TOKENS && namespace !== ADMIN_TOKENS) return []
  const row = snapshot.records.get(namespace)?.get(id)
  return isOpen(row) ? [{ put: 'record', namespace, id, value: { ...row, revokedAt: Date.now() } }] : []
}

/**
 * Tokens and daemons of the tunnels, each by its own key or by that of its tunnel, which was removed or got another identity; then
 * the identity that it had goes too.
 */
function tunnelsRevoked(missed: ReadonlySet<string>, snapshot: Snapshot): readonly Change[] {
  const now = Date.now()
  // It may have been replaced for having been stolen: what would vouch now is for a person to say.
  const unvouched = [...snapshot.tunnels.values()].flatMap(({ identity, ...value }): readonly Change[] =>
    identity !== undefined && missed.has(`tunnel-token:${value.id}`) ? [{ put: 'tunnel', value }] : [],
  )
  const ended = [...(snapshot.records.get(TUNNEL_TOKENS)?.keys() ?? [])].flatMap(tunnel => {
    const { hashes, connectors } = tunnelSecretsOf(snapshot, tunnel)
    const isMissed = (key: string) => missed.has(key) || missed.has(`tunnel-token:${tunnel}`)
    const end = <L extends Lives>(one: L, key: string): L =>
      isGood(one, now) && isMissed(key) ? { ...one, revokedAt: now } : one
    const after = {
      hashes: hashes.map(one => end(one, tokenKey(tunnel, one))),
      ...(connectors && { connectors: connectors.map(one => end(one, connectorKey(tunnel, one.id))) }),
    }
    const isSame =
      after.hashes.every((one, at) => one === hashes[at]) &&
      (connectors ?? []).every((one, at) => one === after.connectors?.[at])
    return isSame ? [] : [putTunnelSecrets(tunnel, after)]
  })
  return [...unvouched, ...ended]
}

function isOpen(row: Json | undefined): row is { readonly [member: string]: Json } {
  return typeof row === 'object' && row !== null && !Array.isArray(row) && !('revokedAt' in row)
}
