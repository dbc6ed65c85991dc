import type { Logger } from '@postern/interface'
import type { Store } from '@postern/store'
import type { FailureCounter } from '../authorize/attempts.ts'
import type { Authorizer } from '../authorize/authorize.ts'
import type { Exchange } from '../front/exchange.ts'
import type { TeamKeys } from '../keys/team-keys.ts'
import type { Origins } from '../origins.ts'
import type { SessionRecord } from '../sign-in/session-record.ts'
import type { Sessions } from '../sign-in/sessions.ts'

/** Who is at the browser. */
export interface Gate {
  /** @returns undefined when the browser was sent to sign in, and will come back to `returnTo` */
  require(
    exchange: Exchange,
    how: { readonly returnTo: string; readonly maxAgeSeconds?: number },
  ): SessionRecord | undefined
}

/** What the authorization server works with. */
export interface AuthorizationServerParts {
  readonly store: Store
  readonly origins: Origins
  readonly sessions: Pick<Sessions, 'open' | 'get' | 'endsFor' | 'identityOf' | 'touch' | 'revoke' | 'admitProgram'>
  readonly keys: Pick<TeamKeys, 'sign'>
  readonly signIn: Gate
  readonly authorizer: Pick<Authorizer, 'isKnockNoted'>
  readonly failures: FailureCounter
  readonly log: Logger
  /** Seconds between polls of a device, for tests; default {@link POLL_SECONDS}. */
  readonly pollSeconds?: number
}
