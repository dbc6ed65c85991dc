import { type Call, PosternError, type ProtocolServer, problem, type RemoteSide } from '@postern/interface'
import type { OfferedTunnelStream } from '@postern/tunnel'
import { type IngressRule, showService } from './ingress.ts'
import { reach } from './reach.ts'

/** A rule with the plugin that speaks to its service. */
export interface ServedRule extends IngressRule {
  readonly server: ProtocolServer
}

/**
 * One stream the edge opened: the rule of its hostname, that rule's plugin, the service. A refusal before the first byte is
 * told with its code and without an internal address; the address stays in this daemon's log.
 */
export async function serveStream(
  offered: OfferedTunnelStream,
  rules: ReadonlyMap<string, ServedRule>,
  call: Call,
): Promise<void> {
  const { hostname, requestId, identities = [], permit = null } = offered.header
  const rule = rules.get(hostname)
  if (!rule) {
    call.log.warn('refused a stream: no ingress rule', { hostname, requestId })
    return offered.reject(problem('INGRESS_NOT_FOUND', requestId, { speaker: 'daemon' }))
  }
  let answered = false
  const once = {
    accept: () => {
      answered = true
      return offered.accept()
    },
  }
  const service = showService(rule.service)
  const remote: RemoteSide = {
    service: rule.service,
    identities,
    permit,
    dial: (inner, to) => reach(rule.service, to, inner),
    audit: event => call.log.info('protocol', { hostname, requestId, action: event.action, allowed: event.allowed }),
  }
  try {
    await rule.server.serve(once, remote, call)
    call.log.debug('stream ended', { hostname, requestId })
  } catch (thrown) {
    const error = PosternError.from(thrown, 'INTERNAL', { speaker: 'daemon' })
    call.log.warn('stream failed', { hostname, service, requestId, code: error.code, cause: error.message })
    if (!answered) offered.reject(problem(error.code, requestId, { speaker: error.speaker ?? 'daemon' }))
  }
}
