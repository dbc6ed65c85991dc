import type { Application } from '@postern/admin'
import { factsOf, PosternError } from '@postern/interface'
import { csrfField } from '../team/form.ts'
import { type Html, html } from '../team/html.ts'
import { sentence } from '../team/problem-page.ts'
import { sendAdmin } from './frame.ts'
import { sendAlreadySent, sendSecret } from './secret-page.ts'
import type { AdminPage, Visit } from './visit.ts'
import { LIFETIMES, options } from './words.ts'

/** Applications to tick on the page. */
const MOST_SHOWN = 500
/** Before the hostname, in the name of its box: no two fields are called the same. */
const BOX = 'app:'

/** What was filled in. */
interface Filled {
  readonly name: string
  readonly expires: string
  readonly applications: readonly string[]
}

type Field = 'name' | 'expires' | 'applications'

/** What is wrong, with which field; without one, with the whole. */
interface Wrong {
  readonly field?: Field
  readonly message: string
  readonly status: number
}

/** `/admin/service-tokens/new` */
export const NEW_TOKEN_PAGE: AdminPage = {
  path: '/admin/service-tokens/new',
  show: visit => sendForm(visit, { name: '', expires: '90d', applications: [] }),
  async take(visit: Visit, form: URLSearchParams) {
    if (!visit.once.take(form)) return sendAlreadySent(visit, { href: '/admin/service-tokens', isNew: true })
    const filled = filledIn(form)
    const lifetime = LIFETIMES.get(filled.expires)
    if (lifetime === undefined)
      return sendForm(visit, filled, { field: 'expires', message: 'Choose one of these.', status: 400 })
    const { name, applications } = filled
    try {
      const lives = lifetime.seconds === undefined ? {} : { expiresInSeconds: lifetime.seconds }
      const token = await visit.call('service-token.create', {
        body: { name, applications: [...applications], ...lives },
      })
      await sendSecret(visit, token, html`<h1>${token.name} is ready</h1>`)
    } catch (error) {
      await sendForm(visit, filled, correctable(error))
    }
  },
}

function filledIn(form: URLSearchParams): Filled {
  const boxes = [...form.keys()].filter(key => key.startsWith(BOX))
  return {
    name: (form.get('name') ?? '').trim(),
    expires: form.get('expires') ?? '',
    applications: boxes.map(key => key.slice(BOX.length)),
  }
}

/** What a person can correct is shown beside its field; everything else is a page of its own. */
function correctable(error: unknown): Wrong {
  if (!PosternError.is(error)) throw error
  const { code, message, next } = error
  const { status = 400 } = factsOf(code)
  if (code === 'ALREADY_EXISTS') return { field: 'name', message: `${sentence(message)} ${next}`, status }
  if (code === 'NOT_FOUND') return { field: 'applications', message: `${sentence(message)} It may be gone.`, status }
  if (code !== 'BAD_USAGE' && code !== 'LIMIT_EXCEEDED') throw error
  if (/^name\b/.test(message)) return { field: 'name', message: NAME_RULE, status }
  return { field: 'applications', message: sentence(message), status }
}

const NAME_RULE =
  'A name has 1 to 64 letters, digits, spaces and . _ @ + -, begins with a letter or digit, and does not look like an ID.'

async function sendForm(visit: Visit, filled: Filled, wrong?: Wrong): Promise<void> {
  const applications = await visit.call('application.list', {})
  const by = (field: Field) => (wrong?.field === field ? wrong.message : undefined)
  sendAdmin(visit, {
    status: wrong?.status ?? 200,
    title: 'New service token',
    tab: '/admin/service-tokens',
    main: html`<h1>New service token</h1>
<form method="post" action="/admin/service-tokens/new">
${csrfField(visit.exchange)}${visit.once.field()}
<label for="name">Name</label>
<input id="name" name="name" type="text" autocomplete="off" spellcheck="false" required maxlength="64" value="${filled.name}" aria-describedby="name-hint${by('name') && ' name-wrong'}"${invalid(by('name'))}>
${error('name', by('name'))}
<p class="hint" id="name-hint">What will use it, for example <code>ci</code> or <code>backup of the wiki</code>.</p>
<label for="expires">Expires after</label>
<select id="expires" name="expires"${by('expires') && html` aria-describedby="expires-wrong"`}${invalid(by('expires'))}>${options(LIFETIMES, filled.expires)}</select>
${error('expires', by('expires'))}
${boxes(applications, filled.applications, by('applications'))}
<button>Make the service token</button>
<a class="button quiet" href="/admin/service-tokens">Cancel</a>
</form>`,
  })
}

function boxes(applications: readonly Application[], ticked: readonly string[], wrong: string | undefined): Html {
  const all = applications.toSorted((one, other) => labelOf(one).localeCompare(labelOf(other), 'en'))
  const hidden = all.length - MOST_SHOWN
  return html`<fieldset aria-describedby="applications-hint${wrong && ' applications-wrong'}">
<legend>Applications it may open</legend>
${error('applications', wrong)}
${all.slice(0, MOST_SHOWN).map(one => box(one, ticked.includes(one.hostname)))}
${all.length === 0 ? html`<p>There is no application yet.</p>` : undefined}
${hidden > 0 ? html`<p class="hint">And ${hidden} more, for <code>postern admin policy allow</code>.</p>` : undefined}
<p class="hint" id="applications-hint">Each gets a rule that lets this service token in. With none, it opens nothing until a rule names it.</p>
</fieldset>`
}

function box(application: Application, isTicked: boolean): Html {
  const { hostname, protocols } = application
  const label = labelOf(application)
  const more = `${label === hostname ? '' : `${hostname} · `}${protocols.join(', ')}`
  return html`<label class="check"><input type="checkbox" name="${BOX}${hostname}" value="yes"${isTicked ? CHECKED : undefined}><span>${label} <span class="soft">${more}</span></span></label>`
}

const CHECKED = html` checked`

function labelOf({ hostname, options: { name } = {} }: Application): string {
  return name ?? hostname
}

function invalid(wrong: string | undefined): Html | undefined {
  return wrong === undefined ? undefined : html` aria-invalid="true" autofocus`
}

function error(field: Field, wrong: string | undefined): Html | undefined {
  return wrong === undefined ? undefined : html`<p class="error" id="${field}-wrong" role="alert">${wrong}</p>`
}
