import { type Identity, PosternError } from '@postern/interface'
import type { Decision } from '@postern/policy'
import type { ApplicationRecord } from '@postern/store'
import { errors, type KoaContextWithOIDC, type Provider } from 'oidc-provider'
import { actorOf } from '../authorize/authorize.ts'
import { mayEnter } from '../authorize/may-enter.ts'
import { policyOf } from '../authorize/policy.ts'
import type { Exchange } from '../front/exchange.ts'
import type { SessionRecord } from '../sign-in/session-record.ts'
import { mustAdminister, originOf, wantsAdministration } from './approval.ts'
import type { AuthorizationServerParts } from './needs.ts'
import { ACCESS_TOKEN_SECONDS, ADMINISTRATION_AGE, ADMINISTRATION_TYP, CLIENT_ID } from './words.ts'

/** RFC 8693 §2.1; what is not among them is not looked at. */
export const EXCHANGE_PARAMETERS = ['subject_token', 'subject_token_type', 'requested_token_type', 'resource'] as const
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const JWT = 'urn:ietf:params:oauth:token-type:jwt'
/** The header's `typ` (RFC 9068 §2.1): taken for nothing else. */
const TYP = 'at+jwt'
/** Characters of groups as JSON; more are left out, since a header has to carry the token and the edge asks its own records. */
const LARGEST_GROUPS = 2000

type Asked = Readonly<Record<string, unknown>>

/** A token for one application from the team's: one sign-in per team, and each application's policy is run for its own token. */
export class TokenExchange {
  readonly #parts: AuthorizationServerParts
  readonly #provider: Provider
  readonly #exchangeOf: (ctx: KoaContextWithOIDC) => Exchange

  constructor(parts: AuthorizationServerParts, provider: Provider, exchangeOf: (ctx: KoaContextWithOIDC) => Exchange) {
    this.#parts = parts
    this.#provider = provider
    this.#exchangeOf = exchangeOf
  }

  async handle(ctx: KoaContextWithOIDC): Promise<void> {
    const params = ctx.oidc.params as Asked
    const session = await this.#sessionOf(params)
    if (wantsAdministration(this.#parts, params.resource)) return this.#administer(ctx, session)
    if (session.for !== undefined)
      throw new errors.AccessDenied('this sign-in is for administration, and opens no application')
    const application = this.#applicationOf(params)
    const endsAt = this.#parts.sessions.endsFor(session, application)
    if (endsAt <= Date.now())
      throw new errors.LoginRequired(`your sign-in is too old for ${application.hostname}: sign in again`)
    const exchange = this.#exchangeOf(ctx)
    this.#decide(exchange, session, application)
    await this.#admit(exchange, session, application)
    this.#parts.sessions.touch(session.id)
    const lifetimeSeconds = Math.max(1, Math.min(ACCESS_TOKEN_SECONDS, Math.floor((endsAt - Date.now()) / 1000)))
    ctx.body = {
      access_token: await this.#sign(session, application, endsAt, lifetimeSeconds),
      issued_token_type: ACCESS_TOKEN,
      token_type: 'Bearer',
      expires_in: lifetimeSeconds,
    }
  }

  /** What administers, for a session that was approved for that and nothing else. It is judged anew at each call. */
  async #administer(ctx: KoaContextWithOIDC, session: SessionRecord): Promise<void> {
    const { keys, origins, sessions } = this.#parts
    if (session.for !== 'administration')
      throw new errors.AccessDenied('this sign-in is for applications, and administers nothing')
    const endsAt = Math.min(session.expiresAt, session.authenticatedAt + ADMINISTRATION_AGE * 1000)
    if (endsAt <= Date.now()) throw new errors.LoginRequired('your sign-in is too old to administer: sign in again')
    try {
      mustAdminister(this.#parts, session)
    } catch (error) {
      throw new errors.AccessDenied(PosternError.from(error).message)
    }
    sessions.touch(session.id)
    const lifetimeSeconds = Math.max(1, Math.min(ACCESS_TOKEN_SECONDS, Math.floor((endsAt - Date.now()) / 1000)))
    const claims = { sid: session.id, sub: session.person.subject, client_id: CLIENT_ID }
    ctx.body = {
      access_token: await keys
        .sign(claims, { typ: ADMINISTRATION_TYP, audience: origins.team, lifetimeSeconds })
        .catch(noSigning),
      issued_token_type: ACCESS_TOKEN,
      token_type: 'Bearer',
      expires_in: lifetimeSeconds,
    }
  }

  async #sessionOf({ subject_token: token, subject_token_type: type, requested_token_type: wanted }: Asked) {
    if (typeof token !== 'string' || token === '') throw new errors.InvalidRequest('subject_token is missing')
    if (type !== ACCESS_TOKEN) throw new errors.InvalidRequest(`subject_token_type must be ${ACCESS_TOKEN}`)
    if (wanted !== undefined && wanted !== ACCESS_TOKEN && wanted !== JWT)
      throw new errors.InvalidRequest('requested_token_type is not one of this server’s')
    const found = await this.#provider.AccessToken.find(token)
    const session = found === undefined ? undefined : this.#parts.sessions.get(found.accountId)
    if (session === undefined)
      throw new errors.CustomOIDCProviderError('invalid_grant', 'subject_token is not good any more')
    return session
  }

  /** Only who is signed in comes here, so it may say that there is none. */
  #applicationOf({ resource }: Asked): ApplicationRecord {
    const { store, origins } = this.#parts
    const origin = typeof resource === 'string' ? originOf(resource) : undefined
    if (origin === undefined) throw new errors.InvalidTarget('resource must be the origin of an application, https://…')
    const { hostname } = new URL(origin)
    const application = store.snapshot.applications.get(hostname)
    if (application === undefined || origins.of(hostname) !== origin)
      throw new errors.InvalidTarget(`there is no application at ${origin}`)
    return application
  }

