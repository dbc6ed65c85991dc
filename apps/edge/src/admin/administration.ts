import {
  type Answer,
  type Checked,
  type Input,
  type Mistake,
  mistakesIn,
  ROUTES,
  type Route,
  type RouteName,
} from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { ChangeNote } from '@postern/store'
import { ACCESS } from './access.ts'
import { ADMIN_TOKEN_ROUTES } from './admin-tokens.ts'
import { APPLICATIONS } from './applications.ts'
import { AUTHORITIES } from './authorities.ts'
import { type Caller, LOCAL, mayCall, type Standing, standingOf } from './caller.ts'
import { CERTIFICATES } from './certificates.ts'
import { ENROLMENT } from './enrolment.ts'
import { GROUPS } from './groups.ts'
import type { Handler, Handlers, Handling, Planned, Workings } from './handling.ts'
import { IDENTITIES } from './identities.ts'
import { KEYS } from './keys.ts'
import { NEW_SERVICE_TOKEN } from './new-service-token.ts'
import { checkPermits } from './permits.ts'
import { POLICIES } from './policies.ts'
import { PROVIDERS } from './providers.ts'
import { REVOCATION_LISTS } from './revocation-lists.ts'
import { SERVICE_TOKEN_ROUTES } from './service-tokens.ts'
import { SESSIONS } from './sessions.ts'
import { SETTINGS } from './settings.ts'
import { SIGNING } from './signing-requests.ts'
import { STATUS } from './status.ts'
import { TUNNELS } from './tunnels.ts'
import { USERS } from './users.ts'

/** Who handles each route: one that is missing does not compile. */
const HANDLERS: Handlers<RouteName> = {
  ...STATUS,
  ...TUNNELS,
  ...IDENTITIES,
  ...ENROLMENT,
  ...SIGNING,
  ...SETTINGS,
  ...APPLICATIONS,
  ...POLICIES,
  ...SERVICE_TOKEN_ROUTES,
  ...NEW_SERVICE_TOKEN,
  ...ADMIN_TOKEN_ROUTES,
  ...ACCESS,
  ...GROUPS,
  ...USERS,
  ...SESSIONS,
  ...PROVIDERS,
  ...KEYS,
  ...AUTHORITIES,
  ...CERTIFICATES,
  ...REVOCATION_LISTS,
}

/** Where a call came from, for its audit row. */
export type Origin = Pick<ChangeNote, 'requestId' | 'remoteAddress'>

/**
 * All administration, whoever asks: over HTTP, or in the edge's own process. Each change is one durable step with its audit
 * row; what it takes away is cut at once.
 */
export class Administration implements AsyncDisposable {
  readonly #workings: Workings

  constructor(workings: Workings) {
    this.#workings = workings
  }

  /**
   * Whether a caller may call a route as things are now.
   *
   * @throws PosternError ACCESS_DENIED; AUTH_REJECTED, TOKEN_EXPIRED, TOKEN_REVOKED; LOGIN_REQUIRED
   */
  authorize(name: RouteName, caller: Caller): Standing {
    const standing = standingOf(caller, this.#workings.store.snapshot, Date.now())
    const { role } = ROUTES[name]
    if (mayCall(standing.role, role)) return standing
    // Whoever holds a setup token may set up, and is a stranger for everything else.
    if (standing.role === 'setup' || standing.role === 'connector')
      throw new PosternError('AUTH_REJECTED', 'the token was not accepted')
    throw new PosternError('ACCESS_DENIED', `this needs the role ${role}, and yours is ${standing.role}`, {
      speaker: 'edge',
      next: INSTEAD[role],
    })
  }

  /**
   * Calls a route.
   *
   * @param input its `params`, `query` and `body`; checked here, whoever sent it
   * @param caller default: whoever runs in this process
   * @throws PosternError what {@link authorize} throws; BAD_USAGE, HOSTNAME_INVALID, NOT_FOUND, ALREADY_EXISTS, CONFLICT,
   *   LIMIT_EXCEEDED, EDGE_UNAVAILABLE, STORE_UNUSABLE
   * @example
   * await edge.administration.call('tunnel.create', { body: { name: 'home' } })
   */
  async call<N extends RouteName>(
    name: N,
    input: Input<N>,
    caller: Caller = LOCAL,
    origin: Origin = {},
  ): Promise<Answer<N>> {
    const handling = this.#handling(caller, origin, this.authorize(name, caller), () => this.authorize(name, caller))
    const handler: Handler<N> = HANDLERS[name]
    const wanted = checked(name, input)
    await checkPermits(wanted, this.#workings.otherProtocols)
    return handler(handling, wanted)
  }

  /** Waits for the changes that are being made. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#workings.turns.over()
  }

  #handling(caller: Caller, origin: Origin, standing: Standing, authorize: () => Standing): Handling {
    const { store, turns } = this.#workings
    const change = <T>(plan: (snapshot: Handling['store']['snapshot'], now: number) => Planned<T>): Promise<T> =>
      turns.take(async () => {
        // Whoever waited may have lost its right meanwhile.
        const { actor } = authorize()
        const {
          changes,
          noted = changes.length > 0,
          answer,
          action,
          detail,
          hostname,
        } = plan(store.snapshot, Date.now())
        if (noted) {
          const about = { ...(detail !== undefined && { detail }), ...(hostname !== undefined && { hostname }) }
          await store.apply(changes, { action, actor, ...about, ...origin })
        }
        return answer(store.snapshot)
      })
    const note = { actor: standing.actor, ...origin }
    return { ...this.#workings, caller, standing, note, change, now: Date.now() }
  }
}

function checked<N extends RouteName>(name: N, input: Input<N>): Checked<N> {
  const route: Route = ROUTES[name]
  const given = input as { readonly [part: string]: unknown }
  const parts = (['params', 'query', 'body'] as const).flatMap(part => {
    const schema = route[part]
    if (schema === undefined) return []
    const value = given[part] ?? (part === 'query' ? {} : undefined)
    const { success, data } = schema.safeParse(value)
    if (!success) throw mistakeOf(part, mistakesIn(schema, value, 1))
    return [[part, data]]
  })
  return Object.fromEntries(parts) as Checked<N>
}

/** What somebody does who has not the role that is needed. */
const INSTEAD: Readonly<Record<Route['role'], string>> = {
  viewer: 'Use an admin token.',
  admin: 'Use an admin token with the role admin.',
  setup: 'Make a further admin token instead.',
  connector: 'Enrol the daemon at its tunnel instead.',
}

const LONGEST_NAME = 64

/** `rules[0].include[1].email is not known`. The value itself, which may be long or secret, is not repeated. */
function mistakeOf(part: string, [mistake]: readonly Mistake[]): PosternError {
  const path = mistake?.path.map(step => (typeof step === 'number' ? `[${step}]` : `.${step.slice(0, LONGEST_NAME)}`))
  const where = path?.join('').slice(1) || `the ${part}`
  return new PosternError('BAD_USAGE', `${where} ${mistake?.message ?? 'is not valid'}`, { speaker: 'edge' })
}
