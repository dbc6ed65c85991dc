import { type Identity, PosternError, type Problem, problem } from '@postern/interface'
import type { ApplicationRecord } from '@postern/store'
import type { Place } from '@postern/tunnel'
import type { AccessAdmission, Admission } from '../authorize/authorize.ts'
import type { Exchange, UpgradeExchange } from '../front/exchange.ts'
import { note, noteRefused, saidBy, whoseOf } from '../ways/context.ts'
import { relay } from './answer.ts'
import { ask } from './ask.ts'
import type { HttpContext } from './context.ts'
import { type Framing, requestHeaders, type Said } from './headers.ts'
import { isPreflight, notePreflight, withoutCredentials } from './preflight.ts'
import { deny, failureOf, refuse } from './refuse.ts'

/**
 * One HTTP request for an application: decided, then carried to its daemon and the answer back. Not a byte of it goes to a daemon
 * before it was let in. Never rejects.
 */
export async function serveHttp(exchange: Exchange, context: HttpContext): Promise<void> {
  const work = serve(exchange, context).catch((error: unknown) => {
    const { requestId } = exchange
    if (!PosternError.is(error)) context.log.error('a request failed', { requestId, error: String(error) })
    try {
      refuse(exchange, problem(PosternError.from(error).code, requestId, { speaker: 'edge' }), context)
    } catch {
      // What cannot even be refused is cut: whatever one visitor and one origin did, the others go on.
      exchange.cut()
    }
  })
  context.carried.add(work)
  await work
  context.carried.delete(work)
}

async function serve(exchange: Exchange, context: HttpContext): Promise<void> {
  const { requestId, hostname, presented } = exchange
  const { authorizer, store, log } = context
  const refused = (refusal: Problem) => refuse(exchange, refusal, context)
  if (context.draining()) return refused(problem('DRAINING', requestId, { speaker: 'edge' }))
  const application = store.snapshot.applications.get(hostname)
  if (application !== undefined) {
    if (await isAnswered(exchange, application, context)) return
    if (isPreflight(exchange, application)) return carryPreflight(exchange, application, context)
  }
  const asked = { purpose: 'http', presented, requestId, hostname } as const
  const outcome = await authorizer.access(asked, { log, signal: exchange.signal })
  if (exchange.signal.aborted) return
  if ('refused' in outcome) return deny(exchange, outcome.refused, context)
  if (!outcome.admitted.application.protocols.includes('http'))
    return adviseOtherWay(exchange, outcome.admitted, context)
  return carryRequest(exchange, outcome.admitted, context)
}

const OWN_PATHS = ['/.postern', '/.well-known/oauth-protected-resource']

/** The edge's own paths on an application's hostname: no origin ever sees a request or an upgrade for them. */
export function isOwnPath(target: string): boolean {
  const [path = ''] = target.split('?', 1)
  return OWN_PATHS.some(own => path === own || path.startsWith(`${own}/`))
}

async function isAnswered(exchange: Exchange, application: ApplicationRecord, context: HttpContext): Promise<boolean> {
  if (!isOwnPath(exchange.target)) return false
  for (const paths of context.http.ownPaths) if (await paths.serveOnApplication(exchange, application)) return true
  const nothing = { speaker: 'edge', detail: 'there is no such page' } as const
  refuse(exchange, problem('NOT_FOUND', exchange.requestId, nothing), context)
  return true
}

/** There is no web behind it: whoever was let in is told how to reach what there is. */
async function adviseOtherWay(exchange: Exchange, admission: AccessAdmission, context: HttpContext): Promise<void> {
  const { application, hostname, requestId } = admission
  const { signIn } = context.http
  if (exchange.isNavigation && signIn !== undefined) return signIn.sshPage(exchange, application)
  const protocol = application.protocols.includes('ssh') ? 'ssh' : 'tcp'
  const refusal = problem('VERSION_UNSUPPORTED', requestId, {
    speaker: 'edge',
    detail: 'you may use this application, but it is not reached over HTTP',
    next: `Reach it with: postern access ${protocol} --hostname ${hostname}`,
  })
  refuse(exchange, refusal, context, exchange.version === '1.1' ? { upgrade: 'websocket' } : {})
}

