import type { ServiceToken } from '@postern/admin'
import { type Html, html } from '../team/html.ts'
import { sendAdmin } from './frame.ts'
import { badge, facts, type Naming, namingFor, stateOf } from './tokens.ts'
import type { AdminPage, Visit } from './visit.ts'

/** Tokens of either kind on the page. */
const MOST_SHOWN = 500

/** `/admin/service-tokens`: all of them, those that are good first. */
export const TOKENS_PAGE: AdminPage = {
  path: '/admin/service-tokens',
  async show(visit: Visit) {
    const tokens = await visit.call('service-token.list', {})
    const naming = await namingFor(visit)
    const { good = [], over = [] } = Object.groupBy(tokens.toSorted(byName), one =>
      stateOf(one) === 'good' ? 'good' : 'over',
    )
    sendAdmin(visit, {
      title: 'Service tokens',
      tab: '/admin/service-tokens',
      main: html`<div class="row"><h1>Service tokens</h1><a class="button small" href="/admin/service-tokens/new">New service token</a></div>
<p class="soft">What programs open applications with, where no person can sign in.</p>
${good.length === 0 ? NONE : items(good, naming)}
${over.length === 0 ? undefined : html`<details><summary>${over.length} revoked or expired</summary>${items(over, naming)}</details>`}`,
    })
  },
}

function byName(one: ServiceToken, other: ServiceToken): number {
  return one.name.localeCompare(other.name, 'en') || (one.id < other.id ? -1 : 1)
}

function items(tokens: readonly ServiceToken[], naming: Naming): Html {
  const more = tokens.length - MOST_SHOWN
  return html`<ul class="rows">${tokens.slice(0, MOST_SHOWN).map(
    one => html`<li><div class="row"><h2><a href="/admin/service-tokens/${one.id}">${one.name}</a></h2>${badge(one)}</div>
${facts(one, naming.opens(one.id))}</li>`,
  )}</ul>${more > 0 ? html`<p class="hint">And ${more} more: <code>postern admin service-token list</code> shows all.</p>` : undefined}`
}

const NONE = html`<p>There is none that can be used now.</p>`
