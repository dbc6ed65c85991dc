import type { Identity } from '@postern/interface'
import type { ApplicationRecord } from '@postern/store'
import type { Exchange } from '../front/exchange.ts'
import { browserNonce } from '../team/form.ts'
import { sendRedirect } from '../team/page.ts'
import { pathOf, type Room, refuse } from '../team/site.ts'
import { refusalOf } from '../ways/context.ts'
import { sendDenied } from './denied-page.ts'
import { CALLBACK, Hop } from './hop.ts'
import { InvitationRoom } from './invitation-room.ts'
import { Launcher } from './launcher.ts'
import { LoginRoom } from './login-room.ts'
import { LEAVE, LogoutRoom, serveLeave } from './logout.ts'
import type { SignInParts } from './parts.ts'
import type { SessionRecord } from './session-record.ts'
import { SetupRoom } from './setup-room.ts'
import { sendSshPage } from './ssh-page.ts'
import { backTo, type ForTeam, mark } from './wanted.ts'
import { namesOf } from './who.ts'

export interface DeniedTo {
  readonly application: ApplicationRecord
  /** As whom they came. */
  readonly identities: readonly Identity[]
  readonly requestId: string
}

/**
 * Signing in with a browser: what the ways in ask of it, and its rooms on the team domain.
 *
 * An application sends a browser to `/login` on the team domain with a sealed ticket; there somebody signs in, or is signed in
 * already; the application’s policy is run; and a one-time code carries that back to the application, which sets its own cookie.
 */
export class SignIn {
  /** For the team domain. */
  readonly rooms: readonly Room[]
  readonly #parts: SignInParts
  readonly #hop: Hop

  constructor(parts: SignInParts) {
    this.#parts = parts
    this.#hop = new Hop(parts)
    this.rooms = [
      new LoginRoom(parts, this.#hop),
      new LogoutRoom(parts, this.#hop),
      new InvitationRoom(parts, this.#hop),
      new SetupRoom(parts, this.#hop),
      new Launcher(parts, this.#hop),
    ]
  }

  /** Sends a browser to sign in, and back to where it is. */
  async begin(exchange: Exchange, { hostname }: ApplicationRecord): Promise<void> {
    await this.#answer(exchange, () => sendRedirect(exchange, this.#loginFrom(exchange, hostname)))
  }

  /** Says why somebody may not, and whom to ask. */
  async denied(exchange: Exchange, { application, identities, requestId }: DeniedTo): Promise<void> {
    const home = this.#parts.origins.team
    await this.#answer(exchange, () => {
      const again = this.#loginFrom(exchange, application.hostname, true)
      sendDenied(exchange, { application, who: namesOf(identities), requestId, again, home })
    })
  }

  /** For somebody who is let in with a browser where there is nothing for one: how to get in instead. */
  async sshPage(exchange: Exchange, application: ApplicationRecord): Promise<void> {
    sendSshPage(exchange, application, new URL(this.#parts.origins.of(application.hostname)).host)
  }

  /**
   * Our own paths on an application’s hostname: `/.postern/` and below, none of which reaches the origin.
   *
   * @returns whether it was one, and is answered
   */
  async serveOnApplication(exchange: Exchange, application: ApplicationRecord): Promise<boolean> {
    const path = pathOf(exchange)
    if (path === CALLBACK && exchange.method === 'GET') {
      await this.#answer(exchange, () => this.#hop.arrive(exchange, application))
    } else if (path === LEAVE) {
      await this.#answer(exchange, () => serveLeave(exchange, application, this.#parts))
    } else return false
    return true
  }

  /** The browser’s session on the team domain. */
  current(exchange: Exchange): SessionRecord | undefined {
    return this.#hop.current(exchange)
  }

  /**
   * Who is there, for another room of the team domain.
   *
   * @param wanted `returnTo`: a path of the team domain, with its query
   * @returns undefined when the browser was sent to sign in, and will come back
   */
  require(exchange: Exchange, { returnTo, maxAgeSeconds }: ForTeam): SessionRecord | undefined {
    const wanted: ForTeam = { returnTo: backTo(returnTo), ...(maxAgeSeconds !== undefined && { maxAgeSeconds }) }
    const session = this.#hop.current(exchange)
    if (session !== undefined && this.#hop.isEnough(session, wanted)) return session
    sendRedirect(exchange, this.#hop.loginUrl(wanted))
    return undefined
  }

  #loginFrom(exchange: Exchange, hostname: string, again = false): string {
    const wanted = { hostname, target: backTo(exchange.target), browser: mark(browserNonce(exchange)) }
    return this.#hop.loginUrl(again ? { ...wanted, again } : wanted)
  }

  async #answer(exchange: Exchange, work: () => Promise<void> | void): Promise<void> {
    try {
      await work()
    } catch (error) {
      const { requestId, response, signal } = exchange
      if (signal.aborted) return
      if (response.headersSent) return exchange.cut()
      const refusal = refusalOf(error, requestId)
      if (refusal.code === 'INTERNAL') this.#parts.log.error('a page failed', { requestId, error: String(error) })
      refuse(exchange, refusal)
    }
  }
}
