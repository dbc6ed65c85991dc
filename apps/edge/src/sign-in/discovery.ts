import { type Logger, PosternError } from '@postern/interface'
import { createRemoteJWKSet, type JWTVerifyGetKey, customFetch as keysFetch } from 'jose'
import {
  allowInsecureRequests,
  type ClientAuth,
  ClientSecretBasic,
  ClientSecretPost,
  type Configuration,
  customFetch,
  discovery,
  None,
} from 'openid-client'
import { DEADLINE, type GuardedFetch } from '../guarded-fetch.ts'
import type { ProviderRecord } from './provider-record.ts'

export interface DiscoveryOptions {
  readonly fetch: GuardedFetch
  /** Of a sealed secret. */
  readonly open: (sealed: string) => string
  /** Whether a provider may be asked without TLS: on this very machine, and named in the configuration. */
  readonly isLocal: (issuer: URL) => boolean
  readonly log: Logger
}

/** A provider that was asked who it is. */
export interface Discovered {
  readonly config: Configuration
  /** The keys that sign its tokens. */
  readonly keys: JWTVerifyGetKey
}

/** Milliseconds an answer is used before the provider is asked again; the old one stays in use until a new one is there. */
const FRESH = 3600_000
/** Milliseconds after a failure until somebody asks again. */
const COOLDOWN = 10_000
/** Milliseconds for which keys that were fetched last stand in, when they cannot be fetched. */
const LAST_GOOD = 24 * 3600_000
const KEYS_COOLDOWN = 30_000

interface Known {
  found?: Discovered
  since: number
  failedAt: number
  asking: Promise<Discovered> | undefined
}

/**
 * What the team's providers say of themselves (OpenID Connect Discovery 1.0): asked for when somebody first signs in there, never
 * at start, and kept when a provider is away.
 */
export class Discovery {
  readonly #options: DiscoveryOptions
  /** By the record itself: a provider that was changed is asked anew. */
  readonly #known = new WeakMap<ProviderRecord, Known>()

  constructor(options: DiscoveryOptions) {
    this.#options = options
  }

  /** @throws PosternError EDGE_UNAVAILABLE: it does not answer, or not as a provider does */
  async get(record: ProviderRecord): Promise<Discovered> {
    const known = this.#known.get(record) ?? { since: 0, failedAt: 0, asking: undefined }
    this.#known.set(record, known)
    const now = Date.now()
    if (known.found !== undefined && (now - known.since < FRESH || now - known.failedAt < COOLDOWN)) return known.found
    if (known.asking === undefined && now - known.failedAt < COOLDOWN) throw away(record)
    known.asking ??= this.#ask(record, known).finally(() => {
      known.asking = undefined
    })
    return known.found ?? known.asking
  }

  async #ask(record: ProviderRecord, known: Known): Promise<Discovered> {
    try {
      const found = await this.#discover(record)
      Object.assign(known, { found, since: Date.now(), failedAt: 0 })
      return found
    } catch (error) {
      known.failedAt = Date.now()
      this.#options.log.warn('an identity provider does not say who it is', {
        provider: record.id,
        error: wordsOf(error),
      })
      if (known.found !== undefined) return known.found
      throw away(record)
    }
  }

  async #discover(record: ProviderRecord): Promise<Discovered> {
    const { fetch, open, isLocal } = this.#options
    const issuer = new URL(record.issuer)
    const secret = record.clientSecret === undefined ? undefined : open(record.clientSecret)
    const config = await discovery(issuer, record.clientId, {}, authenticationOf(secret), {
      [customFetch]: (url, init) => fetch(url, init as RequestInit),
      timeout: DEADLINE / 1000,
      execute: isLocal(issuer) ? [allowInsecureRequests] : [],
    })
    const { jwks_uri: address } = config.serverMetadata()
    if (address === undefined) throw new PosternError('AUTH_REJECTED', 'it names no keys')
    const keys = createRemoteJWKSet(new URL(address), {
      [keysFetch]: lastGood(fetch),
      cooldownDuration: KEYS_COOLDOWN,
      timeoutDuration: DEADLINE,
    })
    return { config, keys }
  }
}

/** Keys that were good stand in for keys that cannot be fetched. */
function lastGood(fetch: GuardedFetch): GuardedFetch {
  let kept: { readonly text: string; readonly at: number } | undefined
  return async (url, init) => {
    try {
      const response = await fetch(url, init)
      if (!response.ok) throw new PosternError('EDGE_UNAVAILABLE', `the keys were answered with ${response.status}`)
      kept = { text: await response.text(), at: Date.now() }
    } catch (error) {
      if (kept === undefined || Date.now() - kept.at > LAST_GOOD) throw error
    }
    return new Response(kept.text, { headers: { 'content-type': 'application/json' } })
  }
}

/**
 * In the body where the provider takes that: in HTTP Basic a secret is written with escapes first (RFC 6749 §2.3.1), which some
 * providers do not undo. Basic where it says nothing (OpenID Connect Discovery 1.0 §3).
 */
function authenticationOf(secret: string | undefined): ClientAuth {
  if (secret === undefined) return None()
  const [basic, post] = [ClientSecretBasic(secret), ClientSecretPost(secret)]
  return (server, ...rest) => {
    const isPost = server.token_endpoint_auth_methods_supported?.includes('client_secret_post')
    return (isPost ? post : basic)(server, ...rest)
  }
}

export function away({ name }: Pick<ProviderRecord, 'name'>): PosternError {
  return new PosternError('EDGE_UNAVAILABLE', `“${name}”, which signs you in, does not answer`, {
    speaker: 'edge',
    next: 'Try again in a minute. Where you are signed in already, you stay so.',
  })
}

/** What an error says, for the log: not its cause, which may hold a token. */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? `${code}: ${error.message}` : error.message
}
