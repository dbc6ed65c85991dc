import type { WayContext } from '../ways/context.ts'
import type { HttpContext, OwnPaths, SignInWay } from './context.ts'
import { IdentityTokens } from './identity-tokens.ts'
import { HTTP_LIMITS, type HttpLimits } from './limits.ts'
import { StreamPools } from './pools.ts'

export interface HttpWayOptions {
  readonly limits?: Partial<HttpLimits>
  readonly signIn?: SignInWay
  readonly ownPaths?: readonly OwnPaths[]
  /** Default: a problem as JSON, for a browser too. */
  readonly problemPage?: HttpContext['http']['problemPage']
}

/** The way for HTTP applications, ready for requests. Its pools are whose who makes it: dispose of them when the edge stops. */
export function httpWay(context: WayContext, options: HttpWayOptions = {}): HttpContext {
  const {
    limits: given,
    signIn,
    ownPaths = [],
    problemPage = (exchange, refusal) => exchange.refuse(refusal),
  } = options
  const { store, routes, log, signal, keys } = context
  const limits = { ...HTTP_LIMITS, ...given }
  return {
    ...context,
    http: {
      limits,
      pools: new StreamPools({ store, routes, limits, log, signal }),
      identityTokens: new IdentityTokens(keys),
      ownPaths,
      problemPage,
      ...(signIn && { signIn }),
    },
  }
}