  /** Runs the policy, and leaves an audit row. */
  #decide(exchange: Exchange, session: SessionRecord, application: ApplicationRecord): void {
    const identities = [this.#parts.sessions.identityOf(session, application)]
    const { remoteAddress } = exchange.presented
    const facts = { identities, now: Date.now(), address: remoteAddress }
    const decision = mayEnter(facts, policyOf(application, this.#parts.store.snapshot))
    this.#note(exchange, identities, application, decision)
    if (decision.allow) return
    const ask = application.options?.contact ?? 'the application’s administrator'
    throw new errors.AccessDenied(
      `the policy of ${application.hostname} does not let you in; ask ${ask}, with the request id ${exchange.requestId}`,
    )
  }

  async #admit({ requestId, presented }: Exchange, session: SessionRecord, application: ApplicationRecord) {
    const { sessions } = this.#parts
    const { remoteAddress } = presented
    const actor = actorOf([sessions.identityOf(session, application)]) ?? ''
    await sessions.admitProgram(session, application, { actor, requestId, remoteAddress }).catch(() => {
      throw unavailable('the edge cannot write its store, so it lets nobody in')
    })
  }

  #note(
    { requestId, presented, method }: Exchange,
    identities: readonly Identity[],
    { hostname }: ApplicationRecord,
    { allow: allowed, rule, reasons }: Pick<Decision, 'allow' | 'rule' | 'reasons'>,
  ): void {
    const { store, authorizer } = this.#parts
    const { remoteAddress } = presented
    const actor = actorOf(identities)
    const entry = {
      at: Date.now(),
      action: 'access.decide',
      actor,
      hostname,
      requestId,
      remoteAddress,
      allowed,
      code: allowed ? undefined : ('ACCESS_DENIED' as const),
      detail: { purpose: 'token', method, decision: { rule: rule ?? null, reasons } },
    }
    if (!allowed && !authorizer.isKnockNoted(remoteAddress, actor)) return
    if (store.auditable && store.audit(entry)) return
    if (allowed) throw unavailable('the edge cannot write its audit log, so it lets nobody in')
  }

  #sign(
    { id, person, authenticatedAt }: SessionRecord,
    { hostname }: ApplicationRecord,
    endsAt: number,
    seconds: number,
  ) {
    const { issuer, subject, email, groups } = person
    const { keys, origins } = this.#parts
    const claims = {
      sub: subject,
      idp: issuer,
      sid: id,
      client_id: CLIENT_ID,
      auth_time: Math.floor(authenticatedAt / 1000),
      session_expires_at: Math.floor(endsAt / 1000),
      ...(email !== undefined && { email }),
      ...(groups !== undefined && JSON.stringify(groups).length <= LARGEST_GROUPS && { groups }),
    }
    return keys.sign(claims, { typ: TYP, audience: origins.of(hostname), lifetimeSeconds: seconds }).catch(noSigning)
  }
}

function noSigning(error: unknown): never {
  throw unavailable(PosternError.is(error) ? error.message : 'no token can be signed now')
}

function unavailable(why: string): Error {
  return Object.assign(new errors.TemporarilyUnavailable(why), { status: 503, statusCode: 503 })
}
