import { nameOf } from '../sign-in/who.ts'
import { type Html, html } from '../team/html.ts'
import { sendPage } from '../team/page.ts'
import { queryOf } from '../team/site.ts'
import type { Visit } from './visit.ts'

const TABS = [
  ['/admin/service-tokens', 'Service tokens'],
  ['/admin/sessions', 'Sessions'],
] as const

/** What was just done, by the word that stands in the address: nothing of the address itself is shown. */
const DONE: ReadonlyMap<string, string> = new Map([
  ['revoked', 'The service token is revoked. Whatever was connected with it is cut off.'],
  ['ended', 'Ended. Whatever was open is cut off.'],
  ['none', 'There was nothing left to end.'],
])

export interface AdminView {
  readonly status?: number
  readonly title: string
  readonly tab: (typeof TABS)[number][0]
  readonly main: Html
}

/** A page of the administration, around what is its own. */
export function sendAdmin({ exchange, session }: Visit, { status = 200, title, tab, main }: AdminView): void {
  const tabs = TABS.map(([href, text]) => html`<a href="${href}"${href === tab ? CURRENT : undefined}>${text}</a>`)
  const done = exchange.method === 'POST' ? undefined : DONE.get(queryOf(exchange).get('done') ?? '')
  sendPage(exchange, {
    status,
    title: `${title} · Administration`,
    wide: true,
    main: html`<nav class="tabs" aria-label="Administration">${tabs}<a class="home" href="/">Your applications</a></nav>
${done === undefined ? undefined : html`<p class="notice" role="status">${done}</p>`}
${main}
<p class="hint end">You administer as ${nameOf(session.person)}.</p>`,
  })
}

const CURRENT = html` aria-current="page"`
