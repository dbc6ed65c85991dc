import type { IncomingMessage } from 'node:http'
import { PosternError, readProblem, type Speaker } from '@postern/interface'

/** The header in which a daemon says that an answer is its own, and why there is none of the service's: a problem as JSON. */
const PROBLEM_HEADER = 'postern-problem'
const SPEAKERS: readonly (Speaker | undefined)[] = ['daemon', 'service', 'plugin']

/**
 * What the daemon says instead of an answer. A service cannot: its daemon leaves that header out of what it passes on.
 *
 * @returns undefined for a service's own answer
 */
export function toldByDaemon({ headers }: IncomingMessage): PosternError | undefined {
  const said = headers[PROBLEM_HEADER]
  if (said === undefined) return undefined
  const told = readProblem(parsed(String(said)))
  if (told === undefined) return new PosternError('ORIGIN_FAILED', 'the daemon said why in vain', { speaker: 'daemon' })
  // Who is behind a pipe must not pass for the edge.
  const speaker = SPEAKERS.includes(told.speaker) ? told.speaker : 'daemon'
  return PosternError.fromProblem({ ...told, ...(speaker && { speaker }) })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
