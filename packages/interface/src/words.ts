/** Anything JSON can say. Data that crosses a border between processes or threads is of this type. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** Headers as they arrived: lower-case names, every value kept, since a verifier must see a header that came twice. */
export type ReceivedHeaders = Readonly<Record<string, readonly string[]>>

/** Headers to send. */
export type SentHeaders = Readonly<Record<string, string | readonly string[]>>

/** The last argument of every call that waits. An abort rejects with `signal.reason`, unwrapped. */
export interface Call {
  readonly signal: AbortSignal
  readonly log: Logger
}

/** Where a plugin says what it does. Whatever is declared `secret` is redacted by the host, but do not lean on it. */
export interface Logger {
  debug(message: string, fields?: Fields): void
  info(message: string, fields?: Fields): void
  warn(message: string, fields?: Fields): void
  error(message: string, fields?: Fields): void
}

export type Fields = Readonly<Record<string, string | number | boolean | undefined>>

/** The public face of an application, as a client needs it. */
export interface Application {
  readonly hostname: string
  readonly id: string
  /** The edge's own hostname, where people sign in. */
  readonly teamDomain: string
  /** Names of the protocols it speaks, for example `ssh`. */
  readonly protocols: readonly string[]
}

/** A TCP destination. */
export interface Destination {
  readonly host: string
  /** 1–65535 */
  readonly port: number
}
