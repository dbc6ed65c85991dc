import type { ConfigSection } from '@postern/options'
import type { Builtin, Where } from '@postern/registry'
import type { ShareLimits } from '@postern/tunnel'
import type { FrontLimits } from './front/limits.ts'
import type { HttpLimits } from './http/limits.ts'

export interface EdgeConfig {
  /** The folder of the edge's state, made by `initialiseEdge` or `postern-edge init`. */
  readonly data: string
  /** Default 127.0.0.1:8443; port 0 takes any free one. */
  readonly listen?: { readonly host?: string; readonly port?: number }
  /** The port people reach it at, where that is another than it listens on; default: the one it listens on. */
  readonly publicPort?: number
  /** Hosts that the edge may ask at private addresses, and over plain HTTP: an identity provider of one's own. */
  readonly allowPrivate?: readonly string[]
  /** PEM files of a certificate for every hostname. Without them, the dev CA in the data folder issues. */
  readonly tls?: { readonly cert: string; readonly key: string }
  /** The Unix socket of the administration; default `admin.sock` in the data folder, false for none (always on Windows). */
  readonly adminSocket?: string | false
  /** Whether an edge without an admin token writes a setup token, good for 15 minutes; default false. */
  readonly setupToken?: boolean
  /** What seals secrets in the database: 32 bytes in base64url, kept elsewhere. Default: `keys/seal.key` in the data folder. */
  readonly sealKey?: string
  readonly limits?: Partial<FrontLimits>
  /** For HTTP applications. */
  readonly http?: Partial<HttpLimits>
  /** What one visitor, and one application, may have open. */
  readonly shares?: Partial<ShareLimits>
  /** Milliseconds that open connections have to finish when the edge closes; default 10,000. */
  readonly grace?: number
  /** log2 of scrypt's N for the passwords of the directory; default 16. Less is for tests, and no program's option. */
  readonly passwordCost?: number
  /** The plugins that come with the edge; default: its own list. */
  readonly plugins?: readonly Builtin[]
  /** Plugins by others: their verifiers and protocols run, in a thread each; their transports do not. */
  readonly addPlugins?: AddPlugins
  /** What is said to plugins, by the name of each. */
  readonly pluginOptions?: ReadonlyMap<string, ConfigSection>
}

export interface AddPlugins extends Where {
  /** Names of packages that were added to the plugin folder, or paths. */
  readonly packages: readonly string[]
}
