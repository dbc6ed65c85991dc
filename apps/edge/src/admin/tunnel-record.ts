import { type Json, PosternError } from '@postern/interface'
import type { Change, Snapshot } from '@postern/store'
import { hashId } from '@postern/tokens'
import { isGood, type Lives, TUNNEL_TOKENS, type TunnelHash } from './records.ts'

/** A daemon whose certificate was enrolled. */
export interface ConnectorRecord extends Lives {
  readonly id: string
  /** Of its certificate, `sha256:…`. */
  readonly fingerprint: string
  /** What its machine calls itself. */
  readonly host?: string
  readonly expiresAt: number
}

/** What the verifier of daemons knows of one tunnel. */
export interface TunnelSecrets {
  readonly hashes: readonly TunnelHash[]
  /** Where it is there, even empty, a token alone is not enough. */
  readonly connectors?: readonly ConnectorRecord[]
}

/** As many as the verifier looks at. */
const MOST_CONNECTORS = 64

export function tunnelSecretsOf(snapshot: Snapshot, tunnel: string): TunnelSecrets {
  const row = snapshot.records.get(TUNNEL_TOKENS)?.get(tunnel) as Partial<TunnelSecrets> | undefined
  return { ...row, hashes: row?.hashes ?? [] }
}

export function putTunnelSecrets(tunnel: string, secrets: TunnelSecrets): Change {
  return { put: 'record', namespace: TUNNEL_TOKENS, id: tunnel, value: secrets as unknown as Json }
}

/** Revoking it ends what this daemon opened. */
export function connectorKey(tunnel: string, id: string): string {
  return `connector:${tunnel}:${id}`
}

export function tokenKey(tunnel: string, { hash }: TunnelHash): string {
  return `tunnel-token:${tunnel}:${hashId(hash)}`
}

/**
 * One more; those that are good no longer are forgotten when there are too many.
 *
 * @throws PosternError LIMIT_EXCEEDED
 */
export function withConnector(
  connectors: readonly ConnectorRecord[],
  one: ConnectorRecord,
  now: number,
): readonly ConnectorRecord[] {
  const others = connectors.filter(({ id }) => id !== one.id)
  const kept = others.length < MOST_CONNECTORS ? others : others.filter(other => isGood(other, now))
  if (kept.length < MOST_CONNECTORS) return [...kept, one]
  throw new PosternError('LIMIT_EXCEEDED', `the tunnel has ${MOST_CONNECTORS} daemons with good certificates already`, {
    speaker: 'edge',
    next: 'Evict those that there are no longer: postern tunnel info shows them, postern tunnel evict ends one.',
  })
}

/**
 * A tunnel's secrets with one daemon's ended: at once, or at `at`, milliseconds since the epoch.
 *
 * @returns undefined where no such daemon was enrolled, or it has ended before
 */
export function withoutConnector(
  tunnel: string,
  { hashes, connectors = [] }: TunnelSecrets,
  id: string,
  now: number,
  at: number = now,
): { readonly secrets: TunnelSecrets; readonly changes: readonly Change[] } | undefined {
  const found = connectors.find(one => one.id === id)
  if (found === undefined || !isGood(found, now)) return undefined
  // What ends sooner already is not given more time.
  const endOf = ({ revokedAt = at }: Lives) => Math.min(revokedAt, at)
  const end = <L extends Lives>(one: L): L => ({ ...one, revokedAt: endOf(one) })
  const own = hashes.filter(one => one.connector === id && isGood(one, now))
  const secrets = {
    hashes: hashes.map(one => (own.includes(one) ? end(one) : one)),
    connectors: connectors.map(one => (one === found ? end(one) : one)),
  }
  const cut = (revoke: string, end: number): Change => (end > now ? { revoke, at: end } : { revoke })
  const changes = [
    cut(connectorKey(tunnel, id), endOf(found)),
    ...own.map(one => cut(tokenKey(tunnel, one), endOf(one))),
  ]
  return { secrets, changes }
}
