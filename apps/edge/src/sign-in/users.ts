import { PosternError } from '@postern/interface'
import { readEmail } from '@postern/policy'
import type { Change, Snapshot } from '@postern/store'
import { createInvitation, type NewBearerToken } from '@postern/tokens'
import { rowsOf } from '../admin/records.ts'

/** Namespace of the store: people of this edge, by their id. */
export const DIRECTORY = 'directory'
/** Milliseconds a one-time link is good. */
export const LINK_TIME = 7 * 86_400_000
/** All of them are in memory. */
const MOST_USERS = 10_000

/** Somebody whom the edge itself knows by a password. */
export interface UserRecord {
  /** As `readEmail` compares it; one person each. */
  readonly email: string
  readonly name?: string
  readonly groups: readonly string[]
  /** As `Passwords` keeps it; absent until an invitation is accepted. */
  readonly password?: string
  /** The one-time link with which a password is set. Milliseconds since the epoch. */
  readonly invitation?: { readonly id: string; readonly hash: string; readonly expiresAt: number }
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  readonly disabledAt?: number
}

export function usersOf(snapshot: Snapshot): ReadonlyMap<string, UserRecord> {
  return rowsOf(snapshot, DIRECTORY, row => typeof row.email === 'string' && Array.isArray(row.groups))
}

/** @param email in any case; what is no address is nobody's */
export function userOf(snapshot: Snapshot, email: string): readonly [string, UserRecord] | undefined {
  const wanted = emailOf(email)
  return wanted === undefined ? undefined : [...usersOf(snapshot)].find(([, user]) => user.email === wanted)
}

/** An address as it is kept and compared; undefined for what is none, or could be read in two ways. */
export function emailOf(text: string): string | undefined {
  const email = readEmail(text)
  return email && `${email.local}@${email.domain}`
}

/** @throws PosternError BAD_USAGE: no address; ALREADY_EXISTS; LIMIT_EXCEEDED */
export function newUser(
  wanted: { readonly email: string; readonly name?: string; readonly groups?: readonly string[] },
  snapshot: Snapshot,
  now: number,
): UserRecord {
  const email = emailOf(wanted.email)
  if (email === undefined)
    throw new PosternError('BAD_USAGE', 'the email is not an address of one @ and ASCII letters', { speaker: 'edge' })
  if (userOf(snapshot, email) !== undefined)
    throw new PosternError('ALREADY_EXISTS', `${email} is in the directory already`, {
      speaker: 'edge',
      next: 'Where the password was lost, reset it.',
    })
  if (usersOf(snapshot).size >= MOST_USERS)
    throw new PosternError('LIMIT_EXCEEDED', `the directory has ${MOST_USERS} people already`, { speaker: 'edge' })
  const { name, groups = [] } = wanted
  return { email, ...(name !== undefined && { name }), groups: [...groups], createdAt: now }
}

/** With a new one-time link; the one before it, and the password, are good no more. */
export function invited(user: UserRecord, now: number): { readonly value: UserRecord; readonly token: string } {
  const { id, token, hash }: NewBearerToken = createInvitation()
  const { password: _old, ...kept } = user
  return { value: { ...kept, invitation: { id, hash, expiresAt: now + LINK_TIME } }, token }
}

export function userChange(id: string, user: UserRecord): Change {
  return { put: 'record', namespace: DIRECTORY, id, value: { ...user } }
}
