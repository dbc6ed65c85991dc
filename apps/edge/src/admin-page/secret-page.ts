import type { Application } from '@postern/admin'
import { type Html, html } from '../team/html.ts'
import { sendAdmin } from './frame.ts'
import { facts, namingFor, type Shown } from './tokens.ts'
import type { Visit } from './visit.ts'

/** The one answer that shows a secret, with what to do with it. */
export async function sendSecret(visit: Visit, token: Shown, heading: Html): Promise<void> {
  const opens = (await namingFor(visit)).opens(token.id)
  sendAdmin(visit, {
    title: token.name,
    tab: '/admin/service-tokens',
    main: html`${heading}
<div class="notice"><p><strong>Copy the secret now.</strong> It is shown this once, and kept nowhere.</p>
<dl><dt>Secret</dt><dd><code class="copy">${token.secret}</code></dd></dl></div>
${facts(token, opens)}
${use(visit, token, opens)}
<a class="button" href="/admin/service-tokens/${token.id}">I have copied it</a>`,
  })
}

/** Lines to paste: the secret goes into a file that only its user reads, never into the arguments of a program. */
function use(visit: Visit, token: Shown, opens: readonly Application[]): Html {
  const web = opens.find(({ protocols }) => protocols.includes('http'))
  const other = opens.find(({ protocols }) => protocols.some(one => one !== 'http'))
  if (web === undefined && other === undefined)
    return html`<p>Once a rule of an application names it, programs come in with the headers <code>postern-client-id</code> and <code>postern-client-secret</code>, or with <code>postern access</code>.</p>`
  return html`${web && curl(token, visit.origins.of(web.hostname))}${other && access(visit, token, other)}`
}

function curl({ id, name, secret }: Shown, origin: string): Html {
  const file = `${fileOf(name)}.headers`
  return html`<h2>With curl</h2>
<pre tabindex="0" id="use-curl">(umask 077; cat &gt; ${file}) &lt;&lt;'END'
postern-client-id: ${id}
postern-client-secret: ${secret}
END
curl --header @${file} ${origin}/</pre>`
}

function access({ origins }: Visit, { id, name, secret }: Shown, { hostname, protocols }: Application): Html {
  const file = `${fileOf(name)}.secret`
  const { host } = new URL(origins.of(hostname))
  const as = `--id ${id} --secret-file ${file}`
  const way = protocols.includes('ssh')
    ? `ssh -o ProxyCommand="postern access ssh --hostname ${host} \\\n  ${as}" ${hostname}`
    : `postern access tcp --hostname ${host} --url localhost:9000 \\\n  ${as}`
  return html`<h2>With ${protocols.includes('ssh') ? 'ssh' : 'any program'}</h2>
<pre tabindex="0" id="use-access">(umask 077; cat &gt; ${file}) &lt;&lt;'END'
${secret}
END
${way}</pre>`
}

/** A word of every shell, and no option. */
function fileOf(name: string): string {
  return name.replace(/[^A-Za-z0-9.]+/g, '-').replace(/-$/, '')
}

/** The browser sent a form again whose answer showed a secret, or one that lay open for too long. */
export function sendAlreadySent(
  visit: Visit,
  { href, isNew }: { readonly href: string; readonly isNew: boolean },
): void {
  sendAdmin(visit, {
    status: 409,
    title: 'Sent already',
    tab: '/admin/service-tokens',
    main: html`<h1>This form was sent already</h1>
<p>Nothing was done this time. A secret is shown once; if you did not copy it, ${isNew ? 'rotate the service token' : 'rotate once more'} to get another.</p>
<a class="button" href="${href}">${isNew ? 'To the service tokens' : 'To the service token'}</a>`,
  })
}
