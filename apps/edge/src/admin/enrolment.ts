import type { ShownConnector } from '@postern/admin'
import { checkAuthority, checkChain, checkConnector, checkIdentity } from '@postern/connector'
import { PosternError } from '@postern/interface'
import type { Change, Snapshot } from '@postern/store'
import { createConnectorSetup, createTunnelToken, hashId } from '@postern/tokens'
import type { Handlers, Planned, Workings } from './handling.ts'
import { CONNECTOR_SETUPS, instantOf, isGood, type Lives, rowsOf, type TunnelHash } from './records.ts'
import {
  type ConnectorRecord,
  putTunnelSecrets,
  type TunnelSecrets,
  tokenKey,
  tunnelSecretsOf,
  withConnector,
  withoutConnector,
} from './tunnel-record.ts'
import { mustBeTunnel, room } from './tunnels.ts'

/** A setup token of one daemon: good once. */
export interface ConnectorSetup extends Lives {
  readonly tunnel: string
  readonly hash: string
  readonly expiresAt: number
  /** PEM of the certificate that signs the daemon's: it is for one connector. */
  readonly authority: string
}

export function connectorSetupsOf(snapshot: Snapshot): ReadonlyMap<string, ConnectorSetup> {
  return rowsOf(
    snapshot,
    CONNECTOR_SETUPS,
    row => typeof row.hash === 'string' && typeof row.expiresAt === 'number' && typeof row.tunnel === 'string',
  )
}

export const ENROLMENT: Handlers<
  'connector.enrol' | 'connector.retire' | 'connector-setup.create' | 'connector-setup.use'
> = {
  'connector.enrol': (handling, { params: { name }, body: { certificate, host } }) =>
    handling.change((snapshot, now) => {
      const issuer = identityOf(snapshot, name, now)
      const { id, fingerprint, expiresAt } = checked(() => checkConnector(certificate, issuer, name, now))
      const known = { id, fingerprint, expiresAt, ...(host && { host }) }
      return { ...enrol(name, tunnelSecretsOf(snapshot, name), known, handling, now), action: 'connector.enrol' }
    }),
  'connector.retire': (handling, { params: { name, id }, body: { overlapSeconds } }) =>
    handling.change((snapshot, now) => {
      mustBeTunnel(snapshot, name)
      const at = now + overlapSeconds * 1000
      const ended = withoutConnector(name, tunnelSecretsOf(snapshot, name), id, now, at)
      if (ended === undefined) throw new PosternError('NOT_FOUND', 'no such daemon', { speaker: 'edge' })
      return {
        changes: [putTunnelSecrets(name, ended.secrets), ...ended.changes],
        action: 'connector.retire',
        detail: { tunnel: name, connector: id, overlapSeconds },
        answer: () => undefined,
      }
    }),
  'connector-setup.create': (handling, { params: { name }, body: { authority, expiresInSeconds } }) =>
    handling.change((snapshot, now) => {
      const issuer = identityOf(snapshot, name, now)
      const { connector } = checked(() => checkAuthority(authority, issuer, name, now))
      const expiresAt = now + expiresInSeconds * 1000
      const { id, token, hash } = createConnectorSetup()
      const value = { tunnel: name, hash, authority, createdAt: now, expiresAt }
      return {
        changes: [...forgetOld(snapshot, now), { put: 'record', namespace: CONNECTOR_SETUPS, id, value }],
        action: 'connector-setup.create',
        detail: { tunnel: name, id, connector, expiresAt: instantOf(expiresAt) },
        answer: () => ({ tunnel: name, id, token, expiresAt: instantOf(expiresAt) }),
      }
    }),
  'connector-setup.use': (handling, { body: { certificate, host } }) =>
    handling.change((snapshot, now) => {
      const { id, setup } = setupOf(handling.caller, snapshot)
      const { tunnel } = setup
      // The tunnel may have another identity meanwhile.
      const issuer = identityOf(snapshot, tunnel, now)
      const found = checked(() => checkChain({ certificate, authority: setup.authority }, issuer, tunnel, now))
      const { id: connector, fingerprint, expiresAt } = found
      const known = { id: connector, fingerprint, expiresAt, ...(host && { host }) }
      const enrolled = enrol(tunnel, tunnelSecretsOf(snapshot, tunnel), known, handling, now)
      const used = { ...setup, revokedAt: now }
      const changes: Change[] = [...enrolled.changes, { put: 'record', namespace: CONNECTOR_SETUPS, id, value: used }]
      return { ...enrolled, changes, action: 'connector-setup.use' }
    }),
}

