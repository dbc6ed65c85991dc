import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Checked, InvitedUser, User } from '@postern/admin'
import { type Json, PosternError } from '@postern/interface'
import type { Change, Snapshot } from '@postern/store'
import { revocationOfHeld } from '../certificates/revoke.ts'
import { endingOfPerson, isOf } from '../sign-in/endings.ts'
import { type Person, userKey } from '../sign-in/session-record.ts'
import { DIRECTORY, invited, newUser, type UserRecord, userChange, userOf, usersOf } from '../sign-in/users.ts'
import type { Handlers, Handling, Planned } from './handling.ts'
import { instantOf, livesOf } from './records.ts'
import { fitting } from './rules.ts'

export const USERS: Handlers<'user.list' | 'user.get' | 'user.invite' | 'user.put' | 'user.reset' | 'user.delete'> = {
  'user.list': ({ store }) => [...usersOf(store.snapshot)].map(one => shown(one)),
  'user.get': ({ store }, { params: { user } }) => shown(mustBeUser(store.snapshot, user)),
  'user.invite': (handling, { body }) =>
    handling.change((snapshot, now) => {
      const user = newUser(named(body), snapshot, now)
      return inviting(randomUUID(), user, 'user.invite', handling, now)
    }),
  'user.put': (handling, { params: { user }, body }) =>
    ending(handling, user, (snapshot, now) => {
      const [id, before] = mustBeUser(snapshot, user)
      const after = changed(before, body, now)
      const isOther = !isDeepStrictEqual(before, after)
      const held = after.disabledAt === undefined ? [] : certificatesOf(id, snapshot, handling)
      const isCut = after.disabledAt !== undefined || !isDeepStrictEqual(before.groups, after.groups)
      return {
        changes: isOther ? [userChange(id, after), ...(isCut ? endOf(id, snapshot, handling) : []), ...held] : [],
        action: 'user.put',
        detail: { user: id, email: before.email, before: told(before), after: told(after) },
        answer: () => shown([id, after]),
      }
    }),
  'user.reset': (handling, { params: { user } }) =>
    ending(handling, user, (snapshot, now) => {
      const [id, before] = mustBeUser(snapshot, user)
      const planned = inviting(id, before, 'user.reset', handling, now)
      const ended = [...endOf(id, snapshot, handling), ...certificatesOf(id, snapshot, handling)]
      return { ...planned, changes: [...planned.changes, ...ended] }
    }),
  'user.delete': (handling, { params: { user } }) =>
    ending(handling, user, snapshot => {
      const [id, { email }] = mustBeUser(snapshot, user)
      return {
        changes: [
          { delete: 'record', namespace: DIRECTORY, id },
          ...endOf(id, snapshot, handling),
          ...certificatesOf(id, snapshot, handling),
        ],
        action: 'user.delete',
        detail: { user: id, email },
        answer: () => undefined,
      }
    }),
}

/**
 * A change that may end somebody’s sessions: then also those that were opened while it was made, by who had just been found to
 * be somebody.
 */
async function ending<T>(
  handling: Handling,
  user: string,
  plan: (snapshot: Snapshot, now: number) => Planned<T>,
): Promise<T> {
  const person = personOf(mustBeUser(handling.store.snapshot, user)[0], handling)
  const cuts = () => handling.store.snapshot.revocations.get(userKey(person))?.version
  const before = cuts()
  const answer = await handling.change(plan)
  if (cuts() !== before && handling.people.list().some(session => isOf(session, person)))
    await handling.people.revoke({ user: person }, handling.note)
  return answer
}

function endOf(subject: string, snapshot: Snapshot, handling: Handling): readonly Change[] {
  return endingOfPerson(snapshot, personOf(subject, handling)).changes
}

/** Whoever had the password, or the person themselves, may have asked for certificates: they end with what they were asked by. */
function certificatesOf(subject: string, snapshot: Snapshot, handling: Handling): readonly Change[] {
  return revocationOfHeld(snapshot, personOf(subject, handling), handling.now)
}

function personOf(subject: string, { origins }: Handling): Pick<Person, 'issuer' | 'subject'> {
  return { issuer: origins.team, subject }
}

/** With the one-time link, which is nowhere else. */
function inviting(
  id: string,
  user: UserRecord,
  action: string,
  { origins }: Handling,
  now: number,
): Planned<InvitedUser> {
  if (user.disabledAt !== undefined)
    throw new PosternError('CONFLICT', `${user.email} is disabled`, { speaker: 'edge', next: 'Enable them first.' })
  const { value, token } = invited(user, now)
  return {
    changes: [userChange(id, value)],
    action,
    detail: { user: id, email: user.email },
    answer: () => ({ ...shown([id, value]), link: `${origins.team}/invite/${token}` }),
  }
}

function changed(before: UserRecord, wanted: Checked<'user.put'>['body'], now: number): UserRecord {
  const { disabledAt, ...kept } = before
  const isDisabled = wanted.disabled ?? disabledAt !== undefined
  return {
    ...kept,
    ...(wanted.name !== undefined && { name: wanted.name }),
    ...(wanted.groups !== undefined && { groups: [...new Set(wanted.groups)] }),
    ...(isDisabled && { disabledAt: disabledAt ?? now }),
  }
}

/** Characters of somebody’s groups in an audit row, which takes 8,192 in all. */
const MOST_TOLD = 3000

function told({ name, groups, disabledAt }: UserRecord): Json {
  const isDisabled = disabledAt !== undefined
  return { ...(name !== undefined && { name }), groups: fitting(groups, MOST_TOLD), disabled: isDisabled }
}

function named({ email, name, groups }: Checked<'user.invite'>['body']) {
  return { email, groups: [...new Set(groups)], ...(name !== undefined && { name }) }
}

/** By id or email. @throws PosternError NOT_FOUND */
function mustBeUser(snapshot: Snapshot, idOrEmail: string): readonly [string, UserRecord] {
  const byId = usersOf(snapshot).get(idOrEmail)
  const found = byId === undefined ? userOf(snapshot, idOrEmail) : ([idOrEmail, byId] as const)
  if (found !== undefined) return found
  throw new PosternError('NOT_FOUND', 'the directory has no such person', { speaker: 'edge' })
}

/** Never the password, nor its hash. */
function shown([id, user]: readonly [string, UserRecord]): User {
  const { email, name, groups, createdAt, disabledAt, password, invitation } = user
  return {
    id,
    email,
    ...(name !== undefined && { name }),
    groups: [...groups],
    ...livesOf({ createdAt }),
    ...(disabledAt !== undefined && { disabledAt: instantOf(disabledAt) }),
    hasPassword: password !== undefined,
    ...(invitation !== undefined && { linkUntil: instantOf(invitation.expiresAt) }),
  }
}
