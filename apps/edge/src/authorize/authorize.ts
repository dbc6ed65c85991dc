import { createHash, randomUUID } from 'node:crypto'
import {
  type Call,
  type Code,
  type Identity,
  type Json,
  type PipePurpose,
  PosternError,
  type Presented,
  type Problem,
  problem,
  type SentHeaders,
} from '@postern/interface'
import { decide, type Facts } from '@postern/policy'
import type { ApplicationRecord, AuditEntry, Store } from '@postern/store'
import { countedAddress } from '../front/address.ts'
import { requestedHostname } from '../front/hostname.ts'
import type { Origins } from '../origins.ts'
import type { Sessions } from '../sign-in/sessions.ts'
import { FailureCounter } from './attempts.ts'
import { mayEnter } from './may-enter.ts'
import { policyOf, requestFacts } from './policy.ts'
import { type NamedVerifier, type Verified, verifyAll } from './verify.ts'

/** Somebody who was let in, and everything needed to see later whether that still holds. */
export interface Admission {
  readonly requestId: string
  readonly hostname: string
  readonly remoteAddress: string
  readonly identities: readonly Identity[]
  /** The store's version that was decided under: what is revoked after it ends this admission. */
  readonly version: number
}

export interface AccessAdmission extends Admission {
  readonly application: ApplicationRecord
  readonly permit: Json
  /** What was asked for over HTTP: rules may be about it. */
  readonly request?: Facts['request']
}

export interface ConnectorAdmission extends Admission {
  readonly tunnelId: string
}

export interface Refused {
  readonly problem: Problem
  readonly headers: SentHeaders
  /** Whether signing in may help: a person with a browser is sent there. */
  readonly signIn?: boolean
  /** Who was refused, where that is known. */
  readonly identities?: readonly Identity[]
}

export type Outcome<A extends Admission> = { readonly admitted: A } | { readonly refused: Refused }

/** What is asked: by an HTTP request or upgrade for an application as well, where its path and method count. */
export interface Asked {
  readonly purpose: PipePurpose | 'http'
  readonly presented: Presented
  /** Of the request, where it has one already. */
  readonly requestId?: string
  /** What it is for, where that was read of what is presented already. */
  readonly hostname?: string
  /** What decides instead of the application's own rules: those of a CA, where a certificate is asked for. */
  readonly rules?: ApplicationRecord['rules']
}

export interface AuthorizerOptions {
  readonly store: Store
  readonly teamDomain: string
  /** For applications. */
  readonly access: readonly NamedVerifier[]
  /** For daemons. */
  readonly connectors: readonly NamedVerifier[]
  readonly failures: FailureCounter
  readonly origins: Pick<Origins, 'of'>
  readonly sessions: Pick<Sessions, 'take'>
}

/** Issuer of the daemons' identities; their subject is the tunnel's id. */
const TUNNEL_TOKENS = 'postern:tunnel-token'

/** Refusals of one address, or of one visitor, in a minute that leave a row each. */
const MOST_KNOCKS = 600
/** Of all addresses together: whoever has many fills the disk no sooner. */
const MOST_KNOCKS_IN_ALL = 6000
/** Milliseconds in which the same visitor’s HTTP requests, let in by the same rule, leave one row. */
const SAME_VISIT = 300_000

/** The one place where it is decided who gets in, for every way in. */
export class Authorizer {
  readonly #options: AuthorizerOptions
  readonly #visits = new FailureCounter(Date.now, SAME_VISIT)

  constructor(options: AuthorizerOptions) {
    this.#options = options
  }

  /** An application's hostname: credential, then policy. Every decision leaves an audit row. */
  async access(asked: Asked, call: Call): Promise<Outcome<AccessAdmission>> {
    const { store } = this.#options
    const asking = this.#begin(asked)
    if ('refused' in asking) return asking
    const known = store.snapshot.applications.get(asking.hostname)
    if (known === undefined) return this.#refuse(asking, 'NOT_FOUND')
    const application = asked.rules === undefined ? known : { ...known, rules: asked.rules }
    const found = await this.#identify(asking, this.#options.access, call, application)
    if ('refused' in found) return this.#challenged(found, asking)
    const outcome = this.#judge(asking, asked, application, found)
    return 'refused' in outcome ? this.#challenged(outcome, asking) : outcome
  }

  /**
   * The policy alone, for identities that are known otherwise: of a session, before it is let into an application, where its
   * certificate is not seen yet. The decision leaves an audit row.
   */
  judge(asked: Asked, application: ApplicationRecord, identities: readonly Identity[]): Outcome<AccessAdmission> {
    const asking = this.#begin(asked)
    if ('refused' in asking) return asking
    return this.#judge(asking, asked, application, { identities, challenge: {} }, mayEnter)
  }

