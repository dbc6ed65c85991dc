import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer } from 'ws'
import { lines } from './attacker.ts'
import { startOrigin } from './origin.ts'
import { type Site, type SiteApplication, startSite } from './site.ts'
import { startTap } from './tap.ts'
import { http2, plain, say, signedIn } from './web.ts'

const PASSWORD = 'correct horse battery staple'

/**
 * A site whose applications are at work: `web.localhost` with pages and WebSockets, `odd.localhost` whose answers are none,
 * `bytes.localhost`, `both.localhost` with bytes and requests, and `mine.localhost`, which lets nobody in.
 */
export interface LiveSite extends AsyncDisposable {
  readonly site: Site
  /** What is let in. */
  readonly token: { readonly id: string; readonly secret: string }
  /** Of a session of `web.localhost`. */
  readonly cookie: string
  /** Of the origin of bytes, so far. */
  readonly bytes: () => number
  /** What the services hear counts from now on. */
  begin(): void
  /** What the services heard since then. */
  heard(): string
  credential(): Record<string, string>
  /** {@link credential}, as lines of a request; and another application’s. */
  own(): string
  theirs(): string
  ask(path: string, headers: string, hostname?: string, method?: string): Promise<string>
  /** HTTP/2 for as long as it lasts. */
  over2(hostname: string): ReturnType<typeof http2> & Disposable
}

