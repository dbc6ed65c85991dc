import { PosternError } from '@postern/interface'
import type { Exchange } from '../front/exchange.ts'
import { csrfField, readForm } from '../team/form.ts'
import { html } from '../team/html.ts'
import { sendPage } from '../team/page.ts'
import { methodNotAllowed, pathOf, type Room } from '../team/site.ts'
import type { Invited } from './directory.ts'
import type { Hop } from './hop.ts'
import type { SignInParts } from './parts.ts'
import { correctable, type Failed, nameIn, personFields } from './password-fields.ts'
import { HOME } from './wanted.ts'

const ROOT = '/invite/'

/** `/invite/<token>`: somebody who was invited chooses a password, once. */
export class InvitationRoom implements Room {
  readonly #parts: SignInParts
  readonly #hop: Hop

  constructor(parts: SignInParts, hop: Hop) {
    this.#parts = parts
    this.#hop = hop
  }

  match(path: string): boolean {
    return path.startsWith(ROOT)
  }

  async serve(exchange: Exchange): Promise<void> {
    const { method } = exchange
    const token = pathOf(exchange).slice(ROOT.length)
    const invited = this.#parts.directory.invited(token)
    if (invited === undefined) throw gone()
    if (method === 'GET' || method === 'HEAD') return sendInvitation(exchange, invited, invited.name ?? '')
    if (method !== 'POST') return methodNotAllowed(exchange, 'GET', 'POST')
    const form = await readForm(exchange)
    try {
      const { requestId, presented, signal } = exchange
      const chosen = { name: nameIn(form), password: form.get('password') ?? '' }
      const asking = { requestId, signal, remoteAddress: presented.remoteAddress }
      const person = await this.#parts.directory.accept(token, chosen, asking)
      await this.#hop.signedIn(exchange, person, HOME)
    } catch (error) {
      sendInvitation(exchange, invited, form.get('name') ?? '', correctable(error))
    }
  }
}

function sendInvitation(exchange: Exchange, { email }: Invited, name: string, failed?: Failed): void {
  sendPage(exchange, {
    status: failed === undefined ? 200 : 400,
    title: 'You are invited',
    main: html`<h1>You are invited</h1>
<p>Choose a password, and you are in. You will sign in with <strong>${email}</strong>.</p>
<form method="post" action="${pathOf(exchange)}">
${csrfField(exchange)}<input type="hidden" name="username" autocomplete="username" value="${email}">
${personFields({ name, failed })}
<button>Set password and sign in</button>
</form>`,
  })
}

function gone(): PosternError {
  return new PosternError('NOT_FOUND', 'this invitation was used, has expired, or never was one', {
    speaker: 'edge',
    next: 'Ask whoever sent it for a new one. If you have a password already, sign in at /login.',
  })
}
