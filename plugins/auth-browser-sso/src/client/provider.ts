import {
  type Account,
  type AuthProvider,
  type AuthRequest,
  type Call,
  type ClientHost,
  type Credential,
  PosternError,
  type Purpose,
} from '@postern/interface'
import { AdministrationSignIns } from './administration.ts'
import { type Asking, OAuthError } from './asking.ts'
import { discover, type Located, locate, type Team } from './discovery.ts'
import { Kept, type KeptApplication, type KeptTeam, type SignIn } from './kept.ts'
import { accountOf, exchange, grant, refusalOf, revoke, type TeamTokens } from './tokens.ts'

export interface ProviderOptions {
  readonly device: boolean
  readonly browser: boolean
  readonly trustTeam: string | undefined
}

/** The header that the edge reads. */
const HEADER = 'postern-access-token'
/** Milliseconds. A token with less left is renewed, so that it is still good when it arrives. */
const MARGIN = 30_000
/** Milliseconds. Where what answers a refusal is refused so soon, another one would be too. */
const FRESH = 10_000
/** Earlier sign-ins of the same person that are remembered; one more, and the oldest is ended. */
const MOST_EARLIER = 4
/** Milliseconds until a person is told what is waited for. */
const QUIET = 3_000

export function createProvider(options: ProviderOptions, host: ClientHost): AuthProvider {
  return new Provider(options, host)
}

class Provider implements AuthProvider {
  readonly #options: ProviderOptions
  readonly #host: ClientHost
  readonly #kept: Kept
  readonly #administration: AdministrationSignIns
  /** The last token that was got because another one had been refused. */
  #answered: { readonly token: string; readonly at: number } | undefined

  constructor(options: ProviderOptions, host: ClientHost) {
    this.#options = options
    this.#host = host
    this.#kept = new Kept(host.secrets)
    this.#administration = new AdministrationSignIns(options, host)
  }

  async authenticate(request: AuthRequest, call: Call): Promise<Credential> {
    call.signal.throwIfAborted()
    if (request.purpose === 'admin') return this.#administration.authenticate(request.teamDomain, call)
    const { hostname } = applicationOf(request)
    const refused = request.refused && { ...request.refused, token: tokenIn(request.refused.credential) }
    const last = await this.#usable(hostname, refused?.token)
    if (last) return credentialOf(last)
    call.log.debug('asking the application where its people sign in', { hostname })
    const asking = { host: this.#host, call }
    const located = await locate(hostname, refused, asking)
    const began = Date.now()
    return this.#alone(located.issuer, call, async () => {
      // Somebody else may have got one while this waited.
      const meanwhile = await this.#usable(hostname, refused?.token)
      if (meanwhile) return credentialOf(meanwhile)
      if (this.#isAnswer(refused?.token))
        throw new PosternError('AUTH_REJECTED', `${hostname} did not accept the token that it was just given`)
      if (((await this.#kept.team(located.issuer)).failedAt ?? 0) > began) throw unfinished(located)
      const obtained = await this.#obtain(hostname, located, asking)
      if (refused) this.#answered = { token: obtained.token, at: Date.now() }
      return credentialOf(obtained)
    })
  }

  async signOut(request: Purpose | undefined, call: Call): Promise<readonly Account[]> {
    if (request?.purpose === 'admin') return this.#administration.signOut(call)
    const asking = { host: this.#host, call }
    const issuers = request
      ? [await this.#issuerFor(applicationOf(request).hostname, asking)]
      : await this.#kept.trusted()
    const ended: Account[] = []
    for (const issuer of issuers) {
      await this.#alone(issuer, call, async () => {
        const { signIn } = await this.#kept.team(issuer)
        if (signIn) ended.push(signIn.account)
        await this.#kept.deleteSignIn(issuer) // first: whatever the edge says, this machine has nothing more
        if (signIn) await this.#revoke(issuer, tokensOf(signIn), asking)
      })
    }
    return ended
  }

  #isAnswer(refused: string | undefined): boolean {
    return refused !== undefined && this.#answered?.token === refused && Date.now() - this.#answered.at < FRESH
  }

  /** From an earlier time, where it is good for a while and not the one that was just refused. */
  async #usable(hostname: string, refused: string | undefined): Promise<KeptApplication | undefined> {
    const kept = await this.#kept.application(hostname)
    return kept && kept.expiresAt > Date.now() + MARGIN && kept.token !== refused ? kept : undefined
  }

  /** A token for one application: from the sign-in that is kept, or from another one. */
  async #obtain(hostname: string, located: Located, asking: Asking): Promise<KeptApplication> {
    const { issuer, resource } = located
    await this.#confirm(hostname, located, asking.call)
    const team = await discover(issuer, asking)
    let signIn = await this.#current(team, asking)
    let again = false
    for (let attempt = 0; ; attempt++) {
      signIn ??= await this.#signIn(hostname, team, located, again, asking)
      try {
        const token = await exchange(team, signIn.accessToken, resource, asking)
        return await this.#keep(hostname, located, signIn, token)
      } catch (error) {
        const code = error instanceof OAuthError ? error.code : undefined
        // `login_required`: the sign-in is too old for this application. `invalid_grant`: it is over, or its access token is.
        if (attempt === 2 || (code !== 'login_required' && code !== 'invalid_grant'))
          throw refusalOf(error, team, resource)
        again = code === 'login_required'
        signIn = again || attempt > 0 ? undefined : await this.#renew(team, signIn, asking)
      }
    }
  }

