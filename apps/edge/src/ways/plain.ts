import { randomUUID } from 'node:crypto'
import { type Problem, problem, type SentHeaders } from '@postern/interface'
import type { Asked } from '../authorize/authorize.ts'
import type { WayContext } from './context.ts'

/**
 * A request that is no upgrade of ours, in whatever method: decided as an upgrade would be. There is nothing behind it yet but
 * advice, which only those get who were let in.
 */
export async function answerPlain(
  asked: Asked['presented'],
  answer: (problem: Problem, headers?: SentHeaders) => void,
  context: WayContext,
): Promise<void> {
  const { authorizer, log, signal } = context
  try {
    const outcome = await authorizer.access({ purpose: 'plain', presented: asked }, { log, signal })
    if ('refused' in outcome) return answer(outcome.refused.problem, outcome.refused.headers)
    const { requestId, hostname, application } = outcome.admitted
    const protocol = application.protocols.includes('ssh') ? 'ssh' : 'tcp'
    answer(
      problem('VERSION_UNSUPPORTED', requestId, {
        speaker: 'edge',
        detail: 'you may use this application, but this edge does not serve it over HTTP',
        next: `Reach it with: postern access ${protocol} --hostname ${hostname}`,
      }),
      { upgrade: 'websocket' },
    )
  } catch (error) {
    log.error('a request failed', { error: String(error) })
    answer(problem('INTERNAL', randomUUID(), { speaker: 'edge' }))
  }
}
