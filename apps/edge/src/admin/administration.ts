import { randomUUID } from 'node:crypto'
import { type Json, PosternError } from '@postern/interface'
import { checkRules, type Rule } from '@postern/policy'
import type { ApplicationRecord, Change, Store } from '@postern/store'
import {
  createServiceToken,
  createTunnelToken,
  isServiceTokenId,
  isTunnelId,
  MOST_TUNNEL_TOKENS,
} from '@postern/tokens'
import { isHostname } from '../front/hostname.ts'

export interface NewApplication {
  readonly hostname: string
  readonly tunnelId: string
  readonly protocols?: readonly string[]
  readonly rules: readonly Rule[]
}

/** A secret that is shown once. */
export interface ShownToken {
  readonly id: string
  readonly secret: string
}

const SERVICE_TOKENS = 'service-token'
const TUNNEL_TOKENS = 'tunnel-token'
const PROTOCOL = /^[a-z0-9][a-z0-9-]{0,31}$/

/**
 * What an administrator may do, for whoever runs in the edge's own process. Each step is one durable change with its audit
 * row; what it takes away is cut at once.
 */
export class Administration {
  readonly #store: Store
  readonly #teamDomain: string
  readonly #actor: string

  /** @param actor who does it, for the audit log */
  constructor(store: Store, teamDomain: string, actor: string) {
    this.#store = store
    this.#teamDomain = teamDomain
    this.#actor = actor
  }

  /** @throws PosternError BAD_USAGE; ALREADY_EXISTS */
  async addTunnel(id: string): Promise<void> {
    if (this.#store.snapshot.tunnels.has(id))
      throw new PosternError('ALREADY_EXISTS', `the tunnel ${id} exists already`)
    await this.#apply([tunnelOf(id)], 'tunnel.add', { tunnel: id })
  }

  /** @throws PosternError HOSTNAME_INVALID; BAD_USAGE: rules that cannot be, or no such tunnel; ALREADY_EXISTS */
  async addApplication(wanted: NewApplication): Promise<ApplicationRecord> {
    const value = applicationOf(wanted, this.#teamDomain)
    const { hostname, tunnelId } = value
    await this.#apply([{ put: 'application', value }], 'application.add', { hostname, tunnel: tunnelId })
    return value
  }

  /** Replaces an application's rules. @throws PosternError NOT_FOUND, BAD_USAGE */
  async setRules(hostname: string, rules: readonly Rule[]): Promise<void> {
    const before = this.#application(hostname)
    mustBeRules(rules)
    await this.#apply([{ put: 'application', value: { ...before, rules } }], 'application.rules', { hostname })
  }

  /** @throws PosternError NOT_FOUND */
  async removeApplication(hostname: string): Promise<void> {
    await this.#apply([{ delete: 'application', id: this.#application(hostname).id }], 'application.remove', {
      hostname,
    })
  }

  /**
   * @param name for people, 1–64 characters
   * @param expiresAt milliseconds since the epoch
   */
  async createServiceToken(name: string, expiresAt?: number): Promise<ShownToken> {
    const { change, shown } = serviceTokenOf(name, expiresAt)
    await this.#apply([change], 'service-token.create', { id: shown.id, name })
    return shown
  }

