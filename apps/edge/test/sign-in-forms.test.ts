import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Codes } from '../src/sign-in/codes.ts'
import { SEEN } from '../src/sign-in/session-record.ts'
import { Tickets } from '../src/sign-in/tickets.ts'
import { backTo } from '../src/sign-in/wanted.ts'
import { html } from '../src/team/html.ts'
import { hidden, nextOf } from './sign-in-browser.ts'
import { invite, PASSWORD, people, type SignInWorld, startSignInWorld } from './sign-in-world.ts'

let w: SignInWorld
beforeAll(async () => {
  w = await startSignInWorld({ setupToken: true })
  await w.user('ada@example.com')
  await w.application('app', people('ada@example.com'))
  await w.application('second', people('ada@example.com'))
  await w.application('box', people('ada@example.com'), { name: 'The Box' }, ['ssh'])
})
afterAll(async () => w[Symbol.asyncDispose]())

const ADA = { email: 'ada@example.com', password: PASSWORD }

/** A browser that has signed in to an application. */
async function signedIn(app = 'app') {
  const browser = w.browser()
  const page = await w.withPassword(browser, w.origin(app), ADA.email)
  expect(page.body).toContain('the page of')
  return browser
}

describe('row 39: forms that another site sends', () => {
  const ways: readonly [string, { headers?: Record<string, string>; fields?: Record<string, string> }][] = [
    ['without its token', { fields: { csrf: '' } }],
    ['with another browser’s token', { fields: { csrf: 'A'.repeat(43) } }],
    ['from another site', { headers: { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' } }],
    ['from a sibling', { headers: { 'sec-fetch-site': 'same-site', origin: 'https://app.localhost' } }],
    ['typed in', { headers: { 'sec-fetch-site': 'none' } }],
    ['with another Origin alone', { headers: { 'sec-fetch-site': '', origin: 'https://evil.example' } }],
    ['with a null Origin alone', { headers: { 'sec-fetch-site': '', origin: 'null' } }],
    ['with neither', { headers: { 'sec-fetch-site': '', origin: '' } }],
    ['as text', { headers: { 'content-type': 'text/plain' } }],
    ['as a form with files', { headers: { 'content-type': 'multipart/form-data; boundary=x' } }],
  ]
  it.each(ways)('signing in: %s', async (_name, { headers = {}, fields = {} }) => {
    const browser = w.browser()
    const login = await browser.open(w.origin('app'))
    const shown = await browser.ask(`${w.team}/login`, { form: { ...hidden(login), ...ADA, ...fields }, headers })
    expect([400, 403]).toContain(shown.status)
    expect(browser.cookies('edge.localhost').has('__Host-postern-team')).toBe(false)
  })

  it.each(ways)('signing out: %s', async (_name, { headers = {}, fields = {} }) => {
    const browser = await signedIn()
    const page = await browser.ask(`${w.team}/logout`)
    const shown = await browser.ask(`${w.team}/logout`, { form: { ...hidden(page), ...fields }, headers })
    expect([400, 403]).toContain(shown.status)
    expect((await browser.ask(w.origin('app'))).status).toBe(200)
  })

  it('with the method in the query or a field; a GET signs nobody out', async () => {
    const browser = await signedIn()
    for (const address of ['/logout?_method=POST', '/logout?from=everything']) await browser.ask(w.team + address)
    await browser.ask(`${w.origin('app')}/.postern/logout?from=everything`)
    expect((await browser.ask(w.origin('app'))).status).toBe(200)
    expect((await browser.ask(`${w.team}/logout`, { method: 'DELETE' })).status).toBe(405)
  })

  it('the allow twins: an Origin that is ours, and a page’s own null one', async () => {
    for (const headers of [{ origin: w.team, 'sec-fetch-site': '' }, { origin: w.team }, {}] as Record<
      string,
      string
    >[]) {
      const browser = w.browser()
      const login = await browser.open(w.origin('app'))
      const shown = await browser.ask(`${w.team}/login`, { form: { ...hidden(login), ...ADA }, headers })
      expect(shown.status).toBe(200)
    }
  })

  it('a form that is too large, or has a field twice', async () => {
    const browser = w.browser()
    const login = await browser.open(w.origin('app'))
    const form = { ...hidden(login), ...ADA }
    const large = await browser.ask(`${w.team}/login`, { form: { ...form, more: 'x'.repeat(20_000) } })
    expect(large.status).toBe(431)
    const twice = `${new URLSearchParams(form)}&email=eve%40example.com`
    const headers = { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'same-origin' }
    const sent = await browser.ask(`${w.team}/login`, { raw: twice, headers })
    expect(sent.status).toBe(400)
  })
})

describe('row 33: signing out', () => {
  it('of everything: the cookies are worth nothing at once', async () => {
    const browser = await signedIn()
    await browser.open(w.origin('second'))
    const kept = ['app.localhost', 'second.localhost', 'edge.localhost'].map(host => [...browser.cookies(host)])
    const shown = await browser.submit(await browser.ask(`${w.team}/logout`), {})
    expect(shown.body).toContain('You are signed out')
    const thief = w.browser()
    for (const [at, host] of ['app.localhost', 'second.localhost', 'edge.localhost'].entries())
      for (const [name, value] of kept[at] ?? []) thief.cookies(host).set(name, value)
    for (const address of [w.origin('app'), w.origin('second')]) expect((await thief.ask(address)).status).toBe(303)
    expect((await thief.ask(w.team)).headers.location).toBe('/login')
  })

  it('of one application: the other stays, and coming back asks nothing', async () => {
    const browser = await signedIn()
    await browser.open(w.origin('second'))
    const cookie = `__Host-postern-session=${browser.cookies('app.localhost').get('__Host-postern-session')}`
    await browser.submit(await browser.ask(`${w.origin('app')}/.postern/logout`), { from: 'here' })
    expect((await w.browser().ask(w.origin('app'), { cookie })).status).toBe(303)
    expect((await browser.ask(w.origin('second'))).status).toBe(200)
    expect((await browser.open(w.origin('app'))).body).toContain('the page of')
  })

  it('of everything, from an application', async () => {
    const browser = await signedIn()
    await browser.submit(await browser.ask(`${w.origin('app')}/.postern/logout`), { from: 'everything' })
    expect((await browser.ask(w.team)).headers.location).toBe('/login')
  })
})

describe('rows 17, 36: the code that carries a sign-in to an application', () => {
  /** As far as the address with the code. */
  async function withCode() {
    const browser = await signedIn()
    const begun = await browser.ask(`${w.origin('second')}/wanted`)
    const hop = await browser.ask(nextOf(begun) ?? '')
    return { browser, callback: nextOf(hop) ?? new URL('x:') }
  }

  it('is good once, in the browser that began', async () => {
    const { browser, callback } = await withCode()
    const first = await browser.ask(callback)
    expect(first.headers.location).toBe(`${w.origin('second')}/wanted`)
    const again = await browser.ask(callback)
    expect(again.status).toBe(400)
    expect(again.headers['set-cookie']).toBeUndefined()
  })

  it('is no good in another browser, nor after that was tried', async () => {
    const { browser, callback } = await withCode()
    const thief = w.browser()
    await thief.ask(w.origin('second'))
    const stolen = await thief.ask(callback)
    expect(stolen.status).toBe(400)
    expect(stolen.headers['set-cookie']).toBeUndefined()
    expect((await browser.ask(callback)).status).toBe(400)
  })

  it('is no good at another application', async () => {
    const { browser, callback } = await withCode()
    const other = new URL(callback)
    other.hostname = 'app.localhost'
    const shown = await browser.ask(other)
    expect(shown.status).toBe(400)
    expect((await browser.ask(callback)).status).toBe(400)
  })

  it('is no token: 256 bits that mean nothing, good for a minute', () => {
    let now = 1_000_000
    const codes = new Codes(() => now)
    const issued = { session: 's', hostname: 'h', target: '/', browser: 'b' }
    const [one, two] = [codes.issue(issued), codes.issue(issued)]
    expect(one).toMatch(/^[\w-]{43}$/)
    now += 59_999
    expect(codes.take(one)).toMatchObject(issued)
    now += 1
    expect(codes.take(two)).toBeUndefined()
  })

  it('row 133: however many one session asks for, few are kept', () => {
    const codes = new Codes()
    const first = codes.issue({ session: 'another', hostname: 'h', target: '/', browser: 'b' })
    for (let at = 0; at < 5000; at += 1) codes.issue({ session: 's', hostname: 'h', target: '/', browser: 'b' })
    expect(codes.size).toBe(65)
    expect(codes.take(first)).toBeDefined()
  })
})

describe('row 37: what a sign-in carries cannot be altered', () => {
  it('every character of the ticket counts', async () => {
    const browser = w.browser()
    const begun = await browser.ask(`${w.origin('app')}/`)
    const login = new URL(begun.headers.location ?? '')
    expect((await browser.ask(login)).status).toBe(200)
    const state = login.searchParams.get('state') ?? ''
    for (let at = 0; at < state.length; at += 7) {
      const other = state[at] === 'A' ? 'B' : 'A'
      const altered = `${state.slice(0, at)}${other}${state.slice(at + 1)}`
      const shown = await browser.ask(`${w.team}/login?state=${altered}`)
      expect(shown.status, `at ${at}`).toBe(400)
    }
    for (const address of [`/login?state=${state}&state=${state}`, '/login?state=', `/login/with/none?state=${state}`])
      expect([400, 404]).toContain((await browser.ask(w.team + address)).status)
    // A ticket of another kind.
    expect((await browser.ask(`${w.team}/login/callback/none?state=${state}&code=x`)).status).toBe(404)
  })

  it('a ticket is of one kind, for ten minutes, and where it must be for once', () => {
    let now = 0
    const same = { seal: (text: string) => text, open: (text: string) => text }
    const tickets = new Tickets(same, () => now)
    const ticket = tickets.make('login', { a: 1 }, 600)
    expect(tickets.read('login', ticket)).toEqual({ a: 1 })
    expect(() => tickets.read('provider', ticket)).toThrow('not one of ours')
    now = 600_000
    expect(() => tickets.read('login', ticket)).toThrow('too old')
    now = 0
    tickets.use(ticket, 600)
    expect(() => tickets.read('login', ticket)).toThrow('used before')
  })

  it('leads nowhere but to a path of the very host', async () => {
    const odd = ['//evil.example', '/\\evil.example', 'https://evil.example/', '/a\nb', '', 'x', `/${'a'.repeat(3000)}`]
    for (const target of odd) expect(backTo(target)).toBe('/')
    for (const target of ['/', '/a?b=//evil.example', '/a/%2e']) expect(backTo(target)).toBe(target)
    const browser = await signedIn()
    const shown = await browser.open(`${w.origin('second')}/?next=https://evil.example/`)
    expect(shown.url.host).toBe(new URL(w.origin('second')).host)
  })
})

describe('row 40: pages that show what others named', () => {
  const NAME = `<img src=x onerror=alert(1)>"'\u202e&`

  it('everything is escaped', () => {
    expect(html`<p title="${NAME}">${NAME}</p>`.toString()).toBe(
      '<p title="&lt;img src=x onerror=alert(1)&gt;&quot;&#39; &amp;">&lt;img src=x onerror=alert(1)&gt;&quot;&#39; &amp;</p>',
    )
    expect(html`${[html`<b>${1}</b>`, html`<i>${undefined}</i>`]}`.toString()).toBe('<b>1</b><i></i>')
  })

  it('names of applications, people and providers; contacts; headers that say another host', async () => {
    await w.application('odd', people('eve@example.com'), { name: NAME, contact: NAME })
    await w.provider('odd', { name: NAME, issuer: 'https://127.0.0.1:1', clientId: 'x' })
    const browser = w.browser()
    const headers = {
      'x-forwarded-host': 'evil.example',
      forwarded: 'host=evil.example',
      referer: 'https://evil.example',
    }
    const login = await browser.open(w.origin('odd'), { headers })
    const denied = await browser.submit(login, ADA)
    expect(denied.status).toBe(403)
    for (const { body } of [login, denied]) {
      expect(body).toContain('&lt;img')
      expect(body).not.toContain('<img')
      expect(body).not.toContain('evil.example')
    }
    await w.world.edge.store.apply([{ delete: 'record', namespace: 'provider', id: 'odd' }], {
      action: 'test',
      actor: 'test',
    })
  })

  it('no page is framed, runs a script or loads anything; each says what to do next', async () => {
    const browser = await signedIn()
    const stranger = w.browser()
    const pages = [
      await stranger.open(w.team),
      await stranger.ask(`${w.team}/setup`),
      await stranger.ask(`${w.team}/nothing`),
      await stranger.ask(`${w.team}/invite/none`),
      await browser.ask(w.team),
      await browser.ask(`${w.team}/logout`),
      await browser.ask(`${w.origin('app')}/.postern/logout`),
      await browser.ask(`${w.origin('app')}/.postern/callback?code=none`),
      await browser.open(w.origin('box')),
    ]
    for (const { headers, body, url } of pages) {
      const policy = String(headers['content-security-policy'])
      expect(policy, url.href).toContain("default-src 'none'")
      for (const part of ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"])
        expect(policy).toContain(part)
      expect(policy).not.toContain('unsafe')
      expect(headers['x-content-type-options']).toBe('nosniff')
      expect(headers['content-type']).toBe('text/html; charset=utf-8')
      expect(headers['cache-control']).toBe('no-store')
      expect(body).toContain('<html lang="en">')
      expect(body).not.toMatch(/<script|javascript:|\son\w+=|<iframe|<img|<link/i)
      for (const [, id = ''] of body.matchAll(/<input id="([^"]+)"/g)) expect(body).toContain(`<label for="${id}">`)
      for (const [, ids = ''] of body.matchAll(/aria-describedby="([^"]+)"/g))
        for (const id of ids.split(' ')) expect(body).toContain(`id="${id}"`)
    }
    expect(pages.at(-1)?.body).toContain('postern access ssh-config --hostname box.localhost:')
  })
})

describe('row 133: strangers', () => {
  it('who begin sign-ins without end leave nothing behind', async () => {
    const [records, audit] = [count(), (await w.world.edge.store.readAudit({ most: 1000 })).length]
    const begun = Array.from({ length: 300 }, () => w.browser().ask(`${w.team}/login`))
    for (const { status } of await Promise.all(begun)) expect(status).toBe(200)
    expect(count()).toBe(records)
    expect((await w.world.edge.store.readAudit({ most: 1000 })).length).toBe(audit)
  })

  it('learn nothing from what a machine is told', async () => {
    const headers = { accept: '*/*', 'sec-fetch-mode': 'cors' }
    const shown = await w.browser().ask(w.origin('app'), { headers })
    expect(shown.status).toBe(401)
    expect(shown.headers.location).toBeUndefined()
    expect(shown.headers['www-authenticate']).toContain('oauth-protected-resource')
  })

  function count(): number {
    // When sessions were used is written down by itself, now and then.
    const all = [...w.world.edge.store.snapshot.records].filter(([namespace]) => namespace !== SEEN)
    return all.reduce((sum, [, rows]) => sum + rows.size, 0)
  }
})

describe('one-time links', () => {
  it('an invitation sets a password once, and signs in', async () => {
    const { token } = await invite(w.world, 'carol@example.com')
    const browser = w.browser()
    const page = await browser.ask(`${w.team}/invite/${token}`)
    expect(page.body).toContain('carol@example.com')
    const short = await browser.submit(page, { name: 'Carol', password: 'short' })
    expect(short.status).toBe(400)
    expect(short.body).toContain('fewer than 12 characters')
    const home = await browser.submit(short, { name: 'Carol', password: PASSWORD })
    expect(home.body).toContain('Hello, Carol')
    const again = await w.browser().ask(`${w.team}/invite/${token}`)
    expect(again.status).toBe(404)
    expect(again.body).toContain('Ask whoever sent it')
  })

  it('the setup token makes the first administrator, once', async () => {
    const file = w.world.edge.setupTokenFile ?? join(w.world.folder, 'setup-token')
    const token = (await readFile(file, 'utf8')).trim()
    const fields = { email: 'root@example.com', name: 'Root', password: PASSWORD }
    const browser = w.browser()
    const wrong = await browser.submit(await browser.ask(`${w.team}/setup`), { token: 'none', ...fields })
    expect(wrong.status).toBe(400)
    const home = await browser.submit(wrong, { token, ...fields })
    expect(home.body).toContain('Hello, Root')
    expect(await readdir(w.world.folder)).not.toContain('setup-token')
    const late = w.browser()
    const again = await late.submit(await late.ask(`${w.team}/setup`), { token, ...fields, email: 'x@example.com' })
    expect(again.status).toBe(400)
    expect(again.body).toContain('This token is not right')
  })
})

describe('how long a sign-in is good for', () => {
  it('an application that wants a newer proof asks for one', async () => {
    await w.application('short', people('ada@example.com'), { sessionSeconds: 60 })
    const browser = await signedIn()
    expect((await browser.open(w.origin('short'))).body).toContain('the page of')
    const [id = ''] = (browser.cookies('edge.localhost').get('__Host-postern-team') ?? '').split('.')
    const { snapshot } = w.world.edge.store
    const row = snapshot.records.get('browser-sso')?.get(`session.${id}`) as Record<string, number>
    const value = { ...row, authenticatedAt: Date.now() - 61_000 }
    const put = { put: 'record', namespace: 'browser-sso', id: `session.${id}`, value } as const
    await w.world.edge.store.apply([put], { action: 'test', actor: 'test' })
    expect((await browser.open(w.origin('second'))).body).toContain('the page of')
    const login = await browser.open(w.origin('short'))
    expect(login.url.pathname).toBe('/login')
    expect((await browser.submit(login, ADA)).body).toContain('the page of')
  })
})
