import type { Duplex } from 'node:stream'
import type { Identity } from './auth.ts'
import type { Application, Call, Destination, Json } from './words.ts'

/** What the client lends a protocol. */
export interface LocalSide {
  readonly app: Application
  /**
   * One stream through the tunnel: the user's TCP connection, half-closing both ways. A cut arrives as an error, never as `end`.
   * @throws PosternError with the edge's, the daemon's or the service's refusal
   */
  open(call: Call): Promise<Duplex>
  /** This process's stdin and stdout. */
  readonly stdio: Duplex
  /** Connections to a local address the user chose; absent when none was given and stdio is the way in. */
  readonly listener?: LocalListener
}

/** The host's listener: loopback unless told otherwise. */
export interface LocalListener {
  /** For example `127.0.0.1:5432`, with the port that was really bound. */
  readonly address: string
  /** Ends when the call is aborted. */
  connections(call: Call): AsyncIterable<Duplex>
}

/** Client side: bridges a local program until the user is done. */
export interface Protocol extends Partial<AsyncDisposable> {
  /** Resolves when the user is done; throws what ended it otherwise. */
  connect(local: LocalSide, call: Call): Promise<void>
}

/** What the daemon lends a protocol for one stream. */
export interface RemoteSide {
  readonly service: URL
  /** Who opened it, as the edge decided. */
  readonly identities: readonly Identity[]
  /** What the allow rule permits inside this protocol, checked at save by {@link ProtocolRules}. */
  readonly permit: Json
  /**
   * Reaches the ingress rule's service, or with `to` another destination the rule allows; nothing else, ever.
   * @throws PosternError ORIGIN_REFUSED, ORIGIN_NOT_RESOLVED, ORIGIN_TIMEOUT, ORIGIN_UNREACHABLE, DESTINATION_FORBIDDEN
   */
  dial(call: Call, to?: Destination): Promise<Duplex>
  audit(event: { readonly action: string; readonly allowed: boolean; readonly detail?: Json }): void
}

/** The user's connection as the daemon's host hands it over: not yet answered. Exactly one of the two is called, once. */
export interface OfferedStream {
  /** Says yes, and gives the bytes. Until then nothing is promised to the user. */
  accept(): Duplex
}

/** Origin side: one stream to one service. */
export interface ProtocolServer extends Partial<AsyncDisposable> {
  /**
   * Dial first, then `offered.accept()`: what is thrown before is told to the user as a refusal, with its code; what is
   * thrown after cuts the stream. Resolves when both directions are done.
   */
  serve(offered: OfferedStream, remote: RemoteSide, call: Call): Promise<void>
}

/** Edge side, optional, never sees bytes. A rule may say `permit: { redis: { commands: ["GET"] } }`. */
export interface ProtocolRules extends Partial<AsyncDisposable> {
  /** @returns what is wrong with it, a sentence each; empty when it may be saved */
  check(permit: Json): readonly string[]
}
