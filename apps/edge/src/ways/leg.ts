import { randomUUID } from 'node:crypto'
import { type Incoming, PosternError, type Presented, type Problem, problem } from '@postern/interface'
import { type AccessAdmission, actorOf, type ConnectorAdmission } from '../authorize/authorize.ts'
import { certificateOf } from './connector.ts'
import { note, type WayContext } from './context.ts'
import type { Taken } from './joins.ts'

/** The header in which a daemon shows for whom it comes. */
const TICKET_HEADER = 'postern-join'

/** The pipe that a daemon dialled because it was told to. It is given to the client who waits for it. */
export async function serveLeg(incoming: Incoming, admission: ConnectorAdmission, context: WayContext): Promise<void> {
  const { joins, store, authorizer } = context
  const { tunnelId, requestId } = admission
  const connectorId = certificateOf(admission.identities)?.connectorId
  const ticket = oneOf(incoming.presented, TICKET_HEADER)
  const taken =
    ticket === undefined || connectorId === undefined ? undefined : joins.take(ticket, { tunnelId, connectorId })
  if (taken === undefined) {
    const detail = { tunnel: tunnelId, ...(connectorId !== undefined && { connector: connectorId }) }
    if (authorizer.isNoted(`leg\0${tunnelId}`))
      note(store, admission, { action: 'join.refused', allowed: false, code: 'CONFLICT', detail })
    return incoming.reject(nobodyWaits(requestId))
  }
  return bring(incoming, taken, admission)
}

/** The same of a daemon that shows its ticket and nothing else. It heard that on a connection of its own, which is what it counts as. */
export async function serveTicket(incoming: Incoming, ticket: string, context: WayContext): Promise<void> {
  const { joins, store, authorizer, teamDomain: hostname } = context
  const { remoteAddress } = incoming.presented
  const shown = joins.show(ticket, remoteAddress)
  if (shown !== undefined && 'taken' in shown) return bring(incoming, shown.taken, shown.admission)
  const requestId = randomUUID()
  if (shown !== undefined) {
    noteRaced('daemon', [shown.first, remoteAddress], shown.client, context)
    return incoming.reject(problem('TICKET_RACED', requestId, { speaker: 'edge' }))
  }
  if (authorizer.isKnockNoted(remoteAddress, undefined)) {
    const refused = { action: 'join.refused', allowed: false, code: 'CONFLICT' } as const
    store.audit({ at: Date.now(), hostname, requestId, remoteAddress, ...refused })
  }
  return incoming.reject(nobodyWaits(requestId))
}

async function bring(incoming: Incoming, taken: Taken, admission: ConnectorAdmission): Promise<void> {
  try {
    taken.come({ pipe: await incoming.accept({ 'postern-request-id': admission.requestId }), admission })
  } catch (error) {
    taken.fail(new PosternError('STREAM_CUT', 'the daemon left while it came', { speaker: 'edge', cause: error }))
    throw error
  }
}

function nobodyWaits(requestId: string): Problem {
  const detail = 'nobody waits for this ticket of this connector: it was used, or its time is over'
  return problem('CONFLICT', requestId, { speaker: 'edge', detail })
}

/** One of the two is not whom the edge meant. Which one it cannot know; what goes through is of no use without a key. */
export function noteRaced(
  leg: 'client' | 'daemon',
  [first, second]: readonly [string, string],
  admission: AccessAdmission,
  { store, authorizer }: WayContext,
): void {
  if (!authorizer.isNoted(`raced\0${actorOf(admission.identities)}`)) return
  note(store, admission, { action: 'join.raced', allowed: false, code: 'TICKET_RACED', detail: { leg, first, second } })
}

/** A header that was sent once. */
export function oneOf({ headers }: Presented, name: string): string | undefined {
  const values = Object.hasOwn(headers, name) ? headers[name] : undefined
  return values?.length === 1 ? values[0] : undefined
}
