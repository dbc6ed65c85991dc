import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Credential, Presented } from './auth.ts'
import type { Problem } from './errors.ts'
import type { Call, ReceivedHeaders, SentHeaders } from './words.ts'

/**
 * What a transport gives: one ordered byte duplex that ends as a whole.
 *
 * - `end()` flushes what was written, then closes cleanly; the peer reads every byte, then `end`.
 * - `destroy(error)` is a cut; the peer gets an error and no `end`. The two can always be told apart
 *   (WebSocket 1000, gRPC OK, TLS close_notify, against anything else).
 * - It need not half-close: after the peer's clean end, what is still to be written may be dropped.
 * - Backpressure is mandatory: `write()` returns false while the peer does not read, and memory stays bounded.
 * - Bytes that arrive before somebody reads wait; they are never lost.
 */
export type Pipe = Duplex

/** What a pipe is for. `raw`: a foreign client's upgrade, one TCP connection and no session inside. */
export type PipePurpose = 'session' | 'connector' | 'join' | 'raw'

/** TLS as the host does it: its trust store and `--ca`, the credential's certificate, the name of the host dialled. */
export interface Securing {
  /** ALPN protocols in order of preference, for example `['http/1.1']`. */
  readonly alpn: readonly string[]
}

export interface DialRequest {
  /** Where the edge listens. Its host and port are dialled; `https:` wants TLS. */
  readonly edge: URL
  /** The application's hostname (or the team domain, for a connector): what Host and SNI say. */
  readonly host: string
  readonly purpose: PipePurpose
  /** Sent besides the credential's own, for example a request id. */
  readonly headers: SentHeaders
  readonly credential: Credential
  /**
   * The host's TCP, to the edge: proxies, happy eyeballs, keep-alive. With `securing`, TLS on top, verified.
   * @throws PosternError EDGE_UNREACHABLE, EDGE_UNTRUSTED
   */
  readonly connect: (securing: Securing | undefined, call: Call) => Promise<Duplex>
  /** PEM of the extra CAs to trust, for a transport that cannot use `connect` (UDP). */
  readonly ca: readonly string[]
}

/** Client and daemon side. */
export interface Transport extends Partial<AsyncDisposable> {
  /**
   * @throws `signal.reason` on abort; what `connect` throws; PosternError EDGE_PROTOCOL when the answer is not an edge's; the
   *   edge's own refusal as `PosternError.fromProblem`, with `refusal` set
   */
  dial(request: DialRequest, call: Call): Promise<Dialled>
}

export interface Dialled {
  readonly pipe: Pipe
  /** What the edge said with its yes. */
  readonly answer: ReceivedHeaders
  /** Set by a transport whose outer layer is the session's own TLS. */
  readonly serverName?: string
}

/** Edge side: claims what is its own on the edge's ports. */
export interface TransportListener extends Partial<AsyncDisposable> {
  /** Which door it wants: an edge that has no such door refuses it at start. */
  readonly door: Door['kind']
  /** Resolves once it listens; it lets go when `call.signal` aborts. Pipes it handed over live on. */
  mount(door: Door, accept: (incoming: Incoming) => Promise<void>, call: Call): Promise<void>
}

/** The edge's own ports, as a listener sees them. */
export type Door = HttpDoor

/** HTTP/1.1 on the public port, before anything was answered. */
export interface HttpDoor {
  readonly kind: 'http'
  /**
   * Offers each upgrade request. The first claim that says true owns the socket and must end it.
   * @returns takes the claim back
   */
  onUpgrade(claim: (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean): () => void
  /** The request as plain data, with the certificate this socket proved. */
  present(request: IncomingMessage): Presented
}

/** Somebody at the door. Exactly one of `reject` and `accept` is called, once. */
export interface Incoming {
  readonly purpose: PipePurpose
  /** As sent in Host or :authority, not yet checked. */
  readonly host: string
  readonly presented: Presented
  /** Before anything was accepted. Headers: a challenge, for instance. */
  reject(problem: Problem, headers?: SentHeaders): Promise<void>
  accept(answer?: SentHeaders): Promise<Pipe>
}
