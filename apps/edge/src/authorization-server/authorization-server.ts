import { PosternError } from '@postern/interface'
import { countedAddress } from '../front/address.ts'
import type { Exchange } from '../front/exchange.ts'
import { pathOf, type Room } from '../team/site.ts'
import type { Engine } from './engine.ts'
import { sendJson } from './json.ts'
import type { AuthorizationServerParts } from './needs.ts'
import { SignIns } from './sign-ins.ts'
import { PATHS } from './words.ts'

/** Sign-ins that one address may begin in a minute; the ways of one office are one address. */
const MOST_STARTS = 120

const EXACT: ReadonlySet<string> = new Set([
  PATHS.authorize,
  PATHS.token,
  PATHS.deviceAuthorization,
  PATHS.revoke,
  PATHS.userinfo,
  PATHS.device,
  PATHS.openid,
  PATHS.metadata,
])
/** An interaction, and where it goes on. */
const ONE_SIGN_IN = new RegExp(`^(?:${PATHS.interaction}|${PATHS.authorize}/)[\\w-]{43}$`)

/** The edge as an authorization server for Postern's own programs: a room of the team domain. */
export class AuthorizationServer implements Room, Disposable {
  readonly #parts: AuthorizationServerParts
  readonly #signIns: SignIns
  #engine: Promise<Engine> | undefined

  constructor(parts: AuthorizationServerParts) {
    this.#parts = parts
    this.#signIns = new SignIns(parts)
  }

  match(path: string): boolean {
    return EXACT.has(path) || ONE_SIGN_IN.test(path)
  }

  async serve(exchange: Exchange): Promise<void> {
    const path = pathOf(exchange)
    if (path === PATHS.authorize && this.#isFlooding(exchange))
      throw new PosternError('RATE_LIMITED', 'too many sign-ins were begun from your address', { speaker: 'edge' })
    if (path === PATHS.deviceAuthorization && this.#isFlooding(exchange)) {
      const said = {
        error: 'temporarily_unavailable',
        error_description: 'too many sign-ins were begun from your address',
      }
      return sendJson(exchange, 429, said, { 'retry-after': '60' })
    }
    const engine = await this.#load()
    await engine.serve(exchange, path)
  }

  /** Removes what is over. It is done every ten minutes anyway. */
  sweep(): Promise<void> {
    return this.#signIns.sweep()
  }

  [Symbol.dispose](): void {
    this.#signIns[Symbol.dispose]()
  }

  #isFlooding({ presented }: Exchange): boolean {
    return this.#parts.failures.count(`oauth-start\0${countedAddress(presented.remoteAddress)}`) > MOST_STARTS
  }

  #load(): Promise<Engine> {
    this.#engine ??= quietly(() => import('./engine.ts')).then(({ Engine }) => new Engine(this.#parts, this.#signIns))
    // What could not be loaded is tried again by the next who asks.
    this.#engine.catch(() => {
      this.#engine = undefined
    })
    return this.#engine
  }
}

/**
 * oidc-provider warns on stderr, while it is imported, of a Node.js that is no LTS release. There is no way to tell it otherwise,
 * and Postern says itself which Node.js it needs: that one line is left out, and nothing else.
 */
async function quietly<T>(load: () => Promise<T>): Promise<T> {
  const { warn } = console
  const filtered = (...said: unknown[]) => {
    if (!String(said[0]).includes('oidc-provider WARNING: Unsupported runtime')) warn.apply(console, said)
  }
  console.warn = filtered
  try {
    return await load()
  } finally {
    if (console.warn === filtered) console.warn = warn
  }
}
