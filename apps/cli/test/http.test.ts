import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { unwanted } from '../src/local-guard.ts'
import { requestHeaders, responseHeaders } from '../src/local-headers.ts'
import { APP, type SsoWorld, type Started, startSsoWorld } from './sso-world.ts'

describe('access http', () => {
  let w: SsoWorld
  let running: Started
  let port: number
  beforeAll(async () => {
    w = await startSsoWorld()
    await w.login()
    running = w.start(['http', '--hostname', `${APP}:${w.port}`, '--url', 'localhost:0', '--json'])
    const [, address = ''] = await running.says(/"event":"listening".*"address":"127\.0\.0\.1:(\d+)"/)
    port = Number(address)
  })
  beforeEach(() => w.seen.splice(0))
  afterAll(async () => {
    running.child.kill('SIGINT')
    const { code } = await running.ended
    await w[Symbol.asyncDispose]()
    expect(code).toBe(0) // ends cleanly, whatever was open
  })

  interface Answer {
    readonly status: number
    readonly headers: IncomingHttpHeaders
    readonly body: string
  }
  function ask(path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const asked = { host: '127.0.0.1', port, path, method: body === undefined ? 'GET' : 'POST' }
      httpRequest({ ...asked, headers: { host: `localhost:${port}`, ...headers } }, answer => {
        const { statusCode: status = 0, headers: received } = answer
        text(answer).then(got => resolve({ status, headers: received, body: got }), reject)
      })
        .on('error', reject)
        .end(body)
    })
  }

  it('adds the credential, and asks as the application’s own page would', async () => {
    const local = `http://localhost:${port}`
    const { status, body } = await ask('/a?b', { origin: local, referer: `${local}/page` }, 'sent')
    expect([status, body]).toEqual([200, `hello from ${APP}/a?b: sent`])
    expect(w.seen[0]?.headers).toMatchObject({
      host: `${APP}:${w.port}`,
      origin: `https://${APP}:${w.port}`,
      referer: `https://${APP}:${w.port}/page`,
      'postern-access-token': expect.stringMatching(/^canary-token-/),
    })
  })

  it('streams both ways, and leads back here where the application redirects', async () => {
    w.answers.set('/events', (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('data: 1\n\n')
    })
    const first = await new Promise<string>(resolve => {
      const asked = httpRequest({ port, path: '/events', headers: { host: `localhost:${port}` } }, answer => {
        answer
          .on('error', () => {})
          .once('data', chunk => {
            resolve(String(chunk))
            asked.destroy()
          })
      }).on('error', () => {})
      asked.end()
    })
    expect(first).toBe('data: 1\n\n')
    w.answers.set('/on', (_request, response) =>
      response
        .writeHead(302, { location: `https://${APP}:${w.port}/there`, 'set-cookie': 'a=b; Domain=x; Secure' })
        .end(),
    )
    expect((await ask('/on')).headers).toMatchObject({
      location: `http://localhost:${port}/there`,
      'set-cookie': ['a=b; Secure'],
    })
  })

  it('a cut is a cut', async () => {
    w.answers.set('/cut', (_request, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('half', () => response.destroy())
    })
    await expect(ask('/cut')).rejects.toThrow()
  })

  it('a WebSocket’s upgrade goes through with the credential', async () => {
    const said = await new Promise<string>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1').on('error', reject)
      socket.write(`GET /ws HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`)
      let got = ''
      socket.on('data', chunk => {
        got += chunk
        if (got.endsWith('welcome ')) socket.write('back')
        if (got.endsWith('back')) {
          resolve(got)
          socket.destroy()
        }
      })
    })
    expect(said).toMatch(/^HTTP\/1\.1 101 /)
    expect(w.seen[0]?.headers['postern-access-token']).toMatch(/^canary-token-/)
  })

  it.each<[string, Record<string, string>, number]>([
    ['a name that points here (DNS rebinding)', { host: 'evil.test' }, 421],
    ['a name that points here, with the port', { host: 'evil.test:PORT' }, 421],
    ['a page elsewhere', { origin: 'https://evil.test' }, 403],
    ['a page of no origin', { origin: 'null' }, 403],
    ['a page of another program here', { origin: 'http://localhost:1' }, 403],
    ['an image on a page elsewhere', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, 403],
  ])('row 83: %s gets nothing, and the application is not asked', async (_what, headers, status) => {
    const sent = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, value.replace('PORT', String(port))]),
    )
    expect((await ask('/', sent)).status).toBe(status)
    expect(w.seen).toEqual([])
    expect((await ask('/')).status).toBe(200) // the twin
  })

  it('row 83: is on loopback only', async () => {
    const { code, stderr } = await w.run(['http', APP, '--url', '0.0.0.0:0'])
    expect([code, stderr]).toEqual([2, expect.stringContaining('loopback only')])
  })
})

