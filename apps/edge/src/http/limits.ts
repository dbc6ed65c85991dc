/** What one request, and the streams to the daemons, may cost. */
export interface HttpLimits {
  /**
   * Milliseconds without a byte of the request until the origin’s answer begins; 120,000, a little above the 100 s of other
   * edges, so that their users find the same time-outs.
   */
  readonly answerTime: number
  /** Milliseconds an open stream waits for another request. Shorter than any origin’s keep-alive, so that we end it first. */
  readonly idleTime: number
  /** Open streams that wait, of one application. */
  readonly idleStreams: number
  /** Informational answers (1xx) to one request. More is no honest origin. */
  readonly informational: number
  /** Bytes of an answer’s head. */
  readonly headBytes: number
  /** Milliseconds that a last word (an error, a close frame) may take before the connection is cut. */
  readonly lastWord: number
}

export const HTTP_LIMITS: HttpLimits = {
  answerTime: 120_000,
  idleTime: 15_000,
  idleStreams: 64,
  informational: 32,
  headBytes: 64 * 1024,
  lastWord: 1000,
}
