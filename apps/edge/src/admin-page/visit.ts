import type { Answer, Input, RouteName } from '@postern/admin'
import type { Caller } from '../admin/caller.ts'
import type { Exchange } from '../front/exchange.ts'
import type { SessionRecord } from '../sign-in/session-record.ts'
import type { OnceForms } from './once.ts'
import type { AdminPageParts } from './parts.ts'

/** One request of an administrator. */
export interface Visit {
  readonly exchange: Exchange
  readonly session: SessionRecord
  /** What the path names, where it names one thing. */
  readonly id: string
  readonly origins: AdminPageParts['origins']
  readonly once: OnceForms
  /** Calls a route as this person, who is judged anew each time. @throws PosternError as `Administration.call` */
  call<N extends RouteName>(name: N, input: Input<N>): Promise<Answer<N>>
}

/** One page: `show` answers GET, `take` a form that came from it, already checked to be that. */
export interface AdminPage {
  /** `{id}` stands for one segment. */
  readonly path: string
  show(visit: Visit): Promise<void>
  take?(visit: Visit, form: URLSearchParams): Promise<void>
}

export function visitOf(
  exchange: Exchange,
  session: SessionRecord,
  id: string,
  { administration, sessions, origins }: AdminPageParts,
  once: OnceForms,
): Visit & { readonly caller: Caller } {
  const caller: Caller = { kind: 'person', id: session.id, identity: sessions.identityOf(session) }
  const { requestId, presented } = exchange
  const from = { requestId, remoteAddress: presented.remoteAddress }
  return {
    exchange,
    session,
    id,
    origins,
    once,
    caller,
    call: (name, input) => administration.call(name, input, caller, from),
  }
}
