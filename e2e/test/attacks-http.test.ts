import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { lines } from '../world/attacker.ts'
import { type Nginx, startNginx } from '../world/nginx.ts'
import { type Site, type SiteApplication, startSite } from '../world/site.ts'
import { startTap, type Tap } from '../world/tap.ts'
import { ask2, dialLine, http2, plain, say, signedIn, statusOf } from '../world/web.ts'

// HTTP applications at a real edge, through a real daemon, with nginx and Node behind it: what one of them reads otherwise than the next.

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const PASSWORD = 'correct horse battery staple'
const uncaught = vi.fn()

/** What a CGI program would see: a name for all that fold into it. */
function environment({ rawHeaders: raw }: IncomingMessage): Record<string, string[]> {
  const seen: Record<string, string[]> = {}
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = `HTTP_${raw[at]?.toUpperCase().replace(/[^A-Z0-9]/g, '_')}`
    seen[name] = [...(seen[name] ?? []), raw[at + 1] ?? '']
  }
  return seen
}

const node = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('error', () => {}).on('data', chunk => chunks.push(chunk))
  request.once('end', () => {
    const { method, url, rawTrailers } = request
    response.setHeader('content-type', 'application/json')
    const body = Buffer.concat(chunks).toString('latin1')
    response.end(JSON.stringify({ method, url, body, seen: environment(request), trailers: rawTrailers }))
  })
})

const NGINX = `
  underscores_in_headers on;
  location /public/ { return 200 "public $uri"; }
  location /admin { return 200 "the secret of $uri"; }
  location /files { alias www/files/; }
  location = /who { return 200 "<$http_postern_identity|$http_x_forwarded_for|$http_x_forwarded_host|$http_cookie|$http_host|$request_uri>"; }
  location /body { client_max_body_size 10; return 200 "got $content_length|$http_transfer_encoding"; }
`

