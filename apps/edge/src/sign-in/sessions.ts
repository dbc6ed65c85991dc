import { createHash, randomBytes } from 'node:crypto'
import { type Identity, type Json, type Logger, PosternError } from '@postern/interface'
import type { ApplicationRecord, Change, ChangeNote, Store } from '@postern/store'
import { hashSecret, verifySecret } from '@postern/tokens'
import { EndedKeys } from './ended-keys.ts'
import { endingOf, endingOfPerson, isOf } from './endings.ts'
import { Lifetimes } from './lifetimes.ts'
import { Seen } from './seen.ts'
import { actorOf, deletionOf, ending, idIn, putOf, type SessionMatch } from './session-changes.ts'
import {
  type CookieRecord,
  checkPerson,
  cookieKey,
  cookieOf,
  cookieRow,
  type Person,
  rowsOf,
  type SessionRecord,
  sessionKey,
  sessionOf,
  sessionRow,
  userKey,
} from './session-record.ts'

/** Seconds a sign-in lasts, where the setting `sessionSeconds` says nothing else. */
export const SESSION_SECONDS = 24 * 3600
/** Seconds between looks for what has ended or was not used. */
const SWEEP = 20
/** Sessions of one person; the oldest is ended for one more. */
const MOST_SESSIONS = 200
/** Cookies of one session at one application: tabs that sign in at the same time each get one. */
const MOST_COOKIES = 4
const COOKIE = /^([0-9a-f]{24})\.([A-Za-z0-9_-]{43})$/
const COOKIE_LENGTH = 24 + 1 + 43
const LONGEST_AGENT = 300

/** Who asked, for the audit row. */
export type SessionNote = Omit<ChangeNote, 'action'>

export interface Opening {
  readonly via: SessionRecord['via']
  readonly for?: SessionRecord['for']
  readonly remoteAddress: string
  readonly userAgent?: string | undefined
  readonly requestId: string
  /**
   * Milliseconds since the epoch; default now. A session that is made of another one says when that person proved who they are,
   * so that nothing outlives it.
   */
  readonly authenticatedAt?: number
  /**
   * Whether what it is opened for holds still: the other session, the provider that vouched. Asked again once it is durable, since
   * whoever is put out may have had something under way for as long as a form may take to arrive.
   */
  readonly holds?: () => boolean
}

/** Who is signed in. Records are in the store; decisions read them from memory. */
export class Sessions implements AsyncDisposable {
  readonly #store: Store
  readonly #log: Logger
  readonly #seen: Seen
  readonly #lifetimes: Lifetimes
  readonly #timer: NodeJS.Timeout
  readonly #unsubscribe: () => void
  readonly #ended: EndedKeys
  #inUse: () => ReadonlySet<string> = () => new Set()

  constructor(store: Store, log: Logger) {
    this.#store = store
    this.#log = log
    this.#seen = new Seen(store)
    this.#lifetimes = new Lifetimes(store, this.#seen)
    this.#ended = new EndedKeys(store)
    this.#unsubscribe = store.onChange(() => this.#endLate())
    this.#timer = setInterval(() => void this.#sweepQuietly(), SWEEP * 1000).unref()
  }

  /** @param inUse the revoke keys of what is open: who has something open is not idle */
  countAsUsed(inUse: () => ReadonlySet<string>): void {
    this.#inUse = inUse
  }

