/** Whether the visitor shows a certificate. */
export type Kind = 'tls' | 'mtls'

/** What a visitor needs to connect, and to be let in. */
export interface Visit {
  readonly port: number
  readonly servername: string
  /** PEM of the CA that the server's certificate is of. */
  readonly ca: string
  /** The visitor's own, in PEM. */
  readonly pair?: { readonly cert: string; readonly key: string }
  /** The whole request. */
  readonly request: string
  /** How the answer begins. */
  readonly answer: string
}

/** A server that answers by itself, at work: at one port or name without certificates, at another with them. */
export interface TlsPeer extends AsyncDisposable {
  readonly visits: Readonly<Record<Kind, Visit>>
  readonly pid: number
  readonly facts: Readonly<Record<string, string>>
}

/** A CA whose certificates the visitors show, and the one that is shown. */
export interface Visitors {
  readonly ca: string
  readonly pair: { readonly cert: string; readonly key: string }
}
