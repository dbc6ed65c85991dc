import type { FailureCounter } from '../authorize/attempts.ts'
import { guardedFetch } from '../guarded-fetch.ts'
import type { WayContext } from '../ways/context.ts'
import type { Directory } from './directory.ts'
import { Discovery } from './discovery.ts'
import { Providers } from './providers.ts'
import { SignIn } from './sign-in.ts'
import { Tickets } from './tickets.ts'

export interface SignInNeeds
  extends Pick<WayContext, 'store' | 'origins' | 'sessions' | 'authorizer' | 'seal' | 'log'> {
  readonly directory: Directory
  readonly failures: FailureCounter
  /** Hosts of providers that may be at a private address, and speak plain HTTP. */
  readonly allowPrivate: readonly string[]
}

/** Signing in, with nothing asked of anybody yet: a provider that is away keeps no edge from starting. */
export function createSignIn(needs: SignInNeeds): SignIn {
  const { store, origins, sessions, authorizer, seal, log, directory, failures, allowPrivate } = needs
  const tickets = new Tickets(seal)
  const discovery = new Discovery({
    fetch: guardedFetch({ allowPrivate }),
    open: sealed => seal.open(sealed),
    isLocal: ({ protocol, host, hostname }) =>
      protocol === 'http:' && (allowPrivate.includes(host) || allowPrivate.includes(hostname)),
    log,
  })
  const providers = new Providers({ store, origins, tickets, discovery, log })
  return new SignIn({
    store,
    origins,
    sessions,
    authorizer,
    directory,
    tickets,
    discovery,
    providers,
    failures,
    log,
  })
}
