import type { ServiceToken } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { isServiceTokenId } from '@postern/tokens'
import { csrfField } from '../team/form.ts'
import { type Html, html } from '../team/html.ts'
import { sendRedirect } from '../team/page.ts'
import { sentence } from '../team/problem-page.ts'
import { sendAdmin } from './frame.ts'
import { sendAlreadySent, sendSecret } from './secret-page.ts'
import { badge, facts, namingFor, stateOf } from './tokens.ts'
import type { AdminPage, Visit } from './visit.ts'
import { OVERLAPS, options } from './words.ts'

/** `/admin/service-tokens/pst_…`: one of them, with a new secret or without any. */
export const TOKEN_PAGE: AdminPage = {
  path: '/admin/service-tokens/{id}',
  show: visit => sendToken(visit),
  async take(visit: Visit, form: URLSearchParams) {
    const what = form.get('do')
    if (what === 'rotate') return rotate(visit, form)
    if (what !== 'revoke') throw new PosternError('BAD_USAGE', 'it is rotate or revoke', { speaker: 'edge' })
    await visit.call('service-token.revoke', { params: { token: idIn(visit) } })
    sendRedirect(visit.exchange, '/admin/service-tokens?done=revoked')
  },
}

async function rotate(visit: Visit, form: URLSearchParams): Promise<void> {
  if (!visit.once.take(form)) return sendAlreadySent(visit, { href: pathOf(idIn(visit)), isNew: false })
  const chosen = form.get('overlap') ?? ''
  const overlap = OVERLAPS.get(chosen)
  if (overlap === undefined) return sendToken(visit, { message: 'Choose one of these.', status: 400 })
  try {
    const input = { params: { token: idIn(visit) }, body: { overlapSeconds: overlap.seconds } }
    const token = await visit.call('service-token.rotate', input)
    await sendSecret(visit, token, html`<h1>${token.name} has a new secret</h1>`)
  } catch (error) {
    // Revoked, or expired, since the page was shown.
    if (!PosternError.is(error) || error.code !== 'CONFLICT') throw error
    await sendToken(visit, { message: sentence(error.message), status: 409 })
  }
}

/** @throws PosternError NOT_FOUND: the path names no id; names of tokens are for people who type */
function idIn({ id }: Visit): string {
  if (isServiceTokenId(id)) return id
  throw new PosternError('NOT_FOUND', 'no such service token', { speaker: 'edge' })
}

function pathOf(id: string): string {
  return `/admin/service-tokens/${id}`
}

async function sendToken(visit: Visit, wrong?: { readonly message: string; readonly status: number }): Promise<void> {
  const token = await visit.call('service-token.get', { params: { token: idIn(visit) } })
  const opens = (await namingFor(visit)).opens(token.id)
  const isGood = stateOf(token) === 'good'
  sendAdmin(visit, {
    status: wrong?.status ?? 200,
    title: token.name,
    tab: '/admin/service-tokens',
    main: html`<div class="row"><h1>${token.name}</h1>${badge(token)}</div>
${facts(token, opens)}
${isGood || wrong === undefined ? undefined : html`<p class="error" role="alert">${wrong.message}</p>`}
${isGood ? rotation(visit, token, wrong?.message) : undefined}
${token.revokedAt === undefined ? revocation(visit, token) : undefined}`,
  })
}

function rotation(visit: Visit, { id }: ServiceToken, wrong: string | undefined): Html {
  const about = wrong && html` aria-invalid="true" aria-describedby="overlap-wrong"`
  return html`<h2>A new secret</h2>
<p>The ID stays as it is, and so do the rules that name it. Whoever came with the current secret is cut off when that ends.</p>
<form method="post" action="${pathOf(id)}">
${csrfField(visit.exchange)}${visit.once.field()}<input type="hidden" name="do" value="rotate">
<label for="overlap">The current secret</label>
<select id="overlap" name="overlap"${about}>${options(OVERLAPS, '1h')}</select>
${wrong && html`<p class="error" id="overlap-wrong" role="alert">${wrong}</p>`}
<button>Make a new secret</button>
</form>`
}

function revocation({ exchange }: Visit, { id, name }: ServiceToken): Html {
  return html`<h2>Revoke</h2>
<p>Ends ${name} for good, and cuts off at once whatever is connected with it. This cannot be taken back.</p>
<form method="post" action="${pathOf(id)}">
${csrfField(exchange)}<input type="hidden" name="do" value="revoke">
<button class="quiet bad">Revoke ${name}</button>
</form>`
}
