import { PosternError } from '@postern/interface'
import type { ApplicationRecord } from '@postern/store'
import type { Exchange } from '../front/exchange.ts'
import { addCookie, LOGIN_COOKIE, readCookie, SESSION_COOKIE, TEAM_COOKIE } from '../team/cookies.ts'
import { html } from '../team/html.ts'
import { sendPage, sendRedirect } from '../team/page.ts'
import { queryOf } from '../team/site.ts'
import { Codes } from './codes.ts'
import { sendDenied } from './denied-page.ts'
import type { SignInParts } from './parts.ts'
import { notBegunHere } from './providers.ts'
import type { Person, SessionRecord } from './session-record.ts'
import { type Opening, SESSION_SECONDS, type SessionNote } from './sessions.ts'
import { asJson, isMarkOf, SIGN_IN_SECONDS, type Wanted } from './wanted.ts'
import { nameOf } from './who.ts'

/** The path on every application’s hostname where a sign-in arrives. */
export const CALLBACK = '/.postern/callback'

/** From the team domain, where people sign in, to where they wanted to go. */
export class Hop {
  readonly #parts: SignInParts
  readonly #codes = new Codes()

  constructor(parts: SignInParts) {
    this.#parts = parts
  }

  /** The session of the browser, on the team domain; asking is use. */
  current({ presented }: Pick<Exchange, 'presented'>): SessionRecord | undefined {
    const session = this.#parts.sessions.ofTeamCookie(readCookie(presented, TEAM_COOKIE) ?? '')
    if (session !== undefined) this.#parts.sessions.touch(session.id)
    return session
  }

  /** Whether the person need not sign in again for what is wanted. */
  isEnough(session: SessionRecord, wanted: Wanted): boolean {
    const now = Date.now()
    if (wanted.again) return false
    if ('hostname' in wanted) return this.#parts.sessions.endsFor(session, this.#application(wanted.hostname)) > now
    const { maxAgeSeconds: most } = wanted
    return most === undefined || session.authenticatedAt + most * 1000 > now
  }

  /** How old a proof of who somebody is may be for what is wanted, in seconds. */
  maxAgeFor(wanted: Wanted): number {
    const { settings } = this.#parts.store.snapshot
    const team = settings.get('sessionSeconds')
    const own = 'hostname' in wanted ? this.#application(wanted.hostname).options?.sessionSeconds : wanted.maxAgeSeconds
    const ofTeam = typeof team === 'number' ? team : SESSION_SECONDS
    return Math.floor(Math.min(own ?? ofTeam, ofTeam))
  }

  /** What a person reads who is to sign in. */
  nameOf(wanted: Wanted): { readonly name: string; readonly hostname: string } | undefined {
    if (!('hostname' in wanted)) return undefined
    const { hostname, options } = this.#application(wanted.hostname)
    return { name: options?.name ?? hostname, hostname }
  }

  /**
   * Somebody has proved who they are: a new session, whatever the browser had before, and on to what was wanted.
   *
   * @throws PosternError AUTH_REJECTED, LOGIN_REQUIRED, STORE_UNUSABLE: see `Sessions.open`; NOT_FOUND: the application is gone
   */
  async signedIn(
    exchange: Exchange,
    person: Person,
    wanted: Wanted,
    proved: Pick<Opening, 'authenticatedAt' | 'holds'> = {},
  ): Promise<void> {
    const { sessions } = this.#parts
    const { requestId, presented } = exchange
    const { remoteAddress, headers } = presented
    const before = this.current(exchange)
    const userAgent = headers['user-agent']?.[0]
    const how = { ...proved, via: 'browser', remoteAddress, userAgent, requestId } as const
    const { session, cookie } = await sessions.open(person, how)
    // One browser, one sign-in: what it had before is worth nothing to whoever else knows it.
    if (before !== undefined) await sessions.revoke({ session: before.id }, noteOf(exchange, before))
    addCookie(exchange, TEAM_COOKIE, cookie, (session.expiresAt - Date.now()) / 1000)
    const url = this.next(exchange, session, wanted)
    if (url !== undefined) this.#welcome(exchange, person, wanted, url)
  }

