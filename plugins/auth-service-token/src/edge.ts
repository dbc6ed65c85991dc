import {
  type AuthVerifier,
  type Call,
  definePlugin,
  type EdgeHost,
  type Identity,
  PosternError,
} from '@postern/interface'
import { hashId, isServiceTokenId, verifySecret } from '@postern/tokens'
import { type Pair, readPair } from './headers.ts'
import { readRecord, type TokenRecord } from './record.ts'

/** Checks a service token's secret against its salted hash. */
export default definePlugin({
  kind: 'auth',
  side: 'edge',
  name: 'service-token',
  options: {},
  create: (_options, host): AuthVerifier => ({
    async verify(presented, call) {
      const pair = readPair(presented.headers)
      if (!pair) return undefined
      const proved = await proveSecret(pair, presented.remoteAddress, host, call)
      return { identity: identityOf(pair.id, proved) }
    },
  }),
})

interface Proved {
  readonly record: TokenRecord
  /** Whether it was the secret from before the last rotation. */
  readonly previous: TokenRecord['previous'] | undefined
}

/**
 * The secret is compared even where there were too many failures: who knows it is never locked out by who does not. An
 * unknown id costs the same work and gets the same answer as a wrong secret: two comparisons, whatever there is to compare.
 */
async function proveSecret(pair: Pair, address: string, host: EdgeHost, call: Call): Promise<Proved> {
  const value = isServiceTokenId(pair.id) ? await host.records.get(pair.id) : undefined
  call.signal.throwIfAborted()
  const record = readRecord(value)
  if (value !== undefined && !record) call.log.error('the record of a service token cannot be read', { id: pair.id })
  const isCurrent = verifySecret(pair.secret, record?.hash)
  const isPrevious = verifySecret(pair.secret, record?.previous?.hash)
  if (record && (isCurrent || isPrevious)) return { record, previous: isCurrent ? undefined : record.previous }
  if (!(await host.attempts.allow(address))) throw new PosternError('RATE_LIMITED', 'too many wrong service tokens')
  await host.attempts.failed(address)
  throw new PosternError('AUTH_REJECTED', 'the service token was not accepted')
}

function identityOf(id: string, { record, previous }: Proved): Identity {
  const { name, hash, revokedAt } = record
  const now = Date.now()
  if (revokedAt !== undefined && revokedAt <= now)
    throw new PosternError('TOKEN_REVOKED', 'the service token was revoked')
  const ends = [record.expiresAt, previous?.expiresAt].filter(time => time !== undefined)
  const expiresAt = ends.length > 0 ? Math.min(...ends) : undefined
  if (expiresAt !== undefined && expiresAt <= now)
    throw new PosternError('TOKEN_EXPIRED', 'the service token has expired')
  return {
    kind: 'service',
    issuer: 'postern:service-token',
    subject: id,
    claims: { name },
    ...(expiresAt !== undefined && { expiresAt }),
    revokeKeys: [`service-token:${id}`, `service-token:${id}:${hashId(previous?.hash ?? hash)}`],
  }
}
