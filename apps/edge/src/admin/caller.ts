import type { Route } from '@postern/admin'
import { type Identity, PosternError } from '@postern/interface'
import type { Snapshot } from '@postern/store'
import { readAdminToken, readConnectorSetup, readSetupToken, verifySecret } from '@postern/tokens'
import { ADMINISTRATION_TYP } from '../authorization-server/words.ts'
import type { TeamKeys } from '../keys/team-keys.ts'
import { sessionOf } from '../sign-in/session-record.ts'
import type { Sessions } from '../sign-in/sessions.ts'
import { isAdministrator } from './administrators.ts'
import { connectorSetupsOf } from './enrolment.ts'
import { adminTokensOf, isAdministered, setupTokensOf } from './records.ts'

/** Who asks, once that is proved. `local`: whoever opened the edge's Unix socket, or runs in its process. */
export type Caller =
  | { readonly kind: 'local' }
  | { readonly kind: 'admin-token'; readonly id: string }
  | { readonly kind: 'setup-token'; readonly id: string }
  /** Who sets a daemon up, with the token of a file that somebody brought there. */
  | { readonly kind: 'connector-setup'; readonly id: string }
  /** Somebody signed in with a browser; the id is that session’s. */
  | { readonly kind: 'person'; readonly id: string; readonly identity: Identity }

export const LOCAL: Caller = { kind: 'local' }

/** What a caller may do as things are now. */
export interface Standing {
  /** For the audit log. */
  readonly actor: string
  readonly role: Route['role']
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number
}

/**
 * Finds out whose a bearer token is. Costs the same work whether or not its id is known.
 *
 * @throws PosternError AUTH_REJECTED; with the right secret TOKEN_EXPIRED, TOKEN_REVOKED
 */
export function identify(bearer: string, snapshot: Snapshot, now: number): Caller {
  const admin = readAdminToken(bearer)
  const setup = readSetupToken(bearer)
  const connector = readConnectorSetup(bearer)
  const { id, secret } = admin ?? setup ?? connector ?? { id: '', secret: bearer }
  const rows = [adminTokensOf(snapshot), setupTokensOf(snapshot), connectorSetupsOf(snapshot)]
  if (
    !verifySecret(
      secret,
      rows.map(kind => kind.get(id)?.hash).find(hash => hash !== undefined),
    )
  )
    throw rejected()
  const caller: Caller = { kind: admin ? 'admin-token' : setup ? 'setup-token' : 'connector-setup', id }
  standingOf(caller, snapshot, now)
  return caller
}

/** A compact JWS: no other token here has dots in it. */
export function isSignedToken(bearer: string): boolean {
  return bearer.includes('.')
}

/**
 * Whose sign-in a signed token is of, which the authorization server gave a program that a person lets administer.
 *
 * @throws PosternError AUTH_REJECTED, TOKEN_EXPIRED; LOGIN_REQUIRED: the session has ended; ACCESS_DENIED
 */
export async function identifyPerson(
  bearer: string,
  { keys, people, audience, snapshot, now }: PersonParts,
): Promise<Caller> {
  const { claims } = await keys.verify(bearer, { typ: ADMINISTRATION_TYP, audience })
  const session = typeof claims.sid === 'string' ? people.get(claims.sid) : undefined
  if (session?.for !== 'administration' || session.person.subject !== claims.sub) throw ended()
  const caller: Caller = { kind: 'person', id: session.id, identity: people.identityOf(session) }
  standingOf(caller, snapshot, now)
  return caller
}

export interface PersonParts {
  readonly keys: Pick<TeamKeys, 'verify'>
  readonly people: Pick<Sessions, 'get' | 'identityOf'>
  /** Origin of the team domain. */
  readonly audience: string
  readonly snapshot: Snapshot
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * @throws PosternError AUTH_REJECTED, TOKEN_EXPIRED, TOKEN_REVOKED; of people LOGIN_REQUIRED, ACCESS_DENIED: it may have ended
 *   since it was proved
 */
export function standingOf(caller: Caller, snapshot: Snapshot, now: number): Standing {
  if (caller.kind === 'local') return { actor: 'local', role: 'admin' }
  if (caller.kind === 'person') return standingOfPerson(caller.id, caller.identity, snapshot, now)
  if (caller.kind === 'setup-token') {
    const found = setupTokensOf(snapshot).get(caller.id)
    if (found === undefined || found.expiresAt <= now || isAdministered(snapshot, now)) throw rejected()
    return { actor: `setup (${caller.id})`, role: 'setup', expiresAt: found.expiresAt }
  }
  if (caller.kind === 'connector-setup') return standingOfDaemon(caller.id, snapshot, now)
  const found = adminTokensOf(snapshot).get(caller.id)
  if (found === undefined) throw rejected()
  const { name, role, expiresAt, revokedAt } = found
  if (revokedAt !== undefined) throw new PosternError('TOKEN_REVOKED', 'the admin token was revoked', NEXT)
  if (expiresAt !== undefined && expiresAt <= now)
    throw new PosternError('TOKEN_EXPIRED', 'the admin token has expired', NEXT)
  return { actor: `admin:${name} (${caller.id})`, role, ...(expiresAt !== undefined && { expiresAt }) }
}

function standingOfDaemon(id: string, snapshot: Snapshot, now: number): Standing {
  const found = connectorSetupsOf(snapshot).get(id)
  if (found === undefined) throw rejected()
  const next = `Make another one: postern tunnel setup-token ${found.tunnel} --file FILE`
  if (found.revokedAt !== undefined)
    throw new PosternError('TOKEN_REVOKED', 'the setup token was used already', { speaker: 'edge', next })
  if (found.expiresAt <= now)
    throw new PosternError('TOKEN_EXPIRED', 'the setup token has expired', { speaker: 'edge', next })
  return { actor: `connector-setup (${id})`, role: 'connector', expiresAt: found.expiresAt }
}

function standingOfPerson(session: string, identity: Identity, snapshot: Snapshot, now: number): Standing {
  const { issuer, subject, email, expiresAt = 0 } = identity
  if (sessionOf(snapshot, session) === undefined || expiresAt <= now) throw ended()
  if (!isAdministrator(identity, snapshot, now)) {
    throw new PosternError('ACCESS_DENIED', 'only administrators may do this', {
      speaker: 'edge',
      next: 'Ask an administrator to do it, or to make you one.',
    })
  }
  // The email, which the issuer vouches for, is for the reader; issuer and subject are who it is.
  return { actor: `admin:${email ?? subject} (${issuer} ${subject})`, role: 'admin', expiresAt }
}

/** An admin may do what a viewer may, and nobody but the holder of a setup token may use one. */
export function mayCall(role: Standing['role'], needed: Route['role']): boolean {
  return role === needed || (role === 'admin' && needed === 'viewer')
}

const NEXT = { speaker: 'edge', next: 'Ask another administrator for a new one.' } as const

function rejected(): PosternError {
  return new PosternError('AUTH_REJECTED', 'the token was not accepted', NEXT)
}

function ended(): PosternError {
  return new PosternError('LOGIN_REQUIRED', 'the session has ended', { speaker: 'edge', next: 'Sign in again.' })
}
