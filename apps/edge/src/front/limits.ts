/** What one stranger, and all of them together, may cost. */
export interface FrontLimits {
  /** Bytes of a request's head, target included. More: 431. */
  readonly headBytes: number
  /** Header lines. More: 431. */
  readonly headers: number
  /** Characters of the target. More: 414. */
  readonly target: number
  /** Milliseconds for the TLS handshake, and again for the request's head. */
  readonly headTime: number
  /** Milliseconds for a whole request; the body of one is never read for its content. */
  readonly requestTime: number
  /** TCP connections at once, in all. */
  readonly connections: number
  /** TCP connections at once of one address (IPv6: of one /64). */
  readonly connectionsPerAddress: number
}

/** 10,000 connections is what a listener of other edges takes by default; a daemon needs four, a client one. */
export const FRONT_LIMITS: FrontLimits = {
  headBytes: 16_384,
  headers: 100,
  target: 8192,
  headTime: 10_000,
  requestTime: 30_000,
  connections: 10_000,
  connectionsPerAddress: 512,
}
