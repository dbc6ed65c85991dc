import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { originHost, type TeamAddress } from '@postern/daemon'
import { createVerifier, type VerifiedIdentity, type Verifier } from '@postern/verify'
import { APP_HOST, VAULT_HOST, WIKI_HOST } from './names.ts'
import { type Page, pageOf } from './page.ts'
import type { SampleServer } from './samples.ts'

const TITLES: Readonly<Record<string, string>> = {
  [APP_HOST]: 'Sample application',
  [WIKI_HOST]: 'Sample wiki',
  [VAULT_HOST]: 'Sample vault',
}
/** Milliseconds between the lines of the live answer. */
const TICK = 1_000

/**
 * The sample web applications, on a port of loopback: each shows who asks, by nothing but the identity that the edge signed.
 *
 * @param to where the keys are that it is signed with
 */
export async function startSampleWeb(to: TeamAddress): Promise<SampleServer> {
  const { team, fetch } = originHost(to)
  const verifiers = new Map(
    Object.keys(TITLES).map(audience => [audience, createVerifier({ teamDomain: team, audience, fetch })]),
  )
  const server = createServer((request, response) => {
    void answer(request, response, verifiers).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => resolve())
  })
  return {
    port: (server.address() as AddressInfo).port,
    what: 'three web pages',
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  verifiers: ReadonlyMap<string, Verifier>,
): Promise<void> {
  const { hostname, port } = new URL(`https://${request.headers.host ?? 'nobody'}`)
  const who = await verifiers
    .get(hostname)
    ?.verify(request)
    .catch(() => undefined)
  if (who === undefined) {
    response.writeHead(401, { 'content-type': 'text/plain; charset=utf-8' }).end('Come through the edge.\n')
  } else if (request.url === '/live') {
    live(response)
  } else if (request.headers.accept?.includes('text/html')) {
    const page: Page = { title: TITLES[hostname] ?? hostname, hostname, port, who }
    const { headers, body } = pageOf(page)
    response.writeHead(200, headers).end(body)
  } else {
    response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end(`${hostname}: ${told(who)}\n`)
  }
}

function told({ kind, email, subject }: VerifiedIdentity): string {
  return kind === 'user' ? `hello ${email ?? subject}` : `hello ${subject}, a ${kind}`
}

/** An answer that goes on until somebody ends it (server-sent events). */
function live(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  response.write('retry: 250\n\n') // milliseconds; so a page that was cut off soon knows that it is refused
  const tick = () => response.write(`data: ${new Date().toLocaleTimeString('en-GB')}\n\n`)
  tick()
  const timer = setInterval(tick, TICK)
  response.once('close', () => clearInterval(timer))
}
