import { PosternError } from '@postern/interface'
import { countedAddress } from '../front/address.ts'
import type { Exchange } from '../front/exchange.ts'
import { csrfField, readForm } from '../team/form.ts'
import { html } from '../team/html.ts'
import { sendPage } from '../team/page.ts'
import { methodNotAllowed, type Room } from '../team/site.ts'
import type { Hop } from './hop.ts'
import type { SignInParts } from './parts.ts'
import { correctable, type Failed, nameIn, personFields } from './password-fields.ts'
import { HOME } from './wanted.ts'

/** `/setup`: whoever has the setup token of a new edge makes the first administrator. */
export class SetupRoom implements Room {
  readonly #parts: SignInParts
  readonly #hop: Hop

  constructor(parts: SignInParts, hop: Hop) {
    this.#parts = parts
    this.#hop = hop
  }

  match(path: string): boolean {
    return path === '/setup'
  }

  async serve(exchange: Exchange): Promise<void> {
    const { method, presented, requestId, signal } = exchange
    if (method === 'GET' || method === 'HEAD') return sendSetup(exchange, { name: '', email: '' })
    if (method !== 'POST') return methodNotAllowed(exchange, 'GET', 'POST')
    const form = await readForm(exchange)
    const [name, email] = [form.get('name') ?? '', form.get('email') ?? '']
    try {
      const wanted = { name: nameIn(form), email, password: form.get('password') ?? '' }
      const asking = { requestId, signal, remoteAddress: presented.remoteAddress }
      const token = (form.get('token') ?? '').trim()
      this.#mayGuess(exchange)
      const person = await this.#parts.directory.setup(token, wanted, asking)
      await this.#hop.signedIn(exchange, person, HOME)
    } catch (error) {
      sendSetup(exchange, { name, email, ...this.#wrong(exchange, error) })
    }
  }

  /** The token has 256 bits; this is for the log, and for the processor. */
  #mayGuess({ presented }: Exchange): void {
    if (!this.#parts.failures.isOver(keyOf(presented.remoteAddress))) return
    throw new PosternError('RATE_LIMITED', 'too many attempts', { speaker: 'edge' })
  }

  #wrong({ presented }: Exchange, error: unknown): { readonly failed: Failed } | { readonly token: string } {
    if (!PosternError.is(error) || error.code !== 'AUTH_REJECTED') return { failed: correctable(error) }
    this.#parts.failures.count(keyOf(presented.remoteAddress))
    return {
      token: 'This token is not right, was used, or is older than 15 minutes. A restart of the edge makes a new one.',
    }
  }
}

function keyOf(remoteAddress: string): string {
  return `setup-page\0${countedAddress(remoteAddress)}`
}

interface SetupPage {
  readonly name: string
  readonly email: string
  readonly failed?: Failed
  /** What is wrong with the token. */
  readonly token?: string
}

function sendSetup(exchange: Exchange, { name, email, failed, token }: SetupPage): void {
  sendPage(exchange, {
    status: failed === undefined && token === undefined ? 200 : 400,
    title: 'Set up Postern',
    main: html`<h1>Set up Postern</h1>
<p>This makes you the first administrator. The setup token is in the file that the edge named when it started.</p>
<form method="post" action="/setup" autocomplete="on">
${csrfField(exchange)}
<label for="token">Setup token</label>
<input id="token" name="token" type="text" autocomplete="off" spellcheck="false" required maxlength="200"${token === undefined ? undefined : html` aria-invalid="true" aria-describedby="token-wrong"`}>
${token === undefined ? undefined : html`<p class="error" id="token-wrong" role="alert">${token}</p>`}
<label for="email">Your email</label>
<input id="email" name="email" type="email" autocomplete="username" required maxlength="320" value="${email}">
${personFields({ name, failed })}
<button>Make me administrator</button>
</form>`,
  })
}