export async function startLiveSite(): Promise<LiveSite> {
  await using owned = new AsyncDisposableStack()
  const { web, echo } = serveWeb()
  await new Promise<void>(resolve => web.listen(0, '127.0.0.1', () => resolve()))
  owned.defer(() => {
    echo.close()
    web.closeAllConnections()
    web.close()
  })
  const tap = owned.use(await startTap((web.address() as AddressInfo).port))
  const bytes = owned.use(await startOrigin(socket => socket.pipe(socket)))
  const odd = owned.use(await startOrigin(crooked))
  const site = owned.use(
    await startSite(applicationsOf(tap.service, bytes.port, odd.port), { http: { answerTime: 1500 } }),
  )
  const { token, other } = await letIn(site)
  await site.person('ann@example.com', PASSWORD)
  const cookie = await signedIn(site, 'web.localhost', 'ann@example.com', PASSWORD)
  const credential = () => ({ 'postern-client-id': token.id, 'postern-client-secret': token.secret })
  let before = { text: 0, bytes: 0 }
  const parts = owned.move()
  return {
    site,
    token,
    cookie,
    bytes: () => bytes.bytes,
    begin: () => {
      before = { text: tap.text().length, bytes: bytes.bytes }
    },
    heard: () => tap.text().slice(before.text) + (bytes.bytes > before.bytes ? 'bytes' : ''),
    credential,
    own: () => lines(credential()),
    theirs: () => lines({ 'postern-client-id': other.id, 'postern-client-secret': other.secret }),
    ask: (path, headers, hostname = 'web.localhost', method = 'GET') =>
      say(site, hostname, plain(`${method} ${path}`, hostname, `${headers}Connection: close\r\n`)),
    over2: hostname => {
      const session = http2(site, hostname)
      return Object.assign(session, { [Symbol.dispose]: () => session.destroy() })
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

function applicationsOf(web: string, bytes: number, odd: number): Readonly<Record<string, SiteApplication>> {
  const closed: SiteApplication['rules'] = [{ name: 'nobody', action: 'deny', include: [{ everyone: true }] }]
  const application = (service: string, protocols = ['http']): SiteApplication => ({
    protocols,
    service,
    rules: closed,
  })
  const tcp = `tcp://127.0.0.1:${bytes}`
  return {
    'web.localhost': application(web),
    'odd.localhost': application(`http://127.0.0.1:${odd}`),
    'bytes.localhost': application(tcp, ['tcp']),
    'both.localhost': { ...application(tcp, ['tcp', 'http']), others: [web] },
    'mine.localhost': application(web),
  }
}

async function letIn({ edge: { administration } }: Site) {
  const token = await administration.call('service-token.create', { body: { name: 'in' } })
  const other = await administration.call('service-token.create', { body: { name: 'of another application' } })
  const rules = [
    { name: 'admin', action: 'deny' as const, include: [{ path: ['/admin'] }] },
    { name: 'in', action: 'allow' as const, include: [{ serviceToken: token.id }, { email: 'ann@example.com' }] },
  ]
  for (const hostname of ['web.localhost', 'odd.localhost'])
    await administration.call('policy.put', { params: { hostname }, body: { rules } })
  const byToken = [{ name: 'in', action: 'allow' as const, include: [{ serviceToken: token.id }] }]
  // A rule about paths denies bytes, which have none.
  for (const hostname of ['bytes.localhost', 'both.localhost'])
    await administration.call('policy.put', { params: { hostname }, body: { rules: byToken } })
  return { token, other }
}

function serveWeb() {
  const web = createServer((request, response) => {
    const tag = String(request.headers['x-tag'] ?? '')
    const chunks: Buffer[] = []
    request.on('error', () => {}).on('data', chunk => chunks.push(chunk))
    const { pathname } = new URL(request.url ?? '', 'http://x')
    if (pathname === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: hello\n\n')
      return
    }
    if (pathname === '/early') return void response.writeHead(413, { 'x-tag': tag }).end(`no ${tag}`)
    if (pathname === '/cut') {
      response.writeHead(200, { 'x-tag': tag, 'content-length': '1000' }).write(`half ${tag}`)
      return void setTimeout(() => response.destroy(), 5)
    }
    request.once('end', () => {
      const answer = () =>
        response.writeHead(200, { 'x-tag': tag }).end(`${request.method} ${tag} ${Buffer.concat(chunks).length}`)
      if (pathname === '/slow') setTimeout(answer, 5)
      else answer()
    })
  })
  const echo = new WebSocketServer({ server: web })
  echo.on('connection', socket => socket.on('error', () => {}).on('message', data => socket.send(`you said ${data}`)))
  return { web, echo }
}

/** What an origin of bytes answers, by path; anything else is left open without a word. */
export const CROOKED: Record<string, string> = {
  '/good': 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood',
  '/two-etags': 'HTTP/1.1 200 OK\r\nETag: a\r\nETag: b\r\nDate: x\r\nDate: y\r\nContent-Length: 4\r\n\r\ngood',
  '/two-in-trailers':
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\nETag: a\r\nETag: b\r\n\r\n',
  '/many': `HTTP/1.1 200 OK\r\n${Array.from({ length: 2000 }, (_, at) => `X-${at}: 1\r\n`).join('')}Content-Length: 4\r\n\r\ngood`,
  '/304': 'HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
  '/204': 'HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison',
  '/head': 'HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
  '/twice': 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
  '/chunk-cut': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n5\r\nno',
  '/length-cut': 'HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nhalf',
  '/1xx': 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(5000),
  '/101': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nPRI',
  '/garbage': '\x00\x01\x02 no HTTP at all\r\n\r\n',
  '/ours': `HTTP/1.1 503 No\r\npostern-problem: {"code":"ACCESS_DENIED","status":403,"title":"x","speaker":"edge"}\r\npostern-request-id: forged\r\nSet-Cookie: __Host-postern-session=stolen\r\nSet-Cookie: =__host-postern-team=stolen\r\nSet-Cookie: own=1\r\nClear-Site-Data: "*"\r\nContent-Length: 4\r\n\r\ngood`,
}
/** Of those: they end in their middle. */
export const CUT = ['/chunk-cut', '/length-cut']

function crooked(socket: Socket): void {
  socket.on('end', () => socket.end())
  socket.on('data', chunk => {
    for (const [, path = ''] of chunk.toString('latin1').matchAll(/^[A-Z]+ (\/\S*) HTTP/gm)) {
      const answer = CROOKED[path]
      if (answer !== undefined) socket.write(Buffer.from(answer, 'latin1'))
      if (CUT.includes(path)) setTimeout(() => socket.destroy(), 20)
      if (path === '/hundreds') {
        const again = setInterval(() => socket.write('HTTP/1.1 100 Continue\r\n\r\n'), 5)
        socket.once('close', () => clearInterval(again))
      }
    }
  })
}
