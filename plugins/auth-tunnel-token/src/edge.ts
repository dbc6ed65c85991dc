import { createHash } from 'node:crypto'
import {
  type AuthVerifier,
  type Call,
  definePlugin,
  type EdgeHost,
  type Identity,
  PosternError,
  type Presented,
} from '@postern/interface'
import { hashId, readTunnelToken, verifySecret } from '@postern/tokens'
import { TOKEN_HEADER } from './header.ts'
import { type KnownConnector, type KnownHash, type KnownTunnel, readRecord } from './record.ts'

/** Checks a daemon's token against the salted hashes of its tunnel, and its certificate against those that were enrolled. */
export default definePlugin({
  kind: 'auth',
  side: 'edge',
  name: 'tunnel-token',
  options: {},
  create: (_options, host): AuthVerifier => {
    const warned = new Map<string, number>()
    return {
      async verify(presented, call) {
        const token = readToken(presented)
        if (token === undefined) return undefined
        const parts = readTunnelToken(token)
        const known = parts && (await knownTunnel(parts.tunnelId, host, call))
        call.signal.throwIfAborted()
        const matches = matching(parts?.secret ?? token, known?.hashes)
        if (!parts || matches.length === 0) return await refuse(presented.remoteAddress, host)
        const identity = identityOf(parts.tunnelId, matches)
        if (known?.connectors === undefined) return { identity }
        const found = connectorOf(presented, matches, known.connectors)
        if (found !== undefined) return { identity: withConnector(identity, mustBeGood(found)) }
        warn(warned, parts.tunnelId, presented, call)
        throw new PosternError('AUTH_REJECTED', 'the tunnel’s daemons prove a certificate beside the token')
      },
    }
  },
})

/** Milliseconds between two warnings about one tunnel: whoever has a stolen token comes as often as they like. */
const WARN_EVERY = 60_000

/** From this header only: never from a query or a cookie, which end up in logs and histories. */
function readToken({ headers }: Presented): string | undefined {
  const values = Object.hasOwn(headers, TOKEN_HEADER) ? headers[TOKEN_HEADER] : undefined
  if (values && values.length > 1)
    throw new PosternError('BAD_USAGE', `${TOKEN_HEADER} was sent ${values.length} times`)
  return values?.[0]
}

async function knownTunnel(tunnelId: string, host: EdgeHost, call: Call): Promise<KnownTunnel | undefined> {
  const value = await host.records.get(tunnelId)
  const known = readRecord(value)
  if (value !== undefined && !known)
    call.log.error('the record of a tunnel’s tokens cannot be read', { tunnel: tunnelId })
  return known
}

/** Every hash is compared, whether one matched before or not; without any the work is that of one. */
function matching(secret: string, known: readonly KnownHash[] = []): KnownHash[] {
  if (known.length === 0) verifySecret(secret, undefined)
  return known.filter(({ hash }) => verifySecret(secret, hash))
}

/** After the comparison: who knows the secret is never locked out by who does not. */
async function refuse(address: string, host: EdgeHost): Promise<never> {
  if (!(await host.attempts.allow(address))) throw new PosternError('RATE_LIMITED', 'too many wrong tunnel tokens')
  await host.attempts.failed(address)
  throw new PosternError('AUTH_REJECTED', 'the tunnel token was not accepted')
}

function identityOf(tunnelId: string, matches: readonly KnownHash[]): Identity {
  const now = Date.now()
  const unrevoked = matches.filter(({ revokedAt }) => revokedAt === undefined || revokedAt > now)
  if (unrevoked.length === 0) throw new PosternError('TOKEN_REVOKED', 'the tunnel token was revoked')
  const good = unrevoked.find(({ expiresAt }) => expiresAt === undefined || expiresAt > now)
  if (!good) throw new PosternError('TOKEN_EXPIRED', 'the tunnel token has expired')
  return {
    kind: 'service',
    issuer: 'postern:tunnel-token',
    subject: tunnelId,
    claims: {},
    ...(good.expiresAt !== undefined && { expiresAt: good.expiresAt }),
    revokeKeys: [`tunnel-token:${tunnelId}`, `tunnel-token:${tunnelId}:${hashId(good.hash)}`],
  }
}

/**
 * The daemon whose certificate it is, where the token is not another one's. Who signed that was looked at when it was enrolled: here
 * its key was proved, and it is one of the tunnel's or none.
 */
function connectorOf(
  presented: Presented,
  matches: readonly KnownHash[],
  connectors: readonly KnownConnector[],
): KnownConnector | undefined {
  const fingerprint = fingerprintOf(presented)
  const found = connectors.find(one => one.fingerprint === fingerprint)
  return matches.some(({ connector = found?.id }) => connector === found?.id) ? found : undefined
}

function fingerprintOf({ peerCertificate }: Presented): string | undefined {
  return peerCertificate && `sha256:${createHash('sha256').update(peerCertificate).digest('hex')}`
}

/** Whoever has the token and not the key may have stolen it: nobody else looks like this for long. */
function warn(warned: Map<string, number>, tunnel: string, presented: Presented, { log }: Call): void {
  const now = Date.now()
  const last = warned.get(tunnel)
  if (last !== undefined && now - last >= 0 && now - last < WARN_EVERY) return
  warned.set(tunnel, now)
  const fingerprint = fingerprintOf(presented)
  log.warn('a good tunnel token came without the certificate of the daemon that it is for', {
    tunnel,
    remoteAddress: presented.remoteAddress,
    ...(fingerprint !== undefined && { fingerprint }),
  })
}

/** @throws PosternError TOKEN_REVOKED, TOKEN_EXPIRED: its time is over */
function mustBeGood(found: KnownConnector): KnownConnector {
  const now = Date.now()
  if (found.revokedAt !== undefined && found.revokedAt <= now)
    throw new PosternError('TOKEN_REVOKED', 'the daemon’s certificate was revoked')
  if (found.expiresAt <= now) throw new PosternError('TOKEN_EXPIRED', 'the daemon’s certificate has expired')
  return found
}

function withConnector(identity: Identity, { id, fingerprint, expiresAt, revokedAt }: KnownConnector): Identity {
  const ends = [identity.expiresAt, expiresAt, revokedAt].filter(one => one !== undefined)
  return {
    ...identity,
    claims: { connector: id, certificate: fingerprint },
    expiresAt: Math.min(...ends),
    revokeKeys: [...identity.revokeKeys, `connector:${identity.subject}:${id}`],
  }
}
