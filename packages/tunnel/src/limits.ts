/** What one tunnel may cost. Every number is per session. */
export interface TunnelLimits {
  /** Streams at a time, both directions together, the control stream not counted. Default 1024, at least 1. */
  readonly streams: number
  /** Streams the peer opened that are neither accepted nor rejected yet. Default 256, at least 1. */
  readonly offered: number
  /** Streams we opened that the peer has not answered yet. Default 256, at least 1. */
  readonly opening: number
  /** A stopped reader costs this many bytes, at most twice. Default 1 MiB, at least 256 KiB: greater ones were measured unfair between streams. On a long path, and while its reader keeps up, it grows (`maxWindow` of @postern/yamux). */
  readonly window: number
  /** Milliseconds for the exchange of hellos. Default 10,000. */
  readonly helloMs: number
  /** Milliseconds for a stream's header to arrive, and again for its answer; the opener waits that long in all. Default 30,000. */
  readonly answerMs: number
  /** Milliseconds that an orderly close, or telling the reason of a cut, may take before the pipe is destroyed. Default 5,000. */
  readonly closeMs: number
}

export const DEFAULT_LIMITS: TunnelLimits = {
  streams: 1024,
  offered: 256,
  opening: 256,
  window: 1024 * 1024,
  helloMs: 10_000,
  answerMs: 30_000,
  closeMs: 5_000,
}

/** Longest stream header or answer, in bytes of JSON. */
export const MAX_HEADER: number = 16 * 1024
/** Longest `about` of a hello, in bytes of JSON: a grant of at most 8 KiB, and what is beside it. */
export const MAX_ABOUT: number = 12 * 1024
/** Longest line on the control stream, in bytes, its newline not counted. */
export const MAX_CONTROL_LINE: number = 64 * 1024
/** Bytes of control lines that may wait for a peer that does not read; past it a cut goes without its reason. */
export const MAX_CONTROL_QUEUE: number = 1024 * 1024
/** Messages of the hosts (`Tunnel.tell`) that may wait to be told. */
export const MAX_MESSAGES = 256
/** Streams of the peer's in a row that its budget does not admit. An honest end has at most 256 unanswered; this is sixteen times that. */
export const MAX_IN_VAIN = 4096
/** Milliseconds that a peer is not read after a stream that its budget did not admit: twenty chunks a second are read of a flood. */
export const REST_MS = 50
