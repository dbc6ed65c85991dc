import { randomUUID } from 'node:crypto'
import { type Incoming, PosternError, type Problem, problem } from '@postern/interface'
import type { ApplicationRecord } from '@postern/store'
import type { AccessAdmission } from '../authorize/authorize.ts'
import { requestedHostname } from '../front/hostname.ts'
import { serveConnector } from './connector.ts'
import { refusalOf, type WayContext } from './context.ts'
import { serveJoin } from './join.ts'
import { serveLeg, serveTicket } from './leg.ts'
import { serveRaw } from './raw.ts'
import { serveSession } from './session.ts'

/**
 * Everybody whom a transport brings. Nothing is accepted, and no daemon hears of it, before one decision said yes. Never
 * rejects: what goes wrong with one visitor ends that visitor.
 */
export async function arrive(incoming: Incoming, context: WayContext): Promise<void> {
  const visit = once(incoming)
  try {
    await admit(visit, context)
  } catch (error) {
    const { code, message } = PosternError.from(error)
    context.log.debug('a visit ended early', { code, error: message })
    if (!visit.answered) await incoming.reject(refusalOf(error, randomUUID())).catch(() => {})
  }
}

async function admit(incoming: Incoming, context: WayContext): Promise<void> {
  const { purpose, presented } = incoming
  const { authorizer, log, signal } = context
  const call = { log, signal }
  if (context.draining()) return incoming.reject(problem('DRAINING', randomUUID(), { speaker: 'edge' }))
  if (incoming.ticket !== undefined) return serveTicket(incoming, incoming.ticket, context)
  if (purpose === 'connector') {
    const outcome = await authorizer.connector({ purpose, presented }, call)
    if ('refused' in outcome) return incoming.reject(outcome.refused.problem, outcome.refused.headers)
    return serveConnector(incoming, outcome.admitted, context)
  }
  if (purpose === 'join' && isForTeam(incoming, context)) {
    const outcome = await authorizer.connector({ purpose, presented }, call)
    if ('refused' in outcome) return incoming.reject(outcome.refused.problem, outcome.refused.headers)
    return serveLeg(incoming, outcome.admitted, context)
  }
  const outcome = await authorizer.access({ purpose, presented }, call)
  if ('refused' in outcome) return incoming.reject(outcome.refused.problem, outcome.refused.headers)
  if (!carriesBytes(outcome.admitted.application)) return incoming.reject(onlyHttp(outcome.admitted))
  if (purpose === 'session') return serveSession(incoming, outcome.admitted, context)
  if (purpose === 'join') return serveJoin(incoming, outcome.admitted, context)
  return serveRaw(incoming, outcome.admitted, context)
}

/** A daemon's, then: no application has the team's hostname. What is no hostname is refused as everybody's is. */
function isForTeam({ presented }: Incoming, { teamDomain }: WayContext): boolean {
  try {
    return requestedHostname(presented.headers.host, presented.url) === teamDomain
  } catch {
    return false
  }
}

/** Whether a connection of bytes has anywhere to go. */
function carriesBytes({ protocols }: ApplicationRecord): boolean {
  return protocols.length === 0 || protocols.some(protocol => protocol !== 'http')
}

function onlyHttp({ hostname, requestId }: AccessAdmission): Problem {
  return problem('BAD_USAGE', requestId, {
    speaker: 'edge',
    detail: 'this application is reached over HTTP, not by connections of bytes',
    next: `Open it in a browser, or run: postern access http --hostname ${hostname}`,
  })
}

/** The same visit, which remembers whether it was answered. */
function once(incoming: Incoming): Incoming & { readonly answered: boolean } {
  let answered = false
  return {
    purpose: incoming.purpose,
    host: incoming.host,
    presented: incoming.presented,
    ...(incoming.ticket !== undefined && { ticket: incoming.ticket }),
    get answered() {
      return answered
    },
    reject: (refusal, headers) => {
      answered = true
      return incoming.reject(refusal, headers)
    },
    accept: (answer, watch) => {
      answered = true
      return incoming.accept(answer, watch)
    },
  }
}
