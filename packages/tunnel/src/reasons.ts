import { PosternError, type Problem, problem, type Speaker } from '@postern/interface'
import { YamuxError } from '@postern/yamux'
import type { TunnelOptions } from './tunnel.ts'

// What an error may tell a stranger. An error that is not here tells its code only: its message may name internal addresses.
const PROBLEMS = new WeakMap<PosternError, Problem>()

/**
 * An error that carries its whole problem to the other end when it cuts a stream or a session; any other PosternError tells its code,
 * speaker and request id only. Errors that came from the other end are of this kind, so a reason passes through an edge unchanged.
 */
export function reasonOf(told: Problem): PosternError {
  const error = PosternError.fromProblem(told)
  PROBLEMS.set(error, told)
  return error
}

/** {@link reasonOf}, after seeing to it that only those speak who can be over there. */
export function heard(told: Problem, speakers: TunnelOptions['hears']): PosternError {
  if (speakers === undefined || (told.speaker !== undefined && speakers.includes(told.speaker))) return reasonOf(told)
  return reasonOf({ ...told, speaker: speakers[0] })
}

/** What to tell the other end of an error of ours. */
export function problemOf(error: PosternError, requestId: string, speaker: Speaker | undefined): Problem {
  const known = PROBLEMS.get(error)
  if (known !== undefined) return known
  const who = error.speaker ?? speaker
  return problem(error.code, error.requestId ?? requestId, who && { speaker: who })
}

/** How a session's end is told to its users. */
export function sessionError(error: Error | undefined): PosternError {
  if (PosternError.is(error)) return error
  const facts = { cause: error }
  if (!(error instanceof YamuxError)) return new PosternError('SESSION_LOST', 'The session was lost', facts)
  if (error.code === 'PROTOCOL' || error.code === 'PEER_FAILED') {
    return new PosternError('PROTOCOL_VIOLATION', error.message, facts)
  }
  if (error.code === 'PEER_NOT_READING') return new PosternError('PEER_SILENT', error.message, facts)
  return new PosternError('SESSION_LOST', `The session was lost: ${error.message}`, facts)
}

/** How yamux's refusal to open a stream is told. */
export function openError(error: unknown): PosternError {
  if (!(error instanceof YamuxError)) return PosternError.from(error)
  if (error.code === 'SESSION_CLOSED') return sessionError(error)
  const draining = error.code === 'GONE_AWAY' || error.code === 'IDS_EXHAUSTED'
  return new PosternError(draining ? 'DRAINING' : 'LIMIT_EXCEEDED', error.message, { cause: error })
}
