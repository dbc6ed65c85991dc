import { createHash, randomBytes } from 'node:crypto'
import type { Json, Logger } from '@postern/interface'
import type { Store } from '@postern/store'
import type { Sessions } from '../sign-in/sessions.ts'

const NAMESPACE = 'oauth'
/** Milliseconds that a refresh token is usable after it was used, as long as its successor was not: a killed process logs nobody out. */
export const GRACE = 60_000
/** Milliseconds until a sign-in whose tokens nobody fetched is ended. */
const UNCLAIMED = 900_000
/** Milliseconds between looks for sign-ins that are over. */
const SWEEP = 600_000
/** Successors remembered; each for the grace period. About 3 MB. */
const MOST_SUCCESSORS = 10_000
/** Between the sign-in's id and the token's secret: neither contains it. */
const BETWEEN = '~'

export type Payload = Readonly<Record<string, unknown>>

/** A refresh token, by its hash alone. */
interface Used {
  readonly hash: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

/**
 * One sign-in of a program: its grant and its refresh token, in one row, so that they change in one transaction. The row's id is
 * the hash of the grant's id, and of tokens only hashes are kept: a copy of the database gives no token.
 */
interface Row {
  readonly session: string
  readonly createdAt: number
  readonly grant: Payload
  readonly refresh?: { readonly hash: string; readonly payload: Payload }
  /** The token before, which is usable for a while (see {@link GRACE}). */
  readonly previous?: Used
}

interface Successor {
  readonly token: string
  readonly at: number
  written?: Promise<void>
}

/** What is found of a refresh token. */
export interface FoundToken {
  readonly grantId: string
  readonly payload: Payload
  /** Whether using it again is what nobody does who has not stolen it, or from whom it was stolen. */
  readonly isReused: boolean
}

export interface SignInsOptions {
  readonly store: Store
  readonly sessions: Pick<Sessions, 'get' | 'revoke'>
  readonly log: Logger
  readonly now?: () => number
}

/**
 * The durable part of the authorization server.
 *
 * A refresh token is `<grant>~<secret>`, so its sign-in is found whether or not the token is known any more: any other token of
 * it but the current one, and for a while the one before, was used before. Of a token there is one successor, however many ask
 * for it at the same time: chains do not fork, so reuse is always seen.
 */
export class SignIns implements Disposable {
  readonly #store: Store
  readonly #sessions: Pick<Sessions, 'get' | 'revoke'>
  readonly #log: Logger
  readonly #now: () => number
  readonly #timer: NodeJS.Timeout
  /** By the hash of the token before. In memory: after a restart the grace period gives a new successor instead. */
  readonly #successors = new Map<string, Successor>()

  constructor({ store, sessions, log, now = () => Date.now() }: SignInsOptions) {
    this.#store = store
    this.#sessions = sessions
    this.#log = log
    this.#now = now
    this.#timer = setInterval(() => void this.#sweepQuietly(), SWEEP).unref()
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#successors.clear()
  }

  async putGrant(grantId: string, session: string, grant: Payload): Promise<void> {
    const before = this.#rowOf(grantId)
    await this.#put(grantId, { ...(before ?? { createdAt: this.#now() }), session, grant: without(grant, 'jti') })
  }

  /** @returns undefined where the session has ended too */
  grantOf(grantId: string): Payload | undefined {
    const row = this.#rowOf(grantId)
    return row === undefined || this.#sessions.get(row.session) === undefined ? undefined : row.grant
  }

