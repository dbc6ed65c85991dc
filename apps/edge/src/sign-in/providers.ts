import { isDeepStrictEqual } from 'node:util'
import { type Json, type Logger, PosternError } from '@postern/interface'
import type { Store } from '@postern/store'
import { jwtVerify } from 'jose'
import {
  AuthorizationResponseError,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  calculatePKCECodeChallenge,
  fetchUserInfo,
  ResponseBodyError,
  randomNonce,
  randomPKCECodeVerifier,
} from 'openid-client'
import type { Origins } from '../origins.ts'
import { type Claims, personOf } from './claims.ts'
import { away, type Discovered, type Discovery, wordsOf } from './discovery.ts'
import { type ProviderRecord, providersOf, redirectUriOf } from './provider-record.ts'
import type { Person } from './session-record.ts'
import type { Tickets } from './tickets.ts'
import { asJson, asWanted, isMarkOf, mark, SIGN_IN_SECONDS, type Wanted } from './wanted.ts'

export interface ProvidersOptions {
  readonly store: Pick<Store, 'snapshot'>
  readonly origins: Origins
  readonly tickets: Tickets
  readonly discovery: Discovery
  readonly log: Logger
}

/** Somebody a provider vouches for. */
export interface Returned {
  readonly person: Person
  /** Milliseconds since the epoch. */
  readonly authenticatedAt: number
  /** Whether the provider is still taken at its word as it was when it said so. */
  readonly holds: () => boolean
  readonly wanted: Wanted
}

/** What goes out with a person and comes back with them. */
interface Going {
  readonly provider: string
  /** {@link mark} of the browser’s number on the team domain. */
  readonly browser: string
  readonly nonce: string
  readonly verifier: string
  readonly maxAge: number
  readonly wanted: Json
}

/** Signed with a key that is published: a secret that both know, or none at all, proves nothing here. */
export const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]
const DEFAULT_SCOPES = ['openid', 'profile', 'email']
/** Seconds by which a provider’s clock may differ. */
const TOLERANCE = 30

/** The edge as a relying party (OpenID Connect Core 1.0): authorization code, PKCE, state, nonce and `iss`, all of them always. */
export class Providers {
  readonly #options: ProvidersOptions

  constructor(options: ProvidersOptions) {
    this.#options = options
  }

  list(): readonly ProviderRecord[] {
    return providersOf(this.#options.store.snapshot)
  }

  /** @throws PosternError NOT_FOUND */
  get(id: string): ProviderRecord {
    const record = this.#find(id)
    if (record !== undefined) return record
    throw new PosternError('NOT_FOUND', 'there is no such way to sign in', {
      speaker: 'edge',
      next: 'Start again at /login.',
    })
  }

  /**
   * Where to send a browser that signs in with a provider.
   *
   * @param maxAge seconds that the person’s last proof may be old, there
   * @throws PosternError NOT_FOUND; EDGE_UNAVAILABLE
   */
  async start(id: string, { wanted, nonce, maxAge }: { wanted: Wanted; nonce: string; maxAge: number }): Promise<URL> {
    const record = this.get(id)
    const { config } = await this.#options.discovery.get(record)
    const verifier = randomPKCECodeVerifier()
    const going: Going = {
      provider: id,
      browser: mark(nonce),
      nonce: randomNonce(),
      verifier,
      maxAge,
      wanted: asJson(wanted),
    }
    const scopes = new Set(['openid', ...(record.scopes ?? DEFAULT_SCOPES)])
    return buildAuthorizationUrl(config, {
      redirect_uri: redirectUriOf(this.#options.origins.team, id),
      scope: [...scopes].join(' '),
      state: this.#options.tickets.make('provider', { ...going }, SIGN_IN_SECONDS),
      nonce: going.nonce,
      code_challenge: await calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      max_age: String(maxAge),
      ...(wanted.again && { prompt: 'login' }),
    })
  }

  /**
   * Who came back from a provider.
   *
   * @param url as it was asked for, with its query
   * @param nonce the browser’s number on the team domain
   * @throws PosternError BAD_USAGE: not what was begun, here; ACCESS_DENIED: the provider says no; AUTH_REJECTED: what it says
   *   of the person cannot be used; EDGE_UNAVAILABLE; NOT_FOUND
   */
  async finish(id: string, url: URL, nonce: string | undefined): Promise<Returned> {
    const record = this.get(id)
    const { tickets, discovery, log } = this.#options
    const state = url.searchParams.get('state') ?? ''
    const going = tickets.read('provider', state) as unknown as Going
    if (going.provider !== id || nonce === undefined || !isMarkOf(going.browser, nonce)) throw notBegunHere()
    const found = await discovery.get(record)
    const claims = await this.#claims(record, found, url, { ...going, state }).catch((error: unknown) => {
      log.warn('a sign-in with a provider failed', { provider: id, error: wordsOf(error) })
      throw refusalOf(error, record)
    })
    const person = personOf(claims, record)
    const authenticatedAt = timeOf(claims, going.maxAge)
    tickets.use(state, SIGN_IN_SECONDS)
    const holds = () => isDeepStrictEqual(record, this.#find(id))
    return { person, authenticatedAt, holds, wanted: asWanted(going.wanted) }
  }

  #find(id: string): ProviderRecord | undefined {
    return this.list().find(one => one.id === id)
  }

