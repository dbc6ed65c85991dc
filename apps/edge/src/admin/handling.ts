import type { Answer, Checked, RouteName } from '@postern/admin'
import type { Change, ChangeNote, Snapshot, Store } from '@postern/store'
import type { GrantKeys } from '../keys/grant-keys.ts'
import type { Seal } from '../keys/seal.ts'
import type { TeamKeys } from '../keys/team-keys.ts'
import type { Origins } from '../origins.ts'
import type { KeptStatus } from '../plugins/kept.ts'
import type { KeptRules } from '../plugins/sides.ts'
import type { Routes } from '../routes/routes.ts'
import type { Sessions } from '../sign-in/sessions.ts'
import type { Caller, Standing } from './caller.ts'
import type { Protocols } from './rules.ts'
import type { Turns } from './turns.ts'

/** What of the edge the administration works with. */
export interface Workings {
  readonly store: Store
  readonly teamDomain: string
  /** Whether its certificate is of the CA in its own folder. */
  readonly ownCa: boolean
  /** `host:port`, as listened on, once it listens. */
  address(): string
  readonly routes: Pick<Routes, 'all' | 'of' | 'isOnline' | 'evict'>
  /** Clients' sessions now. */
  readonly sessions: { readonly size: number }
  /** Who is signed in. */
  readonly people: Pick<Sessions, 'list' | 'revoke'>
  readonly keys: Pick<TeamKeys, 'list' | 'rotate' | 'remove'>
  /** What daemons are given to know grants by. */
  readonly grants: Pick<GrantKeys, 'jwks' | 'list' | 'rotate'>
  readonly seal: Pick<Seal, 'seal' | 'open'>
  readonly protocols: Protocols
  /** Of plugins by others. */
  readonly otherProtocols: ReadonlyMap<string, KeptRules>
  /** Plugins by others. */
  readonly plugins: () => readonly KeptStatus[]
  readonly origins: Origins
  /** Of all that changes what somebody else may change, too. */
  readonly turns: Turns
  /** Version of this software. */
  readonly software: string
  /** After the setup token was used. */
  forgetSetupFile(): Promise<void>
}

/** What is to be changed, made from a snapshot that nobody else changes meanwhile. */
export interface Planned<T> {
  /** None: nothing is changed, and no audit row written, unless it is `noted` all the same. */
  readonly changes: readonly Change[]
  readonly noted?: boolean
  readonly action: string
  readonly detail?: ChangeNote['detail']
  /** Of the application, where it is about one. */
  readonly hostname?: string
  readonly answer: (after: Snapshot) => T
}

/** One call of a route while it is handled. */
export interface Handling extends Workings {
  readonly caller: Caller
  readonly standing: Standing
  /** Who asks, for audit rows that somebody else writes. */
  readonly note: Pick<ChangeNote, 'actor' | 'requestId' | 'remoteAddress'>
  /** Milliseconds since the epoch. */
  readonly now: number
  /** The one way to change something: plans take turns, and each sees what the one before it did. */
  change<T>(plan: (snapshot: Snapshot, now: number) => Planned<T>): Promise<T>
}

export type Handler<N extends RouteName> = (handling: Handling, input: Checked<N>) => Answer<N> | Promise<Answer<N>>
export type Handlers<N extends RouteName> = { readonly [K in N]: Handler<K> }
