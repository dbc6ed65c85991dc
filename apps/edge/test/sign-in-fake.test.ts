import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { rowsOf } from '../src/sign-in/session-record.ts'
import type { Browser, Shown } from './sign-in-browser.ts'
import { type Fake, type Say, signed, startFake, unsigned } from './sign-in-provider.ts'
import { people, type SignInWorld, startSignInWorld } from './sign-in-world.ts'

let w: SignInWorld
let fake: Fake
let other: Fake
let third: Fake
let honest: Say
beforeAll(async () => {
  fake = await startFake()
  other = await startFake()
  third = await startFake()
  honest = { ...fake.say }
  w = await startSignInWorld({ allowPrivate: [fake.host, other.host, third.host] })
  await w.provider('fake', { name: 'Fake', ...fake.record, groupsClaim: 'groups' })
  await w.provider('other', { name: 'Other', ...other.record })
  await w.application('app', people('eve@example.com'))
  const domain = { name: 'all', action: 'allow', include: [{ emailDomain: 'good.example' }] }
  await w.application('domain', [domain as never])
})
beforeEach(async () => {
  // Everybody out: each test signs in by itself.
  const { administration, store } = w.world.edge
  const all = rowsOf(store.snapshot).sessions.map(({ person }) => person)
  for (const { issuer, subject } of all) await administration.call('session.revoke', { body: { issuer, subject } })
})
afterEach(() => {
  Object.assign(fake.say, honest)
  Object.assign(other.say, honest)
})
afterAll(async () => {
  await w[Symbol.asyncDispose]()
  await fake[Symbol.asyncDispose]()
  await other[Symbol.asyncDispose]()
  await third[Symbol.asyncDispose]()
})

/** Signs in with a provider for an application; what stays in the end. */
async function signIn(browser: Browser, app = 'app', provider = 'fake'): Promise<Shown> {
  const login = await browser.open(w.origin(app))
  const [, href = ''] = new RegExp(`href="(/login/with/${provider}\\?[^"]+)"`).exec(login.body) ?? []
  return browser.open(new URL(href.replaceAll('&amp;', '&'), w.team))
}

function isIn(browser: Browser): boolean {
  return browser.cookies('edge.localhost').has('__Host-postern-team')
}

async function refused(change: Partial<Say>, status = 400): Promise<Shown> {
  const before = w.reached.length
  const browser = w.browser()
  Object.assign(fake.say, change)
  const shown = await signIn(browser)
  expect(shown.status).toBe(status)
  expect(isIn(browser)).toBe(false)
  expect(w.reached.length).toBe(before)
  return shown
}

it('the allow twin of all that follows: an answer as it should be', async () => {
  const browser = w.browser()
  const shown = await signIn(browser)
  expect(shown.body).toContain('the page of')
  expect(isIn(browser)).toBe(true)
  expect(fake.exchanges.at(-1)?.get('code_verifier')).toMatch(/^[\w-]{43,}$/)
})

describe('row 12, row 13: providers are not taken for one another', () => {
  it('a token of another issuer, or of this one spelled otherwise', async () => {
    for (const iss of [other.issuer, `${fake.issuer}/`, fake.issuer.toUpperCase()])
      await refused({ claims: same => ({ ...same, iss }) })
  })

  it('a response that says it is another’s, or does not say whose it is', async () => {
    await refused({ response: same => ({ ...same, iss: other.issuer }) })
    await refused({ response: ({ code = '', state = '' }) => ({ code, state }) })
  })

  it('a response at the callback of another provider', async () => {
    const browser = w.browser()
    await signIn(browser)
    const callback = browser.went.find(url => url.pathname === '/login/callback/fake') ?? new URL('x:')
    const fresh = w.browser()
    Object.assign(fake.say, { response: (same: Record<string, string>) => ({ ...same, postponed: '1' }) })
    const begun = await fresh.ask(`${w.team}/login/with/fake`)
    const state = new URL(begun.headers.location ?? '').searchParams.get('state') ?? ''
    const wrong = new URL(callback)
    wrong.pathname = '/login/callback/other'
    wrong.searchParams.set('state', state)
    expect((await fresh.ask(wrong)).status).toBe(400)
    expect(isIn(fresh)).toBe(false)
  })

  it('one subject of two issuers is two people', async () => {
    const [one, two] = [w.browser(), w.browser()]
    await signIn(one)
    await signIn(two, 'app', 'other')
    const issuers = rowsOf(w.world.edge.store.snapshot).sessions.map(({ person }) => person.issuer)
    expect(new Set(issuers)).toEqual(new Set([fake.issuer, other.issuer]))
  })
})

