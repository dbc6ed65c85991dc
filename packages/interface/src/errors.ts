import { type Code, factsOf, isCode } from './codes.ts'
import type { ReceivedHeaders } from './words.ts'

/** Who found the failure: it tells the reader where to look. */
export type Speaker = 'client' | 'edge' | 'daemon' | 'service' | 'plugin'

/**
 * A refusal as it travels: RFC 9457 (problem details) in spirit. Never an internal address, never a secret.
 * `detail` is optional and already fit for a stranger's eyes.
 */
export interface Problem {
  readonly code: Code
  /** The HTTP status where it is answered over HTTP. */
  readonly status: number
  readonly title: string
  /** What to do about it. */
  readonly next: string
  /** Finds the decision in the edge's audit log. */
  readonly requestId: string
  readonly speaker?: Speaker
  readonly detail?: string
}

/** What an edge answered to a dial it turned down. An `AuthProvider` sees it, and may answer its challenge. */
export interface Refusal {
  readonly status: number
  readonly headers: ReceivedHeaders
}

export interface ErrorFacts {
  readonly cause?: unknown
  readonly speaker?: Speaker
  readonly requestId?: string
  readonly refusal?: Refusal
  /** Replaces the catalogue's advice where something more exact can be said. */
  readonly next?: string
}

const BRAND = Symbol.for('postern.error')

/**
 * The one error class. `code` is stable and documented; the message says what happened and to what; `next` says what to do.
 * Recognise it by {@link PosternError.is}, not `instanceof`: two copies of this package must agree.
 *
 * @example
 * throw new PosternError('ORIGIN_REFUSED', 'nothing listens on localhost:22', { cause, speaker: 'daemon' })
 */
export class PosternError extends Error {
  override readonly name = 'PosternError'
  readonly code: Code
  readonly speaker: Speaker | undefined
  readonly requestId: string | undefined
  readonly refusal: Refusal | undefined
  readonly next: string

  constructor(code: Code, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.code = code
    this.speaker = facts.speaker
    this.requestId = facts.requestId || undefined // on the wire, what is about no request has an empty one
    // Only these two: what a provider is handed as its refusal also carries the credential, and an error ends in a log.
    this.refusal = facts.refusal && { status: facts.refusal.status, headers: facts.refusal.headers }
    this.next = facts.next ?? factsOf(code).next
    Object.defineProperty(this, BRAND, { value: true })
  }

  static is(value: unknown): value is PosternError {
    return typeof value === 'object' && value !== null && BRAND in value
  }

  /** Any thrown value as a PosternError: ours as it is, everything else as `code` (default INTERNAL) with the value as its cause. */
  static from(value: unknown, code: Code = 'INTERNAL', facts: Omit<ErrorFacts, 'cause'> = {}): PosternError {
    if (PosternError.is(value) && isCode(value.code)) return value // a copy of a newer Postern may know more codes
    return new PosternError(code, value instanceof Error ? value.message : String(value), { ...facts, cause: value })
  }

  /** The refusal somebody sent us, as an error of ours. */
  static fromProblem(problem: Problem, facts: Pick<ErrorFacts, 'refusal' | 'speaker'> = {}): PosternError {
    return new PosternError(problem.code, problem.detail ?? problem.title, {
      ...facts,
      speaker: problem.speaker ?? facts.speaker ?? 'edge',
      requestId: problem.requestId,
      next: problem.next,
    })
  }
}

/** A refusal to send: catalogue text for the code, and `detail` only where the caller made it fit for the reader. */
export function problem(
  code: Code,
  requestId: string,
  more: { readonly speaker?: Speaker; readonly detail?: string; readonly next?: string } = {},
): Problem {
  const facts = factsOf(code)
  return {
    code,
    status: facts.status ?? 500,
    title: facts.title,
    next: more.next ?? facts.next,
    requestId,
    ...(more.speaker && { speaker: more.speaker }),
    ...(more.detail && { detail: more.detail }),
  }
}

const LONGEST_TEXT = 1024
const SPEAKERS: readonly string[] = ['client', 'edge', 'daemon', 'service', 'plugin'] satisfies Speaker[]

/**
 * Reads a refusal that came over the wire. Text is cut to 1,024 characters and stripped of control characters and marks of
 * direction, since it ends on a terminal. A code of a newer Postern becomes INTERNAL and keeps its text.
 *
 * @returns undefined when the value is not a problem at all
 */
export function readProblem(value: unknown): Problem | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { code, status, title, next, requestId, speaker, detail } = value as Record<string, unknown>
  if (typeof code !== 'string' || typeof title !== 'string') return undefined
  const known = isCode(code) ? code : 'INTERNAL'
  return {
    code: known,
    status: typeof status === 'number' && status >= 400 && status <= 599 ? status : 500,
    title: clean(title),
    next: typeof next === 'string' ? clean(next) : factsOf(known).next,
    requestId: typeof requestId === 'string' ? clean(requestId) : '',
    ...(SPEAKERS.includes(speaker as string) && { speaker: speaker as Speaker }),
    ...(typeof detail === 'string' && { detail: clean(detail) }),
  }
}

/** Control characters, further line ends, and the marks that turn the direction of text: what is read must be what was said. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

function clean(text: string): string {
  return text.slice(0, LONGEST_TEXT).toWellFormed().replace(UNSEEN, ' ')
}