  /**
   * Where a session goes on to.
   *
   * @returns undefined when the policy says no, which is answered already
   * @throws PosternError NOT_FOUND: the application is gone
   */
  next(exchange: Exchange, session: SessionRecord, wanted: Wanted): string | undefined {
    const { origins, sessions, authorizer } = this.#parts
    if (!('hostname' in wanted)) return `${origins.team}${wanted.returnTo}`
    const application = this.#application(wanted.hostname)
    const identities = [sessions.identityOf(session, application)]
    const { remoteAddress } = exchange.presented
    const headers = { host: [wanted.hostname] }
    const presented = { method: 'GET', url: wanted.target, headers, remoteAddress }
    const asked = { purpose: 'http', presented, requestId: exchange.requestId } as const
    const outcome = authorizer.judge(asked, application, identities)
    if ('admitted' in outcome) {
      const { hostname, target, browser } = wanted
      const code = this.#codes.issue({ session: session.id, hostname, target, browser })
      return `${origins.of(hostname)}${CALLBACK}?code=${code}`
    }
    const { code, requestId } = outcome.refused.problem
    if (code !== 'ACCESS_DENIED') throw new PosternError(code, outcome.refused.problem.title, { speaker: 'edge' })
    const again = this.loginUrl({ ...wanted, again: true })
    sendDenied(exchange, { application, who: nameOf(session.person), requestId, again, home: origins.team })
    return undefined
  }

  /** Of the sign-in page, for what is wanted. */
  loginUrl(wanted: Wanted): string {
    return `${this.#parts.origins.team}/login?state=${this.ticketOf(wanted)}`
  }

  ticketOf(wanted: Wanted): string {
    return this.#parts.tickets.make('login', asJson(wanted), SIGN_IN_SECONDS)
  }

  /** `/.postern/callback`: the sign-in arrives at the application. */
  async arrive(exchange: Exchange, application: ApplicationRecord): Promise<void> {
    const { sessions, origins } = this.#parts
    const nonce = readCookie(exchange.presented, LOGIN_COOKIE)
    const issued = this.#codes.take(queryOf(exchange).get('code') ?? '')
    const isTheirs = issued !== undefined && nonce !== undefined && isMarkOf(issued.browser, nonce)
    if (!isTheirs || issued.hostname !== application.hostname) throw notBegunHere()
    const session = sessions.get(issued.session)
    if (session === undefined) throw notBegunHere()
    const cookie = await sessions.admit(session, application, noteOf(exchange, session))
    addCookie(exchange, SESSION_COOKIE, cookie, (sessions.endsFor(session, application) - Date.now()) / 1000)
    sendRedirect(exchange, `${origins.of(application.hostname)}${issued.target}`)
  }

  /**
   * A page that goes on by itself. Not a redirect: a browser holds where the form that began all this may lead to against every
   * redirect that follows it (CSP `form-action`, ours and the provider’s), and the application is elsewhere.
   */
  #welcome(exchange: Exchange, person: Person, wanted: Wanted, url: string): void {
    const name = this.nameOf(wanted)?.name ?? 'your applications'
    const first = person.name ?? nameOf(person)
    sendPage(exchange, {
      status: 200,
      title: 'Signed in',
      goOn: url,
      main: html`<h1>Welcome, ${first}</h1>
<p>You are signed in. Taking you to ${name} …</p>
<a class="button" href="${url}">Go on to ${name}</a>`,
    })
  }

  #application(hostname: string): ApplicationRecord {
    const application = this.#parts.store.snapshot.applications.get(hostname)
    if (application !== undefined) return application
    throw new PosternError('NOT_FOUND', 'the application is not there any more', { speaker: 'edge' })
  }
}

/** Who does it, for the audit row. */
export function noteOf({ requestId, presented }: Exchange, { person }: SessionRecord): SessionNote {
  const { remoteAddress } = presented
  return { actor: `${person.issuer} ${person.subject}`, requestId, remoteAddress }
}
