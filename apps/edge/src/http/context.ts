import type { Identity, Problem } from '@postern/interface'
import type { ApplicationRecord } from '@postern/store'
import type { Exchange } from '../front/exchange.ts'
import type { WayContext } from '../ways/context.ts'
import type { IdentityTokens } from './identity-tokens.ts'
import type { HttpLimits } from './limits.ts'
import type { StreamPools } from './pools.ts'

/** Where people sign in, as the way for HTTP applications needs it. Each answers the exchange. */
export interface SignInWay {
  /** Sends a browser to sign in, and back to where it is. */
  begin(exchange: Exchange, application: ApplicationRecord): Promise<void>
  /** Says why, and whom to ask. */
  denied(exchange: Exchange, denied: Denied): Promise<void>
  /** An application without HTTP: how to reach it instead. */
  sshPage(exchange: Exchange, application: ApplicationRecord): Promise<void>
}

export interface Denied {
  readonly application: ApplicationRecord
  readonly identities: readonly Identity[]
  readonly requestId: string
}

/** Paths of an application's hostname that are the edge's own. They never reach an origin. */
export interface OwnPaths {
  /** @returns whether it was answered */
  serveOnApplication(exchange: Exchange, application: ApplicationRecord): Promise<boolean>
}

/** What the way for HTTP applications works with. */
export interface HttpContext extends WayContext {
  readonly http: {
    readonly limits: HttpLimits
    readonly pools: StreamPools
    readonly identityTokens: IdentityTokens
    /** Absent: everybody is answered with problems. */
    readonly signIn?: SignInWay
    readonly ownPaths: readonly OwnPaths[]
    /** A refusal for somebody who asked for a page. */
    readonly problemPage: (exchange: Exchange, problem: Problem) => void
  }
}