  #judge(
    asking: Asking,
    asked: Asked,
    application: ApplicationRecord,
    found: { readonly identities: readonly Identity[]; readonly challenge: SentHeaders },
    judged: typeof decide = decide,
  ): Outcome<AccessAdmission> {
    const { store, sessions } = this.#options
    const now = Date.now()
    const identities = sessions.take(found.identities, application, now)
    const facts = requestFacts(asked)
    const decision = judged({ identities, now, ...facts }, policyOf(application, store.snapshot))
    const detail = { rule: decision.rule ?? null, reasons: decision.reasons }
    const { signIn } = decision
    if (!decision.allow && identities.length === 0)
      return this.#refuse(asking, 'LOGIN_REQUIRED', { headers: found.challenge, signIn })
    // A certificate alone, where a person is wanted besides.
    if (!decision.allow && signIn)
      return this.#refuse(asking, 'LOGIN_REQUIRED', { headers: found.challenge, signIn, identities, detail })
    if (!decision.allow) return this.#refuse(asking, 'ACCESS_DENIED', { identities, detail })
    const request = facts.request && { request: facts.request }
    // By a bypass nobody was looked at: no sign-in ends it, and the origin is told of nobody.
    const seen = decision.action === 'bypass' ? [] : identities
    const admitted = { ...admissionOf(asking, seen), application, permit: decision.permit, ...request }
    return this.#admit(asking, admitted, detail)
  }

  /** The team domain, for a daemon's connection or a pipe it dials for a client: its tunnel token names its tunnel. */
  async connector(asked: Asked, call: Call): Promise<Outcome<ConnectorAdmission>> {
    const asking = this.#begin(asked, 'connector.decide')
    if ('refused' in asking) return asking
    if (asking.hostname !== this.#options.teamDomain) return this.#refuse(asking, 'NOT_FOUND')
    const found = await this.#identify(asking, this.#options.connectors, call)
    if ('refused' in found) return found
    const { identities, challenge } = found
    if (identities.length === 0) return this.#refuse(asking, 'LOGIN_REQUIRED', { headers: challenge })
    const tunnelId = identities.find(({ issuer }) => issuer === TUNNEL_TOKENS)?.subject
    if (tunnelId === undefined || !this.#options.store.snapshot.tunnels.has(tunnelId)) {
      return this.#refuse(asking, 'AUTH_REJECTED', { identities })
    }
    return this.#admit(asking, { ...admissionOf(asking, identities), tunnelId }, { tunnel: tunnelId })
  }

  #begin(asked: Asked, action: Asking['action'] = 'access.decide'): Asking | { readonly refused: Refused } {
    const { presented, purpose, requestId = randomUUID() } = asked
    try {
      const hostname = asked.hostname ?? requestedHostname(presented.headers.host, presented.url)
      return { requestId, hostname, presented, purpose, action, version: this.#options.store.snapshot.version }
    } catch (error) {
      const { code, message } = PosternError.from(error)
      return { refused: { problem: problem(code, requestId, { speaker: 'edge', detail: message }), headers: {} } }
    }
  }

  async #identify(
    asking: Asking,
    verifiers: readonly NamedVerifier[],
    call: Call,
    application?: ApplicationRecord,
  ): Promise<Exclude<Verified, { refused: Code }> | { readonly refused: Refused }> {
    const verified = await verifyAll(verifiers, shownTo(asking, application), call)
    return 'refused' in verified ? this.#turnDown(asking, verified, call) : verified
  }

  /** A 401 says where to get what is wanted (RFC 9728 §5.1), on every way in. */
  #challenged({ refused }: { readonly refused: Refused }, { hostname }: Asking): { readonly refused: Refused } {
    if (refused.problem.status !== 401) return { refused }
    const metadata = `${this.#options.origins.of(hostname)}/.well-known/oauth-protected-resource`
    const { 'www-authenticate': others = [] } = refused.headers
    const challenges = [`Bearer resource_metadata="${metadata}"`, ...[others].flat()]
    return { refused: { ...refused, headers: { ...refused.headers, 'www-authenticate': challenges } } }
  }

  /** A credential that is bad. Guessing is slowed per address; whoever knows the secret never comes here. */
  #turnDown(asking: Asking, { refused, by, cause }: Extract<Verified, { refused: Code }>, call: Call) {
    const { requestId, presented } = asking
    if (cause !== undefined) call.log.error('a verifier failed, which denies', { verifier: by, cause, requestId })
    const { peerCertificate } = presented
    const certificate = peerCertificate && { certificate: createHash('sha256').update(peerCertificate).digest('hex') }
    if (refused !== 'AUTH_REJECTED') return this.#refuse(asking, refused, { detail: { verifier: by, ...certificate } })
    const key = `guess\0${countedAddress(presented.remoteAddress)}`
    const guessed = this.#options.failures.isOver(key)
    this.#options.failures.count(key)
    const code = guessed ? 'RATE_LIMITED' : refused
    return this.#refuse(asking, code, { detail: { verifier: by } })
  }

  #admit<A extends Admission>(asking: Asking, admitted: A, detail: Json): Outcome<A> {
    const { store } = this.#options
    const entry = entryOf(asking, admitted.identities, true, undefined, detail)
    const noted = store.auditable && this.#noteVisit(entry)
    if (noted) return { admitted }
    return { refused: { problem: problem('AUDIT_UNAVAILABLE', asking.requestId, { speaker: 'edge' }), headers: {} } }
  }

  /** @returns whether the audit log knows of the visit: a page is many requests, and leaves one row. */
  #noteVisit(entry: AuditEntry): boolean {
    const { actor, hostname, remoteAddress, detail } = entry
    const { purpose, decision } = detail as { purpose: Asked['purpose']; decision?: { rule?: string } }
    if (purpose !== 'http') return this.#options.store.audit(entry)
    const visit = JSON.stringify([actor, hostname, decision?.rule, remoteAddress])
    if (this.#visits.count(visit) > 1 || this.#options.store.audit(entry)) return true
    this.#visits.takeBack(visit)
    return false
  }

  #refuse(
    asking: Asking,
    code: Code,
    more: { identities?: readonly Identity[]; detail?: Json; headers?: SentHeaders; signIn?: boolean } = {},
  ): { readonly refused: Refused } {
    const { identities = [], detail, headers = {}, signIn = false } = more
    if (this.isKnockNoted(asking.presented.remoteAddress, actorOf(identities))) {
      this.#options.store.audit(entryOf(asking, identities, false, code, detail))
    }
    return { refused: { problem: problem(code, asking.requestId, { speaker: 'edge' }), headers, identities, signIn } }
  }

  /**
   * Whether one more refusal leaves a row: of one key 600 a minute do, then one in a hundred. Whoever is refused without end
   * fills neither disk nor queue.
   */
  isNoted(key: string, most: number = MOST_KNOCKS): boolean {
    const { failures } = this.#options
    const count = failures.count(key)
    return !failures.isOver(key, most) || count % 100 === 0
  }

  /** Whether a refusal at the door leaves a row: of somebody who is known, or of an address. */
  isKnockNoted(remoteAddress: string, actor: string | undefined): boolean {
    if (actor !== undefined) return this.isNoted(`denied\0${actor}`)
    const own = this.isNoted(`knock\0${countedAddress(remoteAddress)}`)
    return this.isNoted('knock', MOST_KNOCKS_IN_ALL) && own
  }
}

