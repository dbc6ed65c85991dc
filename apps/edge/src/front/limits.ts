/** What one stranger, and all of them together, may cost. */
export interface FrontLimits {
  /** Bytes of a request's head, target included. More: 431. */
  readonly headBytes: number
  /** Header lines. More: 431. */
  readonly headers: number
  /** Characters of the target. More: 414. */
  readonly target: number
  /** Milliseconds for the ClientHello, again for the rest of the TLS handshake, and again for each request's head. A body takes as long as whoever reads it allows. */
  readonly headTime: number
  /** Milliseconds for the body of a request that the edge itself reads. */
  readonly bodyTime: number
  /** Milliseconds a connection stays open with no request. */
  readonly idleTime: number
  /** Requests of one connection; then it is closed in good order, and the client makes another. */
  readonly requests: number
  /** Requests of one HTTP/2 connection at once. RFC 9113 §6.5.2 wants at least 100. */
  readonly streams: number
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
  bodyTime: 30_000,
  idleTime: 60_000,
  requests: 10_000,
  streams: 128,
  connections: 10_000,
  connectionsPerAddress: 512,
}
