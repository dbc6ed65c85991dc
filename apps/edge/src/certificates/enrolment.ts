import { type Call, type Identity, type Json, type Logger, PosternError } from '@postern/interface'
import { readCertificateRequest } from '@postern/pki'
import type { ApplicationRecord, Snapshot, Store } from '@postern/store'
import { detailOf } from '../admin/certificates.ts'
import { instantOf, isGood, serviceTokensOf } from '../admin/records.ts'
import type { Turns } from '../admin/turns.ts'
import { sendJson } from '../authorization-server/json.ts'
import { type AccessAdmission, type Authorizer, actorOf } from '../authorize/authorize.ts'
import type { Exchange } from '../front/exchange.ts'
import type { OwnPaths } from '../http/context.ts'
import { presentedByProgram, readJsonBody } from '../http/json-body.ts'
import type { Seal } from '../keys/seal.ts'
import { identityEnded } from '../live.ts'
import type { Origins } from '../origins.ts'
import { methodNotAllowed, pathOf, queryOf } from '../team/site.ts'
import { refusalOf } from '../ways/context.ts'
import { type Authority, authoritiesIn, mayBeNamedAt } from './authorities.ts'
import { issuing, renewUntil, SHORTEST, sign, type WantedLeaf } from './issue.ts'
import { holderOf, SERVICE_TOKEN_ISSUER } from './names.ts'
import type { IssuedRecord } from './records.ts'
import { type Renewable, renewableOf } from './renewal.ts'

const PATH = '/.postern/certificate'
/** Bytes. A request for an RSA key of 4096 bits has 1,700. */
const LARGEST_BODY = 32_768

export interface EnrolmentOptions {
  readonly store: Store
  readonly authorizer: Pick<Authorizer, 'access'>
  readonly seal: Pick<Seal, 'open'>
  readonly turns: Turns
  readonly origins: Pick<Origins, 'team'>
  readonly log: Logger
}

/**
 * `POST /.postern/certificate?ca=NAME` on an application's hostname: a certificate for the key of a request, for whoever the
 * rules of the CA let ask, or by a certificate of the same CA that is to be renewed. Nothing of the body is read before that is
 * decided.
 */
export class Enrolment implements OwnPaths {
  readonly #options: EnrolmentOptions

  constructor(options: EnrolmentOptions) {
    this.#options = options
  }

  async serveOnApplication(exchange: Exchange, application: ApplicationRecord): Promise<boolean> {
    if (pathOf(exchange) !== PATH) return false
    if (exchange.method !== 'POST') methodNotAllowed(exchange, 'POST')
    else await this.#answer(exchange, application)
    return true
  }

  async #answer(exchange: Exchange, application: ApplicationRecord): Promise<void> {
    const { requestId, signal, response } = exchange
    const { log } = this.#options
    try {
      await this.#serve(exchange, application, { log, signal })
    } catch (error) {
      if (signal.aborted) return
      if (response.headersSent) return exchange.cut()
      const refusal = refusalOf(error, requestId)
      if (refusal.code === 'INTERNAL') log.error('a certificate cannot be given', { requestId, error: String(error) })
      exchange.refuse(refusal)
    }
  }

  async #serve(exchange: Exchange, application: ApplicationRecord, call: Call): Promise<void> {
    const { store, authorizer } = this.#options
    const { requestId, hostname } = exchange
    const presented = presentedByProgram(exchange)
    const { groups } = store.snapshot
    const name = queryOf(exchange).get('ca') ?? undefined
    const authority = authorityFor(application, name, store.snapshot)
    const renewable = authority && renewableOf(presented.peerCertificate, authority, store.snapshot, Date.now())
    const rules = renewable?.rules ?? authority?.record.rules ?? []
    const outcome = await authorizer.access({ purpose: 'http', presented, requestId, hostname, rules }, call)
    call.signal.throwIfAborted()
    if ('refused' in outcome) {
      const { problem, headers } = outcome.refused
      if (problem.code === 'ACCESS_DENIED' && authority === undefined) throw noAuthority(name)
      return exchange.refuse(problem, headers)
    }
    // Rules let somebody in, so there is a CA that has them.
    if (authority === undefined) throw noAuthority(name)
    const request = await readRequest(exchange)
    const { publicKey } = await readCertificateRequest(request.csr)
    await this.#issue(exchange, authority, { ...request, publicKey, renewable, groups, admitted: outcome.admitted })
  }

  async #issue(exchange: Exchange, authority: Authority, allowed: Allowed): Promise<void> {
    const { store, seal, turns, origins } = this.#options
    const { renewable, groups, admitted } = allowed
    const named = renewable === undefined ? holderOf(admitted.identities, origins.team) : renewable.issued
    const only = renewable === undefined ? certificateAlone(admitted.identities) : undefined
    const from = only?.revokeKeys.find(key => key.startsWith('certificate:'))
    const leaf = leafOf(allowed, { ...named, until: only?.expiresAt }, authority, store.snapshot)
    const signed = await sign(authority, leaf, seal)
    const issued = await turns.take(async () => {
      const now = Date.now()
      const ended = identityEnded(admitted, store.snapshot, now)
      if (ended !== undefined) throw new PosternError('ACCESS_ENDED', ended, { speaker: 'edge' })
      // The CA's own rules are looked at with the CA.
      if (store.snapshot.groups !== groups)
        throw new PosternError('CONFLICT', 'groups were changed meanwhile', { speaker: 'edge', next: 'Ask again.' })
      const { requestId, remoteAddress, hostname, identities } = admitted
      const by = actorOf(identities) ?? ''
      const line = renewable && { firstIssuedAt: renewable.issued.firstIssuedAt, replaces: renewable.serial }
      const asking = {
        ...(named.holder && { holder: named.holder }),
        ...(from && { from }),
        firstIssuedAt: now,
        ...line,
        by,
      }
      const kept = issuing(store.snapshot, authority, signed, asking, now)
      const detail = detailOf(authority, signed.serial, kept.issued)
      const note = { action: 'certificate.issue', actor: by, hostname, requestId, remoteAddress, detail }
      await store.apply(kept.changes, note)
      return kept.issued
    })
    const { serial, certificate, chain } = signed
    const renews = renewUntil(issued, authority)
    sendJson(exchange, 200, {
      ca: authority.name,
      serial,
      certificate,
      chain,
      notAfter: instantOf(issued.notAfter),
      renewUntil: renews && instantOf(renews),
    })
  }
}

