import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hidden, nextOf } from './sign-in-browser.ts'
import { PASSWORD, people, type SignInWorld, startSignInWorld } from './sign-in-world.ts'

let w: SignInWorld
beforeAll(async () => {
  w = await startSignInWorld()
  await w.user('ada@example.com')
  await w.user('bob@example.com', 'Bob')
  await w.application('app', people('ada@example.com'), { name: 'The Wiki', contact: 'boss@example.com' })
  await w.application('second', people('ada@example.com'))
})
afterAll(async () => w[Symbol.asyncDispose]())

describe('a browser that opens an application', () => {
  it('signs in once, and comes to the page it wanted', async () => {
    const browser = w.browser()
    const login = await browser.open(`${w.origin('app')}/deep/page?q=1&r=%20x`)
    expect(login.url.origin).toBe(w.team)
    expect(login.status).toBe(200)
    expect(login.body).toContain('The Wiki')
    const before = w.reached.length
    const page = await browser.submit(login, { email: 'ada@example.com', password: PASSWORD })
    expect(page.url.href).toBe(`${w.origin('app')}/deep/page?q=1&r=%20x`)
    expect(page.body).toContain('at /deep/page?q=1&r=%20x')
    expect(w.reached.length).toBe(before + 1)
    expect(w.reached.at(-1)?.headers.cookie).toBeUndefined()
  })

  it('needs no second sign-in for a second application', async () => {
    const browser = w.browser()
    await w.withPassword(browser, w.origin('app'), 'ada@example.com')
    const shown = await browser.open(`${w.origin('second')}/x`)
    expect(shown.body).toContain('at /x')
    const asked = browser.went.slice(-4).map(url => url.host + url.pathname)
    expect(asked).toEqual([
      `second.localhost:${w.world.edge.port}/x`,
      `edge.localhost:${w.world.edge.port}/login`,
      `second.localhost:${w.world.edge.port}/.postern/callback`,
      `second.localhost:${w.world.edge.port}/x`,
    ])
  })

  it('is told why it may not, and whom to ask', async () => {
    const browser = w.browser()
    const before = w.reached.length
    const shown = await w.withPassword(browser, w.origin('app'), 'bob@example.com')
    expect(shown.status).toBe(403)
    expect(shown.body).toContain('bob@example.com')
    expect(shown.body).toContain('mailto:boss@example.com')
    expect(shown.body).toContain(String(shown.headers['postern-request-id']))
    expect(w.reached.length).toBe(before)
    expect(browser.cookies('app.localhost').has('__Host-postern-session')).toBe(false)
    const [row] = await w.world.edge.store.readAudit({ most: 5, hostname: 'app.localhost' } as never)
    expect(row).toMatchObject({ allowed: false, code: 'ACCESS_DENIED', requestId: shown.headers['postern-request-id'] })
    // Another account is one link away.
    const [, again = ''] = /class="button" href="([^"]+)"/.exec(shown.body) ?? []
    const login = await browser.open(again.replaceAll('&amp;', '&'))
    expect(login.body).toContain('You are signed in as <strong>bob@example.com</strong>')
    const page = await browser.submit(login, { email: 'ada@example.com', password: PASSWORD })
    expect(page.status).toBe(200)
  })

  it('is told the same by the application, when its rules change', async () => {
    await w.application('changing', people('ada@example.com'))
    const browser = w.browser()
    expect((await w.withPassword(browser, w.origin('changing'), 'ada@example.com')).status).toBe(200)
    await w.application('changing', people('bob@example.com'))
    const before = w.reached.length
    const denied = await browser.ask(`${w.origin('changing')}/x`)
    expect(denied.status).toBe(403)
    expect(denied.body).toContain('<strong>ada@example.com</strong>')
    expect(w.reached.length).toBe(before)
    const [, again = ''] = /class="button" href="([^"]+)"/.exec(denied.body) ?? []
    const page = await browser.submit(await browser.open(again), { email: 'bob@example.com', password: PASSWORD })
    expect(page.url.href).toBe(`${w.origin('changing')}/x`)
    expect(page.body).toContain('the page of')
  })

  it('with a bad service token is refused and not sent to sign in; with a cookie that is none, it tries again', async () => {
    const headers = { 'postern-client-id': w.world.token.id, 'postern-client-secret': 'wrong' }
    const browser = w.browser()
    expect((await browser.ask(w.origin('app'), { headers })).status).toBe(401)
    browser.cookies('app.localhost').set('__Host-postern-session', 'none')
    const shown = await browser.ask(`${w.origin('app')}/y`)
    expect(shown.status).toBe(401)
    expect(shown.body).toContain('<a class="button" href="/y">Try again</a>')
    expect((await browser.open(`${w.origin('app')}/y`)).url.pathname).toBe('/login')
  })

  it('says nothing of who exists', async () => {
    const answers = []
    for (const email of ['ada@example.com', 'nobody@example.com', 'no address']) {
      const browser = w.browser()
      const shown = await w.withPassword(browser, w.origin('app'), email, 'not the password at all')
      expect(shown.status).toBe(403)
      answers.push(
        shown.body
          .replaceAll(email, '')
          .replace(/value="[^"]*"/g, '')
          .replace(/<code>.*<\/code>/, ''),
      )
    }
    expect(new Set(answers).size).toBe(1)
    expect(answers[0]).toContain('Email or password is not right')
  })
})

