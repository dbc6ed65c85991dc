import type { Duplex } from 'node:stream'
import type { Identity } from './auth.ts'
import type { PosternError } from './errors.ts'
import type { OptionSpecs } from './options.ts'
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
  /** Somebody at a terminal began this, and nothing beside it, and waits: it may open windows. Not so where it is absent. */
  readonly attended?: boolean
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
  /**
   * What the allow rule permits inside this protocol: what stands below its name in the rule’s `permit`, null where nothing does. It was
   * checked by {@link ProtocolRules} when the rule was saved, if the edge had that side then: what cannot be read permits nothing.
   */
  readonly permit: Json
  /**
   * Reaches the ingress rule's service, or with `to` another destination the rule allows; nothing else, ever.
   * @throws PosternError ORIGIN_REFUSED, ORIGIN_NOT_RESOLVED, ORIGIN_TIMEOUT, ORIGIN_UNREACHABLE, DESTINATION_FORBIDDEN
   */
  dial(call: Call, to?: Destination): Promise<Duplex>
  /** Notes something for the audit log, in both modes. It says, and does nothing: what is not allowed, the protocol refuses. */
  audit(event: ProtocolEvent): void
}

/**
 * What a protocol saw in one stream. It is in the daemon’s log at once, and a row `stream.note` of the edge’s audit log soon after; the
 * first 64 of a stream are. Nothing waits for that, and nothing fails with it. It is the daemon’s word there, and shown as that.
 */
export interface ProtocolEvent {
  /** 1–64 visible ASCII characters, for example `rdp.negotiate`; what is none of them becomes a question mark. */
  readonly action: string
  /** Whether the protocol let it pass. */
  readonly allowed: boolean
  /** At most 1,024 characters as JSON; a longer one is replaced by its length. Control characters become question marks. Never a secret. */
  readonly detail?: Json
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
  /**
   * For the protocol that serves `http:` alone: one stream with HTTP/1.1 requests of several visitors, one after the other, each
   * answered by the ingress rule of its path. The stream is accepted at once, since there is nothing to dial before a request is
   * there; a request that cannot be answered gets an answer of its own. Resolves when the edge has ended the stream.
   */
  serveRequests?(offered: OfferedStream, requests: RequestsSide, call: Call): Promise<void>
}

/** What the daemon lends a protocol for one stream of requests. */
export interface RequestsSide {
  /** The application’s, as the edge sent it: lower case, no port, never a pattern. */
  readonly hostname: string
  /**
   * The ingress rule that answers a request for this path, as the rules are now. Ask for each request anew.
   *
   * @param path as it was sent, without its query
   * @returns undefined where no rule does, or where servers read the path in more ways than one
   */
  at(path: string): RequestRule | undefined
  /** Told once for each request, when it is over: the daemon counts and logs it. */
  answered(answer: RequestAnswer): void
}

/** One ingress rule at work. The same object as long as the rule stays as it is, so what is pooled may hang on it. */
export interface RequestRule {
  /** Where requests go, or the HTTP status with which the rule itself answers. */
  readonly service: URL | number
  /** What the rule’s `options:` say, with defaults, as {@link RuleSpec.options} declares them. */
  readonly options: Readonly<Record<string, unknown>>
  /** Aborted with a PosternError when the rule is removed or changed: what it carries then is cut. */
  readonly signal: AbortSignal
  /**
   * A connection to the rule’s service and nothing else, ever. It may outlive the stream it was made for, and carry the requests
   * of another; it does not outlive the rule.
   *
   * @throws PosternError ORIGIN_REFUSED, ORIGIN_NOT_RESOLVED, ORIGIN_TIMEOUT, ORIGIN_UNREACHABLE
   */
  dial(call: Call): Promise<Duplex>
}

/** What became of one request. */
export interface RequestAnswer {
  readonly rule: RequestRule | undefined
  /** As the edge sent it, or empty. */
  readonly requestId: string
  /** The HTTP status that was answered; absent when the request was cut before. */
  readonly status?: number
  /** What failed, where the answer is not the service’s own or is not whole. */
  readonly error?: PosternError
  /** Milliseconds from the request’s head to the end of its answer. */
  readonly duration: number
}

/** What a protocol’s ingress rules may say besides their service: `ProtocolServer`s with `serveRequests` only. */
export interface RuleSpec {
  /** Keys of a rule’s `options:`. No secrets: the file is no place for them. */
  readonly options: OptionSpecs
  /** Looks at a rule before it is served. Files may be read, nothing is dialled. */
  check?(service: URL | number, options: Readonly<Record<string, unknown>>): Promise<RuleFindings>
}

/** A sentence each. */
export interface RuleFindings {
  /** Why the rule cannot be served. */
  readonly mistakes: readonly string[]
  /** What whoever wrote it should know. */
  readonly warnings: readonly string[]
}

/** Edge side, optional, never sees bytes. A rule may say `permit: { redis: { commands: ["GET"] } }`. */
export interface ProtocolRules extends Partial<AsyncDisposable> {
  /**
   * Asked when rules are saved, of each that says something about this protocol.
   *
   * @param permit what stands below the protocol’s name
   * @returns what is wrong with it, a sentence each; empty when it may be saved
   */
  check(permit: Json): readonly string[]
}
