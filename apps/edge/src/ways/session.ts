import {
  type Application,
  type Incoming,
  PosternError,
  type Problem,
  problem,
  type SentHeaders,
} from '@postern/interface'
import { cut } from '@postern/pump'
import { type OfferedTunnelStream, ownedAs, startTunnel } from '@postern/tunnel'
import { type AccessAdmission, actorOf } from '../authorize/authorize.ts'
import { note, noteRefused, refusalOf, saidBy, type WayContext, whoseOf } from './context.ts'
import { carry, openToDaemon } from './stream.ts'

/** A client's pipe: the same session as a daemon's, with the edge as its server. Resolves when it is over. */
export async function serveSession(incoming: Incoming, admission: AccessAdmission, context: WayContext): Promise<void> {
  const { routes, store } = context
  if (!routes.isOnline(admission.application.tunnelId)) {
    note(store, admission, { action: 'session.refused', allowed: false, code: 'TUNNEL_OFFLINE' })
    return incoming.reject(problem('TUNNEL_OFFLINE', admission.requestId, { speaker: 'edge' }))
  }
  const leave = sessionPlaceOf(admission, context)
  if (typeof leave !== 'function') return incoming.reject(leave)
  try {
    await serveAdmitted(incoming, admission, context)
  } finally {
    leave()
  }
}

async function serveAdmitted(incoming: Incoming, admission: AccessAdmission, context: WayContext): Promise<void> {
  const { live, store, tunnels, shares, log } = context
  const pipe = await incoming.accept(acceptHeaders(admission, context.teamDomain))
  const over = new AbortController()
  const signal = AbortSignal.any([context.signal, over.signal])
  const started = Date.now()
  let streams = 0
  const budget = shares.budgetOf(whoseOf(admission), resets =>
    noteRefused(context, admission, 'LIMIT_EXCEEDED', undefined, { resets }),
  )
  const onStream = (offered: OfferedTunnelStream) => {
    streams += 1
    void serveStream(offered, admission, context, signal)
  }
  const tunnel = await startTunnel(
    pipe,
    { role: 'server', speaker: 'edge', hears: ['client'], log, onStream, budget },
    { log, signal: context.signal },
  )
  tunnels.add(tunnel)
  const forget = live.keepAccess(admission, reason => {
    tunnel.cut(reason)
    // What is being opened reaches no service any more, though the pipe may take seconds to go.
    over.abort(reason)
  })
  const error = await tunnel.closed
  forget()
  tunnels.delete(tunnel)
  over.abort(error ?? new PosternError('SESSION_LOST', 'the session is over', { speaker: 'edge' }))
  note(store, admission, {
    action: 'session.end',
    code: error?.code,
    detail: { streams, ms: Date.now() - started, ...saidBy(error) },
  })
}

/** @returns to be called at the session's end, or why there is no place for it */
function sessionPlaceOf(admission: AccessAdmission, { shares, store, authorizer }: WayContext): (() => void) | Problem {
  try {
    return shares.begin(whoseOf(admission))
  } catch (error) {
    const refusal = refusalOf(error, admission.requestId)
    if (authorizer.isNoted(`session\0${actorOf(admission.identities)}`))
      note(store, admission, { action: 'session.refused', allowed: false, code: refusal.code, detail: saidBy(error) })
    return refusal
  }
}

/** One connection of the user. A session is for one hostname, whatever its streams ask for. Never rejects. */
async function serveStream(
  offered: OfferedTunnelStream,
  admission: AccessAdmission,
  context: WayContext,
  signal: AbortSignal,
): Promise<void> {
  const { log } = context
  const { requestId, hostname } = admission
  if (offered.header.hostname !== hostname) {
    noteRefused(context, admission, 'DESTINATION_FORBIDDEN')
    return offered.reject(
      problem('DESTINATION_FORBIDDEN', requestId, { speaker: 'edge', detail: 'this session is for another hostname' }),
    )
  }
  // Who leaves while it is opened gives back its turn, and the daemon's dialling with it.
  const opening = { log, signal: AbortSignal.any([signal, offered.gone]) }
  const daemon = await openToDaemon(admission, context, opening).catch((error: unknown) => {
    log.debug('a stream was refused', { requestId, code: PosternError.from(error).code })
    offered.reject(refusalOf(error, requestId))
  })
  if (daemon === undefined) return
  try {
    const visitor = offered.accept()
    ownedAs(visitor, daemon)
    await carry(visitor, daemon, admission, context)
  } catch (error) {
    // The visitor's deadline was earlier than the daemon's answer.
    cut(daemon, PosternError.from(error))
  }
}

/** What a client is told with the yes; that the edge is in between, unless it is said otherwise. */
export function acceptHeaders({ requestId, application }: AccessAdmission, teamDomain: string): SentHeaders {
  const { id, hostname, protocols } = application
  const told: Application = { id, hostname, teamDomain, protocols }
  return { 'postern-request-id': requestId, 'postern-application': JSON.stringify(told), 'postern-mode': 'hop' }
}
