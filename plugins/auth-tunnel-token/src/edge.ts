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
  create: (_options, host): AuthVerifier => ({
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
      return { identity: withConnector(identity, connectorOf(presented, parts.tunnelId, known.connectors, call)) }
    },
  }),
})

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
 * The daemon whose certificate it is. Who signed that was looked at when it was enrolled: here its key was proved, and it is one
 * of the tunnel's or none.
 *
 * @throws PosternError AUTH_REJECTED; TOKEN_REVOKED, TOKEN_EXPIRED: it was one
 */
function connectorOf(
  { peerCertificate, remoteAddress }: Presented,
  tunnel: string,
  connectors: readonly KnownConnector[],
  { log }: Call,
): KnownConnector {
  const fingerprint = peerCertificate && `sha256:${createHash('sha256').update(peerCertificate).digest('hex')}`
  const found = connectors.find(one => one.fingerprint === fingerprint)
  if (found === undefined) {
    // Whoever has the token and not the key may have stolen it: nobody else looks like this for long.
    log.warn('a good tunnel token came without the certificate of one of the tunnel’s daemons', {
      tunnel,
      remoteAddress,
      ...(fingerprint !== undefined && { fingerprint }),
    })
    throw new PosternError('AUTH_REJECTED', 'the tunnel’s daemons prove a certificate beside the token')
  }
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
