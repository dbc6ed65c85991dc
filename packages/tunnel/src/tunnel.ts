import type { Duplex } from 'node:stream'
import {
  type Call,
  type Logger,
  type OfferedStream,
  type Pipe,
  PosternError,
  type Problem,
  type Speaker,
} from '@postern/interface'
import type { Clock } from './clock.ts'
import type { About } from './control.ts'
import type { StreamHeader } from './header.ts'
import type { TunnelLimits } from './limits.ts'
import type { HostMessage } from './messages.ts'
import { TunnelSession } from './session.ts'

/** A stream the other end opened, with what its header says. */
export interface OfferedTunnelStream extends OfferedStream {
  readonly header: StreamHeader
  /** Aborted when the opener left, or the deadline passed, before an answer: whatever was begun for it is in vain. */
  readonly gone: AbortSignal
  /**
   * Says yes, and gives the bytes. A stream whose opener has left meanwhile comes destroyed.
   * @throws PosternError TIMED_OUT when the answer's deadline has passed; INTERNAL when it was answered before
   */
  accept(): Duplex
  /** Says no, with the reason. Nothing happens if the opener has left or the deadline has passed. */
  reject(problem: Problem): void
}

/** How many streams of the peer's may come to nothing. Shared by all sessions of one visitor. */
export interface StreamBudget {
  /** Whether one more stream is looked at. False: it is reset before a byte of it is read. */
  admits(): boolean
  /** A stream was refused, or left before it was answered. */
  failed(): void
}

export interface TunnelOptions {
  /** The end that dialled the pipe is the client. */
  readonly role: 'client' | 'server'
  readonly log: Logger
  /** Who this end is, in the refusals and reasons the tunnel itself makes. */
  readonly speaker?: Speaker
  /**
   * Who can speak from over there. A refusal or reason told by the other end that names nobody, or anybody else, is taken as said by the
   * first: who is behind a pipe must not pass for this end. Absent: as told.
   */
  readonly hears?: readonly [Speaker, ...Speaker[]]
  /** What this end says of itself in its hello: an object of at most 12 KiB of JSON. Never a secret. */
  readonly about?: About
  /**
   * Called for each stream of the peer's once its header is read; answer it by `accept` or `reject` within `limits.answerMs`, else it is
   * refused with TIMED_OUT. May be called before `startTunnel` resolves. Absent: every stream is refused.
   */
  readonly onStream?: (offered: OfferedTunnelStream) => void
  /**
   * Bounds what the peer can make this end do in vain. A peer that goes on for {@link MAX_IN_VAIN} streams in a row is cut with
   * LIMIT_EXCEEDED. Absent: no bound but `limits.offered`.
   */
  readonly budget?: StreamBudget
  /** Called once when the peer asks for no new streams; those there are go on. */
  readonly onDrain?: () => void
  /**
   * Called with each message that the other end's host told, in order; one that cannot be ends the session, one of a type that is not
   * known is skipped. Absent: all are skipped. Whoever gets it decides whether the other end may say such a thing at all.
   */
  readonly onMessage?: (message: HostMessage) => void
  readonly limits?: Partial<TunnelLimits>
  /** For tests. */
  readonly clock?: Clock
}

/**
 * A session over one pipe. Its streams are `Duplex` with half-close: 'end' is the peer's clean end and nothing else is; a cut is an 'error',
 * a PosternError with the reason the other end told (else STREAM_CUT), or SESSION_LOST, PEER_SILENT, PROTOCOL_VIOLATION for all of them.
 * Destroying a stream with a PosternError tells the other end its code as the reason; with anything else, or nothing, no reason is told.
 */
export interface Tunnel extends AsyncDisposable {
  /**
   * Opens a stream; resolves after the other end's yes. `early` (at most 64 KiB make sense) goes right behind the header, before the answer.
   *
   * @throws PosternError the other end's refusal; DRAINING; LIMIT_EXCEEDED; TIMED_OUT after `limits.answerMs`; BAD_USAGE, REQUEST_TOO_LARGE
   *   for a header that cannot be sent; what ended the session. `signal.reason` on abort
   */
  open(header: StreamHeader, call: Call, early?: Uint8Array): Promise<Duplex>
  /**
   * Asks the peer for no new streams, opens none, and resolves when the last one has ended (or the session has).
   * @throws `signal.reason` on abort; the tunnel goes on draining
   */
  drain(call: Call): Promise<void>
  /** Ends the session cleanly; streams still open are cut with DRAINING. Resolves when the pipe is closed, at most `limits.closeMs` later. */
  close(): Promise<void>
  /** Cuts everything at once. The other end is told the reason first, if its pipe takes it within `limits.closeMs`. */
  cut(reason: PosternError): void
  /** Cuts one stream of this tunnel; the reason is told first. The same as `stream.destroy(reason)`. */
  cutStream(stream: Duplex, reason: PosternError): void
  /**
   * Tells the other end's host something, beside the streams. An end that does not know such messages skips them.
   *
   * @returns whether it is on its way: not when the session is over or ending, or 256 of them wait already
   * @throws PosternError BAD_USAGE: the message cannot be
   */
  tell(message: HostMessage): boolean
  /**
   * Resolves when the other end has answered; it is asked right away, whatever else is going on.
   * @throws PosternError what ended the session; `signal.reason` on abort
   */
  ping(call: Call): Promise<void>
  /** What the other end says of itself: at most 12 KiB of JSON, and its own word. */
  readonly peerAbout: About | undefined
  /** Streams open now, unanswered ones included. */
  readonly streams: number
  /** Either end asked for no new streams. */
  readonly draining: boolean
  /** What ended the session, when its pipe is closed; undefined after a clean end. Never rejects. */
  readonly closed: Promise<PosternError | undefined>
}

/**
 * Starts a session on a pipe and owns it from here on: the two ends exchange hellos with their versions.
 * When it fails, the pipe is destroyed.
 *
 * @throws PosternError OPTION_INVALID for a limit out of its range or an `about` that cannot be sent; VERSION_UNSUPPORTED, naming both versions; TIMED_OUT after `limits.helloMs`; PROTOCOL_VIOLATION; SESSION_LOST; the
 *   reason the other end told; `signal.reason` on abort
 */
export async function startTunnel(pipe: Pipe, options: TunnelOptions, call: Call): Promise<Tunnel> {
  const { tunnel, greeted } = beginTunnel(pipe, options, call)
  await greeted
  return tunnel
}

/** A session whose other end may not have said its hello yet. */
export interface Beginning {
  readonly tunnel: Tunnel
  /** Resolves when the other end said its hello; rejects as {@link startTunnel} does, and may be left alone: `tunnel.closed` tells, too. */
  readonly greeted: Promise<void>
}

/**
 * The same for who does not want to wait for the other end's hello, which is a round trip: a stream that the client opens right away goes
 * behind its own. Where the other end turns out to be none to talk to, that stream fails with the session.
 *
 * @throws PosternError OPTION_INVALID, as {@link startTunnel}
 */
export function beginTunnel(pipe: Pipe, options: TunnelOptions, call: Call): Beginning {
  const tunnel = sessionOn(pipe, options)
  const greeted = tunnel.greet(call.signal)
  greeted.catch(() => {})
  return { tunnel, greeted }
}

function sessionOn(pipe: Pipe, options: TunnelOptions): TunnelSession {
  try {
    return new TunnelSession(pipe, options)
  } catch (error) {
    pipe.destroy()
    throw PosternError.from(error, 'OPTION_INVALID')
  }
}