describe('row 14: whose address it is', () => {
  const cases: readonly [string, Record<string, unknown>, boolean][] = [
    ['verified', { email: 'a@good.example', email_verified: true }, true],
    ['in upper case', { email: 'A@GOOD.example', email_verified: true }, true],
    ['not verified', { email: 'a@good.example', email_verified: false }, false],
    ['not said to be verified', { email: 'a@good.example', email_verified: undefined }, false],
    ['verified by a number', { email: 'a@good.example', email_verified: 1 }, false],
    ['with two @', { email: 'a@good.example,b@evil.example', email_verified: true }, false],
    ['of a look-alike domain', { email: 'a@gооd.example', email_verified: true }, false],
    ['with a dot at its end', { email: 'a@good.example.', email_verified: true }, false],
    ['of a domain below', { email: 'a@x.good.example', email_verified: true }, false],
  ]
  it.each(cases)('%s', async (_name, claims, allowed) => {
    Object.assign(fake.say, { claims: (same: Record<string, unknown>) => ({ ...same, ...claims }) })
    const before = w.reached.length
    const shown = await signIn(w.browser(), 'domain')
    expect(shown.status).toBe(allowed ? 200 : 403)
    expect(w.reached.length).toBe(before + (allowed ? 1 : 0))
  })

  it('not said to be verified, by a provider that is trusted to give no other', async () => {
    await w.provider('trusted', { name: 'Trusted', ...third.record, trustEmail: true })
    for (const [email_verified, status] of [
      [undefined, 200],
      [false, 403],
    ] as const) {
      const claims = { email: 'a@good.example', email_verified }
      Object.assign(third.say, { claims: (same: Record<string, unknown>) => ({ ...same, ...claims }) })
      expect((await signIn(w.browser(), 'domain', 'trusted')).status).toBe(status)
    }
  })

  it('user info counts where the token says nothing, and never over what the token says', async () => {
    const { email: _none, ...rest } = { email: undefined }
    Object.assign(fake.say, {
      claims: ({ email, email_verified, ...same }: Record<string, unknown>) => ({ ...same, ...rest }),
      userinfo: { sub: 'eve', email: 'b@good.example', email_verified: true },
    })
    expect((await signIn(w.browser(), 'domain')).status).toBe(200)
    Object.assign(fake.say, { userinfo: { sub: 'somebody else', email: 'b@good.example', email_verified: true } })
    expect((await signIn(w.browser(), 'domain')).status).toBe(400)
  })

  it('verified is the address beside which that is said, and no other', async () => {
    const claims = ({ email_verified: _, ...same }: Record<string, unknown>) => ({ ...same, email: 'a@good.example' })
    for (const [email, status] of [
      ['mine@evil.example', 403],
      [undefined, 403],
      ['a@good.example', 200],
    ] as const) {
      Object.assign(fake.say, { claims, userinfo: { sub: 'eve', email, email_verified: true } })
      expect((await signIn(w.browser(), 'domain')).status).toBe(status)
    }
  })
})

describe('rows 1, 2, 16: what proves nothing', () => {
  it('a token without a signature, or with ours of no key', async () => {
    for (const alg of ['none', 'None', 'nOnE', 'HS256'])
      await refused({ token: claims => unsigned(claims, alg, alg === 'HS256' ? 'AAAA' : '') })
    await refused({ token: async claims => `${(await signed(claims)).slice(0, -8)}AAAAAAAA` })
  })

  it('a nonce that is absent, or of another sign-in', async () => {
    await refused({ claims: ({ nonce: _gone, ...same }) => same })
    await refused({ claims: same => ({ ...same, nonce: 'of-another-browser' }) })
  })

  it('another audience, or a time that is over', async () => {
    await refused({ claims: same => ({ ...same, aud: 'somebody-else' }) })
    await refused({ claims: same => ({ ...same, exp: 1 }) })
  })

  it('a proof that is older than was asked for', async () => {
    const shown = await refused({ claims: same => ({ ...same, auth_time: 1 }) }, 401)
    expect(shown.body).toContain('sign in again')
  })
})

