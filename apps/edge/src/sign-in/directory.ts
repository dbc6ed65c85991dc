import { randomUUID } from 'node:crypto'
import { type Json, PosternError } from '@postern/interface'
import type { Change, ChangeNote, Store } from '@postern/store'
import { readInvitation, verifySecret } from '@postern/tokens'
import { identify, standingOf } from '../admin/caller.ts'
import { ADMINISTRATORS, administratorsOf, SETUP_TOKENS } from '../admin/records.ts'
import type { Turns } from '../admin/turns.ts'
import { FailureCounter } from '../authorize/attempts.ts'
import { countedAddress } from '../front/address.ts'
import type { Asker, Passwords } from './passwords.ts'
import type { Person } from './session-record.ts'
import { emailOf, newUser, type UserRecord, userChange, userOf, usersOf } from './users.ts'

export interface DirectoryOptions {
  readonly store: Store
  /** The administration’s: what changes takes turns with what an administrator changes. */
  readonly turns: Turns
  /** Of everybody in here: the team domain’s public origin, once the edge listens. */
  readonly issuer: () => string
  /** After the setup token was used. */
  readonly forgetSetupFile: () => Promise<void>
  readonly passwords: Passwords
}

/** Who asks, from where, and how long they wait. */
export interface Asking extends Pick<ChangeNote, 'requestId'> {
  readonly remoteAddress: string
  readonly signal: AbortSignal
}

/** Whose link it is. */
export interface Invited {
  readonly email: string
  readonly name?: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** Milliseconds from a first failure until it counts no more. */
const WINDOW = 15 * 60_000
/** Failures in that time: of one account from one address; of one account; from one address. */
const MOST_OF_BOTH = 10
const MOST_OF_ACCOUNT = 100
const MOST_OF_ADDRESS = 100
/** Accounts with the address they came in from. */
const MOST_KNOWN = 10_000

/**
 * The people whom the edge itself knows by a password: enough for a small team without any identity provider.
 *
 * Guesses are slowed, and nobody is locked out by the guesses of others: where an account was let in before, guesses from
 * elsewhere do not count; and from anywhere else the first try of an address is looked at, whatever there was before.
 */
export class Directory {
  readonly #options: DirectoryOptions
  readonly #passwords: Passwords
  readonly #guesses = new FailureCounter(Date.now, WINDOW)
  readonly #known = new Set<string>()

  constructor(options: DirectoryOptions) {
    this.#options = options
    this.#passwords = options.passwords
  }

  /**
   * Who that is. Takes the same work for whom nobody knows.
   *
   * @returns undefined when email and password are nobody’s
   * @throws PosternError RATE_LIMITED, before anything is compared; EDGE_UNAVAILABLE; `signal.reason`
   */
  async verify(
    { email, password }: { readonly email: string; readonly password: string },
    { remoteAddress, signal }: Asking,
  ): Promise<Person | undefined> {
    const address = countedAddress(remoteAddress)
    const account = emailOf(email) ?? ''
    const keys = this.#mayGuess(account, address)
    // Counted before it is compared, so that many at once are not more than one after another.
    for (const key of keys) this.#guesses.count(key)
    const found = userOf(this.#options.store.snapshot, account)
    const hash = found?.[1].disabledAt === undefined ? found?.[1].password : undefined
    const isRight = await this.#passwords.verify(password, hash, { who: address, signal }).catch(error => {
      this.#takeBack(keys)
      throw error
    })
    if (!isRight || found === undefined) return undefined
    this.#takeBack(keys)
    this.#remember(`${account}\0${address}`)
    // It took a while: what was compared must still be so.
    const [id] = found
    const now = usersOf(this.#options.store.snapshot).get(id)
    return now !== undefined && now.disabledAt === undefined && now.password === hash
      ? this.#person(id, now)
      : undefined
  }

  /** Whose one-time link it is; undefined: it was used, has expired, or never was one. */
  invited(token: string): Invited | undefined {
    const [, user] = this.#byLink(token) ?? []
    if (user?.invitation === undefined) return undefined
    const { email, name, invitation } = user
    return { email, ...(name !== undefined && { name }), expiresAt: invitation.expiresAt }
  }

