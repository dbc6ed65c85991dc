import type { Duplex } from 'node:stream'
import { type Call, PosternError, type ProtocolServer, problem, type RemoteSide } from '@postern/interface'
import type { OfferedTunnelStream, StreamHeader } from '@postern/tunnel'
import { type IngressRule, showService } from './ingress.ts'
import { reach } from './reach.ts'

/** A rule with the plugin that speaks to its service. */
export interface ServedRule extends IngressRule {
  readonly server: ProtocolServer
}

/**
 * One stream the edge opened: the rule of its hostname, that rule's plugin, the service. A refusal before the first byte is
 * told with its code and without an internal address; the address stays in this daemon's log. When the plugin is done with
 * the stream, so is the daemon: it is cut where it was not ended. Never rejects.
 */
export async function serveStream(
  offered: OfferedTunnelStream,
  rules: ReadonlyMap<string, ServedRule>,
  outer: Call,
): Promise<void> {
  // Who leaves before an answer takes the dialling along: else an edge could have any number of dials going here.
  const call: Call = { log: outer.log, signal: AbortSignal.any([outer.signal, offered.gone]) }
  const { hostname, requestId } = offered.header
  const rule = rules.get(hostname)
  if (!rule) {
    call.log.warn('refused a stream: no ingress rule', { hostname, requestId })
    return offered.reject(problem('INGRESS_NOT_FOUND', requestId, { speaker: 'daemon' }))
  }
  let stream: Duplex | undefined
  const accept = () => (stream = offered.accept())
  try {
    await rule.server.serve({ accept }, remoteSide(rule, offered.header, call), call)
    if (!stream) throw new PosternError('INTERNAL', 'the protocol did not answer the stream', { speaker: 'daemon' })
    if (!stream.writableEnded)
      throw new PosternError('STREAM_CUT', 'the protocol left the stream open', { speaker: 'daemon' })
    stream.resume() // an end was said; what the user still sends is read by nobody
    call.log.debug('stream ended', { hostname, requestId })
  } catch (thrown) {
    const error = PosternError.from(thrown, 'INTERNAL', { speaker: 'daemon' })
    const service = showService(rule.service)
    call.log.warn('stream failed', { hostname, service, requestId, code: error.code, cause: error.message })
    if (stream) stream.destroy(error)
    else offered.reject(problem(error.code, requestId, { speaker: error.speaker ?? 'daemon' }))
  }
}

function remoteSide({ service }: ServedRule, header: StreamHeader, { log, signal }: Call): RemoteSide {
  const { hostname, requestId, identities = [], permit = null } = header
  return {
    service,
    identities,
    permit,
    dial: (inner, to) => reach(service, to, { log: inner.log, signal: AbortSignal.any([inner.signal, signal]) }),
    audit: event => log.info('protocol', { hostname, requestId, action: event.action, allowed: event.allowed }),
  }
}
