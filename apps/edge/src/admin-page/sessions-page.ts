import type { Input, Provider, Session } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { nameOf } from '../sign-in/who.ts'
import { csrfField } from '../team/form.ts'
import { type Html, html } from '../team/html.ts'
import { sendPage, sendRedirect } from '../team/page.ts'
import { queryOf } from '../team/site.ts'
import { sendAdmin } from './frame.ts'
import type { AdminPage, Visit } from './visit.ts'
import { ago, browserName, when } from './words.ts'

const PATH = '/admin/sessions'
/** On one page, those that were used last. */
const MOST_SHOWN = 300
const LONGEST_SEARCH = 320

/** `/admin/sessions`: who is signed in, by person. */
export const SESSIONS_PAGE: AdminPage = {
  path: PATH,
  async show(visit: Visit) {
    const asked = (queryOf(visit.exchange).get('user') ?? '').trim().slice(0, LONGEST_SEARCH)
    const all = (await visit.call('session.list', { query: {} })).toSorted((one, other) => seen(other) - seen(one))
    const fitting = asked === '' ? all : all.filter(one => isAbout(one, asked.toLowerCase()))
    const shown = fitting.slice(0, MOST_SHOWN)
    const people = Map.groupBy(shown, ({ issuer, subject }) => `${issuer} ${subject}`)
    const providers = await visit.call('provider.list', {})
    sendAdmin(visit, {
      title: 'Sessions',
      tab: PATH,
      main: html`<h1>Sessions</h1>
<p class="soft">Who is signed in. A session that is ended is cut off at once; its person can sign in again.</p>
${all.length > 5 || asked !== '' ? search(asked) : undefined}
${shown.length === 0 ? html`<p>Nobody${asked === '' ? undefined : html` whose name or email has “${asked}”`} is signed in.</p>` : undefined}
<ul class="rows">${[...people.values()].map(sessions => person(visit, sessions, providers))}</ul>
${fitting.length > MOST_SHOWN ? html`<p class="hint">The ${MOST_SHOWN} that were used last, of ${fitting.length}.</p>` : undefined}`,
    })
  },
  async take(visit: Visit, form: URLSearchParams) {
    const { revoked } = await visit.call('session.revoke', { body: wantedIn(form) })
    if (await isOwnOver(visit)) return sendOwnOver(visit)
    sendRedirect(visit.exchange, `${PATH}?done=${revoked === 0 ? 'none' : 'ended'}`)
  },
}

function seen({ seenAt, createdAt }: Session): number {
  return Date.parse(seenAt ?? createdAt)
}

function isAbout({ name, email, subject }: Session, asked: string): boolean {
  return [name, email, subject].some(text => text?.toLowerCase().includes(asked))
}

/** One session by its id, or all of one person. */
function wantedIn(form: URLSearchParams): Input<'session.revoke'>['body'] {
  const [session, issuer, subject] = ['session', 'issuer', 'subject'].map(field => form.get(field))
  if (session != null && issuer == null && subject == null) return { session }
  if (session == null && issuer != null && subject != null) return { issuer, subject }
  throw new PosternError('BAD_USAGE', 'it is one session, or one person', { speaker: 'edge' })
}

async function isOwnOver(visit: Visit): Promise<boolean> {
  try {
    await visit.call('whoami.get', {})
    return false
  } catch (error) {
    if (PosternError.is(error) && error.code === 'LOGIN_REQUIRED') return true
    throw error
  }
}

/** No redirect: it would lead on to the provider, and a browser holds where a form leads against that (CSP `form-action`). */
function sendOwnOver({ exchange }: Visit): void {
  sendPage(exchange, {
    status: 200,
    title: 'Signed out',
    main: html`<h1>You are signed out</h1>
<p>What you ended was your own session in this browser.</p>
<a class="button" href="${PATH}">Sign in again</a>`,
  })
}

function search(asked: string): Html {
  return html`<form method="get" action="${PATH}" role="search" class="row">
<label for="user">Name or email</label>
<input id="user" name="user" type="search" maxlength="${LONGEST_SEARCH}" value="${asked}">
<button class="small quiet">Find</button>
</form>`
}

function person(visit: Visit, sessions: readonly Session[], providers: readonly Provider[]): Html {
  const [{ issuer, subject, name, email }] = sessions as [Session]
  const called = nameOf({ subject, ...(name !== undefined && { name }), ...(email !== undefined && { email }) })
  const by =
    providers.find(one => one.issuer === issuer)?.name ?? (issuer === visit.origins.team ? 'a password' : issuer)
  return html`<li><div class="row"><h2>${called}</h2>${sessions.length > 1 ? endAll(visit, issuer, subject) : undefined}</div>
<p class="soft">${name === undefined || name === called ? undefined : `${name}, `}signed in with ${by}</p>
<ul class="inner">${sessions.map(one => item(visit, one))}</ul></li>`
}

function endAll({ exchange }: Visit, issuer: string, subject: string): Html {
  return html`<form method="post" action="${PATH}">${csrfField(exchange)}<input type="hidden" name="issuer" value="${issuer}"><input type="hidden" name="subject" value="${subject}"><button class="small quiet bad">End all</button></form>`
}

function item(visit: Visit, session: Session): Html {
  const { id, createdAt, seenAt = createdAt, remoteAddress, applications } = session
  const own = id === visit.session.id ? html` <span class="badge">this browser</span>` : undefined
  return html`<li><div class="row"><strong id="s-${id}">${via(session)}${own}</strong>
<form method="post" action="${PATH}">${csrfField(visit.exchange)}<input type="hidden" name="session" value="${id}"><button class="small quiet bad" aria-describedby="s-${id}">End</button></form></div>
<dl>
<dt>Since</dt><dd>${when(createdAt)}</dd>
<dt>Last seen</dt><dd>${ago(seenAt)}</dd>
<dt>Address</dt><dd>${remoteAddress}</dd>
${applications.length > 0 ? html`<dt>Opened</dt><dd>${applications.join(', ')}</dd>` : undefined}
</dl></li>`
}

function via({ via: way, userAgent }: Session): string {
  if (way === 'browser') return browserName(userAgent)
  return way === 'cli' ? 'The postern command' : 'The postern command, on another device'
}
