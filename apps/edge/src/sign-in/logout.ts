import type { ApplicationRecord, Snapshot } from '@postern/store'
import { verifySecret } from '@postern/tokens'
import type { Exchange } from '../front/exchange.ts'
import { addCookie, readCookie, SESSION_COOKIE, TEAM_COOKIE } from '../team/cookies.ts'
import { csrfField, readForm } from '../team/form.ts'
import { html } from '../team/html.ts'
import { sendPage } from '../team/page.ts'
import { methodNotAllowed, type Room } from '../team/site.ts'
import { type Hop, noteOf } from './hop.ts'
import type { SignInParts } from './parts.ts'
import { type CookieRecord, cookieOf } from './session-record.ts'
import { nameOf } from './who.ts'

/** The path on every application’s hostname where people sign out. */
export const LEAVE = '/.postern/logout'

/** `/logout` on the team domain: out of everything that this browser is signed in to. */
export class LogoutRoom implements Room {
  readonly #parts: SignInParts
  readonly #hop: Hop

  constructor(parts: SignInParts, hop: Hop) {
    this.#parts = parts
    this.#hop = hop
  }

  match(path: string): boolean {
    return path === '/logout'
  }

  async serve(exchange: Exchange): Promise<void> {
    const session = this.#hop.current(exchange)
    if (exchange.method === 'GET' || exchange.method === 'HEAD') {
      if (session === undefined) return sendSignedOut(exchange, '/login')
      return sendPage(exchange, {
        status: 200,
        title: 'Sign out',
        main: html`<h1>Sign out?</h1>
<p>You are signed in as <strong>${nameOf(session.person)}</strong>. Signing out ends that for every application that you opened with this browser, at once.</p>
<form method="post" action="/logout">${csrfField(exchange)}<button>Sign out</button></form>
<a class="button quiet" href="/">Stay</a>`,
      })
    }
    if (exchange.method !== 'POST') return methodNotAllowed(exchange, 'GET', 'POST')
    await readForm(exchange)
    if (session !== undefined) await this.#parts.sessions.revoke({ session: session.id }, noteOf(exchange, session))
    addCookie(exchange, TEAM_COOKIE, '', 0)
    sendSignedOut(exchange, '/login')
  }
}

/** `/.postern/logout` on an application’s hostname: out of this application, or of everything. */
export async function serveLeave(
  exchange: Exchange,
  application: ApplicationRecord,
  parts: SignInParts,
): Promise<void> {
  const { store, sessions, origins } = parts
  const name = application.options?.name ?? application.hostname
  if (exchange.method === 'GET' || exchange.method === 'HEAD') return sendChoice(exchange, name)
  if (exchange.method !== 'POST') return methodNotAllowed(exchange, 'GET', 'POST')
  const form = await readForm(exchange)
  const cookie = cookieHere(exchange, store.snapshot)
  const session = cookie && sessions.get(cookie.session)
  if (cookie !== undefined && session !== undefined) {
    const match = form.get('from') === 'everything' ? { session: session.id } : { cookie: cookie.id }
    await sessions.revoke(match, noteOf(exchange, session))
  }
  addCookie(exchange, SESSION_COOKIE, '', 0)
  const isAll = form.get('from') === 'everything'
  if (isAll) return sendSignedOut(exchange, `${origins.team}/login`)
  sendPage(exchange, {
    status: 200,
    title: 'Signed out',
    main: html`<h1>You are signed out of ${name}</h1>
<p>You are still signed in to the team, so opening ${name} again asks you nothing.</p>
<a class="button" href="/">Open ${name} again</a>
<a class="button quiet" href="${origins.team}/logout">Sign out of everything</a>`,
  })
}

/** The record of the cookie that the browser shows, where it is this hostname’s and whole. */
function cookieHere({ presented, hostname }: Exchange, snapshot: Snapshot): CookieRecord | undefined {
  const [id = '', secret = ''] = (readCookie(presented, SESSION_COOKIE) ?? '').split('.', 2)
  const cookie = cookieOf(snapshot, id)
  return verifySecret(secret, cookie?.hash) && cookie?.hostname === hostname ? cookie : undefined
}

function sendChoice(exchange: Exchange, name: string): void {
  const form = csrfField(exchange)
  sendPage(exchange, {
    status: 200,
    title: 'Sign out',
    main: html`<h1>Sign out?</h1>
<form method="post" action="${LEAVE}">${form}<button name="from" value="everything">Sign out of everything</button>
<button class="quiet" name="from" value="here">Sign out of ${name} only</button></form>
<a class="button quiet" href="/">Stay</a>`,
  })
}

function sendSignedOut(exchange: Exchange, login: string): void {
  sendPage(exchange, {
    status: 200,
    title: 'Signed out',
    main: html`<h1>You are signed out</h1>
<p>What this browser had open is closed. On a machine that others use, sign out of your identity provider too: it may still know you.</p>
<a class="button" href="${login}">Sign in again</a>`,
  })
}