describe('row 17, row 37: a sign-in that was not begun here', () => {
  it('state that is absent, altered or twice', async () => {
    await refused({ response: ({ code = '', iss = '' }) => ({ code, iss }) })
    await refused({ response: same => ({ ...same, state: `${same.state?.slice(0, -2)}AA` }) })
    const browser = w.browser()
    await signIn(browser)
    const callback = browser.went.find(url => url.pathname === '/login/callback/fake') ?? ''
    expect((await w.browser().ask(`${callback}&state=x`)).status).toBe(400)
  })

  it('the provider says no: nothing of what stands in the address is shown (row 40)', async () => {
    const no = { error: 'access_denied', error_description: '<script>alert(1)</script>' }
    const shown = await refused({ response: ({ state = '', iss = '' }) => ({ ...no, state, iss }) }, 403)
    expect(shown.body).not.toContain('script')
    expect(shown.body).toContain('did not sign you in')
  })
})

describe('row 26: claims without measure', () => {
  it('groups that the provider says are elsewhere, or are no list: denied, not ignored', async () => {
    const elsewhere = { _claim_names: { groups: 'src1' }, _claim_sources: { src1: { endpoint: 'https://x.example' } } }
    for (const more of [elsewhere, { groups: { a: 1 } }, { groups: ['a', 1] }])
      await refused({ claims: same => ({ ...same, ...more }) }, 401)
  })

  it('more groups, or more depth, than can be kept', async () => {
    await refused({ claims: same => ({ ...same, groups: Array.from({ length: 5000 }, (_, at) => `g${at}`) }) }, 401)
    let deep: unknown = 1
    for (let at = 0; at < 200; at += 1) deep = { deep }
    await refused({ claims: same => ({ ...same, deep }) }, 401)
  })

  it('names that no object should have change nothing', async () => {
    const text = '{"__proto__":{"isAdmin":true},"constructor":{"prototype":{"isAdmin":true}}}'
    Object.assign(fake.say, { claims: (same: Record<string, unknown>) => ({ ...same, ...JSON.parse(text) }) })
    expect((await signIn(w.browser())).status).toBe(200)
    expect(({} as { isAdmin?: boolean }).isAdmin).toBeUndefined()
    const [{ person } = { person: undefined }] = rowsOf(w.world.edge.store.snapshot).sessions.slice(-1)
    expect(Object.keys(person?.claims ?? {})).not.toContain('__proto__')
  })
})

describe('row 27: a provider ends sessions', () => {
  const end = (token: string) =>
    w.browser().ask(`${w.team}/login/ended/fake`, {
      form: { logout_token: token },
      headers: { accept: '*/*', 'sec-fetch-mode': '', 'sec-fetch-site': '', 'sec-fetch-dest': '', origin: '' },
    })

  it('of a person, of one sign-in; and no other’s', async () => {
    Object.assign(fake.say, { claims: (same: Record<string, unknown>) => ({ ...same, sid: 's1' }) })
    const [one, two] = [w.browser(), w.browser()]
    await signIn(one)
    Object.assign(fake.say, { claims: (same: Record<string, unknown>) => ({ ...same, sid: 's2' }) })
    await signIn(two)
    expect((await end(await fake.logoutToken({ sid: 's1' }))).status).toBe(204)
    expect((await one.ask(w.origin('app'))).status).toBe(303)
    expect((await two.ask(w.origin('app'))).status).toBe(200)
    expect((await end(await fake.logoutToken({ sub: 'somebody' }))).status).toBe(204)
    expect((await two.ask(w.origin('app'))).status).toBe(200)
    expect((await end(await fake.logoutToken({ sub: 'eve' }))).status).toBe(204)
    expect((await two.ask(w.origin('app'))).status).toBe(303)
  })

  it('not with a token that is replayed, unsigned, old, another’s, or no logout token', async () => {
    const browser = w.browser()
    await signIn(browser)
    const used = await fake.logoutToken({ sub: 'somebody' })
    expect((await end(used)).status).toBe(204)
    const now = Math.floor(Date.now() / 1000)
    const wrong = [
      used,
      unsigned({ iss: fake.issuer, aud: fake.record.clientId, sub: 'eve', iat: now, jti: 'x', events: {} }),
      await fake.logoutToken({ sub: 'eve', nonce: 'n' }),
      await fake.logoutToken({ sub: 'eve', events: {} }),
      await fake.logoutToken({ sub: 'eve', events: undefined }),
      await fake.logoutToken({ sub: 'eve', jti: undefined }),
      await fake.logoutToken({ sub: 'eve', iss: other.issuer }),
      await fake.logoutToken({ sub: 'eve', aud: 'another' }),
      await fake.logoutToken({ sub: 'eve', iat: now - 7200, exp: now + 60 }),
      await fake.logoutToken({ sub: 'eve' }, { typ: 'at+jwt' }),
      await fake.logoutToken({}),
      'no token',
      '',
    ]
    for (const token of wrong) expect((await end(token)).status).toBe(400)
    expect((await browser.ask(w.origin('app'))).status).toBe(200)
  })
})

