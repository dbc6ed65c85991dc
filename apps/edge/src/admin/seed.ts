import { PosternError } from '@postern/interface'
import type { Store } from '@postern/store'
import { createTunnelToken } from '@postern/tokens'
import { isHostname } from '../front/hostname.ts'
import { newApplication } from './applications.ts'
import { TUNNEL_TOKENS } from './records.ts'
import { newServiceToken, tokenChange } from './service-tokens.ts'
import { newTunnel } from './tunnels.ts'

/** The first application of a new edge. */
export interface Seed {
  readonly hostname: string
  readonly tunnel: string
  readonly teamDomain: string
  readonly protocols?: readonly string[]
}

/** A secret that is shown once. */
export interface ShownToken {
  readonly id: string
  readonly secret: string
}

/** An edge without applications. @throws PosternError HOSTNAME_INVALID */
export async function seedEmpty(store: Store, teamDomain: string): Promise<void> {
  const note = { action: 'edge.init', actor: 'local', detail: { teamDomain } }
  await store.apply([{ put: 'setting', key: 'teamDomain', value: mustBeHostname(teamDomain) }], note)
}

/** One application, its tunnel, a token for each side and the rule that lets the service token in: one change. */
export async function seed(store: Store, wanted: Seed): Promise<{ tunnelToken: string; serviceToken: ShownToken }> {
  const { hostname, tunnel, teamDomain, protocols = ['ssh', 'tcp'] } = wanted
  mustBeHostname(teamDomain)
  const now = Date.now()
  const { id, secret, record } = newServiceToken('first token', {}, now)
  const value = newTunnel(tunnel, now)
  const rules = [{ name: 'the first token', action: 'allow' as const, include: [{ serviceToken: id }] }]
  const application = newApplication(
    { hostname, tunnel, protocols: [...protocols], rules },
    teamDomain,
    { findToken: named => named, findAuthority: () => undefined, groups: {}, protocols: new Map() },
    now,
  )
  const { token, hash } = createTunnelToken(tunnel)
  await store.apply(
    [
      { put: 'setting', key: 'teamDomain', value: teamDomain },
      { put: 'tunnel', value },
      { put: 'application', value: application },
      { put: 'record', namespace: TUNNEL_TOKENS, id: tunnel, value: { hashes: [{ hash, createdAt: now }] } },
      tokenChange(id, record),
    ],
    { action: 'edge.init', actor: 'local', detail: { hostname, tunnel, teamDomain, serviceToken: id } },
  )
  return { tunnelToken: token, serviceToken: { id, secret } }
}

function mustBeHostname(teamDomain: string): string {
  if (isHostname(teamDomain)) return teamDomain
  throw new PosternError('HOSTNAME_INVALID', 'the team domain is not a hostname')
}