  async #claims(
    record: ProviderRecord,
    { config, keys }: Discovered,
    url: URL,
    { verifier, nonce, state }: Going & { readonly state: string },
  ): Promise<Claims> {
    const tokens = await authorizationCodeGrant(config, url, {
      pkceCodeVerifier: verifier,
      expectedNonce: nonce,
      expectedState: state,
      idTokenExpected: true,
    })
    const { issuer } = config.serverMetadata()
    // What was read above came over TLS from the provider; what is decided on is also signed.
    const { payload } = await jwtVerify(tokens.id_token ?? '', keys, {
      issuer,
      audience: record.clientId,
      algorithms: ALGORITHMS,
      clockTolerance: TOLERANCE,
    })
    const claims = payload as Claims
    if (!isMissing(claims, record) || config.serverMetadata().userinfo_endpoint === undefined) return claims
    return both((await fetchUserInfo(config, tokens.access_token, payload.sub ?? '')) as Claims, claims)
  }
}

/** Of two answers the signed one counts; whether an email is verified is said of the email beside it, and of no other. */
function both(unsigned: Claims, signed: Claims): Claims {
  const isUnsaid = signed.email_verified === undefined && signed.email === unsigned.email
  const { email, email_verified } = signed.email === undefined || isUnsaid ? unsigned : signed
  return { ...unsigned, ...signed, email, email_verified }
}

/** Whether it is worth asking for more: many providers tell email and groups only there. */
function isMissing(claims: Claims, { groupsClaim }: ProviderRecord): boolean {
  return claims.email === undefined || (groupsClaim !== undefined && claims[groupsClaim] === undefined)
}

/** When the person proved who they are; now, where a provider does not say. */
function timeOf({ auth_time: at }: Claims, maxAge: number): number {
  const now = Date.now()
  if (typeof at !== 'number') return now
  if (at * 1000 >= now - (maxAge + TOLERANCE) * 1000) return Math.min(at * 1000, now)
  throw new PosternError('AUTH_REJECTED', 'the provider was asked to have you sign in again, and did not', {
    speaker: 'edge',
    next: 'Sign out there, then open the application again.',
  })
}

function refusalOf(error: unknown, record: ProviderRecord): PosternError {
  if (error instanceof AuthorizationResponseError) {
    // Whatever else it says is anybody’s to write: it stands in the address.
    if (error.error === 'access_denied')
      return new PosternError('ACCESS_DENIED', `“${record.name}” did not sign you in`, {
        speaker: 'edge',
        next: 'Open the application again, and try it with another account.',
      })
    return UNAVAILABLE.includes(error.error) ? away(record) : notBegunHere()
  }
  if (error instanceof ResponseBodyError) return error.error === 'invalid_grant' ? notBegunHere() : away(record)
  return isAway(error) ? away(record) : notBegunHere()
}

const UNAVAILABLE = ['server_error', 'temporarily_unavailable']
const UNREACHED = ['OAUTH_TIMEOUT', 'OAUTH_RESPONSE_IS_NOT_CONFORM', 'OAUTH_RESPONSE_IS_NOT_JSON', 'ERR_JWKS_TIMEOUT']

function isAway(error: unknown): boolean {
  const { code, cause } = error as { code?: unknown; cause?: unknown }
  if (PosternError.is(error) || PosternError.is(cause) || error instanceof TypeError) return true
  return typeof code === 'string' && UNREACHED.includes(code)
}

export function notBegunHere(): PosternError {
  return new PosternError('BAD_USAGE', 'this sign-in was not begun in this browser, or is over already', {
    speaker: 'edge',
    next: 'Open the application again and sign in from there; cookies must be allowed.',
  })
}
