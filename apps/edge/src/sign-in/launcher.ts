import { decide } from '@postern/policy'
import type { ApplicationRecord } from '@postern/store'
import { isAdministrator } from '../admin/administrators.ts'
import { policyOf } from '../authorize/policy.ts'
import type { Exchange } from '../front/exchange.ts'
import { csrfField } from '../team/form.ts'
import { type Html, html } from '../team/html.ts'
import { sendPage, sendRedirect } from '../team/page.ts'
import { methodNotAllowed, type Room } from '../team/site.ts'
import type { Hop } from './hop.ts'
import type { SignInParts } from './parts.ts'
import type { SessionRecord } from './session-record.ts'
import { nameOf } from './who.ts'

/** Applications on one page. */
const MOST_SHOWN = 500

/** `/` on the team domain: who you are, and what you may open. */
export class Launcher implements Room {
  readonly #parts: SignInParts
  readonly #hop: Hop

  constructor(parts: SignInParts, hop: Hop) {
    this.#parts = parts
    this.#hop = hop
  }

  match(path: string): boolean {
    return path === '/'
  }

  async serve(exchange: Exchange): Promise<void> {
    if (exchange.method !== 'GET' && exchange.method !== 'HEAD') return methodNotAllowed(exchange, 'GET')
    const session = this.#hop.current(exchange)
    if (session === undefined) return sendRedirect(exchange, '/login')
    const { name } = session.person
    const known = nameOf(session.person)
    const open = this.#mayOpen(exchange, session)
    const { sessions, store } = this.#parts
    const administers = isAdministrator(sessions.identityOf(session), store.snapshot, Date.now())
    sendPage(exchange, {
      status: 200,
      title: 'Your applications',
      main: html`<h1>Hello, ${name ?? known}</h1>
<p class="soft">Signed in as ${known}${this.#by(session)}.</p>
${open.length === 0 ? NONE : html`<ul class="apps">${open.map(one => this.#item(one))}</ul>`}
${administers ? ADMINISTRATION : undefined}
<form method="post" action="/logout">${csrfField(exchange)}<button class="quiet">Sign out</button></form>`,
    })
  }

  /** What the policy lets this person open, from here, now. */
  #mayOpen({ presented }: Exchange, session: SessionRecord): readonly ApplicationRecord[] {
    const { store, sessions } = this.#parts
    const facts = { now: Date.now(), address: presented.remoteAddress, request: { method: 'GET', path: '/' } }
    return [...store.snapshot.applications.values()]
      .filter(one => {
        const identities = [sessions.identityOf(session, one)]
        return decide({ ...facts, identities }, policyOf(one, store.snapshot)).allow
      })
      .sort((one, other) => labelOf(one).localeCompare(labelOf(other), 'en'))
      .slice(0, MOST_SHOWN)
  }

  #item(application: ApplicationRecord): Html {
    const { hostname, protocols } = application
    const origin = this.#parts.origins.of(hostname)
    const how = protocols.includes('http') ? hostname : `${protocols.join(', ')} · ${hostname}`
    return html`<li><a href="${origin}/"><strong>${labelOf(application)}</strong><span class="soft">${how}</span></a></li>`
  }

  #by({ person }: SessionRecord): string {
    const provider = this.#parts.providers.list().find(({ issuer }) => issuer === person.issuer)
    return provider === undefined ? '' : `, by ${provider.name}`
  }
}

function labelOf({ hostname, options }: ApplicationRecord): string {
  return options?.name ?? hostname
}

const ADMINISTRATION = html`<a class="button quiet" href="/admin">Administration</a>`
const NONE = html`<p>There is nothing here that you may open yet. Ask whoever runs this for access.</p>`
