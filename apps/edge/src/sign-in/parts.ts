import type { Logger } from '@postern/interface'
import type { Store } from '@postern/store'
import type { FailureCounter } from '../authorize/attempts.ts'
import type { Authorizer } from '../authorize/authorize.ts'
import type { Origins } from '../origins.ts'
import type { Directory } from './directory.ts'
import type { Discovery } from './discovery.ts'
import type { Providers } from './providers.ts'
import type { Sessions } from './sessions.ts'
import type { Tickets } from './tickets.ts'

/** What signing in works with. */
export interface SignInParts {
  readonly store: Store
  readonly origins: Origins
  readonly sessions: Sessions
  readonly authorizer: Authorizer
  readonly directory: Directory
  readonly tickets: Tickets
  readonly discovery: Discovery
  readonly providers: Providers
  readonly failures: FailureCounter
  readonly log: Logger
}
