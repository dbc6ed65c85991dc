import type { Code, PosternError } from '@postern/interface'

/** What may be otherwise in a while, though nobody does anything: the network, an edge that restarts, a daemon that comes back. */
const PASSING: ReadonlySet<Code> = new Set([
  ...(['EDGE_UNREACHABLE', 'EDGE_UNTRUSTED', 'EDGE_PROTOCOL', 'TIMED_OUT', 'STREAM_CUT', 'SESSION_LOST'] as const),
  ...(['PEER_SILENT', 'PROTOCOL_VIOLATION', 'DRAINING', 'TUNNEL_OFFLINE', 'MODE_FORBIDDEN', 'LIMIT_EXCEEDED'] as const),
  ...(['EDGE_UNAVAILABLE', 'AUDIT_UNAVAILABLE', 'RATE_LIMITED', 'INTERNAL'] as const),
])

/** Whether a failure may be over in a while, though nobody does anything. Anything else is an answer, and asking again gets the same. */
export function isPassing({ code }: PosternError): boolean {
  return PASSING.has(code)
}