  /** Its open streams are cut. @throws PosternError NOT_FOUND */
  async revokeServiceToken(id: string): Promise<void> {
    const found = isServiceTokenId(id) ? this.#record(SERVICE_TOKENS, id) : undefined
    if (found === undefined) throw new PosternError('NOT_FOUND', 'no such service token')
    const value = { ...found, revokedAt: Date.now() }
    await this.#apply(
      [{ put: 'record', namespace: SERVICE_TOKENS, id, value }, { revoke: `service-token:${id}` }],
      'service-token.revoke',
      { id },
    )
  }

  /**
   * A further token of a tunnel; earlier ones stay good. Revoked ones are forgotten when there are too many.
   *
   * @throws PosternError NOT_FOUND; LIMIT_EXCEEDED past sixteen that are good
   */
  async createTunnelToken(tunnelId: string): Promise<string> {
    if (!this.#store.snapshot.tunnels.has(tunnelId)) throw new PosternError('NOT_FOUND', 'no such tunnel')
    const { token, hash } = createTunnelToken(tunnelId)
    const known = this.#tunnelHashes(tunnelId)
    const kept = known.length < MOST_TUNNEL_TOKENS ? known : known.filter(one => one.revokedAt === undefined)
    if (kept.length >= MOST_TUNNEL_TOKENS) {
      const next = 'Revoke the tunnel’s tokens, then make the ones that are needed.'
      throw new PosternError('LIMIT_EXCEEDED', `the tunnel has ${MOST_TUNNEL_TOKENS} good tokens already`, { next })
    }
    const value = { hashes: [...kept, { hash }] }
    await this.#apply([{ put: 'record', namespace: TUNNEL_TOKENS, id: tunnelId, value }], 'tunnel-token.create', {
      tunnel: tunnelId,
    })
    return token
  }

  /** All tokens of a tunnel: its daemons are cut. @throws PosternError NOT_FOUND */
  async revokeTunnelTokens(tunnelId: string): Promise<void> {
    if (!this.#store.snapshot.tunnels.has(tunnelId)) throw new PosternError('NOT_FOUND', 'no such tunnel')
    const revokedAt = Date.now()
    const value = { hashes: this.#tunnelHashes(tunnelId).map(one => ({ revokedAt, ...one })) }
    await this.#apply(
      [{ put: 'record', namespace: TUNNEL_TOKENS, id: tunnelId, value }, { revoke: `tunnel-token:${tunnelId}` }],
      'tunnel-token.revoke',
      { tunnel: tunnelId },
    )
  }

  #application(hostname: string): ApplicationRecord {
    const found = this.#store.snapshot.applications.get(hostname)
    if (found === undefined) throw new PosternError('NOT_FOUND', 'no such application')
    return found
  }

  #record(namespace: string, id: string): { readonly [key: string]: Json } | undefined {
    const found = this.#store.snapshot.records.get(namespace)?.get(id)
    return found as { readonly [key: string]: Json } | undefined
  }

  #tunnelHashes(tunnelId: string): readonly { readonly [key: string]: Json }[] {
    return (this.#record(TUNNEL_TOKENS, tunnelId)?.hashes ?? []) as readonly { readonly [key: string]: Json }[]
  }

  #apply(changes: readonly Change[], action: string, detail: Json): Promise<void> {
    return this.#store.apply(changes, { action, actor: this.#actor, detail })
  }
}

export interface Seed {
  readonly hostname: string
  readonly tunnel: string
  readonly teamDomain: string
  readonly protocols?: readonly string[]
}

/** One application, its tunnel, a token for each side and the rule that lets the service token in: one change. */
export async function seed(store: Store, wanted: Seed): Promise<{ tunnelToken: string; serviceToken: ShownToken }> {
  const { hostname, tunnel, teamDomain, protocols = ['ssh', 'tcp'] } = wanted
  if (!isHostname(teamDomain)) throw new PosternError('HOSTNAME_INVALID', 'the team domain is not a hostname')
  const { change, shown } = serviceTokenOf('first token', undefined)
  const rules: Rule[] = [{ name: 'the first token', action: 'allow', include: [{ serviceToken: shown.id }] }]
  const first = tunnelOf(tunnel)
  const { token, hash } = createTunnelToken(tunnel)
  const application = applicationOf({ hostname, tunnelId: tunnel, protocols, rules }, teamDomain)
  await store.apply(
    [
      { put: 'setting', key: 'teamDomain', value: teamDomain },
      first,
      { put: 'application', value: application },
      { put: 'record', namespace: TUNNEL_TOKENS, id: tunnel, value: { hashes: [{ hash }] } },
      change,
    ],
    { action: 'edge.init', actor: 'local', detail: { hostname, tunnel, teamDomain, serviceToken: shown.id } },
  )
  return { tunnelToken: token, serviceToken: shown }
}

function serviceTokenOf(name: string, expiresAt: number | undefined): { change: Change; shown: ShownToken } {
  if (name === '' || name.length > 64) throw new PosternError('BAD_USAGE', 'a token’s name has 1–64 characters')
  const { id, secret, hash } = createServiceToken()
  const value = { name, hash, ...(expiresAt !== undefined && { expiresAt }) }
  return { change: { put: 'record', namespace: SERVICE_TOKENS, id, value }, shown: { id, secret } }
}

function tunnelOf(id: string): Change {
  if (!isTunnelId(id))
    throw new PosternError('BAD_USAGE', 'a tunnel’s name is 1–63 lower-case letters, digits and hyphens')
  return { put: 'tunnel', value: { id, name: id } }
}

function applicationOf(
  { hostname, tunnelId, protocols = ['tcp'], rules }: NewApplication,
  teamDomain: string,
): ApplicationRecord {
  if (!isHostname(hostname))
    throw new PosternError('HOSTNAME_INVALID', `${JSON.stringify(hostname.slice(0, 253))} is not a hostname`)
  if (hostname === teamDomain) throw new PosternError('BAD_USAGE', 'the team domain cannot be an application')
  const odd = protocols.find(name => !PROTOCOL.test(name))
  if (odd !== undefined || protocols.length > 16)
    throw new PosternError('BAD_USAGE', 'a protocol’s name is lower-case letters, digits and hyphens')
  mustBeRules(rules)
  return { id: randomUUID(), hostname, tunnelId, protocols, rules }
}

function mustBeRules(rules: readonly Rule[]): void {
  const [wrong] = checkRules(rules)
  if (wrong !== undefined) throw new PosternError('BAD_USAGE', wrong)
}
