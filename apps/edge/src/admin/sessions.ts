import type { Checked, Session } from '@postern/admin'
import type { Snapshot } from '@postern/store'
import { type Ending, endingOf, endingOfPerson } from '../sign-in/endings.ts'
import { type CookieRecord, rowsOf, type SessionRecord } from '../sign-in/session-record.ts'
import { emailOf } from '../sign-in/users.ts'
import type { Handlers } from './handling.ts'
import { instantOf } from './records.ts'

export const SESSIONS: Handlers<'session.list' | 'session.revoke'> = {
  'session.list': ({ store: { snapshot }, people }, { query: { user, application } }) => {
    const cookies = Map.groupBy(rowsOf(snapshot).cookies, ({ session }) => session)
    return people
      .list()
      .map(session => shown(session, cookies.get(session.id) ?? []))
      .filter(one => user === undefined || one.subject === user || isSameEmail(one.email, user))
      .filter(one => application === undefined || one.applications.includes(application))
  },
  'session.revoke': (handling, { body }) =>
    handling.change(snapshot => {
      const { count, changes } = meant(body, snapshot)
      return {
        changes,
        noted: true,
        action: 'session.revoke',
        detail: { ...body, revoked: count },
        answer: () => ({ revoked: count }),
      }
    }),
}

function meant(wanted: Checked<'session.revoke'>['body'], snapshot: Snapshot): Ending {
  if ('session' in wanted) return endingOf(snapshot, ({ id }) => id === wanted.session)
  if ('issuer' in wanted) return endingOfPerson(snapshot, wanted)
  if ('email' in wanted) return endingOf(snapshot, ({ person }) => isSameEmail(person.email, wanted.email))
  return endingOf(snapshot, (_, cookies) => cookies.some(({ hostname }) => hostname === wanted.application))
}

function isSameEmail(kept: string | undefined, wanted: string): boolean {
  const email = emailOf(wanted)
  return kept !== undefined && email !== undefined && emailOf(kept) === email
}

function shown(
  { person, ...session }: SessionRecord & { readonly seenAt: number },
  cookies: readonly CookieRecord[],
): Session {
  const { issuer, subject, name, email } = person
  const { id, via, createdAt, authenticatedAt, expiresAt, seenAt, remoteAddress, userAgent } = session
  return {
    id,
    issuer,
    subject,
    ...(name !== undefined && { name }),
    ...(email !== undefined && { email }),
    via,
    createdAt: instantOf(createdAt),
    authenticatedAt: instantOf(authenticatedAt),
    expiresAt: instantOf(expiresAt),
    seenAt: instantOf(seenAt),
    remoteAddress,
    ...(userAgent !== undefined && { userAgent }),
    applications: [...new Set(cookies.map(({ hostname }) => hostname))].sort(),
  }
}
