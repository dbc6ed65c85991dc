import { type Code, factsOf, PosternError, type Problem, problem } from '@postern/interface'

/** The header of an answer by which the daemon tells the edge why there is none of the service’s: a {@link Problem} as JSON. */
export const PROBLEM_HEADER = 'postern-problem'

/** OpenSSL’s and Node’s words for a certificate that is not to be trusted, and for a service that speaks no TLS. */
const TLS =
  /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS_|ERR_SSL_|HOSTNAME_MISMATCH|INVALID_CA|PATH_LENGTH|EPROTO$)/

/** Anything that went wrong between here and the service. */
export function failureOf(thrown: unknown): PosternError {
  if (PosternError.is(thrown)) return thrown
  const { code = '', message = String(thrown) } = (thrown ?? {}) as NodeJS.ErrnoException
  if (TLS.test(code)) return failure('ORIGIN_UNTRUSTED', `TLS with the service failed (${code})`, thrown)
  return failure('ORIGIN_FAILED', `the service’s answer failed (${code || message})`, thrown)
}

export function failure(code: Code, message: string, cause?: unknown): PosternError {
  const speaker = code === 'ORIGIN_FAILED' ? 'service' : 'daemon'
  return new PosternError(code, message, { speaker, ...(cause !== undefined && { cause }) })
}

/** What the edge is told: the code and the catalogue’s words. An address, and the service’s words, stay in this daemon’s log. */
export function problemOf(error: PosternError, requestId: string): Problem {
  const status = factsOf(error.code).status ?? 503
  return { ...problem(error.code, requestId, { speaker: error.speaker ?? 'daemon' }), status }
}

/** As the value of a header: visible ASCII in one line. */
export function encodeProblem(told: Problem): string {
  return JSON.stringify(told).replace(/[^\x20-\x7e]/g, one => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