interface Request {
  /** PEM. */
  readonly csr: string
  /** How long it is to last; absent: as long as the CA gives. */
  readonly seconds: number | undefined
}

interface Allowed extends Request {
  readonly publicKey: string
  readonly renewable: Renewable | undefined
  /** That were decided by. */
  readonly groups: Snapshot['groups']
  readonly admitted: AccessAdmission
}

type Named = Pick<IssuedRecord, 'holder' | 'commonName' | 'san'>

/** What the certificate says: of the request only the key, and that it may last shorter. @throws PosternError ACCESS_DENIED */
function leafOf(
  { publicKey, seconds, renewable }: Allowed,
  named: Named & { readonly until: number | undefined },
  authority: Authority,
  snapshot: Snapshot,
): WantedLeaf {
  const { commonName, san, holder } = named
  const until = named.until ?? (holder && endOf(holder, snapshot))
  // One that is renewed lasts as long as the one before it was to, or shorter.
  const again = renewable && Math.min(renewable.issued.seconds, authority.record.leafSeconds)
  const wished = again === undefined ? seconds : Math.min(seconds ?? again, again)
  return {
    publicKey,
    san,
    ...(commonName !== undefined && { commonName }),
    ...(until !== undefined && { until }),
    ...(wished !== undefined && { seconds: wished }),
  }
}

/**
 * The CA that is asked: by its name, else the one that the application's rules name, else the only one there is. One that may not
 * be named here, or has no key, is as if it were not there.
 */
function authorityFor(
  application: ApplicationRecord,
  name: string | undefined,
  snapshot: Snapshot,
): Authority | undefined {
  const authorities = authoritiesIn(snapshot)
  const issues = (one: Authority) => one.record.issuing !== undefined && mayBeNamedAt(one, application.hostname)
  const all = authorities.list().filter(issues)
  if (name !== undefined) return all.find(one => one.name === name)
  const named = authorities.trustedBy(application, snapshot.groups)?.authorities.filter(issues) ?? all
  return named.length === 1 ? named[0] : undefined
}

/** @throws PosternError BAD_USAGE, REQUEST_TOO_LARGE, TIMED_OUT */
async function readRequest(exchange: Exchange): Promise<Request> {
  const body = await readJsonBody(exchange, LARGEST_BODY, exchange.signal)
  const { csr, seconds, ...others } = isMap(body) ? body : {}
  const [other] = Object.keys(others)
  if (other !== undefined) throw badUsage(`${JSON.stringify(other.slice(0, 64))} is not known`)
  if (typeof csr !== 'string') throw badUsage('csr, a certificate request in PEM, is missing')
  if (seconds === undefined) return { csr, seconds }
  if (typeof seconds === 'number' && Number.isInteger(seconds) && seconds >= SHORTEST) return { csr, seconds }
  throw badUsage(`seconds is not a whole number from ${SHORTEST}`)
}

/** The certificate that nobody and nothing else vouched beside: one more that is had with it must not be of use to a thief for longer. */
function certificateAlone(identities: readonly Identity[]): Identity | undefined {
  return identities.every(({ kind }) => kind === 'certificate') ? identities[0] : undefined
}

/**
 * When what vouches for a holder ends: the certificate of a service token never outlives it.
 *
 * @throws PosternError ACCESS_DENIED: it has ended
 */
function endOf({ issuer, subject }: NonNullable<IssuedRecord['holder']>, snapshot: Snapshot): number | undefined {
  if (issuer !== SERVICE_TOKEN_ISSUER) return undefined
  const token = serviceTokensOf(snapshot).get(subject)
  if (token !== undefined && isGood(token, Date.now())) return token.expiresAt
  throw denied('the service token that it was given for has ended')
}

function isMap(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function noAuthority(name: string | undefined): PosternError {
  const what = name === undefined ? 'no one CA is meant here' : `no CA ${JSON.stringify(name.slice(0, 64))} issues here`
  return new PosternError('NOT_FOUND', what, {
    speaker: 'edge',
    next: 'Name the CA that an administrator told you, with --ca.',
  })
}

function denied(message: string): PosternError {
  return new PosternError('ACCESS_DENIED', message, { speaker: 'edge' })
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
