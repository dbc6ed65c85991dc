import type { ApplicationRecord } from '@postern/store'
import type { Exchange } from '../front/exchange.ts'
import { type Html, html } from '../team/html.ts'
import { sendPage } from '../team/page.ts'

/**
 * Somebody is let in with a browser where there is nothing for one: how to get in instead.
 *
 * @param host with the public port, where that is not 443
 */
export function sendSshPage(
  exchange: Exchange,
  { hostname, options, protocols }: ApplicationRecord,
  host: string,
): void {
  const name = options?.name ?? hostname
  const isSsh = protocols.includes('ssh')
  sendPage(exchange, {
    status: 200,
    title: `${name}: not a page`,
    wide: true,
    main: html`<h1>${name} is reached from a terminal</h1>
<p>You may use it. There is no page here, though: it speaks ${isSsh ? 'SSH' : 'TCP'}, and a browser does not.</p>
${isSsh ? sshLines(hostname, host) : tcpLines(host)}
<p class="hint">Where the command <code>postern</code> is not installed yet, whoever gave you this address knows where to get it. It opens your browser once, to sign you in.</p>`,
  })
}

function sshLines(hostname: string, host: string): Html {
  return html`<h2>Once</h2>
<p>Let <code>ssh</code> know the way; this adds a few lines to <code>~/.ssh/config</code>:</p>
<pre>postern access ssh-config --hostname ${host} --write</pre>
<h2>From then on</h2>
<pre>ssh ${hostname}</pre>
<p>With another name there: <code>ssh name@${hostname}</code>. <code>scp</code>, <code>sftp</code>, <code>rsync</code> and <code>git</code> work the same way.</p>
<details><summary>The lines themselves</summary>
<pre>Host ${hostname}
  ProxyCommand postern access ssh --hostname ${host}</pre>
</details>`
}

function tcpLines(host: string): Html {
  return html`<h2>In a terminal</h2>
<p>This opens a port on your own machine that leads there, until you stop it:</p>
<pre>postern access tcp --hostname ${host} --url localhost:9000</pre>
<p>Then point your program at <code>localhost:9000</code>.</p>`
}
