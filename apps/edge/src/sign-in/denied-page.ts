import type { ApplicationRecord } from '@postern/store'
import type { Exchange } from '../front/exchange.ts'
import { type Html, html } from '../team/html.ts'
import { sendPage } from '../team/page.ts'

export interface DeniedPage {
  readonly application: ApplicationRecord
  /** As whom they came; undefined where nobody is known. */
  readonly who: string | undefined
  /** Finds the decision, with its reasons, in the audit log. */
  readonly requestId: string
  /** Where to sign in as somebody else. */
  readonly again: string
  /** The first page of the team domain. */
  readonly home: string
}

/** Why somebody may not, as far as it is theirs to know, and whom to ask. */
export function sendDenied(exchange: Exchange, { application, who, requestId, again, home }: DeniedPage): void {
  const { hostname, options } = application
  const name = options?.name ?? hostname
  sendPage(exchange, {
    status: 403,
    title: `No access to ${name}`,
    main: html`<h1>You cannot open ${name}</h1>
<p>${who === undefined ? html`You came without an account that is known here.` : html`You are signed in as <strong>${who}</strong>, and the rules of this application do not let that account in from where you are.`}</p>
<h2>What you can do</h2>
<p>${contactOf(options?.contact, name, requestId)} Give them this number, so that they find what was decided:</p>
<pre>${requestId}</pre>
<p>Or, if you have another account, use that one.</p>
<a class="button" href="${again}">Use another account</a>
<a class="button quiet" href="${home}/">See what you can open</a>`,
  })
}

/** An address, a link, or a sentence of an administrator’s. */
function contactOf(contact: string | undefined, name: string, requestId: string): Html {
  if (contact === undefined) return html`Ask whoever gave you this address for access.`
  if (/^[^\s@:/]+@[^\s@:/]+$/.test(contact)) {
    const subject = encodeURIComponent(`Access to ${name} (request ${requestId})`)
    return html`Ask <a href="mailto:${contact}?subject=${subject}">${contact}</a> for access.`
  }
  if (/^https:\/\/\S+$/.test(contact))
    return html`Ask for access at <a href="${contact}" rel="noreferrer">${contact}</a>.`
  return html`Ask for access: ${contact}${/[.!?]$/.test(contact) ? '' : '.'}`
}
