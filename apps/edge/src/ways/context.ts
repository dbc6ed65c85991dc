import {
  type Code,
  type Json,
  type Logger,
  PosternError,
  type Problem,
  problem,
  type Speaker,
} from '@postern/interface'
import type { AuditEntry, Store } from '@postern/store'
import type { Memory, Shares, Tunnel, Whose } from '@postern/tunnel'
import { type AccessAdmission, type Admission, type Authorizer, actorOf } from '../authorize/authorize.ts'
import { countedAddress } from '../front/address.ts'
import type { GrantKeys } from '../keys/grant-keys.ts'
import type { Seal } from '../keys/seal.ts'
import type { TeamKeys } from '../keys/team-keys.ts'
import type { Live } from '../live.ts'
import type { Origins } from '../origins.ts'
import type { Routes } from '../routes/routes.ts'
import type { Sessions } from '../sign-in/sessions.ts'
import type { Hops } from './hops.ts'
import type { Joins } from './joins.ts'

/** What every way in works with. */
export interface WayContext {
  readonly store: Store
  readonly authorizer: Authorizer
  readonly routes: Routes
  readonly shares: Shares
  readonly memory: Memory
  readonly live: Live
  readonly origins: Origins
  /** Who is signed in. */
  readonly sessions: Sessions
  /** What the team signs with. */
  readonly keys: TeamKeys
  /** What grants are signed with. */
  readonly grants: GrantKeys
  /** For what the store keeps and must be read again. */
  readonly seal: Seal
  /** Clients' tunnels now. */
  readonly tunnels: Set<Tunnel>
  /** Clients that are, or are about to be, joined to a daemon. */
  readonly joins: Joins
  /** Whose streams are carried to a daemon. */
  readonly hops: Hops
  /** Transports by which daemons may come for clients with a ticket alone. */
  readonly legs: readonly string[]
  /** Connections of visitors now, each until both directions are done. */
  readonly carried: Set<Promise<unknown>>
  readonly teamDomain: string
  readonly log: Logger
  /** Whether the edge is about to stop: what is open may finish, nobody new comes in. */
  readonly draining: () => boolean
  /** Aborted when the edge stops at once. */
  readonly signal: AbortSignal
}

/** An error as the refusal to send. What is not ours keeps its words to itself. */
export function refusalOf(error: unknown, requestId: string): Problem {
  if (!PosternError.is(error)) return problem('INTERNAL', requestId, { speaker: 'edge' })
  const speaker = error.speaker ?? 'edge'
  return problem(error.code, requestId, { speaker, detail: error.message, next: error.next })
}

/**
 * Whose word a reason is: either end may have told one of its choice. Why access ended is the edge's own word, and there is more
 * than one reason.
 */
export function saidBy(error: unknown): { readonly said?: Speaker; readonly why?: string } {
  if (!PosternError.is(error) || error.speaker === undefined) return {}
  const { speaker, code, message } = error
  return { said: speaker, ...(speaker === 'edge' && code === 'ACCESS_ENDED' && { why: message }) }
}

/** In whose share of a tunnel it counts: a visitor's, else an address's. */
export function whoseOf({
  identities,
  remoteAddress,
  application,
}: Pick<AccessAdmission, 'identities' | 'remoteAddress' | 'application'>): Whose {
  const visitor = actorOf(identities) ?? countedAddress(remoteAddress)
  return { visitor: `${application.tunnelId} ${visitor}`, application: application.id }
}

/** A row about something an admission led to. @returns whether the audit log takes it */
export function note(
  store: Store,
  admission: Admission,
  entry: Pick<AuditEntry, 'action' | 'allowed' | 'code' | 'detail'>,
): boolean {
  const { hostname, requestId, remoteAddress, identities } = admission
  return store.audit({ at: Date.now(), hostname, requestId, remoteAddress, actor: actorOf(identities), ...entry })
}

/** A row about a stream that was refused, unless the visitor has had too many of them. */
export function noteRefused(
  { store, authorizer }: WayContext,
  admission: Admission,
  code: Code,
  error?: unknown,
  more: { readonly [key: string]: Json } = {},
): void {
  if (!authorizer.isNoted(`stream\0${actorOf(admission.identities)}`)) return
  note(store, admission, { action: 'stream.refused', allowed: false, code, detail: { ...saidBy(error), ...more } })
}
