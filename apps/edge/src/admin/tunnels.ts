import { X509Certificate } from 'node:crypto'
import type { ShownTunnelToken, Tunnel } from '@postern/admin'
import { checkIdentity, keyFingerprint } from '@postern/connector'
import { type Json, PosternError } from '@postern/interface'
import type { ApplicationRecord, Change, Snapshot, TunnelRecord } from '@postern/store'
import { createTunnelToken, hashId, MOST_TUNNEL_TOKENS } from '@postern/tokens'
import { connectorsOf } from './connectors.ts'
import type { Handlers, Planned, Workings } from './handling.ts'
import {
  CONNECTOR_SETUPS,
  instantOf,
  isGood,
  livesOf,
  SIGNING_REQUESTS,
  TUNNEL_TOKENS,
  type TunnelHash,
  tunnelHashesOf,
} from './records.ts'
import { putTunnelSecrets, tunnelSecretsOf, withoutConnector } from './tunnel-record.ts'

export const TUNNELS: Handlers<
  | 'tunnel.list'
  | 'tunnel.create'
  | 'tunnel.get'
  | 'tunnel.delete'
  | 'tunnel-token.create'
  | 'tunnel-token.rotate'
  | 'tunnel-token.revoke'
  | 'connector.evict'
> = {
  'tunnel.list': ({ store: { snapshot }, ...edge }) => {
    const users = Map.groupBy(snapshot.applications.values(), ({ tunnelId }) => tunnelId)
    return [...snapshot.tunnels.values()].map(tunnel => shown(tunnel, users.get(tunnel.id) ?? [], snapshot, edge))
  },
  'tunnel.get': ({ store: { snapshot }, ...edge }, { params: { name } }) => shownOf(name, snapshot, edge),
  'tunnel.create': (handling, { body: { name, identity } }) =>
    handling.change((snapshot, now) => {
      if (identity !== undefined) checkIdentity(identity, now)
      if (snapshot.tunnels.has(name))
        throw new PosternError('ALREADY_EXISTS', `the tunnel ${name} exists already`, { speaker: 'edge' })
      const value = { ...newTunnel(name, now), ...(identity !== undefined && { identity }) }
      return {
        changes: [{ put: 'tunnel', value }],
        action: 'tunnel.create',
        detail: { tunnel: name },
        answer: after => shown(value, [], after, handling),
      }
    }),
  'tunnel.delete': (handling, { params: { name } }) =>
    handling.change(snapshot => {
      mustBeTunnel(snapshot, name)
      const users = usersOf(name, snapshot)
      if (users.length > 0) throw inUse(name, users)
      return {
        changes: removalOf(name, snapshot),
        action: 'tunnel.delete',
        detail: { tunnel: name },
        answer: () => undefined,
      }
    }),
  'tunnel-token.create': (handling, { params: { name }, body: { expiresInSeconds } }) =>
    handling.change((snapshot, now) => {
      mustBeTunnel(snapshot, name)
      const kept = tunnelHashesOf(snapshot, name)
      return withToken(snapshot, name, 'tunnel-token.create', room(kept, now), {
        createdAt: now,
        ...(expiresInSeconds !== undefined && { expiresAt: now + expiresInSeconds * 1000 }),
      })
    }),
  'tunnel-token.rotate': (handling, { params: { name }, body: { overlapSeconds } }) =>
    handling.change((snapshot, now) => {
      mustBeTunnel(snapshot, name)
      const until = now + overlapSeconds * 1000
      const before = tunnelHashesOf(snapshot, name).filter(one => isGood(one, now))
      const ending = room(overlapSeconds > 0 ? before : before.slice(1 - MOST_TUNNEL_TOKENS), now).map(one =>
        overlapSeconds > 0
          ? { ...one, expiresAt: Math.min(one.expiresAt ?? until, until) }
          : { ...one, revokedAt: now },
      )
      const cut = before.map((one): Change => {
        const revoke = `tunnel-token:${name}:${hashId(one.hash)}`
        return overlapSeconds > 0 ? { revoke, at: Math.min(one.expiresAt ?? until, until) } : { revoke }
      })
      return withToken(snapshot, name, 'tunnel-token.rotate', ending, { createdAt: now }, cut, { overlapSeconds })
    }),
  'tunnel-token.revoke': (handling, { params: { name, id } }) =>
    handling.change((snapshot, now) => {
      mustBeTunnel(snapshot, name)
      const hashes = tunnelHashesOf(snapshot, name)
      const found = hashes.find(({ hash }) => hashId(hash) === id)
      if (found === undefined) throw new PosternError('NOT_FOUND', 'no such token of this tunnel', { speaker: 'edge' })
      const revoked = hashes.map(one => (one === found ? { ...one, revokedAt: now } : one))
      const changes: Change[] = [recordOf(snapshot, name, revoked), { revoke: `tunnel-token:${name}:${id}` }]
      return {
        changes: found.revokedAt === undefined ? changes : [],
        action: 'tunnel-token.revoke',
        detail: { tunnel: name, token: id },
        answer: () => undefined,
      }
    }),
  'connector.evict': async (handling, { params: { name, id } }) => {
    await handling.change((snapshot, now) => {
      mustBeTunnel(snapshot, name)
      const runs = handling.routes.of(name).some(({ connectorId }) => connectorId === id)
      const ended = withoutConnector(name, tunnelSecretsOf(snapshot, name), id, now)
      if (!runs && ended === undefined) throw new PosternError('NOT_FOUND', 'no such daemon', { speaker: 'edge' })
      return {
        changes: ended === undefined ? [] : [putTunnelSecrets(name, ended.secrets), ...ended.changes],
        noted: true,
        action: 'connector.evict',
        detail: { tunnel: name, connector: id },
        answer: () => undefined,
      }
    })
    handling.routes.evict(name, id)
  },
}