async function carryRequest(exchange: Exchange, admission: AccessAdmission, context: HttpContext): Promise<void> {
  const { live, store } = context
  const stop = new AbortController()
  // By hand: `AbortSignal.any` costs more than all else that is done here for a request.
  exchange.signal.addEventListener('abort', () => stop.abort(exchange.signal.reason))
  const forget = live.keepAccess(admission, reason => stop.abort(reason))
  const { signal } = stop
  const began = Date.now()
  try {
    using _place = await takePlace(admission, context, signal)
    const error = await forward(exchange, exchange.request.rawHeaders, admission, signal, context)
    if (error === undefined) return
    const { code } = PosternError.from(error, 'STREAM_CUT')
    const detail = { purpose: 'http', ms: Date.now() - began, ...saidBy(error) }
    note(store, admission, { action: 'stream.end', code, detail })
  } catch (error) {
    if (exchange.signal.aborted) return exchange.cut()
    const failure = failureOf(error, exchange.requestId)
    noteRefused(context, admission, failure.code, error)
    refuse(exchange, failure, context)
  } finally {
    forget()
  }
}

/** As who asks without having been asked who they are: their preflight alone goes on. */
async function carryPreflight(exchange: Exchange, application: ApplicationRecord, context: HttpContext): Promise<void> {
  const { requestId, hostname, presented } = exchange
  const { remoteAddress } = presented
  const version = context.store.snapshot.version
  const nobody = { requestId, hostname, remoteAddress, identities: [], version, application, permit: null }
  if (!notePreflight(nobody, context)) {
    return refuse(exchange, problem('AUDIT_UNAVAILABLE', requestId, { speaker: 'edge' }), context)
  }
  try {
    using _place = await takePlace(nobody, context, exchange.signal)
    const raw = withoutCredentials(exchange.request.rawHeaders)
    await forward(exchange, raw, nobody, exchange.signal, context)
  } catch (error) {
    refuse(exchange, failureOf(error, requestId), context)
  }
}

/** @returns what cut the answer, once its head was out. @throws what came before that */
async function forward(
  exchange: Exchange,
  raw: readonly string[],
  admission: AccessAdmission,
  signal: AbortSignal,
  context: HttpContext,
): Promise<unknown> {
  const { limits, pools } = context.http
  const { application } = admission
  const said = await saidFor(exchange, admission, context)
  const headers = requestHeaders(raw, said)
  const order = { agent: pools.of(application), headers, framing: said.framing, signal, limits }
  const asking = await ask(exchange, order, () => pools.single(application))
  return relay(exchange, asking, order)
}

/**
 * One request's share of its tunnel: the same that connections count against, by visitor, else by address.
 *
 * @throws PosternError LIMIT_EXCEEDED; `signal.reason`
 */
export async function takePlace(
  admission: Admission & { application: ApplicationRecord },
  context: HttpContext,
  signal: AbortSignal,
): Promise<Place & Disposable> {
  const { shares, memory, routes } = context
  const whose = whoseOf(admission)
  if (memory.isFull(shares.behind(whose.visitor)))
    throw new PosternError('LIMIT_EXCEEDED', 'the edge holds as much as it may for slow readers', { speaker: 'edge' })
  const place = await shares.take(whose, routes.count(admission.application.tunnelId), signal)
  // A stream that is open already needs no turn to be opened, and one that is not has the tunnel's own limit.
  place.answered()
  return { ...place, [Symbol.dispose]: () => place.release() }
}

/** What the edge adds to a request. */
export async function saidFor(
  exchange: Exchange | UpgradeExchange,
  { identities, remoteAddress, application }: AccessAdmission,
  { http, origins }: HttpContext,
): Promise<Said> {
  const { hostname, requestId } = exchange
  return {
    authority: origins.of(hostname).slice('https://'.length),
    remoteAddress,
    requestId,
    identityToken: await http.identityTokens.of(identities, hostname),
    // What the connection proved alone says nothing: only a certificate that the decision was made with.
    certificate: identities.some(isCertificate) ? exchange.presented.peerCertificate : undefined,
    framing: 'request' in exchange ? framingOf(exchange) : 'none',
    dropsAuthorization: application.options?.authorizationHeader === true,
  }
}

function isCertificate({ kind, issuer }: Identity): boolean {
  return kind === 'certificate' && issuer === 'postern:mtls'
}

const WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])

/** How the body is delimited: as the visitor said, and where HTTP/2 does not say, in chunks. */
function framingOf({ method, presented: { headers }, request }: Exchange): Framing {
  const [length] = headers['content-length'] ?? []
  if (length !== undefined) return { length }
  const isEmpty = 'stream' in request ? request.stream.endAfterHeaders : headers['transfer-encoding'] === undefined
  if (!isEmpty) return 'chunked'
  return WITH_BODY.has(method) ? { length: '0' } : 'none'
}