describe('what a browser carries', () => {
  it('row 29: cookies are host-only, HttpOnly, Secure, Lax', async () => {
    const browser = w.browser()
    const first = await browser.ask(w.origin('app'))
    const login = await browser.ask(first.headers.location ?? '')
    const form = { ...hidden(login), email: 'ada@example.com', password: PASSWORD }
    const welcome = await browser.ask(`${w.team}/login`, { form })
    const callback = await browser.ask(nextOf(welcome) ?? '')
    const lines = [first, login, welcome, callback].flatMap(({ headers }) => headers['set-cookie'] ?? [])
    expect(lines.map(line => line.split('=', 1)[0])).toEqual([
      '__Host-postern-login',
      '__Host-postern-login',
      '__Host-postern-team',
      '__Host-postern-session',
    ])
    for (const line of lines)
      expect(line).toMatch(/^__Host-[\w-]+=[\w.-]+; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=\d+$/)
  })

  it('rows 36, 41: nothing on the way is kept, nor tells where it came from', async () => {
    const browser = w.browser()
    const shown = []
    let step = await browser.ask(`${w.origin('app')}/`)
    shown.push(step)
    step = await browser.ask(nextOf(step) ?? '')
    shown.push(step)
    step = await browser.ask(`${w.team}/login`, {
      form: { ...hidden(step), email: 'ada@example.com', password: PASSWORD },
    })
    shown.push(step)
    step = await browser.ask(nextOf(step) ?? '')
    shown.push(step)
    shown.push(await browser.ask(`${w.team}/nothing`), await browser.ask(`${w.team}/`))
    for (const { headers } of shown) {
      expect(headers['cache-control']).toBe('no-store')
      expect(headers['referrer-policy']).toBe('no-referrer')
    }
  })

  it('row 32: what was planted in a browser before it signed in is worth nothing after', async () => {
    const planted = { team: `${'a'.repeat(24)}.${'b'.repeat(43)}`, app: `${'c'.repeat(24)}.${'d'.repeat(43)}` }
    const victim = w.browser()
    victim.cookies('edge.localhost').set('__Host-postern-team', planted.team)
    victim.cookies('app.localhost').set('__Host-postern-session', planted.app)
    expect((await w.withPassword(victim, `${w.origin('app')}/`, 'ada@example.com')).body).toContain('the page of')
    expect(victim.cookies('edge.localhost').get('__Host-postern-team')).not.toBe(planted.team)
    expect(victim.cookies('app.localhost').get('__Host-postern-session')).not.toBe(planted.app)
    const attacker = w.browser()
    attacker.cookies('edge.localhost').set('__Host-postern-team', planted.team)
    attacker.cookies('app.localhost').set('__Host-postern-session', planted.app)
    expect((await attacker.ask(w.team)).headers.location).toBe('/login')
    expect((await attacker.ask(w.origin('app'))).status).toBe(303)
  })

  it('row 32: signing in again makes a new session and ends the old one', async () => {
    const browser = w.browser()
    await w.withPassword(browser, w.origin('app'), 'ada@example.com')
    const team = browser.cookies('edge.localhost').get('__Host-postern-team') ?? ''
    const app = browser.cookies('app.localhost').get('__Host-postern-session') ?? ''
    const denied = await w.withPassword(w.browser(), w.origin('app'), 'bob@example.com')
    expect(denied.status).toBe(403)
    await w.application('strict', people('bob@example.com'))
    const refused = await browser.open(w.origin('strict'))
    const [, again = ''] = /class="button" href="([^"]+)"/.exec(refused.body) ?? []
    const page = await browser.submit(await browser.open(again), { email: 'bob@example.com', password: PASSWORD })
    expect(page.status).toBe(200)
    expect(browser.cookies('edge.localhost').get('__Host-postern-team')).not.toBe(team)
    const other = w.browser()
    expect((await other.ask(w.team, { cookie: `__Host-postern-team=${team}` })).headers.location).toBe('/login')
    expect((await other.ask(w.origin('app'), { cookie: `__Host-postern-session=${app}` })).status).toBe(303)
  })
})