  /**
   * A new session, durable with its audit row. `cookie` is the value of `__Host-postern-team` for a browser, else empty.
   *
   * @throws PosternError AUTH_REJECTED: more claims than can be kept; LOGIN_REQUIRED: it would have ended already, or whoever it
   *   is of was put out meanwhile; STORE_UNUSABLE
   */
  async open(person: Person, how: Opening): Promise<{ readonly session: SessionRecord; readonly cookie: string }> {
    checkPerson(person)
    const { via, remoteAddress, userAgent, requestId, holds = () => true } = how
    const cut = () => this.#store.snapshot.revocations.get(userKey(person))?.version
    const cutBefore = cut()
    if (!holds()) throw ended()
    const now = Date.now()
    const authenticatedAt = Math.min(how.authenticatedAt ?? now, now)
    const { settings } = this.#store.snapshot
    const seconds = secondsOf(settings.get('sessionSeconds')) ?? SESSION_SECONDS
    const idleSeconds = secondsOf(settings.get('sessionIdleSeconds'))
    const secret = randomBytes(32).toString('base64url')
    const session: SessionRecord = {
      kind: 'session',
      id: randomBytes(12).toString('hex'),
      person,
      via,
      ...(how.for !== undefined && { for: how.for }),
      createdAt: now,
      authenticatedAt,
      expiresAt: authenticatedAt + seconds * 1000,
      ...(idleSeconds !== undefined && { idleSeconds }),
      remoteAddress,
      ...(userAgent !== undefined && { userAgent: userAgent.slice(0, LONGEST_AGENT) }),
      ...(via === 'browser' && { hash: hashSecret(secret) }),
    }
    if (this.#lifetimes.lastEnd(session) <= now)
      throw new PosternError('LOGIN_REQUIRED', 'this sign-in is older than a session may be', { speaker: 'edge' })
    const note = {
      action: 'session.open',
      actor: actorOf(person),
      detail: { session: session.id, via, ...(how.for !== undefined && { for: how.for }) },
    }
    const changes = [...this.#makeRoom(person), putOf(sessionRow(session.id), session)]
    await this.#store.apply(changes, { ...note, requestId, remoteAddress })
    if (!holds() || (cut() ?? cutBefore) !== cutBefore) {
      await this.revoke({ session: session.id }, { actor: 'edge', requestId, remoteAddress })
      throw ended()
    }
    return { session, cookie: via === 'browser' ? `${session.id}.${secret}` : '' }
  }

  /** A session that has not ended for everything; {@link endsFor} says when it does for one application. */
  get(id: string): SessionRecord | undefined {
    const session = sessionOf(this.#store.snapshot, id)
    return session !== undefined && this.#lifetimes.isLive(session, Date.now()) ? session : undefined
  }

  /** Whose the value of `__Host-postern-team` is, while that session signs in to further applications. */
  ofTeamCookie(value: string): SessionRecord | undefined {
    const [, id = '', secret = ''] = (value.length === COOKIE_LENGTH ? COOKIE.exec(value) : undefined) ?? []
    const session = this.get(id)
    const isTheirs = verifySecret(secret, session?.hash)
    return isTheirs && session !== undefined && session.expiresAt > Date.now() ? session : undefined
  }

  /**
   * Lets a session into an application whose policy was run.
   *
   * @returns the value of `__Host-postern-session`
   * @throws PosternError LOGIN_REQUIRED: it has ended; STORE_UNUSABLE
   */
  async admit(session: SessionRecord, application: ApplicationRecord, note: SessionNote): Promise<string> {
    const expiresAt = this.endsFor(session, application)
    const now = Date.now()
    if (this.get(session.id) === undefined || expiresAt <= now) throw ended()
    const secret = randomBytes(32).toString('base64url')
    const { hostname } = application
    const cookie: CookieRecord = {
      kind: 'cookie',
      id: randomBytes(12).toString('hex'),
      session: session.id,
      hostname,
      hash: hashSecret(secret),
      createdAt: now,
      expiresAt,
    }
    const older = rowsOf(this.#store.snapshot)
      .cookies.filter(one => one.session === session.id && one.hostname === hostname)
      .sort((one, other) => other.createdAt - one.createdAt)
      .slice(MOST_COOKIES - 1)
    const changes = [...older.map(({ id }) => deletionOf(cookieRow(id))), putOf(cookieRow(cookie.id), cookie)]
    const detail = { session: session.id, cookie: cookie.id }
    await this.#store.apply(changes, { ...note, action: 'session.admit', hostname, detail })
    return `${cookie.id}.${secret}`
  }

  /**
   * Notes once that a command line's session gets tokens for an application, so that it is found by it.
   *
   * @throws PosternError STORE_UNUSABLE
   */
  async admitProgram(session: SessionRecord, application: ApplicationRecord, note: SessionNote): Promise<void> {
    const { hostname } = application
    const id = createHash('sha256').update(`${session.id} ${hostname}`).digest('hex').slice(0, 24)
    if (cookieOf(this.#store.snapshot, id) !== undefined) return
    const [createdAt, expiresAt] = [Date.now(), this.endsFor(session, application)]
    const row: CookieRecord = { kind: 'cookie', id, session: session.id, hostname, createdAt, expiresAt }
    const detail = { session: session.id }
    await this.#store.apply([putOf(cookieRow(id), row)], { ...note, action: 'session.admit', hostname, detail })
  }

  /** When a session ends for an application, in ms since the epoch; in the past: sign in again. */
  endsFor(session: SessionRecord, application: Pick<ApplicationRecord, 'options'>): number {
    return this.#lifetimes.endsFor(session, application)
  }

  /** Who the session is, for a decision; without an application, at the team domain. */
  identityOf(session: SessionRecord, application?: ApplicationRecord): Identity {
    const { person, id, authenticatedAt, expiresAt } = session
    const { issuer, subject, email, groups, name, claims } = person
    return {
      kind: 'user',
      issuer,
      subject,
      ...(email !== undefined && { email }),
      ...(groups !== undefined && { groups }),
      claims: {
        ...claims,
        ...(name !== undefined && { name }),
        sid: id,
        auth_time: Math.floor(authenticatedAt / 1000),
      },
      expiresAt: application === undefined ? expiresAt : this.endsFor(session, application),
      revokeKeys: [sessionKey(id), userKey(person)],
    }
  }

  /**
   * Identities as this application takes them: who came by a session that has ended for it is not among them, and every other
   * one ends when its session does. Counts as use.
   */
  take(identities: readonly Identity[], application: ApplicationRecord, now: number): readonly Identity[] {
    return identities.some(one => idIn(one, 'session:') !== undefined)
      ? identities.flatMap(one => this.#takeOne(one, application, now) ?? [])
      : identities
  }

  /** Notes that a session, or a cookie, was used. */
  touch(id: string): void {
    this.#seen.touch(id, Date.now())
  }

  /**
   * Ends sessions, and cuts at once what they opened.
   *
   * @returns how many there were
   * @throws PosternError STORE_UNUSABLE
   */
  async revoke(match: SessionMatch, note: SessionNote): Promise<number> {
    const { snapshot } = this.#store
    if ('cookie' in match) {
      const changes = [deletionOf(cookieRow(match.cookie)), { revoke: cookieKey(match.cookie) }]
      await this.#store.apply(changes, { detail: match, ...note, action: 'session.revoke' })
      return cookieOf(snapshot, match.cookie) === undefined ? 0 : 1
    }
    const { count, changes } =
      'user' in match ? endingOfPerson(snapshot, match.user) : endingOf(snapshot, ({ id }) => id === match.session)
    if (changes.length === 0) return 0
    const detail: Json = 'user' in match ? { user: actorOf(match.user) } : { session: match.session }
    await this.#store.apply(changes, { detail, ...note, action: 'session.revoke' })
    return count
  }

  /** All that live, with when each was last used. */
  list(): readonly (SessionRecord & { readonly seenAt: number })[] {
    const now = Date.now()
    return rowsOf(this.#store.snapshot)
      .sessions.filter(session => this.#lifetimes.isLive(session, now))
      .map(session => ({ ...session, seenAt: this.#lifetimes.seenAt(session) }))
  }

  /** Removes what has ended, ends what was not used for too long, and writes down when what was used. */
  async sweep(now: number = Date.now()): Promise<void> {
    const { snapshot } = this.#store
    const { sessions, cookies } = rowsOf(snapshot)
    const inUse = this.#inUse()
    for (const { id } of sessions) if (inUse.has(sessionKey(id))) this.#seen.touch(id, now)
    for (const { id } of cookies) if (inUse.has(cookieKey(id))) this.#seen.touch(id, now)
    const over = sessions.filter(session => this.#lifetimes.lastEnd(session) <= now)
    const isOver = new Set(over.map(({ id }) => id))
    const live = new Set(sessions.flatMap(({ id }) => (isOver.has(id) ? [] : [id])))
    const old = cookies.filter(({ session, expiresAt }) => expiresAt <= now || !live.has(session))
    const gone = [...over.map(({ id }) => sessionRow(id)), ...old.map(({ id }) => cookieRow(id))]
    if (gone.length > 0) await this.#store.keep(gone.map(deletionOf))
    for (const session of sessions.filter(one => live.has(one.id) && this.#lifetimes.isIdle(one, now)))
      await this.revoke({ session: session.id }, { actor: 'edge', detail: { session: session.id, because: 'idle' } })
    for (const cookie of cookies.filter(one => live.has(one.session) && this.#lifetimes.isIdleThere(one, now)))
      await this.revoke({ cookie: cookie.id }, { actor: 'edge', detail: { cookie: cookie.id, because: 'idle' } })
    await this.#ended.forget(now)
    const after = this.#store.snapshot
    await this.#seen.write(id => sessionOf(after, id) !== undefined || cookieOf(after, id) !== undefined)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    this.#unsubscribe()
    this.#inUse = () => new Set()
    await this.#sweepQuietly()
  }

  /** Who signed in while they were being put out is out: what puts out knows the sessions there were when it began. */
  #endLate(): void {
    const { revocations, version } = this.#store.snapshot
    const now = [...revocations].filter(([key, one]) => one.version === version && key.startsWith('user:'))
    for (const [key] of now) {
      const late = rowsOf(this.#store.snapshot).sessions.find(({ person }) => userKey(person) === key)
      if (late === undefined) continue
      const failed = (error: unknown) => this.#log.error('a session cannot be ended', { error: String(error) })
      this.revoke({ user: late.person }, { actor: 'edge' }).catch(failed)
    }
  }

  async #sweepQuietly(): Promise<void> {
    await this.sweep().catch(error => this.#log.error('sessions cannot be swept', { error: String(error) }))
  }

  #takeOne(identity: Identity, application: ApplicationRecord, now: number): Identity | undefined {
    const id = idIn(identity, 'session:')
    if (id === undefined) return identity
    const session = this.get(id)
    if (session === undefined) return undefined
    const ends = Math.min(identity.expiresAt ?? Number.POSITIVE_INFINITY, this.endsFor(session, application))
    const used = idIn(identity, 'cookie:') ?? id
    const idle = application.options?.idleSeconds
    const since = this.#seen.at(used) ?? cookieOf(this.#store.snapshot, used)?.createdAt ?? session.createdAt
    if (!(ends > now) || (idle !== undefined && since + idle * 1000 <= now)) return undefined
    this.#seen.touch(id, now)
    if (used !== id) this.#seen.touch(used, now)
    return ends === identity.expiresAt ? identity : { ...identity, expiresAt: ends }
  }

  /** Ends a person's oldest sessions when there are as many as one may have. */
  #makeRoom(person: Person): readonly Change[] {
    const { sessions, cookies } = rowsOf(this.#store.snapshot)
    const own = sessions.filter(session => isOf(session, person)).sort((one, other) => other.createdAt - one.createdAt)
    return own.slice(MOST_SESSIONS - 1).flatMap(({ id }) => ending(id, cookies))
  }
}

function secondsOf(setting: Json | undefined): number | undefined {
  return typeof setting === 'number' && setting > 0 ? setting : undefined
}

function ended(): PosternError {
  return new PosternError('LOGIN_REQUIRED', 'the session has ended', { speaker: 'edge' })
}