/** @throws PosternError CONFLICT: it has none; NOT_FOUND */
export function identityOf(snapshot: Snapshot, name: string, now: number) {
  const { identity } = mustBeTunnel(snapshot, name)
  if (identity === undefined)
    throw new PosternError('CONFLICT', `the tunnel ${name} has no identity that could vouch for a daemon`, {
      speaker: 'edge',
      next: `Make it on a machine of yours: postern tunnel rotate ${name}`,
    })
  return checked(() => checkIdentity(identity, now))
}

/** What is wrong with a certificate is for its sender to hear, and from the edge. */
export function checked<T>(work: () => T): T {
  try {
    return work()
  } catch (thrown) {
    const { code, message } = PosternError.from(thrown)
    throw new PosternError(code, message, { speaker: 'edge' })
  }
}

/** A daemon's certificate with a token of its own. Whoever came with a token alone until now is cut off by the first. */
function enrol(
  tunnel: string,
  { hashes, connectors }: TunnelSecrets,
  known: Omit<ConnectorRecord, 'createdAt'>,
  { grants }: Pick<Workings, 'grants'>,
  now: number,
): Omit<Planned<ShownConnector>, 'action'> {
  const taken = connectors?.some(({ id, fingerprint }) => id === known.id || fingerprint === known.fingerprint)
  if (taken)
    throw new PosternError('ALREADY_EXISTS', `the connector ${known.id} is enrolled already`, {
      speaker: 'edge',
      next: 'Make another key and another id for it: posternd login does.',
    })
  const { token, hash } = createTunnelToken(tunnel)
  const made: TunnelHash = { hash, createdAt: now, connector: known.id }
  const alone = connectors === undefined ? hashes.filter(one => isGood(one, now)) : []
  const secrets = {
    hashes: [...room(hashes, now), made],
    connectors: withConnector(connectors ?? [], { ...known, createdAt: now }, now),
  }
  const { id, fingerprint, host } = known
  const tokenId = hashId(hash)
  const expiresAt = instantOf(known.expiresAt)
  return {
    changes: [putTunnelSecrets(tunnel, secrets), ...alone.map(one => ({ revoke: tokenKey(tunnel, one) }))],
    detail: { tunnel, connector: id, fingerprint, expiresAt, token: tokenId, ...(host && { host }) },
    answer: () => ({
      tunnel,
      id,
      fingerprint,
      expiresAt,
      tokenId,
      token,
      grantKeys: { keys: [...grants.jwks().keys] },
    }),
  }
}

/** The one that the caller holds. What is wrong with it was said when it was presented, or is said now. */
function setupOf(caller: { readonly kind: string; readonly id?: string }, snapshot: Snapshot) {
  const id = caller.kind === 'connector-setup' ? (caller.id ?? '') : ''
  const setup = connectorSetupsOf(snapshot).get(id)
  if (setup === undefined) throw new PosternError('AUTH_REJECTED', 'the token was not accepted', { speaker: 'edge' })
  return { id, setup }
}

/** Those that nobody can use any more, and that nobody needs to be told of. */
function forgetOld(snapshot: Snapshot, now: number): readonly Change[] {
  const old = [...connectorSetupsOf(snapshot)].filter(([, { expiresAt }]) => expiresAt + REMEMBERED <= now)
  return old.map(([id]) => ({ delete: 'record', namespace: CONNECTOR_SETUPS, id }))
}

/** Milliseconds that a setup token is told to have expired, rather than to be none. */
const REMEMBERED = 7 * 86_400_000