  /** A token's text: of a new sign-in, or the one successor of the token `before`. */
  tokenFor(grantId: string, before: string | undefined): string {
    if (before === undefined) return newToken(grantId)
    const key = hashOf(before)
    const known = this.#successors.get(key)
    if (known !== undefined) return known.token
    const successor = { token: newToken(grantId), at: this.#now() }
    this.#successors.set(key, successor)
    this.#forgetSuccessors()
    return successor.token
  }

  /**
   * Keeps a token that {@link tokenFor} made. It is durable when this resolves, with the one before used up, in one transaction.
   *
   * @returns false when the one before is not usable any more
   */
  async putToken(grantId: string, token: string, payload: Payload, before: string | undefined): Promise<boolean> {
    if (before === undefined) return this.#putFirst(grantId, token, payload)
    const key = hashOf(before)
    const successor = this.#successors.get(key)
    if (successor?.token !== token) return false
    try {
      successor.written ??= this.#rotate(grantId, key, token, payload)
      await successor.written
    } catch (error) {
      this.#successors.delete(key)
      if (error instanceof NotUsable) return false
      throw error
    }
    return true
  }

  findToken(token: string): FoundToken | undefined {
    const [grantId = '', secret] = token.split(BETWEEN)
    const row = secret === undefined ? undefined : this.#rowOf(grantId)
    if (row?.refresh === undefined) return undefined
    const hash = hashOf(token)
    const isUsable = hash === row.refresh.hash || this.#isInGrace(row, hash)
    return { grantId, payload: row.refresh.payload, isReused: !isUsable }
  }

  /** Ends a sign-in: its session, and with it everything that was given out for it. */
  async end(grantId: string, why: string, asked: { requestId?: string; remoteAddress?: string } = {}): Promise<void> {
    const row = this.#rowOf(grantId)
    if (row === undefined) return
    const detail: Json = { session: row.session, why }
    await this.#sessions.revoke({ session: row.session }, { actor: `session:${row.session}`, detail, ...asked })
    await this.#store.keep([deletionOf(hashOf(grantId))])
  }

  /** Removes what is over, and ends what nobody fetched. */
  async sweep(): Promise<void> {
    const old = this.#now() - UNCLAIMED
    const gone: string[] = []
    for (const [id, json] of this.#store.snapshot.records.get(NAMESPACE) ?? []) {
      const { session, refresh, createdAt } = json as unknown as Row
      const unclaimed = refresh === undefined && createdAt < old
      if (unclaimed) await this.#sessions.revoke({ session }, { actor: 'edge', detail: { session, why: 'not used' } })
      if (unclaimed || this.#sessions.get(session) === undefined) gone.push(id)
    }
    if (gone.length > 0) await this.#store.keep(gone.map(deletionOf))
  }

  async #sweepQuietly(): Promise<void> {
    await this.sweep().catch(error => this.#log.error('sign-ins that are over stay', { error: String(error) }))
  }

  #isInGrace({ previous }: Row, hash: string): boolean {
    return previous?.hash === hash && this.#now() - previous.at <= GRACE
  }

  async #putFirst(grantId: string, token: string, payload: Payload): Promise<boolean> {
    const row = this.#rowOf(grantId)
    // A sign-in gets its first token once: whoever redeems twice at the same moment is one too many.
    if (row === undefined || row.refresh !== undefined) return false
    await this.#put(grantId, { ...row, refresh: tokenOf(token, payload) })
    return true
  }

  /** @throws NotUsable */
  async #rotate(grantId: string, before: string, token: string, payload: Payload): Promise<void> {
    const row = this.#rowOf(grantId)
    const refresh = tokenOf(token, payload)
    if (row?.refresh?.hash === before) {
      // From here on the grace period runs; it ends earlier when the successor is rotated in turn and takes this place.
      await this.#put(grantId, { ...row, refresh, previous: { hash: before, at: this.#now() } })
    } else if (row !== undefined && this.#isInGrace(row, before)) {
      // The edge was started again since: nobody knows the successor's text any more, so there is another one in its place.
      await this.#put(grantId, { ...row, refresh })
    } else throw new NotUsable()
  }

  #rowOf(grantId: string): Row | undefined {
    const row = this.#store.snapshot.records.get(NAMESPACE)?.get(hashOf(grantId))
    return row as unknown as Row | undefined
  }

  async #put(grantId: string, row: Row): Promise<void> {
    // As text first: a payload has members that are undefined, which JSON leaves out.
    const value = JSON.parse(JSON.stringify(row)) as Json
    await this.#store.keep([{ put: 'record', namespace: NAMESPACE, id: hashOf(grantId), value }])
  }

  #forgetSuccessors(): void {
    const old = this.#now() - GRACE
    for (const [key, { at }] of this.#successors) {
      if (at >= old && this.#successors.size <= MOST_SUCCESSORS) return
      this.#successors.delete(key)
    }
  }
}

class NotUsable extends Error {}

function newToken(grantId: string): string {
  return `${grantId}${BETWEEN}${randomBytes(32).toString('base64url')}`
}

function tokenOf(token: string, payload: Payload): NonNullable<Row['refresh']> {
  return { hash: hashOf(token), payload: without(payload, 'jti', 'grantId') }
}

function without(payload: Payload, ...names: readonly string[]): Payload {
  return Object.fromEntries(Object.entries(payload).filter(([name]) => !names.includes(name)))
}

/** Enough for what holds 256 random bits. */
function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url')
}

function deletionOf(id: string) {
  return { delete: 'record', namespace: NAMESPACE, id } as const
}
