import type { Socket } from 'node:net'
import type { Code, PosternError, ProtocolEvent } from '@postern/interface'

/** One connection to the edge; `index` counts from 0 and stays when it is dialled anew. */
export interface ObservedConnection {
  readonly index: number
}

/** One stream of a user, or of the edge with the requests of several. */
export interface ObservedStream {
  readonly hostname: string
  readonly requestId: string
  /** The hostname of the rule that answers it, as the rule has it: `*.example.com`. Absent where none does. */
  readonly rule?: string
  /** As in the log: `ssh://localhost:22`. Absent where no rule matched. */
  readonly service?: string
}

export interface StreamEnd {
  /** What refused or cut it; absent after a clean end. */
  readonly code?: Code
  /** Milliseconds since it was opened. */
  readonly duration: number
}

export interface RequestEnd {
  /** The HTTP status that was answered; absent when the request was cut before. */
  readonly status?: number
  /** What failed; absent when the answer is the service’s own, and whole, and when the visitor left. */
  readonly code?: Code
  /** Milliseconds since its head came. */
  readonly duration: number
}

/**
 * Told what a daemon does: metrics and readiness are made of it. All of it optional, and called at once, so it must return
 * quickly and not throw.
 */
export interface DaemonObserver {
  /** The edge is dialled. */
  onDial?(connection: ObservedConnection): void
  /** A connection takes streams from now on. */
  onConnected?(connection: ObservedConnection): void
  /** It takes none any more: it ended, or the edge drains it. Once for each `onConnected`. */
  onDisconnected?(connection: ObservedConnection, error: PosternError | undefined): void
  /** It could not be made, or it ended, and the edge is dialled again in `delayMs`. */
  onRetry?(connection: ObservedConnection, error: unknown, delayMs: number): void
  /** A stream arrived; a rule for it may be found or not. */
  onStream?(stream: ObservedStream): void
  /** An HTTP request is over; one stream carries many. */
  onRequest?(request: ObservedStream, end: RequestEnd): void
  /** The service answered a connection for it, after so many milliseconds. Whoever wants bytes counted reads them off the socket. */
  onService?(stream: ObservedStream, socket: Socket, milliseconds: number): void
  /** Its protocol saw something that belongs in the edge’s audit log. */
  onNote?(stream: ObservedStream, event: ProtocolEvent): void
  /** Once for each `onStream`. */
  onStreamEnd?(stream: ObservedStream, end: StreamEnd): void
  /** Other rules hold from now on. */
  onRules?(rules: number): void
  /** The config file was read again: other rules hold, or (with the error) the old ones still do. */
  onReload?(error?: PosternError): void
  /** No new streams are taken: it drains. */
  onStopping?(): void
}
