import { checkIdentity, keyFingerprint } from '@postern/connector'
import { PosternError } from '@postern/interface'
import type { Change, TunnelRecord } from '@postern/store'
import { checked } from './enrolment.ts'
import type { Handlers } from './handling.ts'
import { isGood } from './records.ts'
import { putTunnelSecrets, tunnelSecretsOf } from './tunnel-record.ts'
import { mustBeTunnel, shownOf } from './tunnels.ts'

export const IDENTITIES: Handlers<'tunnel-identity.put'> = {
  'tunnel-identity.put': (handling, { params: { name }, body: { certificate, replace } }) =>
    handling.change((snapshot, now) => {
      const before = mustBeTunnel(snapshot, name)
      const fingerprint = keyFingerprint(checked(() => checkIdentity(certificate, now)).publicKey)
      if (before.identity !== undefined && !replace)
        throw new PosternError('CONFLICT', `the tunnel ${name} has an identity already`, {
          speaker: 'edge',
          next: `Replace it, which cuts all of its daemons off: postern tunnel rotate ${name}`,
        })
      const value: TunnelRecord = { ...before, identity: certificate }
      const ended = replace ? endOfAll(name, tunnelSecretsOf(snapshot, name), now) : []
      return {
        changes: [{ put: 'tunnel', value }, ...ended],
        action: 'tunnel-identity.put',
        detail: { tunnel: name, fingerprint, replaces: before.identity !== undefined },
        answer: after => shownOf(name, after, handling),
      }
    }),
}

/** Whatever lets a daemon in: what vouched for it does so no longer. */
function endOfAll(
  tunnel: string,
  { hashes, connectors }: ReturnType<typeof tunnelSecretsOf>,
  now: number,
): readonly Change[] {
  const end = <L extends { readonly revokedAt?: number }>(one: L) =>
    isGood(one, now) ? { ...one, revokedAt: now } : one
  const secrets = { hashes: hashes.map(end), ...(connectors && { connectors: connectors.map(end) }) }
  return [putTunnelSecrets(tunnel, secrets), { revoke: `tunnel-token:${tunnel}` }]
}
