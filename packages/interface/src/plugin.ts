import type { AuthProvider, AuthVerifier } from './auth.ts'
import type { Host } from './host.ts'
import type { OptionSpecs, Options } from './options.ts'
import type { Protocol, ProtocolRules, ProtocolServer, RuleSpec } from './protocol.ts'
import type { Transport, TransportListener } from './transport.ts'

/**
 * The integer version of everything in this package that a plugin can see. A host loads a plugin of its own version only.
 */
export const API_VERSION = 1

/** What each side of each kind creates. */
export interface Kinds {
  auth: { client: AuthProvider; edge: AuthVerifier }
  transport: { client: Transport; edge: TransportListener }
  protocol: { client: Protocol; origin: ProtocolServer; edge: ProtocolRules }
}

export type Kind = keyof Kinds
export type Side<K extends Kind = Kind> = K extends Kind ? keyof Kinds[K] & string : never

/** One side of one plugin: the default export of the module its manifest names for that side. */
export interface Plugin<K extends Kind, S extends Side<K>, O extends OptionSpecs = OptionSpecs> {
  readonly api: typeof API_VERSION
  readonly kind: K
  readonly side: S
  /** As typed after `--auth`, `--transport`; lower-case letters, digits and hyphens. */
  readonly name: string
  readonly options: O
  /** Origin sides of protocols that see requests: what one ingress rule may say. */
  readonly rule?: RuleSpec
  /** The user's options first, then what the host lends this side. Heavy imports belong here, not at the top of the module. */
  create(options: Options<O>, host: S extends keyof Host ? Host[S] : never): Kinds[K][S] | Promise<Kinds[K][S]>
}

/**
 * Declares one side of a plugin and infers its option types.
 *
 * @example
 * export default definePlugin({
 *   kind: 'auth', side: 'client', name: 'api-key',
 *   options: { key: { type: 'secret', summary: 'the API key', required: true } },
 *   create: ({ key }) => ({ authenticate: async () => ({ headers: { 'x-api-key': key } }) }),
 * })
 */
export function definePlugin<
  K extends Kind,
  S extends Side<K>,
  const O extends OptionSpecs,
  // Inferred for itself, so that a word in it (a transport's `door: 'http'`) stays that word and does not become any text.
  const C extends Kinds[K][S],
>(
  plugin: Omit<Plugin<K, S, O>, 'api' | 'create'> & {
    create(options: Options<O>, host: S extends keyof Host ? Host[S] : never): C | Promise<C>
  },
): Plugin<K, S, O> {
  return { api: API_VERSION, ...plugin }
}

/** One entry of `"postern": { "plugins": [...] }` in a plugin package's package.json: read before any of its code is imported. */
export interface ManifestEntry {
  readonly kind: Kind
  readonly name: string
  readonly summary?: string
  /** Protocols only: the service schemes it serves, for example `["ssh"]` for `ssh://localhost:22`. */
  readonly schemes?: readonly string[]
  /** Protocols only: the port a service means when none is written, 1–65535. Without it a service must name one. */
  readonly defaultPort?: number
  /**
   * Protocols only: its client side wants a local port. Where the user says none, it gets any free one on loopback, and not stdin and
   * stdout.
   */
  readonly listens?: true
  /**
   * Auth with an edge side: the request headers that it reads, in lower case, and `:certificate` for the client's. It is then shown
   * these alone, and asked only where one of them was presented. Absent: it is asked about every request.
   */
  readonly reads?: readonly string[]
  /** The option names of each side, so that an error can name the plugin that owns a flag without loading it. */
  readonly options?: Readonly<Partial<Record<Side, readonly string[]>>>
  /** A module per side, relative to the package's folder, for example `./dist/client.js`. */
  readonly client?: string
  readonly edge?: string
  readonly origin?: string
}

/** `"postern"` in a plugin's package.json. */
export interface Manifest {
  readonly api: number
  readonly plugins: readonly ManifestEntry[]
}
