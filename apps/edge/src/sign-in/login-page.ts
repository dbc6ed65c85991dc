import type { Exchange } from '../front/exchange.ts'
import { csrfField } from '../team/form.ts'
import { type Html, html } from '../team/html.ts'
import { sendPage } from '../team/page.ts'
import type { ProviderRecord } from './provider-record.ts'

export interface LoginPage {
  /** What they want to open; undefined for the team’s own pages. */
  readonly to: { readonly name: string; readonly hostname: string } | undefined
  /** As whom the browser is signed in already, where somebody else is to sign in. */
  readonly now: string | undefined
  readonly providers: readonly ProviderRecord[]
  /** Whether there is anybody who signs in with a password here. */
  readonly hasDirectory: boolean
  /** The ticket that goes with the form. */
  readonly state: string
  /** What was wrong with the last try, and with which address. */
  readonly failed?: { readonly status: number; readonly message: string; readonly email: string }
}

/** The one page where people sign in. */
export function sendLoginPage(exchange: Exchange, page: LoginPage): void {
  const { to, now, providers, hasDirectory, failed } = page
  sendPage(exchange, {
    status: failed?.status ?? 200,
    title: to === undefined ? 'Sign in' : `Sign in to ${to.name}`,
    main: html`<h1>Sign in</h1>
${to === undefined ? undefined : html`<p>to open <strong>${to.name}</strong>${to.name === to.hostname ? undefined : html` <span class="soft">(${to.hostname})</span>`}</p>`}
${now === undefined ? undefined : html`<p class="notice">You are signed in as <strong>${now}</strong> now. Signing in again takes the place of that.</p>`}
${providers.map(one => html`<a class="button" href="/login/with/${encodeURIComponent(one.id)}?state=${page.state}">Continue with ${one.name}</a>`)}
${providers.length > 0 && hasDirectory ? html`<p class="or">or</p>` : undefined}
${hasDirectory ? passwordForm(exchange, page) : undefined}
${providers.length === 0 && !hasDirectory ? NOBODY : undefined}`,
  })
}

function passwordForm(exchange: Exchange, { state, failed, providers }: LoginPage): Html {
  const wrong = failed === undefined ? undefined : html` aria-invalid="true" aria-describedby="wrong"`
  const quiet = providers.length > 0 ? html` class="quiet"` : undefined
  return html`<form method="post" action="/login">
${csrfField(exchange)}<input type="hidden" name="state" value="${state}">
${failed === undefined ? undefined : html`<p class="error" id="wrong" role="alert">${failed.message}</p>`}
<label for="email">Email</label>
<input id="email" name="email" type="email" autocomplete="username" required maxlength="320" value="${failed?.email ?? ''}"${wrong}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required maxlength="1024"${wrong}>
<button${quiet}>Sign in</button>
</form>`
}

const NOBODY = html`<p>Nobody can sign in here yet.</p>
<p>If you run this, <a href="/setup">set it up</a>: make yourself the first administrator, or add your identity provider with <code>postern admin provider put</code>.</p>`
