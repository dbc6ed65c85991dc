import type { Call, Json } from './words.ts'

/** What each side's host lends its plugins, instead of globals. A side gets only its own. */
export interface Host {
  client: ClientHost
  edge: EdgeHost
  origin: OriginHost
}

export interface ClientHost {
  readonly secrets: Secrets
  readonly ui: Ui
  /**
   * `https:` only. The host's trust applies, and where the edge was said to listen elsewhere, its hostnames are asked there. A
   * redirect is answered as it is: whoever follows it looks at where it leads first.
   */
  fetch(input: URL, init: RequestInit & { signal: AbortSignal }): Promise<Response>
}

export interface EdgeHost {
  readonly records: Records
  readonly keys: Keys
  readonly attempts: Attempts
  /** Guarded: no private addresses, no cross-origin redirects. */
  fetch(input: URL, init: RequestInit & { signal: AbortSignal }): Promise<Response>
}

export interface OriginHost {
  /** Addresses of a name, by the daemon's own resolver. */
  resolve(host: string, call: Call): Promise<readonly string[]>
  /** The team domain of the edge that this daemon dials, with its port where that is not 443: `team.example.com:8443`. */
  readonly team: string
  /**
   * A GET at the team domain, over the way and with the trust that the daemon dials its edge with. No redirect is followed.
   *
   * @param url of `https://<team>` only
   */
  fetch(url: URL, init: RequestInit & { signal: AbortSignal }): Promise<Response>
}

/** The user's own secrets on this machine: the OS keyring or 0600 files. */
export interface Secrets {
  get(key: string): Promise<string | undefined>
  set(key: string, value: string): Promise<void>
  /** No error where there is none. */
  delete(key: string): Promise<void>
  /** One process at a time, also across processes. */
  exclusively<T>(key: string, work: () => Promise<T>, call: Call): Promise<T>
}

/** The terminal (/dev/tty, CON) or the browser; never stdin and stdout, which may be the pipe. */
export interface Ui {
  /** False where nobody is there to be asked: what needs a person is LOGIN_REQUIRED, at once. */
  readonly interactive?: boolean
  show(line: string): void
  /** @returns false when it is known that no browser opened */
  open(url: URL): Promise<boolean>
  ask(question: string, how: { readonly secret: boolean }, call: Call): Promise<string>
}

/** The plugin's own rows at the edge, nobody else's. */
export interface Records {
  get(id: string): Promise<Json | undefined>
  /**
   * The rows whose ids begin with this, by id: for few, of which there is a row each. Asked again for the same, it is the same map for
   * as long as no row of the plugin was changed.
   */
  list(prefix: string): Promise<ReadonlyMap<string, Json>>
  put(id: string, value: Json): Promise<void>
  delete(id: string): Promise<void>
}

/** What the team signs with. */
export interface Keys {
  /** The public keys (RFC 7517 §5). The same object for as long as they are the same. */
  jwks(): Promise<Json>
  /** `iss` of what is signed with them: the team domain's origin. */
  issuer(): Promise<string>
}

/** Slows guessing without locking out who knows the secret: count failures only, by a key the guesser cannot choose freely. */
export interface Attempts {
  /** False once there were too many failures lately. */
  allow(key: string): Promise<boolean>
  failed(key: string): Promise<void>
}