it('a credential that the edge no longer takes is replaced, and what it was sent with asked again', async () => {
  await using w = await startSsoWorld()
  await w.login()
  const running = w.start(['http', `${APP}:${w.port}`, '--json'])
  const [, port = ''] = await running.says(/"address":"127\.0\.0\.1:(\d+)"/)
  for (const secret of w.secrets) if (secret.includes('-token-')) w.revoke(secret)
  const answer = await fetch(`http://localhost:${port}/again`)
  expect([answer.status, await answer.text()]).toEqual([200, `hello from ${APP}/again: `])
  expect(w.seen.map(one => one.url)).toEqual(['/again', '/again'])
  running.child.kill('SIGINT')
  expect((await running.ended).code).toBe(0)
})

describe('row 83: who may use the local address', () => {
  const ask = (headers: IncomingHttpHeaders, method = 'GET', isUpgrade = false) =>
    unwanted({ host: 'localhost:9000', ...headers }, 9000, { method, isUpgrade })?.status
  const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }

  it.each<[string, number | undefined, number | undefined]>([
    ['a program', ask({}), undefined],
    ['its own page', ask({ origin: 'http://localhost:9000', 'sec-fetch-site': 'same-origin' }, 'POST'), undefined],
    ['an address that was typed', ask({ 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' }), undefined],
    ['a link that was followed', ask(link), undefined],
    ['a form elsewhere', ask(link, 'POST'), 403],
    ['a frame elsewhere', ask({ ...link, 'sec-fetch-dest': 'iframe' }), 403],
    ['a WebSocket of a page elsewhere', ask({ origin: 'https://evil.test' }, 'GET', true), 403],
    ['another port of this machine', ask({ 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors' }), 403],
    ['no name', unwanted({}, 9000, { method: 'GET', isUpgrade: false })?.status, 421],
    ['another port’s name', ask({ host: 'localhost:9001' }), 421],
    ['the address of IPv6', ask({ host: '[::1]:9000' }), undefined],
  ])('%s', (_who, found, wanted) => {
    expect(found).toBe(wanted)
  })
})

describe('headers of a local address', () => {
  const how = { application: 'https://app.example.com', local: 'http://localhost:9000' }

  it('of the edge’s own are not passed on, whoever says them', () => {
    const raw = [
      'Postern-Access-Token',
      'mine',
      'Cookie',
      '__Host-postern-session=x; a=b',
      'Connection',
      'x-a',
      'X-A',
      '1',
      'X-B',
      '2',
    ]
    expect(requestHeaders(raw, how)).toEqual([
      ['Cookie', 'a=b'],
      ['X-B', '2'],
    ])
    expect(requestHeaders(['Connection', 'content-length', 'Content-Length', '5'], how)).toEqual([
      ['Content-Length', '5'],
    ])
  })

  it('that lead elsewhere are left as they are', () => {
    expect(responseHeaders(['Location', 'https://app.example.com.evil.test/'], how)).toEqual([
      ['Location', 'https://app.example.com.evil.test/'],
    ])
    expect(responseHeaders(['Location', 'https://app.example.com/x'], how)).toEqual([
      ['Location', 'http://localhost:9000/x'],
    ])
    expect(requestHeaders(['Referer', 'http://localhost:9000.evil.test/'], how)).toEqual([])
  })
})
