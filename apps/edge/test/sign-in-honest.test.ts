import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { rowsOf } from '../src/sign-in/session-record.ts'
import { nextOf } from './sign-in-browser.ts'
import { type Honest, startHonest } from './sign-in-provider.ts'
import { type SignInWorld, startSignInWorld } from './sign-in-world.ts'

/** What a server says that posts something: nothing of a page. */
const MACHINE = { accept: '*/*', 'sec-fetch-mode': '', 'sec-fetch-site': '', 'sec-fetch-dest': '', origin: '' }

let w: SignInWorld
let idp: Honest
beforeAll(async () => {
  const post = async (url: string, form: string) =>
    (await w.browser().ask(url, { form: Object.fromEntries(new URLSearchParams(form)), headers: MACHINE })).status
  idp = await startHonest('idp', () => w.team, post)
  w = await startSignInWorld({ allowPrivate: [idp.host] })
  await w.provider('idp', {
    name: 'Example ID',
    ...idp.record,
    scopes: ['profile', 'email', 'groups'],
    groupsClaim: 'groups',
  })
  const ofGroup = { name: 'staff', action: 'allow', include: [{ group: 'staff' }] } as never
  await w.application('app', [ofGroup])
  await w.application('short', [ofGroup], { sessionSeconds: 60 })
})
afterAll(async () => {
  await w[Symbol.asyncDispose]()
  await idp[Symbol.asyncDispose]()
})

const staff = { email: 'ada@example.com', email_verified: true, name: 'Ada', groups: ['staff', 'eng'] }

describe('signing in with an identity provider of another make', () => {
  it('goes straight there where it is the only way, and comes back as who one is', async () => {
    idp.account = { sub: 'ada', claims: staff }
    const browser = w.browser()
    const page = await browser.open(`${w.origin('app')}/reports?year=2026`)
    expect(page.body).toContain('at /reports?year=2026')
    const home = await browser.open(w.team)
    expect(home.body).toContain('Hello, Ada')
    expect(home.body).toContain('Signed in as ada@example.com, by Example ID')
    expect(home.body).toContain(`${w.origin('app')}/`)
    const [{ person } = { person: undefined }] = rowsOf(w.world.edge.store.snapshot).sessions
    expect(person).toMatchObject({
      issuer: idp.issuer,
      subject: 'ada',
      email: 'ada@example.com',
      groups: ['staff', 'eng'],
    })
  })

  it('row 18: sends a challenge, S256, and asks how long ago the person proved who they are', async () => {
    const browser = w.browser()
    await browser.open(w.origin('short'))
    const { searchParams } = browser.went.find(url => url.pathname === '/auth') ?? new URL('x:')
    expect(searchParams.get('code_challenge_method')).toBe('S256')
    expect(searchParams.get('code_challenge')).toMatch(/^[\w-]{43}$/)
    expect(searchParams.get('max_age')).toBe('60')
    expect(searchParams.get('scope')).toBe('openid profile email groups')
    expect(searchParams.get('nonce')).toMatch(/^[\w-]{43}$/)
  })

  it('denies who is in no group that may, with nothing at the service', async () => {
    idp.account = { sub: 'bob', claims: { ...staff, email: 'bob@example.com', groups: ['guests'] } }
    const before = w.reached.length
    const shown = await w.browser().open(w.origin('app'))
    expect(shown.status).toBe(403)
    expect(shown.body).toContain('bob@example.com')
    expect(w.reached.length).toBe(before)
  })

  it('row 17: a code that was used is no good, nor is its answer in another browser', async () => {
    idp.account = { sub: 'ada', claims: staff }
    const browser = w.browser()
    const page = await browser.open(w.origin('app'))
    expect(page.status).toBe(200)
    const callback = browser.went.find(url => url.pathname.startsWith('/login/callback/')) ?? ''
    const again = await browser.ask(callback)
    expect(again.status).toBe(400)
    expect(again.headers['set-cookie']).toBeUndefined()
    expect((await w.browser().ask(callback)).status).toBe(400)
  })

  it('rows 16, 17: an answer begun by somebody else signs nobody in, and is still good where it was begun', async () => {
    const attacker = w.browser()
    let step = await attacker.ask(`${w.team}/login`)
    while (!nextOf(step)?.pathname.startsWith('/login/callback/')) step = await attacker.ask(nextOf(step) ?? '')
    const answer = nextOf(step) ?? ''
    const victim = w.browser()
    await victim.ask(`${w.team}/login/with/idp`)
    const shown = await victim.ask(answer)
    expect(shown.status).toBe(400)
    expect(victim.cookies('edge.localhost').has('__Host-postern-team')).toBe(false)
    expect((await attacker.ask(answer)).status).toBe(200)
    expect(attacker.cookies('edge.localhost').has('__Host-postern-team')).toBe(true)
  })

  it('row 27: a person who signs out there is out here', async () => {
    idp.account = { sub: 'ada', claims: staff }
    const [browser, other] = [w.browser(), w.browser()]
    await browser.open(w.origin('app'))
    idp.account = { sub: 'carol', claims: { ...staff, email: 'carol@example.com' } }
    await other.open(w.origin('app'))
    idp.account = { sub: 'ada', claims: staff }
    const confirm = await browser.open(`${idp.issuer}/session/end`)
    const [, xsrf = ''] = /name="xsrf" value="([^"]+)"/.exec(confirm.body) ?? []
    await browser.ask(`${idp.issuer}/session/end/confirm`, { form: { xsrf, logout: 'yes' } })
    await vi.waitFor(async () => expect((await browser.ask(w.origin('app'))).status).toBe(303), 10_000)
    expect((await other.ask(w.origin('app'))).status).toBe(200)
  })
})
