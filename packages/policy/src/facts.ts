import type { Identity } from '@postern/interface'
import { type Address, readAddress } from './address.ts'
import { segmentsOf } from './path.ts'
import type { Action } from './rule.ts'

/** All a decision may depend on. The same facts and rules give the same decision. */
export interface Facts {
  /** Everything the verifiers made of what was presented. */
  readonly identities: readonly Identity[]
  /**
   * Nobody looked for a certificate, and the decision is made again where somebody does. Until then rules take it for shown where they
   * require one and for another one where they exclude or deny one; it is nobody by itself.
   */
  readonly certificateUnseen?: true
  /** Milliseconds since the epoch: an identity that has expired by then is as if absent. */
  readonly now: number
  /** Where the request comes from, as the socket or a trusted proxy says it. Absent: not known. */
  readonly address?: string
  /** The single HTTP request that is asked for, its path without the query. Absent for access to a protocol (TCP, SSH). */
  readonly request?: { readonly method: string; readonly path: string }
}

/** Issuer of the identities that the edge's verifier of client certificates makes. */
export const CERTIFICATES = 'postern:mtls'

/** The facts as the rules of one action see them. */
export interface View {
  /** Whom `identity`, `serviceToken` and `anyServiceToken` can mean. */
  readonly named: readonly Identity[]
  /** Whom `claim` and `provider` can mean. */
  readonly described: readonly Identity[]
  /** Whom `everyone`, `email`, `emailDomain` and `group` can mean. */
  readonly people: readonly Identity[]
  /** Whom `certificate` can mean; undefined: nobody looked. */
  readonly certificates: readonly Identity[] | undefined
  readonly request: RequestFacts
  /** Answers of reusable groups in this decision: each is looked at once. */
  readonly groups: Map<string, Answer>
}

/** What is known of the request, read once; undefined: it cannot be told. */
export interface RequestFacts {
  readonly address: Address | undefined
  readonly segments: readonly string[] | undefined
  readonly method: string | undefined
}

/** `unknown`: it cannot be decided. It never helps anybody in. */
export type Answer = 'yes' | 'no' | 'unknown'

/**
 * Who is seen by which rules. A rule that bypasses sees nobody, one for services only services; a rule that allows sees services by
 * their name only, so that none is let in by what was meant for people; a rule that denies sees everybody. Certificates are seen by
 * all but those that bypass.
 */
export function viewsOf(facts: Facts, present: readonly Identity[]): (action: Action) => View {
  const request = new RequestRead(facts)
  const services = () => present.filter(({ kind }) => kind === 'service')
  const others = () => present.filter(({ kind }) => kind !== 'service')
  const people = () => present.filter(({ kind }) => kind === 'user')
  const shown = present.filter(({ kind, issuer }) => kind === 'certificate' && issuer === CERTIFICATES)
  const certificates = facts.certificateUnseen ? undefined : shown
  const see = (named: readonly Identity[], described: readonly Identity[], seen: readonly Identity[]): View => ({
    named,
    described,
    people: seen,
    certificates,
    request,
    groups: new Map(),
  })
  const make: Readonly<Record<Action, () => View>> = {
    deny: () => see(present, present, people()),
    bypass: () => ({ ...see([], [], []), certificates: [] }),
    allow: () => see(present, others(), people()),
    service: () => see(services(), services(), []),
  }
  // Most policies have rules of an action or two.
  const views: Partial<Record<Action, View>> = {}
  return action => {
    const view = views[action] ?? make[action]()
    views[action] = view
    return view
  }
}

/** Read when a rule first asks for it. */
class RequestRead implements RequestFacts {
  readonly method: string | undefined
  readonly #facts: Facts
  #address: Address | undefined | 'unread' = 'unread'
  #segments: readonly string[] | undefined | 'unread' = 'unread'

  constructor(facts: Facts) {
    this.method = facts.request?.method
    this.#facts = facts
  }

  get address(): Address | undefined {
    const { address } = this.#facts
    if (this.#address === 'unread') this.#address = address === undefined ? undefined : readAddress(address)
    return this.#address
  }

  get segments(): readonly string[] | undefined {
    const { request } = this.#facts
    if (this.#segments === 'unread') this.#segments = request === undefined ? undefined : segmentsOf(request.path)
    return this.#segments
  }
}

/** The identities that count now. @param left told of each that does not, and why */
export function currentOf({ identities, now }: Facts, left: (why: string) => void): readonly Identity[] {
  return identities.filter(({ issuer, subject, expiresAt }) => {
    // Not `<=`: an expiry that is no number has passed.
    if (expiresAt === undefined || expiresAt > now) return true
    left(`${issuer} ${subject} has expired`)
    return false
  })
}