let tap: Tap
let nginxTap: Tap
let bytesTap: Tap
let nginx: Nginx | undefined
let site: Site
let token: { id: string; secret: string }
let other: { id: string; secret: string }
let cookie: string
beforeAll(async () => {
  process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught)
  await new Promise<void>(resolve => node.listen(0, '127.0.0.1', () => resolve()))
  const { port } = node.address() as AddressInfo
  nginx = peers.includes('nginx')
    ? await startNginx(NGINX, { 'files/open': 'open', 'secret/key': 'the secret' })
    : undefined
  tap = await startTap(port)
  nginxTap = await startTap(nginx?.port ?? port)
  bytesTap = await startTap(port)
  const closed: SiteApplication['rules'] = [{ name: 'nobody', action: 'deny', include: [{ everyone: true }] }]
  const application = (service: string): SiteApplication => ({ protocols: ['http'], service, rules: closed })
  site = await startSite({
    'node.localhost': application(tap.service),
    'nginx.localhost': application(nginxTap.service),
    'bytes.localhost': { ...application(bytesTap.service.replace('http', 'tcp')), protocols: ['tcp'] },
    'both.localhost': {
      ...application(bytesTap.service.replace('http', 'tcp')),
      protocols: ['tcp', 'http'],
      others: [tap.service],
    },
    'other.localhost': application(tap.service),
  })
  const { administration } = site.edge
  token = await administration.call('service-token.create', { body: { name: 'in' } })
  other = await administration.call('service-token.create', { body: { name: 'of another application' } })
  const rules = (id: string) => [
    { name: 'admin', action: 'deny' as const, include: [{ path: ['/admin'] }] },
    { name: 'public', action: 'bypass' as const, include: [{ path: ['/public'] }] },
    { name: 'in', action: 'allow' as const, include: [{ serviceToken: id }, { email: 'ann@example.com' }] },
  ]
  for (const hostname of ['node', 'nginx', 'both', 'bytes'])
    await administration.call('policy.put', {
      params: { hostname: `${hostname}.localhost` },
      body: { rules: rules(token.id) },
    })
  await administration.call('policy.put', { params: { hostname: 'other.localhost' }, body: { rules: rules(other.id) } })
  await site.person('ann@example.com', PASSWORD)
  cookie = await signedIn(site, 'node.localhost', 'ann@example.com', PASSWORD)
})
afterAll(async () => {
  await site?.[Symbol.asyncDispose]()
  for (const one of [tap, nginxTap, bytesTap, nginx]) await one?.[Symbol.asyncDispose]()
  node.closeAllConnections()
  node.close()
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

let before: { tap: number; nginxTap: number; bytesTap: number }
beforeEach(() => {
  before = { tap: tap.text().length, nginxTap: nginxTap.text().length, bytesTap: bytesTap.text().length }
})
/** What the services heard since the test began. */
const heard = () =>
  tap.text().slice(before.tap) + nginxTap.text().slice(before.nginxTap) + bytesTap.text().slice(before.bytesTap)
const own = () => lines({ 'postern-client-id': token.id, 'postern-client-secret': token.secret })
const close = 'Connection: close\r\n'
const ask = (path: string, headers: string, hostname = 'node.localhost') =>
  say(site, hostname, plain(`GET ${path}`, hostname, headers + close))
/** What the Node service says that it saw. */
const seenIn = (answer: string) => {
  const body = Buffer.from(answer.slice(answer.indexOf('{')), 'latin1').toString()
  return (JSON.parse(body) as { seen: Record<string, string[]> }).seen
}
/** HTTP/2 for as long as the test lasts. */
const over2 = (hostname: string) => {
  const session = http2(site, hostname)
  return Object.assign(session, { [Symbol.dispose]: () => session.destroy() })
}
/** Every test’s twin: the same visitor, asking for something plain, is answered. */
const letIn = async (hostname = 'node.localhost') => {
  expect(statusOf(await ask('/public/twin', own(), hostname))).toBe(200)
}

describe.skipIf(!peers.includes('nginx'))(
  'row 51: paths that nginx reads otherwise than a policy (needs: apt-get install nginx)',
  () => {
    const REFUSED = 400
    const STRANGER = 401
    const DENIED = 403
    it.each<[string, number, number]>([
      ...[
        '/public/../admin',
        '/public/%2e%2e/admin',
        '/public/.%2E/admin',
        '/public/x/%2e%2e/%2e%2e/admin',
        '/public/..;/admin',
        '/public;/../admin',
        '/./admin',
        '//admin',
        '/public//../admin',
        '/admin%2f',
        '/admin%5c',
        '/admin%00',
        '/admin%09',
        '/public%2f..%2fadmin',
        '/public/x%5c..%5cadmin',
        '/public%23/../admin',
        '/public/x#/../../admin',
        '/public/%252e%252e/admin',
        '/public/%c0%ae%c0%ae/admin',
        '/public/%ef%bc%8e%ef%bc%8e/admin',
        '/public/%e2%80%a5/admin',
        '/%ef%bc%8fadmin',
        '/admin%80',
        '/public/x%0d%0aX-Y:%20z',
        '/public/x HTTP/1.1 ',
        '\\public\\..\\admin',
        '*',
        'http://nginx.localhost:80/public/x',
        'http://somebody@nginx.localhost/public/x',
        'http://nowhere.localhost/public/x',
      ].map<[string, number, number]>(path => [path, REFUSED, REFUSED]),
      ...[
        '/admin',
        '/admin/',
        '/%61dmin',
        '/%61%64min/x',
        '/admin;x',
        '/admin;/public',
        '/admin%3bx',
        '/admin?/public',
        '/public/...;/admin',
        'http://nginx.localhost/admin',
        'HTTPS://NGINX.LOCALHOST/admin',
      ].map<[string, number, number]>(path => [path, STRANGER, DENIED]),
    ])('%s: a stranger hears %i, who may use the application %i, and nginx nothing', async (path, stranger, known) => {
      expect(statusOf(await ask(path, '', 'nginx.localhost'))).toBe(stranger)
      expect(statusOf(await ask(path, own(), 'nginx.localhost'))).toBe(known)
      expect(heard()).toBe('')
    })

    it.each([
      ['/public/x', '/public/x'],
      ['/%70ublic/x?/../../admin', '/public/x'],
      ['/public/%7euser/a%20b', '/public/~user/a b'],
      ['http://nginx.localhost/public/y', '/public/y'],
    ])('%s is public, and nginx reads what was judged', async (path, read) => {
      expect(await ask(path, '', 'nginx.localhost')).toMatch(new RegExp(`\\r\\n\\r\\npublic ${read}$`))
      expect(nginx?.log().trim().split('\n').at(-1)).toBe(`GET ${read} 200`)
    })

    it('an alias of nginx that leads out of its folder is behind no rule for that folder', async () => {
      const rule = { name: 'files', action: 'bypass' as const, include: [{ path: ['/files'] }] }
      const before = site.edge.store.snapshot.applications.get('nginx.localhost')?.rules ?? []
      const put = (rules: object[]) =>
        site.edge.administration.call('policy.put', {
          params: { hostname: 'nginx.localhost' },
          body: { rules },
        } as never)
      await put([...before, rule])
      expect(statusOf(await ask('/files../secret/key', '', 'nginx.localhost'))).toBe(401)
      expect(heard()).toBe('')
      expect(await ask('/files/open', '', 'nginx.localhost')).toMatch(/\r\n\r\nopen$/)
      await put([...before])
    })
  },
)

describe('row 48, row 49, row 52: who asks, as services see it', () => {
  const forged = 'forged.by.visitor'
  it.each([
    'Postern-Identity',
    'POSTERN-IDENTITY',
    'postern-identity ',
    'postern_identity',
    'POSTERN_IDENTITY',
    'postern.identity',
    'postern-Identity_',
    'postern~identity',
    'X-Forwarded-For',
    'x_forwarded_for',
    'X-Forwarded_For',
    'Forwarded',
    'X-Real-IP',
    'X_Real_IP',
    'X-Original-URL',
    'X-HTTP-Method-Override',
    'Proxy',
    'Postern-Request-Id',
  ])('%s of a visitor is nowhere, whatever a name folds into', async name => {
    for (const hostname of ['node.localhost', ...(nginx ? ['nginx.localhost'] : [])])
      for (const more of [`${name}: ${forged}\r\n`, `Connection: close, ${name.trim()}\r\n${name}: ${forged}\r\n`]) {
        const answer = await ask('/who', own() + more, hostname)
        expect([200, 400]).toContain(statusOf(answer))
        expect(answer).not.toContain(forged)
      }
    expect(heard()).not.toContain(forged)
    const { HTTP_POSTERN_IDENTITY: identity, HTTP_X_FORWARDED_FOR: from } = seenIn(await ask('/x', own()))
    expect(identity).toEqual([expect.stringMatching(/^ey[\w.-]+$/)])
    expect(from).toEqual(['127.0.0.1'])
  })

  it('where nobody is asked who they are, nobody can say it themselves', async () => {
    const seen = seenIn(
      await ask('/public/x', `Postern-Identity: ${forged}\r\nPostern-Client-Id: x\r\n`).catch(() => '{}'),
    )
    expect(JSON.stringify(seen ?? {})).not.toContain(forged)
    expect(heard()).not.toContain(forged)
    expect(seenIn(await ask('/public/x', '')).HTTP_POSTERN_IDENTITY).toBe(undefined)
  })

  it.each(['Postern-Identity', 'Cookie', 'Authorization', 'Host', 'Content-Length', 'X-Forwarded-For'])(
    'Connection: %s takes nothing from what the edge says',
    async name => {
      const seen = seenIn(await ask('/x', `${own()}Cookie: a=1\r\nConnection: ${name}\r\n`))
      expect(seen.HTTP_POSTERN_IDENTITY).toHaveLength(1)
      expect(seen.HTTP_X_FORWARDED_FOR).toEqual(['127.0.0.1'])
      expect(seen.HTTP_HOST).toEqual([`node.localhost:${site.edge.port}`])
    },
  )

  it('over HTTP/2 and in trailers it is the same', async () => {
    using session = over2('node.localhost')
    const credential = { 'postern-client-id': token.id, 'postern-client-secret': token.secret }
    for (const name of ['postern-identity', 'x-forwarded-for', 'proxy', 'x_real_ip']) {
      const { status, body } = await ask2(session, { ':path': '/x', [name]: forged, ...credential })
      expect([status, body.includes(forged)]).toEqual([200, false])
    }
    expect((await ask2(session, { ':path': '/x', postern_identity: forged, ...credential })).status).toBe(400)
    const trailers = `1\r\nx\r\n0\r\nPostern-Identity: ${forged}\r\npostern_identity: ${forged}\r\nX-Forwarded-For: ${forged}\r\nX-Own: mine\r\n\r\n`
    const chunked = `${own()}Transfer-Encoding: chunked\r\nTrailer: Postern-Identity\r\n${close}`
    const answer = await say(site, 'node.localhost', plain('POST /x', 'node.localhost', chunked, trailers))
    expect(answer).toContain('"trailers":["X-Own","mine"]')
    expect(heard()).not.toContain(forged)
  })
})

describe('row 31: cookies, byte for byte', () => {
  it.each([
    ['a=1; OURS; b=2', 'a=1; b=2'],
    ['OURS', undefined],
    ['OURS;a=1', 'a=1'],
    ['a="x; y"; OURS', 'a="x; y"'],
    ['a=1;OURS ; b=%20; ;c', 'a=1; b=%20; ;c'],
    ['a=1;  b=2;c=é; OURS; __host-POSTERN-team=x', 'a=1;  b=2;c=é'],
    ['a=__Host-postern-session=x; OURS', 'a=__Host-postern-session=x'],
    ['OURS; x__Host-postern-session=1; =__Host-postern-login=2', 'x__Host-postern-session=1'],
  ])('%s', async (sent, arrived) => {
    const answer = await ask('/x', `Cookie: ${sent.replace('OURS', cookie)}\r\n`)
    expect(statusOf(answer)).toBe(200)
    expect(seenIn(answer).HTTP_COOKIE).toEqual(arrived === undefined ? undefined : [arrived])
    expect(heard()).not.toContain(cookie.slice(-40))
  })

  it('ours twice, or another application’s, lets nobody in', async () => {
    expect(statusOf(await ask('/x', `Cookie: ${cookie}; ${cookie}\r\n`))).toBe(400)
    expect(statusOf(await ask('/x', `Cookie: ${cookie}\r\nCookie: ${cookie}\r\n`))).toBe(400)
    expect(statusOf(await ask('/x', `Cookie: ${cookie}\r\n`, 'both.localhost'))).toBe(401)
    expect(heard()).toBe('')
    expect(statusOf(await ask('/x', `Cookie: ${cookie}\r\n`))).toBe(200)
  })

  it('row 96: a cookie and a service token: both count, and a wrong secret is no way around', async () => {
    const wrong = own().replace(token.secret, `psts_${'A'.repeat(43)}`)
    const theirs = lines({ 'postern-client-id': other.id, 'postern-client-secret': other.secret })
    expect(statusOf(await ask('/x', `Cookie: ${cookie}\r\n${wrong}`))).toBe(401)
    expect(statusOf(await ask(`/x?postern-client-id=${token.id}&postern-client-secret=${token.secret}`, ''))).toBe(401)
    expect(statusOf(await ask('/x', own() + own()))).toBe(400)
    expect(statusOf(await ask('/x', theirs))).toBe(403)
    expect(heard()).toBe('')
    const seen = seenIn(await ask('/x', `Cookie: ${cookie}\r\n${own()}`))
    const [, claims = ''] = seen.HTTP_POSTERN_IDENTITY?.[0]?.split('.') ?? []
    expect(JSON.parse(Buffer.from(claims, 'base64url').toString())).toMatchObject({ email: 'ann@example.com' })
    expect(JSON.stringify(seen)).not.toContain(token.secret)
  })
})

describe('row 56: where one request ends', () => {
  const hidden = 'GET /hidden HTTP/1.1\r\nHost: node.localhost\r\n\r\n'
  it.each<[string, string, string]>([
    ['a length and chunks', 'Content-Length: 6\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${hidden}`],
    ['chunks and a length', 'Transfer-Encoding: chunked\r\nContent-Length: 3\r\n', `0\r\n\r\n${hidden}`],
    ['a coding nobody knows', 'Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${hidden}`],
    ['a vertical tab before chunked', 'Transfer-Encoding: \x0bchunked\r\n', `0\r\n\r\n${hidden}`],
    ['chunked twice', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${hidden}`],
    ['chunked, identity', 'Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${hidden}`],
    ['two lengths', 'Content-Length: 0\r\nContent-Length: 5\r\n', hidden],
    ['two lengths in one', 'Content-Length: 0, 5\r\n', hidden],
    ['a length with a sign', 'Content-Length: +5\r\n', hidden],
    ['a length in hex', 'Content-Length: 0x5\r\n', hidden],
    ['a space before the colon', 'Content-Length : 5\r\n', hidden],
    ['a bare line feed', 'X-A: b\nContent-Length: 5\r\n', hidden],
    ['a bare carriage return', 'X-A: b\rContent-Length: 5\r\n', hidden],
    ['a NUL', 'X-A: b\x00c\r\n', hidden],
    ['a folded line', 'X-A: b\r\n Content-Length: 5\r\n', hidden],
    ['a chunk extension with a carriage return', 'Transfer-Encoding: chunked\r\n', `1;a\rb\r\nx\r\n0\r\n\r\n${hidden}`],
    ['a chunk that ends in a line feed', 'Transfer-Encoding: chunked\r\n', `1\nx\n0\n\n${hidden}`],
    ['a chunk size with a sign', 'Transfer-Encoding: chunked\r\n', `-1\r\nx\r\n0\r\n\r\n${hidden}`],
    ['a chunk size of 2^64', 'Transfer-Encoding: chunked\r\n', `10000000000000001\r\nx\r\n0\r\n\r\n${hidden}`],
  ])('%s: nothing behind it is ever a request', async (_, framing, body) => {
    const line = await dialLine(site, 'node.localhost')
    line.write(plain('POST /first', 'node.localhost', own() + framing, body))
    await line.read()
    expect([...line.text().matchAll(/HTTP\/1\.1 \d/g)].length).toBeLessThanOrEqual(1)
    expect(statusOf(line.text())).not.toBe(200)
    expect(heard()).not.toMatch(/^GET \/hidden/m)
    await letIn()
  })

  it('what is a body stays one: GET with a body, chunk extensions, a trailer, 100-continue; the next request is the next', async () => {
    const line = await dialLine(site, 'node.localhost')
    const go = async (text: string, enough: RegExp) => {
      line.write(text)
      return line.read(enough)
    }
    const inBody = JSON.stringify(hidden).slice(1, -1)
    const one = await go(
      plain('GET /one', 'node.localhost', `${own()}Content-Length: ${hidden.length}\r\n`, hidden),
      /"trailers":\[.*\]\}/,
    )
    expect([statusOf(one), one.includes(`"body":"${inBody}"`)]).toEqual([200, true])
    const size = hidden.length.toString(16)
    const two = await go(
      plain(
        'POST /two',
        'node.localhost',
        `${own()}Transfer-Encoding: chunked\r\n`,
        `${size};x=y\r\n${hidden}\r\n0\r\nX-T: 1\r\n\r\n`,
      ),
      /"trailers":\[.*\]\}/,
    )
    expect([statusOf(two), two.includes(`"body":"${inBody}"`)]).toEqual([200, true])
    const three = await go(
      plain('PUT /three', 'node.localhost', `${own()}Expect: 100-continue\r\nContent-Length: ${hidden.length}\r\n`),
      /100 Continue/,
    )
    expect(statusOf(three)).toBe(100)
    expect(await go(hidden, /"trailers":\[.*\]\}/)).toContain(`"body":"${inBody}"`)
    expect(await go(plain('GET /four', 'node.localhost', own()), /"trailers":\[.*\]\}/)).toContain('"url":"/four"')
    expect(tap.lines().filter(one => one.includes('/hidden')).length).toBe(3)
    line.socket.destroy()
  })

  it.skipIf(!peers.includes('nginx'))('a body that nginx does not want costs the next request nothing', async () => {
    const line = await dialLine(site, 'nginx.localhost')
    line.write(
      plain(
        'POST /body',
        'nginx.localhost',
        `${own()}Content-Length: ${hidden.length + 20_000}\r\n`,
        'x'.repeat(20_000),
      ),
    )
    expect(statusOf(await line.read(/\r\n\r\n[\s\S]*<\/html>/))).toBe(413)
    line.write(hidden.replace('node.localhost', 'nginx.localhost') + plain('GET /public/next', 'nginx.localhost'))
    const rest = await line.read(/public \/public\/next$/)
    // Either the connection is over, or what is behind the body is answered as what it is.
    expect(line.closed || rest.endsWith('public /public/next')).toBe(true)
    expect(heard()).not.toMatch(/^GET \/hidden/m)
    await letIn('nginx.localhost')
  })

  it.each([
    ['a line break in a path', { ':path': '/x HTTP/1.1\r\nX: y' }],
    ['a length that lies', { ':path': '/x', ':method': 'POST', 'content-length': '3' }],
    ['another Host than :authority', { ':path': '/x', host: 'other.localhost' }],
  ])('over HTTP/2: %s', async (_, headers) => {
    using session = over2('node.localhost')
    const credential = { 'postern-client-id': token.id, 'postern-client-secret': token.secret }
    const answer = await ask2(
      session,
      { ...headers, ...credential },
      'content-length' in headers ? 'longer' : undefined,
    ).catch(() => ({ status: 0 }))
    expect(answer.status).not.toBe(200)
    expect(heard()).not.toMatch(/longer|^X: y|other\.localhost/m)
    using good = over2('node.localhost')
    expect((await ask2(good, { ':path': '/x', ...credential })).status).toBe(200)
  })
})