interface Asking {
  readonly requestId: string
  readonly hostname: string
  readonly presented: Presented
  readonly purpose: Asked['purpose']
  /** Of its audit row. */
  readonly action: 'access.decide' | 'connector.decide'
  readonly version: number
}

/** `Authorization` is the application's own, unless it says otherwise. */
function shownTo({ presented, action }: Asking, application: ApplicationRecord | undefined): Presented {
  if (action === 'connector.decide' || application?.options?.authorizationHeader === true) return presented
  if (!Object.hasOwn(presented.headers, 'authorization')) return presented
  const { authorization: _, ...headers } = presented.headers
  return { ...presented, headers }
}

function admissionOf({ requestId, hostname, presented, version }: Asking, identities: readonly Identity[]): Admission {
  return { requestId, hostname, remoteAddress: presented.remoteAddress, identities, version }
}

function entryOf(
  { requestId, hostname, presented, purpose, action }: Asking,
  identities: readonly Identity[],
  allowed: boolean,
  code: Code | undefined,
  detail: Json | undefined,
): AuditEntry {
  return {
    at: Date.now(),
    action,
    actor: actorOf(identities),
    hostname,
    requestId,
    remoteAddress: presented.remoteAddress,
    allowed,
    code,
    detail: { purpose, method: presented.method, ...(detail !== undefined && { decision: detail }) },
  }
}

/** Who it was, for the audit log. */
export function actorOf(identities: readonly Identity[]): string | undefined {
  return identities.map(({ issuer, subject }) => `${issuer} ${subject}`).join(', ') || undefined
}
