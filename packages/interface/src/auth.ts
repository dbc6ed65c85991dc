import type { Refusal } from './errors.ts'
import type { Application, Call, Json, ReceivedHeaders, SentHeaders } from './words.ts'

/** What a client presents. A credential is data: nothing in it says which scheme made it. */
export interface Credential {
  /** Fixed headers, or a function where every request is signed (AWS SigV4, DPoP, RFC 9421). */
  readonly headers?: SentHeaders | ((request: SignableRequest, call: Call) => Promise<SentHeaders>)
  /** A client certificate chain and its private key, both PEM. */
  readonly tls?: { readonly cert: string; readonly key: string }
  /** Milliseconds since the epoch, where the scheme knows. */
  readonly expiresAt?: number
  /** Whose it is, for a person to read: nothing is decided by it. */
  readonly account?: Account
}

/** A sign-in of a person that this machine keeps. */
export interface Account {
  /** Where it was made, for example `https://team.example.com`. */
  readonly issuer: string
  readonly subject: string
  readonly name?: string
  readonly email?: string
  /** Milliseconds since the epoch: when the person is asked again. */
  readonly expiresAt?: number
}

export interface SignableRequest {
  readonly method: string
  readonly url: URL
}

/** What a credential is wanted for: one application, the daemon's connection, or administration. */
export type Purpose =
  | { readonly purpose: 'access'; readonly app: Application }
  | { readonly purpose: 'connector' | 'admin'; readonly teamDomain: string }

export type AuthRequest = Purpose & {
  /** What the edge just turned down, with its challenge (Negotiate, step-up). Absent on the first try. */
  readonly refused?: Refusal & { readonly credential: Credential }
}

/** Client and daemon side: gets a credential, by asking a person, reading a file or calling somebody. */
export interface AuthProvider extends Partial<AsyncDisposable> {
  /**
   * @throws PosternError LOGIN_REQUIRED when a person is needed and none is there; AUTH_REJECTED when it cannot answer a refusal
   */
  authenticate(request: AuthRequest, call: Call): Promise<Credential>
  /**
   * Ends the sign-in that would be used for this, or every one without a request: here in any case, and where it was made if
   * that can be reached. Absent where nothing is kept.
   *
   * @returns whose they were
   */
  signOut?(request: Purpose | undefined, call: Call): Promise<readonly Account[]>
}

/** A request as it arrived, as plain data: it can be posted to a worker. */
export interface Presented {
  readonly method: string
  /** Path and query, as sent. */
  readonly url: string
  readonly headers: ReceivedHeaders
  readonly remoteAddress: string
  /** DER of the leaf certificate whose key this socket proved. Never a chain member, never a header's word. */
  readonly peerCertificate?: Uint8Array
  /**
   * What OpenSSL held against that certificate at the handshake, with the CAs of the hostname that was named: its code, for example
   * `CERT_HAS_EXPIRED`. Absent: nothing. Without `peerCertificate` it says nothing.
   */
  readonly peerCertificateError?: string
  /**
   * DER of the certificates above the leaf, each the signer of the one before, and last the CA: one of those that are good for the
   * hostname that was named. Empty: it is of none of them.
   */
  readonly peerCertificateChain?: readonly Uint8Array[]
}

/** What a verifier made of what was presented. */
export interface Identity {
  readonly kind: 'user' | 'service' | 'certificate'
  /** (issuer, subject) is the key. Never an email. */
  readonly issuer: string
  readonly subject: string
  /** Only when the issuer vouches for it. */
  readonly email?: string
  readonly groups?: readonly string[]
  readonly claims: Readonly<Record<string, Json>>
  /** Milliseconds since the epoch. Open streams are cut then. */
  readonly expiresAt?: number
  /** Revoking any of these ends every live stream this identity opened. */
  readonly revokeKeys: readonly string[]
}

/** `challenge`: send these headers with a 401, and the client may come back with an answer. */
export type Verdict = { readonly identity: Identity } | { readonly challenge: SentHeaders }

/** Edge side. Whatever it throws, besides what is named here, and whatever nonsense it returns is a deny with its name in the log. */
export interface AuthVerifier extends Partial<AsyncDisposable> {
  /**
   * @returns undefined when this scheme was not presented at all
   * @throws PosternError AUTH_REJECTED: presented and bad; TOKEN_EXPIRED, TOKEN_REVOKED: only to who presented the right secret;
   *   CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, CERTIFICATE_REJECTED: only to who proved its key, of a CA that the application takes;
   *   RATE_LIMITED; BAD_USAGE: presented twice
   */
  verify(presented: Presented, call: Call): Promise<Verdict | undefined>
}
