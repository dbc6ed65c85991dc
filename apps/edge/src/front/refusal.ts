import { randomUUID } from 'node:crypto'
import { PosternError, type Problem, problem, type SentHeaders } from '@postern/interface'
import { HeadRefused } from './head.ts'

/** What a head is refused with. */
export function refusalOf(thrown: unknown): Problem {
  const error = PosternError.from(thrown)
  const refusal = problem(error.code, randomUUID(), { speaker: 'edge', detail: error.message, next: error.next })
  return error instanceof HeadRefused && error.status !== undefined ? { ...refusal, status: error.status } : refusal
}

/** What goes with it. */
export function headersOf(error: unknown): SentHeaders {
  return error instanceof HeadRefused && error.status === 426 ? { 'sec-websocket-version': '13' } : {}
}

/** What bytes that are no request are answered with. */
export function problemOf(error: NodeJS.ErrnoException): Problem {
  const id = randomUUID()
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return { ...problem('TIMED_OUT', id), status: 408 }
  return problem(error.code === 'HPE_HEADER_OVERFLOW' ? 'REQUEST_TOO_LARGE' : 'BAD_USAGE', id)
}
