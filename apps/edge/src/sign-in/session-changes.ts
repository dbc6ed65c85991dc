import type { Identity, Json } from '@postern/interface'
import type { Change } from '@postern/store'
import {
  type CookieRecord,
  cookieRow,
  type Person,
  SESSIONS,
  type SessionRecord,
  sessionKey,
  sessionRow,
} from './session-record.ts'

/** What is to be ended. */
export type SessionMatch =
  | { readonly session: string }
  | { readonly user: Pick<Person, 'issuer' | 'subject'> }
  /** What one session may do at one application; the session signs in there again without being asked. */
  | { readonly cookie: string }

/** Everything that ends a session. */
export function ending(id: string, cookies: readonly CookieRecord[]): readonly Change[] {
  const own = cookies.filter(({ session }) => session === id)
  return [
    deletionOf(sessionRow(id)),
    ...own.map(cookie => deletionOf(cookieRow(cookie.id))),
    { revoke: sessionKey(id) },
  ]
}

export function putOf(id: string, value: SessionRecord | CookieRecord) {
  return { put: 'record', namespace: SESSIONS, id, value: value as unknown as Json } as const
}

export function deletionOf(id: string) {
  return { delete: 'record', namespace: SESSIONS, id } as const
}

/** The id behind a prefix among the keys that end an identity. */
export function idIn({ revokeKeys }: Identity, prefix: string): string | undefined {
  return revokeKeys.find(key => key.startsWith(prefix))?.slice(prefix.length)
}

export function actorOf({ issuer, subject }: Pick<Person, 'issuer' | 'subject'>): string {
  return `${issuer} ${subject}`
}
