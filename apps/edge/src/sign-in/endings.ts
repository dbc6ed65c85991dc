import type { Change, Snapshot } from '@postern/store'
import { ending } from './session-changes.ts'
import { type CookieRecord, type Person, rowsOf, type SessionRecord, userKey } from './session-record.ts'

/** What ends sessions, to be made durable in one step with what they end for. */
export interface Ending {
  /** How many there are. */
  readonly count: number
  readonly changes: readonly Change[]
}

/** @param isMeant asked of each session, with the cookies it has */
export function endingOf(
  snapshot: Snapshot,
  isMeant: (session: SessionRecord, cookies: readonly CookieRecord[]) => boolean,
): Ending {
  const { sessions, cookies } = rowsOf(snapshot)
  const bySession = Map.groupBy(cookies, ({ session }) => session)
  const meant = sessions.filter(session => isMeant(session, bySession.get(session.id) ?? []))
  return { count: meant.length, changes: meant.flatMap(({ id }) => ending(id, bySession.get(id) ?? [])) }
}

/** All that a person has, and whatever else was let in as them. */
export function endingOfPerson(snapshot: Snapshot, person: Pick<Person, 'issuer' | 'subject'>): Ending {
  const { count, changes } = endingOf(snapshot, session => isOf(session, person))
  return { count, changes: [...changes, { revoke: userKey(person) }] }
}

export function isOf({ person }: SessionRecord, { issuer, subject }: Pick<Person, 'issuer' | 'subject'>): boolean {
  return person.issuer === issuer && person.subject === subject
}
