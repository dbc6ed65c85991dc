import { PosternError } from '@postern/interface'
import type { Caller } from '../admin/caller.ts'
import { ADMINISTRATION_AGE } from '../authorization-server/words.ts'
import type { Exchange } from '../front/exchange.ts'
import type { SessionRecord } from '../sign-in/session-record.ts'
import { nameOf } from '../sign-in/who.ts'
import { readForm } from '../team/form.ts'
import { html } from '../team/html.ts'
import { sendPage, sendRedirect } from '../team/page.ts'
import { sendProblemPage } from '../team/problem-page.ts'
import { methodNotAllowed, pathOf, type Room } from '../team/site.ts'
import { refusalOf } from '../ways/context.ts'
import { NEW_TOKEN_PAGE } from './new-token-page.ts'
import { OnceForms } from './once.ts'
import type { AdminPageParts } from './parts.ts'
import { SESSIONS_PAGE } from './sessions-page.ts'
import { TOKEN_PAGE } from './token-page.ts'
import { TOKENS_PAGE } from './tokens-page.ts'
import { type AdminPage, visitOf } from './visit.ts'

/** Every page there is; the first whose path fits answers. */
export const PAGES: readonly AdminPage[] = [TOKENS_PAGE, NEW_TOKEN_PAGE, TOKEN_PAGE, SESSIONS_PAGE]

const ROOT = '/admin'
/** Seconds since an administrator proved who they are: a working day, so that a browser left open over night opens nothing. */
export const SIGN_IN_AGE: number = ADMINISTRATION_AGE

/** `/admin` and below: administration in the browser, for whom the setting `administrators` names. */
export class AdminRoom implements Room {
  readonly #parts: AdminPageParts
  readonly #once = new OnceForms()

  constructor(parts: AdminPageParts) {
    this.#parts = parts
  }

  match(path: string): boolean {
    return path === ROOT || path.startsWith(`${ROOT}/`)
  }

  async serve(exchange: Exchange): Promise<void> {
    const { method } = exchange
    const isGet = method === 'GET' || method === 'HEAD'
    if (!isGet && method !== 'POST') return methodNotAllowed(exchange, 'GET', 'POST')
    const session = isGet ? this.#signedIn(exchange) : this.#sender(exchange)
    if (session === undefined) return
    const { page, id } = find(pathOf(exchange))
    const { caller, ...visit } = visitOf(exchange, session, id, this.#parts, this.#once)
    if (!this.#mayCome(caller, exchange)) return sendNoAdministrator(exchange, session)
    if (pathOf(exchange) === ROOT) return isGet ? sendRedirect(exchange, FIRST) : methodNotAllowed(exchange, 'GET')
    if (page === undefined) throw new PosternError('NOT_FOUND', 'there is no such page', { speaker: 'edge' })
    if (isGet) return page.show(visit)
    if (page.take === undefined) return methodNotAllowed(exchange, 'GET')
    await page.take(visit, await readForm(exchange))
  }

  /** Whoever is not is sent to sign in, and comes back. */
  #signedIn(exchange: Exchange): SessionRecord | undefined {
    return this.#parts.signIn.require(exchange, { returnTo: exchange.target, maxAgeSeconds: SIGN_IN_AGE })
  }

  /**
   * Who sends a form. Not sent to sign in: a browser holds where a form leads to against every redirect that follows it (CSP
   * `form-action`), and the provider is elsewhere.
   */
  #sender(exchange: Exchange): SessionRecord | undefined {
    const session = this.#parts.signIn.current(exchange)
    if (session !== undefined && session.authenticatedAt + SIGN_IN_AGE * 1000 > Date.now()) return session
    const refusal = refusalOf(ENDED, exchange.requestId)
    sendProblemPage(exchange, refusal, { link: { href: pathOf(exchange), text: 'Sign in again' } })
    return undefined
  }

  /** As things are now; the administration asks again for each call. */
  #mayCome(caller: Caller, { requestId, presented }: Exchange): boolean {
    const { administration, authorizer, store } = this.#parts
    try {
      administration.authorize('service-token.list', caller)
      return true
    } catch (error) {
      if (!PosternError.is(error) || error.code !== 'ACCESS_DENIED' || caller.kind !== 'person') throw error
      const { remoteAddress, method } = presented
      const { issuer, subject } = caller.identity
      const [actor, { code }] = [`${issuer} ${subject}`, error]
      const row = { action: 'admin.refused', actor, requestId, remoteAddress, allowed: false, code, detail: { method } }
      if (authorizer.isKnockNoted(remoteAddress, actor)) store.audit({ at: Date.now(), ...row })
      return false
    }
  }
}

const FIRST = '/admin/service-tokens'

const ENDED = new PosternError('LOGIN_REQUIRED', 'your sign-in has ended, or is older than twelve hours', {
  speaker: 'edge',
  next: 'Nothing was changed. Sign in again, then fill in the form once more.',
})

/** The page of a path, and what the path names. */
function find(path: string): { readonly page: AdminPage | undefined; readonly id: string } {
  const segments = path.split('/')
  let id = ''
  const page = PAGES.find(one => {
    const wanted = one.path.split('/')
    if (wanted.length !== segments.length) return false
    const fits = wanted.every((part, at) => part === segments[at] || (part === '{id}' && segments[at] !== ''))
    if (fits) id = segments[wanted.indexOf('{id}')] ?? ''
    return fits
  })
  return { page, id }
}

function sendNoAdministrator(exchange: Exchange, { person }: SessionRecord): void {
  sendPage(exchange, {
    status: 403,
    title: 'For administrators only',
    main: html`<h1>For administrators only</h1>
<p>You are signed in as <strong>${nameOf(person)}</strong>, who does not administer this.</p>
<p>If you should, ask an administrator to add you; they can do that with <code>postern admin settings --administrator</code>.</p>
<a class="button" href="/">To your applications</a>
<a class="button quiet" href="/logout">Sign in as somebody else</a>`,
  })
}
