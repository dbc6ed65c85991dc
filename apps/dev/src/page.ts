import { randomBytes } from 'node:crypto'
import type { OutgoingHttpHeaders } from 'node:http'
import type { VerifiedIdentity } from '@postern/verify'
import { APP_HOST, SSH_HOST, TEAM_DOMAIN, VAULT_HOST, WIKI_HOST } from './names.ts'

export interface Page {
  readonly title: string
  readonly hostname: string
  /** The edge’s, as in the address of the page; empty for 443. */
  readonly port: string
  readonly who: VerifiedIdentity
}

const STYLE = `
:root{color-scheme:light dark}
body{max-width:36rem;margin:12vh auto 4rem;padding:0 1.25rem;font:1rem/1.6 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .5rem;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1.25rem;margin:1.5rem 0}
dt{opacity:.65}
dd{margin:0;overflow-wrap:anywhere}
#live{padding:.6rem .9rem;border:1px solid;border-radius:.5rem}
li{margin:.25rem 0}`

/** The stream ends when the session does; asking again is then refused, and the browser gives up. */
const SCRIPT = `
const line = document.querySelector('#live')
const source = new EventSource('/live')
source.onmessage = event => { line.textContent = 'Connected, ' + event.data + '.' }
source.onerror = () => {
  if (source.readyState !== EventSource.CLOSED) return
  document.title = 'Ended'
  line.textContent = 'The edge has ended this. Reload the page, and it asks who you are.'
}`

const OTHERS = [
  [APP_HOST, 'the sample application'],
  [WIKI_HOST, 'the sample wiki'],
  [VAULT_HOST, 'the sample vault, which says no'],
  [SSH_HOST, 'an SSH server, by browser'],
] as const

/** Who asks, what vouches for it, and where to go on. */
export function pageOf({ title, hostname, port, who }: Page): { headers: OutgoingHttpHeaders; body: string } {
  const nonce = randomBytes(16).toString('base64')
  const at = (host: string) => `https://${host}${port === '' ? '' : `:${port}`}/`
  const { kind, email, subject, groups = [], issuer } = who
  const facts = [
    [kind === 'user' ? 'Person' : 'Machine', email ?? subject],
    ['Groups', groups.join(', ') || 'none'],
    ['Vouched for by', issuer],
    ['Said by', `the header postern-identity, signed for ${hostname}, verified with @postern/verify`],
  ]
  const list = facts.map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`).join('')
  const links = OTHERS.filter(([host]) => host !== hostname).map(
    ([host, what]) => `<li><a href="${at(host)}">${what}</a></li>`,
  )
  const body = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${title}</title><style nonce="${nonce}">${STYLE}</style>
<main><p>${title}</p>
<h1>Hello ${escaped(email ?? subject)}</h1>
<p>This page runs on loopback and has no sign-in of its own. It knows you by what the edge says.</p>
<dl>${list}</dl>
<p id="live" role="status">Connecting.</p>
<ul>${links.join('')}<li><a href="${at(TEAM_DOMAIN)}">the team’s page: what you may open, and signing out</a></li></ul>
</main><script nonce="${nonce}">${SCRIPT}</script></html>
`
  const policy = `default-src 'none'; connect-src 'self'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; base-uri 'none'`
  const headers = { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy }
  return { headers: { ...headers, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }, body }
}

function escaped(text = ''): string {
  return text.replace(/[&<>"']/g, sign => `&#${sign.charCodeAt(0)};`)
}
