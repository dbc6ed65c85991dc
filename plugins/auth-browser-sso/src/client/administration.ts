import { type Account, type Call, type ClientHost, type Credential, PosternError } from '@postern/interface'
import { type Asking, OAuthError } from './asking.ts'
import { discover, type Team } from './discovery.ts'
import type { ProviderOptions } from './provider.ts'
import { accountOf, exchange, grant, refusalOf, revoke, type TeamTokens } from './tokens.ts'

/** Milliseconds. A token with less left is renewed, so that it is still good when it arrives. */
const MARGIN = 30_000

interface SignedIn {
  readonly team: Team
  readonly account: Account
  tokens: TeamTokens
}

/**
 * An administrator's sign-in, for as long as this program runs: it is kept nowhere, since it may be somebody else's machine. What
 * it gives administers for ten minutes at most, and ends with the sign-in.
 */
export class AdministrationSignIns {
  readonly #options: Pick<ProviderOptions, 'device' | 'browser'>
  readonly #host: ClientHost
  readonly #signedIn = new Map<string, SignedIn>()

  constructor(options: Pick<ProviderOptions, 'device' | 'browser'>, host: ClientHost) {
    this.#options = options
    this.#host = host
  }

  /** @param teamDomain with its port where that is not 443 */
  async authenticate(teamDomain: string, call: Call): Promise<Credential> {
    const asking = { host: this.#host, call }
    const issuer = `https://${teamDomain}`
    const known = this.#signedIn.get(issuer) ?? (await this.#signIn(issuer, asking))
    try {
      if (known.tokens.expiresAt <= Date.now() + MARGIN) {
        const fields = { grant_type: 'refresh_token', refresh_token: known.tokens.refreshToken }
        known.tokens = await grant(known.team, fields, asking)
      }
      const { token, expiresAt } = await exchange(known.team, known.tokens.accessToken, issuer, asking)
      return { headers: { authorization: `Bearer ${token}` }, expiresAt, account: known.account }
    } catch (error) {
      throw refusalOf(error, known.team, issuer)
    }
  }

  /** Ends those there are: here, and at their edges. */
  async signOut(call: Call): Promise<readonly Account[]> {
    const all = [...this.#signedIn.values()]
    this.#signedIn.clear()
    for (const { team, tokens } of all)
      await revoke(team, tokens.refreshToken, { host: this.#host, call }).catch(error => {
        call.signal.throwIfAborted()
        call.log.warn('the edge could not be told that the sign-in is over; it ends there by itself', {
          issuer: team.issuer,
          cause: error instanceof Error ? error.message : String(error),
        })
      })
    return all.map(({ account }) => account)
  }

  async #signIn(issuer: string, asking: Asking): Promise<SignedIn> {
    const { device, browser } = this.#options
    const team = await discover(issuer, asking)
    const wanted = { team, resource: issuer, again: false, browser }
    try {
      const tokens = device
        ? await (await import('./by-device.ts')).signInByDevice(wanted, asking)
        : await (await import('./by-browser.ts')).signInByBrowser(wanted, asking)
      const made = { team, tokens, account: await accountOf(team, tokens.accessToken, asking) }
      this.#signedIn.set(issuer, made)
      const { email, name, subject } = made.account
      this.#host.ui.show(`Signed in at ${issuer} as ${email ?? name ?? subject}.`)
      return made
    } catch (error) {
      asking.call.signal.throwIfAborted()
      if (!(error instanceof OAuthError)) throw error
      const said = error.code === 'access_denied' ? 'was declined' : `came to nothing (${error.code.slice(0, 60)})`
      throw new PosternError('LOGIN_REQUIRED', `the sign-in at ${issuer} ${said}`, {
        next: 'Start the command again, and have an administrator approve it.',
      })
    }
  }
}