  /** What is kept of the last sign-in, renewed where its access token is about to expire. */
  async #current(team: Team, asking: Asking): Promise<SignIn | undefined> {
    const { signIn } = await this.#kept.team(team.issuer)
    return signIn && signIn.expiresAt <= Date.now() + MARGIN ? this.#renew(team, signIn, asking) : signIn
  }

  /** @returns undefined where the sign-in is over */
  async #renew(team: Team, signIn: SignIn, asking: Asking): Promise<SignIn | undefined> {
    try {
      const fields = { grant_type: 'refresh_token', refresh_token: signIn.refreshToken }
      const renewed = { ...signIn, ...(await grant(team, fields, asking)) }
      // Before anything is done with it: the one it replaces is good for a minute more, and no longer.
      await this.#kept.putTeam(team.issuer, { signIn: renewed })
      return renewed
    } catch (error) {
      if (!(error instanceof OAuthError) || error.code !== 'invalid_grant') throw refusalOf(error, team, team.issuer)
      asking.call.log.debug('the sign-in is over', { issuer: team.issuer })
      await this.#kept.deleteSignIn(team.issuer)
      return undefined
    }
  }

  /** Asks the person. Who waits for them meanwhile, and finds that it came to nothing, does not ask again. */
  async #signIn(hostname: string, team: Team, located: Located, again: boolean, asking: Asking): Promise<SignIn> {
    const { device, browser } = this.#options
    if (this.#host.ui.interactive === false) throw loginRequired(located)
    const wanted = { team, resource: located.resource, again, browser }
    asking.call.log.debug('a person is asked to sign in', { hostname, issuer: team.issuer, device })
    try {
      const tokens = device
        ? await (await import('./by-device.ts')).signInByDevice(wanted, asking)
        : await (await import('./by-browser.ts')).signInByBrowser(wanted, asking)
      return await this.#begin(team, tokens, asking)
    } catch (error) {
      asking.call.signal.throwIfAborted() // who was stopped leaves it to the next one
      await this.#kept.putTeam(team.issuer, { ...(await this.#kept.team(team.issuer)), failedAt: Date.now() })
      if (!(error instanceof OAuthError)) throw error
      const said = error.code === 'access_denied' ? 'was declined' : `came to nothing (${error.code.slice(0, 60)})`
      throw new PosternError('LOGIN_REQUIRED', `the sign-in at ${team.issuer} ${said}`, { next: loginCommand(located) })
    }
  }

  async #begin(team: Team, tokens: TeamTokens, asking: Asking): Promise<SignIn> {
    const before = (await this.#kept.team(team.issuer)).signIn
    const account = await accountOf(team, tokens.accessToken, asking)
    await this.#kept.deleteSignIn(team.issuer) // with its applications' tokens: they may be another person's
    const isSame = before?.account.issuer === account.issuer && before.account.subject === account.subject
    // A forward that goes on is not cut because another one had to ask again.
    const earlier = before && isSame ? tokensOf(before).slice(-MOST_EARLIER) : []
    const signIn: SignIn = { ...tokens, account, applications: [], ...(earlier.length > 0 && { earlier }) }
    await this.#kept.putTeam(team.issuer, { signIn })
    await this.#kept.trust(team.issuer, asking.call)
    this.#host.ui.show(`Signed in at ${team.issuer} as ${account.email ?? account.name ?? account.subject}.`)
    if (before) await this.#revoke(team.issuer, tokensOf(before).slice(0, -earlier.length || undefined), asking)
    return signIn
  }

  /** A sign-in of which nobody has the tokens any more should not stay open at the edge either. */
  async #revoke(issuer: string, refreshTokens: readonly string[], asking: Asking): Promise<void> {
    if (refreshTokens.length === 0) return
    try {
      const team = await discover(issuer, asking)
      for (const token of refreshTokens) await revoke(team, token, asking)
    } catch (error) {
      asking.call.signal.throwIfAborted()
      asking.call.log.warn('the sign-in is forgotten here, but the edge could not be told; it ends there by itself', {
        issuer,
        cause: error instanceof Error ? error.message : String(error),
      })
    }
  }

  async #keep(
    hostname: string,
    { issuer, resource }: Located,
    signIn: SignIn,
    { token, expiresAt }: Pick<KeptApplication, 'token' | 'expiresAt'>,
  ): Promise<KeptApplication> {
    if (!signIn.applications.includes(hostname)) {
      const team: KeptTeam = { signIn: { ...signIn, applications: [...signIn.applications, hostname] } }
      await this.#kept.putTeam(issuer, team)
    }
    const kept = { token, expiresAt, issuer, resource, account: signIn.account }
    await this.#kept.putApplication(hostname, kept)
    return kept
  }

  /** A team domain that is new here could be anybody's, who wants a password typed there. */
  async #confirm(hostname: string, located: Located, call: Call): Promise<void> {
    const { issuer } = located
    if ((await this.#kept.trusted()).includes(issuer)) return
    const { trustTeam } = this.#options
    const isMeant =
      trustTeam !== undefined && [issuer, new URL(issuer).host, new URL(issuer).hostname].includes(trustTeam)
    if (!isMeant) {
      const { ui } = this.#host
      if (ui.interactive === false) throw loginRequired(located)
      const question = `${hostname} wants you to sign in at ${issuer}, where you have never been from here. Is that your team? [y/N]`
      const answer = await ui.ask(question, { secret: false }, call).catch(error => {
        throw PosternError.is(error) && error.code === 'LOGIN_REQUIRED' ? loginRequired(located) : error
      })
      if (!/^y(es)?$/i.test(answer.trim())) {
        await this.#kept.putTeam(issuer, { failedAt: Date.now() })
        throw new PosternError('LOGIN_REQUIRED', `you did not trust ${issuer} with your sign-in`, {
          next: 'Ask the application’s administrator which team domain is right.',
        })
      }
    }
    await this.#kept.trust(issuer, call)
  }

  async #issuerFor(hostname: string, asking: Asking): Promise<string> {
    const located = await locate(hostname, undefined, asking).catch(error => {
      asking.call.signal.throwIfAborted()
      return error as unknown
    })
    const kept = await this.#kept.application(hostname)
    if (kept) return kept.issuer
    if (typeof located === 'object' && located !== null && 'issuer' in located) return String(located.issuer)
    throw located
  }

  /** Says what is waited for once it takes as long as only people do. */
  async #alone<T>(issuer: string, call: Call, work: () => Promise<T>): Promise<T> {
    const show = () => this.#host.ui.show(`Waiting for another postern, which is signing in at ${issuer} …`)
    const timer = setTimeout(show, QUIET)
    try {
      return await this.#kept.exclusively(
        issuer,
        () => {
          clearTimeout(timer)
          return work()
        },
        call,
      )
    } finally {
      clearTimeout(timer)
    }
  }
}

function applicationOf(request: Purpose): { readonly hostname: string } {
  if (request.purpose === 'access') return request.app
  throw new PosternError('BAD_USAGE', `a browser’s sign-in is for applications, not for a ${request.purpose}`)
}

function credentialOf({ token, expiresAt, account }: KeptApplication): Credential {
  return { headers: { [HEADER]: token }, expiresAt, account }
}

/** Of a sign-in and those before it, oldest first. */
function tokensOf({ earlier = [], refreshToken }: SignIn): readonly string[] {
  return [...earlier, refreshToken]
}

function tokenIn({ headers }: Credential): string | undefined {
  const token = typeof headers === 'object' ? headers[HEADER] : undefined
  return typeof token === 'string' ? token : undefined
}

function loginRequired(located: Located): PosternError {
  return new PosternError('LOGIN_REQUIRED', `nobody is signed in at ${located.issuer}`, { next: loginCommand(located) })
}

function unfinished(located: Located): PosternError {
  return new PosternError(
    'LOGIN_REQUIRED',
    `the sign-in at ${located.issuer} that another command began came to nothing`,
    {
      next: loginCommand(located),
    },
  )
}

function loginCommand({ resource }: Located): string {
  return `Sign in: postern access login ${resource}`
}
