import { type Logger, PosternError } from '@postern/interface'
import { jwtVerify } from 'jose'
import type { Exchange } from '../front/exchange.ts'
import { readFields } from '../team/form.ts'
import { PROVIDER_SID } from './claims.ts'
import { type Discovery, wordsOf } from './discovery.ts'
import type { ProviderRecord } from './provider-record.ts'
import { ALGORITHMS } from './providers.ts'
import type { SessionNote, Sessions } from './sessions.ts'

const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
const TYPES = ['logout+jwt', 'jwt', undefined]
/** Seconds after it was made; a shorter `exp` counts. */
const LIFETIME = 600
/** Only signed ones are remembered. */
const MOST_SEEN = 10_000

export interface ProviderLogoutOptions {
  readonly discovery: Discovery
  readonly sessions: Sessions
  readonly log: Logger
}

/** Where providers say that somebody signed out, or may not sign in any more (OpenID Connect Back-Channel Logout 1.0). */
export class ProviderLogout {
  readonly #options: ProviderLogoutOptions
  /** Tokens that were used → when they expire, in ms. */
  readonly #seen = new Map<string, number>()

  constructor(options: ProviderLogoutOptions) {
    this.#options = options
  }

  /**
   * Ends the sessions that a logout token names.
   *
   * @throws PosternError BAD_USAGE: no such token, as a provider expects (§2.8); EDGE_UNAVAILABLE: its keys cannot be had
   */
  async take(exchange: Exchange, record: ProviderRecord): Promise<void> {
    const { sessions, log } = this.#options
    const token = (await readFields(exchange)).get('logout_token') ?? ''
    const { issuer, subject, sid } = await this.#verify(token, record)
    const { remoteAddress } = exchange.presented
    const note: SessionNote = { actor: `provider ${record.id}`, requestId: exchange.requestId, remoteAddress }
    if (sid === undefined) {
      await sessions.revoke({ user: { issuer, subject: subject ?? '' } }, note)
    } else {
      const named = sessions
        .list()
        .filter(({ person }) => person.issuer === issuer && person.claims[PROVIDER_SID] === sid)
      for (const { id, person } of named)
        if (subject === undefined || subject === person.subject) await sessions.revoke({ session: id }, note)
    }
    log.info('a provider ended sessions', { provider: record.id, requestId: exchange.requestId })
  }

  async #verify(token: string, record: ProviderRecord): Promise<Named> {
    const { config, keys } = await this.#options.discovery.get(record)
    const { issuer } = config.serverMetadata()
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      issuer,
      audience: record.clientId,
      algorithms: ALGORITHMS,
      clockTolerance: 30,
      maxTokenAge: LIFETIME,
      requiredClaims: ['jti', 'events'],
    }).catch((error: unknown) => {
      this.#options.log.warn('a logout token was refused', { provider: record.id, error: wordsOf(error) })
      throw PosternError.is(error) ? error : refused()
    })
    const { sub: subject, sid, jti = '', events, nonce, iat = 0 } = payload
    const isEvent =
      typeof events === 'object' && events !== null && isObject((events as Record<string, unknown>)[EVENT])
    if (!TYPES.includes(protectedHeader.typ?.toLowerCase()) || !isEvent || nonce !== undefined) throw refused()
    if (sid !== undefined && typeof sid !== 'string') throw refused()
    if (subject === undefined && sid === undefined) throw refused()
    this.#once(`${issuer} ${jti}`, (iat + 2 * LIFETIME) * 1000)
    return { issuer, subject, sid }
  }

  #once(token: string, expiresAt: number): void {
    if (this.#seen.has(token)) throw refused()
    const now = Date.now()
    for (const [one, until] of this.#seen) {
      if (until > now && this.#seen.size < MOST_SEEN) break
      this.#seen.delete(one)
    }
    this.#seen.set(token, expiresAt)
  }
}

interface Named {
  readonly issuer: string
  readonly subject: string | undefined
  readonly sid: string | undefined
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refused(): PosternError {
  return new PosternError('BAD_USAGE', 'this is no logout token of this provider', { speaker: 'edge' })
}
