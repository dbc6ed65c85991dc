import { PosternError } from '@postern/interface'
import { type Html, html } from '../team/html.ts'
import { SHORTEST_PASSWORD } from './passwords.ts'

const LONGEST_NAME = 200

/** What was wrong with a form that is shown again. */
export interface Failed {
  readonly message: string
}

/** A name, and a new password. The error is tied to the password: it is what can be wrong. */
export function personFields({ name, failed }: { readonly name: string; readonly failed: Failed | undefined }): Html {
  const wrong = failed === undefined ? undefined : html` aria-invalid="true"`
  const described = failed === undefined ? 'rule' : 'rule wrong'
  return html`<label for="name">Your name</label>
<input id="name" name="name" type="text" autocomplete="name" required maxlength="${LONGEST_NAME}" value="${name}">
<label for="password">New password</label>
<input id="password" name="password" type="password" autocomplete="new-password" required minlength="${SHORTEST_PASSWORD}" maxlength="1024" aria-describedby="${described}"${wrong}>
<p class="hint" id="rule">At least ${SHORTEST_PASSWORD} characters. A few words in a row are easier to remember than symbols.</p>
${failed === undefined ? undefined : html`<p class="error" id="wrong" role="alert">${failed.message}</p>`}`
}

/** @throws PosternError BAD_USAGE */
export function nameIn(form: URLSearchParams): string {
  const name = (form.get('name') ?? '').trim()
  if (name !== '' && name.length <= LONGEST_NAME) return name
  throw new PosternError('BAD_USAGE', 'a name is missing, or very long', { speaker: 'edge' })
}

/** What a person can correct is shown beside the form; everything else is a page of its own. */
export function correctable(error: unknown): Failed {
  if (!PosternError.is(error) || error.code !== 'BAD_USAGE') throw error
  const { message } = error
  return { message: `${message.slice(0, 1).toUpperCase()}${message.slice(1)}.` }
}
