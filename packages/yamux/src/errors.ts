/**
 * What went wrong, as a closed list.
 *
 * - `PROTOCOL`: the peer broke the rules of yamux; that session is over.
 * - `PEER_FAILED`: the peer sent a go-away with an error code; that session is over.
 * - `PIPE_LOST`: the pipe under the session ended or failed while it was still needed. `cause` is the pipe's own error, if any.
 * - `PEER_NOT_READING`: more than `maxControlQueue` bytes of control frames wait for a peer that does not read.
 * - `SESSION_CLOSED`: this side ended or destroyed the session.
 * - `STREAM_RESET`: the peer reset this stream (RST).
 * - `STREAM_REFUSED`: the same for a stream of ours that the peer had never accepted.
 * - `GONE_AWAY`: the peer asked for no new streams; `open()` refuses.
 * - `TOO_MANY_STREAMS`, `TOO_MANY_UNACKNOWLEDGED`, `PIPE_FULL`, `IDS_EXHAUSTED`: `open()` refuses, the session goes on.
 * - `OPTION`: an option out of its range.
 */
export type YamuxErrorCode =
  | 'PROTOCOL'
  | 'PEER_FAILED'
  | 'PIPE_LOST'
  | 'PEER_NOT_READING'
  | 'SESSION_CLOSED'
  | 'STREAM_RESET'
  | 'STREAM_REFUSED'
  | 'GONE_AWAY'
  | 'TOO_MANY_STREAMS'
  | 'TOO_MANY_UNACKNOWLEDGED'
  | 'PIPE_FULL'
  | 'IDS_EXHAUSTED'
  | 'OPTION'

/** The only error class of this package. */
export class YamuxError extends Error {
  override readonly name = 'YamuxError'
  readonly code: YamuxErrorCode

  constructor(code: YamuxErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