describe('row 147: a provider that is away', () => {
  it('keeps nobody out who is in, says so to everybody else, and comes back', async () => {
    const away = await startFake()
    await using world = await startSignInWorld({ allowPrivate: [away.host] })
    await world.provider('third', { name: 'Third', ...away.record })
    await world.application('app', people('eve@example.com'))
    const browser = world.browser()
    expect((await browser.open(world.origin('app'))).status).toBe(200)
    for (const broken of [500, 'hang'] as const) {
      away.say.broken = broken
      const shown = await world.browser().open(world.origin('app'))
      expect(shown.status).toBe(503)
      expect(shown.body).toContain('“Third”, which signs you in, does not answer')
      expect((await browser.ask(world.origin('app'))).status).toBe(200)
    }
    away.say.broken = undefined
    expect((await world.browser().open(world.origin('app'))).status).toBe(200)
    await away[Symbol.asyncDispose]()
    expect((await browser.ask(world.origin('app'))).status).toBe(200)
  }, 60_000)

  it('is asked once by many at the same time, and is left alone for a while when it fails', async () => {
    const fourth = await startFake()
    await using world = await startSignInWorld({ allowPrivate: [fourth.host] })
    await world.provider('fourth', { name: 'Fourth', ...fourth.record })
    fourth.say.broken = 500
    const all = Array.from({ length: 20 }, () => world.browser().ask(`${world.team}/login/with/fourth`))
    for (const { status } of await Promise.all(all)) expect(status).toBe(503)
    expect(fourth.asked.length).toBe(1)
    await fourth[Symbol.asyncDispose]()
  })

  it('row 108: an edge starts with a provider that is not there, and asks no address that it may not', async () => {
    const fifth = await startFake()
    await using world = await startSignInWorld()
    await world.provider('fifth', { name: 'Fifth', ...fifth.record })
    await world.application('app', people('eve@example.com'))
    const shown = await world.browser().open(world.origin('app'))
    expect(shown.status).toBe(503)
    expect(shown.body).toContain('Fifth')
    expect(fifth.asked).toEqual([])
    await fifth[Symbol.asyncDispose]()
  })
})

describe('a provider that is taken away, or trusted less, while somebody signs in with it', () => {
  const record = () => ({ name: 'Third', ...third.record, trustEmail: true })
  const taken = async (change: () => Promise<void>) => {
    await w.provider('third', record())
    const [browser, before] = [w.browser(), w.reached.length]
    // The provider’s last word on it comes when the edge has asked for everything else.
    third.say.claims = ({ email: _, ...same }) => same
    let asked = false
    third.say.userinfo = async () => {
      asked = true
      await change()
      return { sub: 'eve', email: 'eve@example.com' }
    }
    const shown = await signIn(browser, 'app', 'third')
    expect(asked).toBe(true)
    return { shown, isIn: isIn(browser), reached: w.reached.length - before }
  }
  const remove = () =>
    w.world.edge.store.apply([{ delete: 'record', namespace: 'provider', id: 'third' }], {
      action: 'test',
      actor: 'test',
    })
  afterEach(remove)

  it('nobody is let in by its word', async () => {
    expect(await taken(remove)).toMatchObject({ shown: { status: 401 }, isIn: false, reached: 0 })
    const trustLess = () => w.provider('third', { ...record(), trustEmail: false })
    expect(await taken(trustLess)).toMatchObject({ shown: { status: 401 }, isIn: false, reached: 0 })
  })

  it('the allow twin: another one is taken away', async () => {
    await w.provider('fourth', { name: 'Fourth', issuer: 'https://idp.invalid', clientId: 'x' })
    const removeOther = () =>
      w.world.edge.store.apply([{ delete: 'record', namespace: 'provider', id: 'fourth' }], {
        action: 'test',
        actor: 'test',
      })
    expect(await taken(removeOther)).toMatchObject({ shown: { status: 200 }, isIn: true, reached: 1 })
  })
})
