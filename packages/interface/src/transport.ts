import type { IncomingMessage } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Credential, Presented } from './auth.ts'
import type { Problem } from './errors.ts'
import type { Call, ReceivedHeaders, SentHeaders } from './words.ts'

/**
 * What a transport gives: one ordered byte duplex that ends as a whole.
 *
 * - `end()` flushes what was written, then closes cleanly; the peer reads every byte, then `end`.
 * - `destroy(error)` is a cut; the peer gets an error and no `end`. The two can always be told apart
 *   (WebSocket 1000, gRPC OK, against anything else), with one exception: where the bytes are a connection's own, a FIN that
 *   somebody between the two made looks like a clean end. So what is inside says its own end, and takes one without for a cut.
 * - It need not half-close: after the peer's clean end, what is still to be written may be dropped.
 * - Backpressure is mandatory: `write()` returns false while the peer does not read, and memory stays bounded.
 * - Bytes that arrive before somebody reads wait; they are never lost.
 * - Where bytes come in pieces that are handed over whole, it emits `progress` when some of one came: on a slow line a piece may take
 *   longer than a peer may be silent.
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
  /**
   * Set by a transport whose outer layer is the session's own TLS: the pipe is a bare TCP connection to the edge. The first bytes in
   * it are to be a ClientHello with this name in its SNI, soon: it is good for one connection and a few seconds.
   */
  readonly serverName?: string
}

/** Edge side: claims what is its own on the edge's ports. */
export interface TransportListener extends Partial<AsyncDisposable> {
  /** Which door it wants: an edge that has no such door refuses it at start. */
  readonly door: Door['kind']
  /** Where daemons may come for a client by it with {@link Incoming.ticket} alone: the name that they are told, the transport's own. */
  readonly leg?: string
  /** Resolves once it listens; it lets go when `call.signal` aborts. Pipes it handed over live on. */
  mount(door: Door, accept: (incoming: Incoming) => Promise<void>, call: Call): Promise<void>
}

/** The edge's own ports, as a listener sees them. */
export type Door = HttpDoor

/** HTTP on the public port, before anything was answered; and connections to that port by how they begin, before TLS. */
export interface HttpDoor {
  readonly kind: 'http'
  /** The edge's own hostname. */
  readonly teamDomain: string
  /**
   * Offers each upgrade request. The first claim that says true owns the socket and must end it.
   * @returns takes the claim back
   */
  onUpgrade(claim: (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean): () => void
  /**
   * Offers each request over HTTP/2 that can be read in one way. The first claim that says true owns the response and must end it; the
   * connection may carry other people's requests too. Without compression; a write to the stream is of bytes, never of text.
   * @returns takes the claim back
   */
  onRequest(claim: (request: Http2ServerRequest, response: Http2ServerResponse) => boolean): () => void
  /** The request as plain data, with the certificate this socket proved. */
  present(request: IncomingMessage | Http2ServerRequest): Presented
  /**
   * Offers each TLS connection by the name in its ClientHello (lower case), before anybody reads that as TLS. The first claim that says
   * true owns the socket and must end it: paused, with all that was read back in it, and half-closes kept.
   *
   * @returns takes the claim back
   */
  onServerName(claim: (serverName: string, socket: Socket) => boolean): () => void
  /**
   * Takes the connections that begin with these bytes instead of a ClientHello: each is offered once as many bytes are there as `length`
   * says, as latin1; the socket is as above, without those bytes. Whoever sends them too slowly is cut by the door, and so is who is
   * not claimed.
   *
   * @param preface no TLS begins so, and no other preface of the door
   * @returns takes the claim back
   */
  onPreface(preface: Preface, claim: (sent: string, socket: Socket) => boolean): () => void
}

/** What a connection begins with that is not TLS. */
export interface Preface {
  /** 1–32 visible ASCII characters and spaces. */
  readonly start: string
  /** Bytes in all, 64 at most. */
  readonly length: number
}

/** Somebody at the door. Exactly one of `reject` and `accept` is called, once. */
export interface Incoming {
  readonly purpose: PipePurpose
  /** As sent in Host or :authority, not yet checked. */
  readonly host: string
  readonly presented: Presented
  /** What a daemon shows instead of any credential: it heard it over its own connection, and comes for the client who waits with it. */
  readonly ticket?: string
  /** Before anything was accepted. Headers: a challenge, for instance. */
  reject(problem: Problem, headers?: SentHeaders): Promise<void>
  /** @throws PosternError STREAM_CUT, TIMED_OUT when whoever was let in does not come for the pipe */
  accept(answer?: SentHeaders, watch?: AcceptWatch): Promise<Pipe>
}

/** Who accepts somebody may want to hear of this. */
export interface AcceptWatch {
  /**
   * A ticket of the transport's own was shown a second time: one of the two addresses is not who was let in. Called once at most,
   * perhaps long after the first one's pipe was handed over.
   */
  raced(first: string, second: string): void
  /** Aborted when nobody wants the pipe any more: a client that has yet to come is not waited for then. */
  readonly signal?: AbortSignal
}