export function newTunnel(name: string, now: number): TunnelRecord {
  return { id: name, name, createdAt: now }
}

/** Its tokens go with it: a later tunnel of the same name is another one. */
export function removalOf(name: string, { records }: Snapshot): readonly Change[] {
  const waiting = [CONNECTOR_SETUPS, SIGNING_REQUESTS].flatMap(namespace =>
    [...(records.get(namespace) ?? [])]
      .filter(([, row]) => (row as { readonly tunnel?: Json }).tunnel === name)
      .map(([id]): Change => ({ delete: 'record', namespace, id })),
  )
  return [
    { delete: 'tunnel', id: name },
    { delete: 'record', namespace: TUNNEL_TOKENS, id: name },
    ...waiting,
    { revoke: `tunnel-token:${name}` },
  ]
}

export function inUse(name: string, users: readonly { readonly hostname: string }[]): PosternError {
  const some = users.slice(0, 5).map(({ hostname }) => hostname)
  const more = users.length > some.length ? ` and ${users.length - some.length} more` : ''
  return new PosternError('CONFLICT', `the tunnel ${name} is used by ${some.join(', ')}${more}`, {
    speaker: 'edge',
    next: 'Move these applications to another tunnel, or delete them, first.',
  })
}

/** @throws PosternError NOT_FOUND */
export function mustBeTunnel(snapshot: Snapshot, name: string): TunnelRecord {
  const found = snapshot.tunnels.get(name)
  if (found === undefined) throw new PosternError('NOT_FOUND', `no tunnel ${name}`, { speaker: 'edge' })
  return found
}

function withToken(
  snapshot: Snapshot,
  name: string,
  action: string,
  others: readonly TunnelHash[],
  lives: Omit<TunnelHash, 'hash'>,
  cut: readonly Change[] = [],
  detail: { readonly [key: string]: Json } = {},
): Planned<ShownTunnelToken> {
  const { token, hash } = createTunnelToken(name)
  const id = hashId(hash)
  return {
    changes: [recordOf(snapshot, name, [...others, { hash, ...lives }]), ...cut],
    action,
    detail: { tunnel: name, token: id, ...detail },
    answer: () => ({ tunnel: name, id, token }),
  }
}

/**
 * Those that stay beside one more: the ones that are good no longer are forgotten when there are too many.
 *
 * @throws PosternError LIMIT_EXCEEDED
 */
export function room(hashes: readonly TunnelHash[], now: number): readonly TunnelHash[] {
  const kept = hashes.length < MOST_TUNNEL_TOKENS ? hashes : hashes.filter(one => isGood(one, now))
  if (kept.length < MOST_TUNNEL_TOKENS) return kept
  throw new PosternError('LIMIT_EXCEEDED', `the tunnel has ${MOST_TUNNEL_TOKENS} good tokens already`, {
    speaker: 'edge',
    next: 'Revoke the tunnel’s tokens, then make the ones that are needed.',
  })
}

function recordOf(snapshot: Snapshot, name: string, hashes: readonly TunnelHash[]): Change {
  return putTunnelSecrets(name, { ...tunnelSecretsOf(snapshot, name), hashes })
}

function usersOf(name: string, snapshot: Snapshot): readonly ApplicationRecord[] {
  return [...snapshot.applications.values()].filter(({ tunnelId }) => tunnelId === name)
}

/** @throws PosternError NOT_FOUND */
export function shownOf(name: string, snapshot: Snapshot, edge: Pick<Workings, 'routes'>): Tunnel {
  return shown(mustBeTunnel(snapshot, name), usersOf(name, snapshot), snapshot, edge)
}

function shown(
  { id, name, createdAt, identity }: TunnelRecord,
  users: readonly ApplicationRecord[],
  snapshot: Snapshot,
  { routes }: Pick<Workings, 'routes'>,
): Tunnel {
  const { hashes, connectors } = tunnelSecretsOf(snapshot, id)
  return {
    name,
    ...(createdAt !== undefined && livesOf({ createdAt })),
    online: routes.isOnline(id),
    connectors: connectorsOf(routes, id),
    ...(identity !== undefined && {
      identity: { fingerprint: keyFingerprint(new X509Certificate(identity).publicKey), certificate: identity },
    }),
    needsCertificate: connectors !== undefined,
    enrolled: (connectors ?? []).map(({ id, fingerprint, host, expiresAt, ...one }) => ({
      id,
      fingerprint,
      ...(host !== undefined && { host }),
      ...livesOf(one),
      expiresAt: instantOf(expiresAt),
    })),
    applications: users.map(({ hostname }) => hostname),
    tokens: hashes.map(one => ({ id: hashId(one.hash), ...livesOf(one) })),
  }
}
