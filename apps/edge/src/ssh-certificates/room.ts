import { createHash } from 'node:crypto'
import { type Code, type Json, PosternError, problem } from '@postern/interface'
import { issueSshCertificate } from '@postern/pki/ssh/certificate'
import { readSshPublicKey } from '@postern/pki/ssh/public-key'
import type { ApplicationRecord } from '@postern/store'
import { sendJson } from '../authorization-server/json.ts'
import { type AccessAdmission, actorOf } from '../authorize/authorize.ts'
import type { Exchange } from '../front/exchange.ts'
import type { OwnPaths } from '../http/context.ts'
import { presentedByProgram, readJsonBody } from '../http/json-body.ts'
import { methodNotAllowed, pathOf } from '../team/site.ts'
import { note, refusalOf, type WayContext } from '../ways/context.ts'
import type { SshAuthorities } from './authorities.ts'
import { orderFor } from './order.ts'

/** The public key that servers are told to trust. For everybody. */
const AUTHORITY = '/.postern/ssh-ca.pub'
/** A certificate for who is let in: `{ "publicKey": "ssh-ed25519 AAAA…" }`. */
const CERTIFICATE = '/.postern/ssh-certificate'
/** Bytes. The longest RSA key is a fifth of it. */
const LARGEST_BODY = 16_384
const SILENT: readonly Code[] = ['INTERNAL', 'CONFIG_INVALID', 'STORE_UNUSABLE']

/** SSH certificates of applications that speak SSH. */
export class SshCertificates implements OwnPaths {
  readonly #context: WayContext
  readonly #authorities: SshAuthorities

  constructor(context: WayContext, authorities: SshAuthorities) {
    this.#context = context
    this.#authorities = authorities
  }

  async serveOnApplication(exchange: Exchange, application: ApplicationRecord): Promise<boolean> {
    const path = pathOf(exchange)
    if ((path !== AUTHORITY && path !== CERTIFICATE) || !application.protocols.includes('ssh')) return false
    try {
      if (path === AUTHORITY) await this.#showAuthority(exchange, application)
      else await this.#certify(exchange)
    } catch (error) {
      this.#refuse(exchange, error)
    }
    return true
  }

  async #showAuthority(exchange: Exchange, application: ApplicationRecord): Promise<void> {
    const { method, requestId, presented, response } = exchange
    if (method !== 'GET' && method !== 'HEAD') return methodNotAllowed(exchange, 'GET')
    const { remoteAddress } = presented
    const line = await this.#authorities.line(application, { actor: 'edge', requestId, remoteAddress })
    const body = Buffer.from(`${line}\n`)
    response.setHeader('content-type', 'text/plain; charset=utf-8')
    response.setHeader('content-length', String(body.length))
    response.setHeader('cache-control', 'no-store')
    response.setHeader('x-content-type-options', 'nosniff')
    response.statusCode = 200
    if (method === 'HEAD') response.end()
    else response.end(body)
  }

  /** Decided as a connection by SSH is: rules about paths and methods have no say, and nobody is let in unseen. */
  async #certify(exchange: Exchange): Promise<void> {
    const { method, requestId, hostname, signal } = exchange
    if (method !== 'POST') return methodNotAllowed(exchange, 'POST')
    const presented = presentedByProgram(exchange)
    const { authorizer, live, log } = this.#context
    const outcome = await authorizer.access({ purpose: 'session', presented, requestId, hostname }, { log, signal })
    if ('refused' in outcome) return exchange.refuse(outcome.refused.problem, outcome.refused.headers)
    const { admitted } = outcome
    // Until it is signed: whoever is put out while their key arrives gets none.
    const ended = new AbortController()
    const forget = live.keepAccess(admitted, reason => ended.abort(reason))
    try {
      await this.#issue(exchange, admitted, AbortSignal.any([signal, ended.signal]))
    } catch (error) {
      this.#refuse(exchange, error, admitted)
    } finally {
      forget()
    }
  }

  async #issue(exchange: Exchange, admitted: AccessAdmission, signal: AbortSignal): Promise<void> {
    const publicKey = readSshPublicKey(readWanted(await readJsonBody(exchange, LARGEST_BODY, signal)))
    const { requestId, remoteAddress, application, identities } = admitted
    const actor = actorOf(identities) ?? 'nobody'
    const authority = await this.#authorities.of(application, { actor, requestId, remoteAddress })
    signal.throwIfAborted()
    const order = orderFor(admitted, publicKey, Date.now())
    const { certificate, serial } = issueSshCertificate(authority, order)
    const validBefore = new Date(order.validBefore * 1000).toISOString()
    const fingerprint = `SHA256:${createHash('sha256').update(publicKey.blob).digest('base64').replace(/=+$/, '')}`
    const detail = { serial: String(serial), principals: order.principals, validBefore, key: fingerprint }
    // On disk before it is given: what servers take for hours must be known of, whatever becomes of the edge.
    const { store } = this.#context
    const noted = store.auditable && note(store, admitted, { action: 'ssh-certificate.issue', allowed: true, detail })
    if (!noted || !(await store.flush()))
      throw new PosternError('AUDIT_UNAVAILABLE', 'the audit log cannot be written', { speaker: 'edge' })
    signal.throwIfAborted()
    sendJson(exchange, 200, { certificate, validBefore })
  }

  /** Who was let in and gets none all the same leaves a row, unless there are too many of them. */
  #refuse(exchange: Exchange, error: unknown, admitted?: AccessAdmission): void {
    const { requestId, response, signal } = exchange
    const { store, authorizer, log } = this.#context
    const known = PosternError.from(error)
    // What is wrong with the edge itself is for its log.
    const code = SILENT.includes(known.code) ? 'INTERNAL' : known.code
    if (code === 'INTERNAL') log.error('no SSH certificate could be made', { requestId, error: String(error) })
    if (admitted !== undefined && authorizer.isNoted(`ssh\0${actorOf(admitted.identities)}`))
      note(store, admitted, { action: 'ssh-certificate.refuse', allowed: false, code })
    if (signal.aborted || response.destroyed) return
    const refusal = code === 'INTERNAL' ? problem(code, requestId, { speaker: 'edge' }) : refusalOf(known, requestId)
    // Of a head it is 431; only a body is too large here.
    if (!response.headersSent) exchange.refuse(code === 'REQUEST_TOO_LARGE' ? { ...refusal, status: 413 } : refusal)
    else exchange.cut()
  }
}

/** @throws PosternError BAD_USAGE */
function readWanted(body: Json): string {
  const [[name, publicKey] = [], ...others] = typeof body === 'object' && body !== null ? Object.entries(body) : []
  if (name === 'publicKey' && typeof publicKey === 'string' && others.length === 0) return publicKey
  throw new PosternError('BAD_USAGE', 'the body is { "publicKey": "ssh-ed25519 AAAA…" } and no more', {
    speaker: 'edge',
  })
}
