import type { Route } from '@postern/admin'
import { type Identity, PosternError } from '@postern/interface'
import type { Snapshot } from '@postern/store'
import { readAdminToken, readSetupToken, verifySecret } from '@postern/tokens'
import { sessionOf } from '../sign-in/session-record.ts'
import { isAdministrator } from './administrators.ts'
import { adminTokensOf, isAdministered, setupTokensOf } from './records.ts'

/** Who asks, once that is proved. `local`: whoever opened the edge's Unix socket, or runs in its process. */
export type Caller =
  | { readonly kind: 'local' }
  | { readonly kind: 'admin-token'; readonly id: string }
  | { readonly kind: 'setup-token'; readonly id: string }
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
  const id = (admin ?? setup)?.id ?? ''
  const hash = adminTokensOf(snapshot).get(id)?.hash ?? setupTokensOf(snapshot).get(id)?.hash
  if (!verifySecret((admin ?? setup)?.secret ?? bearer, hash)) throw rejected()
  const caller: Caller = { kind: admin === undefined ? 'setup-token' : 'admin-token', id }
  standingOf(caller, snapshot, now)
  return caller
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
  const found = adminTokensOf(snapshot).get(caller.id)
  if (found === undefined) throw rejected()
  const { name, role, expiresAt, revokedAt } = found
  if (revokedAt !== undefined) throw new PosternError('TOKEN_REVOKED', 'the admin token was revoked', NEXT)
  if (expiresAt !== undefined && expiresAt <= now)
    throw new PosternError('TOKEN_EXPIRED', 'the admin token has expired', NEXT)
  return { actor: `admin:${name} (${caller.id})`, role, ...(expiresAt !== undefined && { expiresAt }) }
}

function standingOfPerson(session: string, identity: Identity, snapshot: Snapshot, now: number): Standing {
  const { issuer, subject, email, expiresAt = 0 } = identity
  if (sessionOf(snapshot, session) === undefined || expiresAt <= now)
    throw new PosternError('LOGIN_REQUIRED', 'the session has ended', { speaker: 'edge', next: 'Sign in again.' })
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