  /**
   * Sets the password, and the name, of whoever holds a one-time link, which is good no more then.
   *
   * @throws PosternError NOT_FOUND: see {@link invited}; BAD_USAGE: the password; EDGE_UNAVAILABLE, STORE_UNUSABLE; `signal.reason`
   */
  async accept(
    token: string,
    { name, password }: { readonly name?: string; readonly password: string },
    asking: Asking,
  ): Promise<Person> {
    this.#mustBeLink(token)
    const hash = await this.#passwords.hash(password, askerOf(asking))
    return this.#options.turns.take(async () => {
      // Of two with the same link, one finds it used.
      const [id, { invitation: _used, ...user }] = this.#mustBeLink(token)
      const value = { ...user, password: hash, ...(name !== undefined && { name }) }
      await this.#apply([userChange(id, value)], 'user.accept', `user:${user.email}`, { user: id }, asking)
      return this.#person(id, value)
    })
  }

  /** Whether that is a setup token that can be used now. */
  canSetUp(setupToken: string): boolean {
    try {
      this.#mustBeSetup(setupToken)
      return true
    } catch {
      return false
    }
  }

  /**
   * The first administrator, for the setup token of a new edge, once.
   *
   * @throws PosternError AUTH_REJECTED: no setup token, or no longer; BAD_USAGE: email or password; ALREADY_EXISTS;
   *   EDGE_UNAVAILABLE, STORE_UNUSABLE; `signal.reason`
   */
  async setup(
    setupToken: string,
    wanted: { readonly email: string; readonly name?: string; readonly password: string },
    asking: Asking,
  ): Promise<Person> {
    const { store, turns, issuer, forgetSetupFile } = this.#options
    this.#mustBeSetup(setupToken)
    if (emailOf(wanted.email) === undefined) newUser(wanted, store.snapshot, Date.now())
    const password = await this.#passwords.hash(wanted.password, askerOf(asking))
    const person = await turns.take(async () => {
      const { id: used, actor } = this.#mustBeSetup(setupToken)
      const id = randomUUID()
      const user = { ...newUser(wanted, store.snapshot, Date.now()), password }
      const administrators = [...administratorsOf(store.snapshot), { identity: { issuer: issuer(), subject: id } }]
      const changes: Change[] = [
        userChange(id, user),
        { put: 'setting', key: ADMINISTRATORS, value: administrators as unknown as Json },
        { delete: 'record', namespace: SETUP_TOKENS, id: used },
      ]
      await this.#apply(changes, 'setup.use', actor, { user: id, email: user.email }, asking)
      return this.#person(id, user)
    })
    await forgetSetupFile()
    return person
  }

  /** @throws PosternError AUTH_REJECTED */
  #mustBeSetup(token: string): { readonly id: string; readonly actor: string } {
    const { snapshot } = this.#options.store
    const now = Date.now()
    const caller = identify(token, snapshot, now)
    if (caller.kind !== 'setup-token') throw new PosternError('AUTH_REJECTED', 'the token was not accepted')
    return { id: caller.id, actor: standingOf(caller, snapshot, now).actor }
  }

  #byLink(token: string): readonly [string, UserRecord] | undefined {
    const parts = readInvitation(token)
    const users = [...usersOf(this.#options.store.snapshot)]
    const found = parts && users.find(([, { invitation }]) => invitation?.id === parts.id)
    const { invitation, disabledAt } = found?.[1] ?? {}
    if (!verifySecret(parts?.secret ?? '', invitation?.hash)) return undefined
    const isGood = disabledAt === undefined && (invitation?.expiresAt ?? 0) > Date.now()
    return isGood ? found : undefined
  }

  #mustBeLink(token: string): readonly [string, UserRecord] {
    const found = this.#byLink(token)
    if (found !== undefined) return found
    throw new PosternError('NOT_FOUND', 'this link was used, has expired, or never was one', {
      speaker: 'edge',
      next: 'Ask whoever sent it for a new one.',
    })
  }

  /** @returns what a failure counts against @throws PosternError RATE_LIMITED */
  #mayGuess(account: string, address: string): readonly string[] {
    const [both, byAccount, byAddress] = [`both\0${account}\0${address}`, `account\0${account}`, `address\0${address}`]
    const isKnown = this.#known.has(`${account}\0${address}`)
    const isStrange = !isKnown && this.#guesses.isOver(byAccount, MOST_OF_ACCOUNT)
    const isOver = this.#guesses.isOver(both, isStrange ? 1 : MOST_OF_BOTH)
    if (isOver || (!isKnown && this.#guesses.isOver(byAddress, MOST_OF_ADDRESS)))
      throw new PosternError('RATE_LIMITED', 'too many attempts to sign in', {
        speaker: 'edge',
        next: `Wait ${WINDOW / 60_000} minutes, then try again.`,
      })
    // Whoever is at home fails for themselves alone.
    return isKnown ? [both] : [both, byAccount, byAddress]
  }

  #takeBack(keys: readonly string[]): void {
    for (const key of keys) this.#guesses.takeBack(key)
  }

  #remember(known: string): void {
    this.#known.delete(known)
    this.#known.add(known)
    const [oldest] = this.#known
    if (this.#known.size > MOST_KNOWN && oldest !== undefined) this.#known.delete(oldest)
  }

  #apply(
    changes: readonly Change[],
    action: string,
    actor: string,
    detail: Json,
    { requestId, remoteAddress }: Asking,
  ): Promise<void> {
    const note = { action, actor, detail, remoteAddress, ...(requestId !== undefined && { requestId }) }
    return this.#options.store.apply(changes, note)
  }

  #person(id: string, { email, name, groups }: UserRecord): Person {
    return {
      issuer: this.#options.issuer(),
      subject: id,
      ...(name !== undefined && { name }),
      email,
      groups,
      claims: { email, email_verified: true, ...(name !== undefined && { name }), groups: [...groups] },
    }
  }
}

function askerOf({ remoteAddress, signal }: Asking): Asker {
  return { who: countedAddress(remoteAddress), signal }
}
