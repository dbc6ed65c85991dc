import { type Json, PosternError } from '@postern/interface'
import type { Snapshot } from '@postern/store'

/** The namespace of both kinds of rows, shared with the plugin that verifies what people present. */
export const SESSIONS = 'browser-sso'
/** When each session and cookie was last used: id → milliseconds since the epoch. */
export const SEEN = 'session-seen'

/** Who a provider or the directory vouched for. (issuer, subject) is the key, never the email. */
export interface Person {
  /** The provider's, or the team domain's origin for people of its own directory. */
  readonly issuer: string
  readonly subject: string
  readonly name?: string
  /** Only when the issuer vouches for it. */
  readonly email?: string
  readonly groups?: readonly string[]
  /** What else the issuer says, for policies. */
  readonly claims: Readonly<Record<string, Json>>
}

/** One sign-in of one person: of a browser at the team domain, or of a command line. Milliseconds since the epoch. */
export interface SessionRecord {
  readonly kind: 'session'
  /** 24 hexadecimal digits: public. */
  readonly id: string
  readonly person: Person
  readonly via: 'browser' | 'cli' | 'device'
  /** What it was approved for, where that is not applications: it opens none of them then, and nothing else administers. */
  readonly for?: 'administration'
  readonly createdAt: number
  /** When the person last proved who they are: every end counts from here. */
  readonly authenticatedAt: number
  /** Until when it signs in to further applications; one application may let in for longer, or shorter. */
  readonly expiresAt: number
  /** Seconds without use after which it ends. */
  readonly idleSeconds?: number
  readonly remoteAddress: string
  readonly userAgent?: string
  /** Of the secret in the team domain's cookie; browsers only. */
  readonly hash?: string
}

/** What lets a session into one application. */
export interface CookieRecord {
  readonly kind: 'cookie'
  /** 24 hexadecimal digits: public, the first part of the cookie. */
  readonly id: string
  readonly session: string
  readonly hostname: string
  /** Of the second part. Absent: a command line got tokens for the application, and there is no cookie that could be shown. */
  readonly hash?: string
  readonly createdAt: number
  readonly expiresAt: number
}

/** Revoking these ends what the session, or every session of the person, has opened. */
export const sessionKey = (id: string): string => `session:${id}`
export const cookieKey = (id: string): string => `cookie:${id}`
export const userKey = ({ issuer, subject }: Pick<Person, 'issuer' | 'subject'>): string => `user:${issuer} ${subject}`

export const sessionRow = (id: string): string => `session.${id}`
export const cookieRow = (id: string): string => `cookie.${id}`

/** @returns undefined where there is none; rows are written by this edge alone, so their kind is all that is looked at */
export function sessionOf({ records }: Snapshot, id: string): SessionRecord | undefined {
  const row = records.get(SESSIONS)?.get(sessionRow(id)) as SessionRecord | undefined
  return row?.kind === 'session' ? row : undefined
}

export function cookieOf({ records }: Snapshot, id: string): CookieRecord | undefined {
  const row = records.get(SESSIONS)?.get(cookieRow(id)) as CookieRecord | undefined
  return row?.kind === 'cookie' ? row : undefined
}

/** All rows of a snapshot. */
export function rowsOf({ records }: Snapshot): {
  readonly sessions: readonly SessionRecord[]
  readonly cookies: readonly CookieRecord[]
} {
  const rows = [...(records.get(SESSIONS)?.values() ?? [])] as unknown as (SessionRecord | CookieRecord)[]
  return {
    sessions: rows.filter(row => row.kind === 'session'),
    cookies: rows.filter(row => row.kind === 'cookie'),
  }
}

/** Characters of a person as JSON: it is in every decision, and in the header of every stream. */
const LARGEST_PERSON = 6000
const MOST_GROUPS = 500
const DEEPEST = 8

/**
 * Whether a person can be kept whole. Nothing is left out to make it fit: a group that is missing may be the one that denies.
 *
 * @throws PosternError AUTH_REJECTED
 */
export function checkPerson({ issuer, subject, groups = [], claims, name, email }: Person): void {
  if (issuer === '' || subject === '') throw refused('no subject')
  if (groups.length > MOST_GROUPS) throw refused(`more than ${MOST_GROUPS} groups`)
  if (!isShallow(claims, 0)) throw refused(`claims that lie deeper than ${DEEPEST} levels`)
  const size = JSON.stringify({ issuer, subject, groups, claims, name, email }).length
  if (size > LARGEST_PERSON) throw refused(`more than ${LARGEST_PERSON} characters of claims`)
}

function isShallow(value: Json | undefined, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  return depth < DEEPEST && Object.values(value).every(one => isShallow(one, depth + 1))
}

function refused(what: string): PosternError {
  return new PosternError('AUTH_REJECTED', `the provider says too much or too little of this person: ${what}`, {
    speaker: 'edge',
    next: 'Have the provider send only the groups and claims that the rules are about.',
  })
}
