import type { ServiceToken } from '@postern/admin'
import type { Identity, Json } from '@postern/interface'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Caller } from '../src/admin/caller.ts'
import { PAGES } from '../src/admin-page/room.ts'
import { browserName } from '../src/admin-page/words.ts'
import { type SessionRecord, sessionOf } from '../src/sign-in/session-record.ts'
import { type Browser, hidden, type Shown } from './sign-in-browser.ts'
import { PASSWORD, people, type SignInWorld, startSignInWorld } from './sign-in-world.ts'

let w: SignInWorld
/** An administrator who stays signed in. */
let root: Browser
beforeAll(async () => {
  w = await startSignInWorld()
  await w.user('root@example.com', 'Root')
  await w.user('ada@example.com')
  await w.setting('administrators', [{ email: 'root@example.com' }])
  await w.application('wiki', people('ada@example.com'), { name: 'The wiki' })
  await w.application('box', people('ada@example.com'), {}, ['ssh'])
  root = await signedIn()
})
afterAll(async () => w[Symbol.asyncDispose]())

const TOKENS = '/admin/service-tokens'
const NEW = `${TOKENS}/new`
const SESSIONS = '/admin/sessions'

async function signedIn(email = 'root@example.com', at = '/login'): Promise<Browser> {
  const browser = w.browser()
  await w.withPassword(browser, w.team + at, email)
  expect(browser.cookies('edge.localhost').has('__Host-postern-team')).toBe(true)
  return browser
}

const tokens = () => w.world.edge.administration.call('service-token.list', {})
const sessionsOf = (user: string) => w.world.edge.administration.call('session.list', { query: { user } })
const audit = (action: string) => w.world.edge.store.readAudit({ most: 5, action })

async function tokenCalled(name: string): Promise<ServiceToken | undefined> {
  return (await tokens()).find(one => one.name === name)
}

/** The fields of the form with that text in it, as they are. */
function fieldsOf({ body }: Shown, text: string): Record<string, string> {
  const form = [...body.matchAll(/<form method="post".*?<\/form>/gs)]
    .map(([one]) => one)
    .find(one => one.includes(text))
  if (form === undefined) throw new Error(`no form with ${text}`)
  return hidden({ body: form } as Shown)
}

let names = 0
const fresh = () => `token ${++names}`

async function make(browser: Browser, name = fresh(), fields: Record<string, string> = {}) {
  const page = await browser.ask(w.team + NEW)
  const form = { ...hidden(page), name, expires: '90d', ...fields }
  const shown = await browser.ask(w.team + NEW, { form })
  const [secret = ''] = /psts_[\w-]{43}/.exec(shown.body) ?? []
  return { shown, form, name, secret, id: (await tokenCalled(name))?.id ?? '' }
}

/** What a service token gets at an application. */
async function comeIn(id: string, secret: string, app = 'wiki') {
  const headers = { 'postern-client-id': id, 'postern-client-secret': secret, accept: '*/*', 'sec-fetch-mode': 'cors' }
  return (await w.browser().ask(w.origin(app), { headers })).status
}

/** Every form there is, ready to be sent: what it would change, and whether it did. */
interface Act {
  readonly path: string
  readonly form: Record<string, string>
  isDone(): Promise<boolean>
}

const ACTS: Readonly<Record<string, (browser: Browser) => Promise<Act>>> = {
  'make a service token': async browser => {
    const name = fresh()
    const form = { ...hidden(await browser.ask(w.team + NEW)), name, expires: '1d', 'app:wiki.localhost': 'yes' }
    return { path: NEW, form, isDone: async () => (await tokenCalled(name)) !== undefined }
  },
  'rotate a service token': async browser => {
    const { id, secret } = await make(browser, undefined, { 'app:wiki.localhost': 'yes' })
    const path = `${TOKENS}/${id}`
    const form = { ...fieldsOf(await browser.ask(w.team + path), 'value="rotate"'), overlap: 'none' }
    return { path, form, isDone: async () => (await comeIn(id, secret)) === 401 }
  },
  'revoke a service token': async browser => {
    const { id, name } = await make(browser)
    const path = `${TOKENS}/${id}`
    const form = fieldsOf(await browser.ask(w.team + path), 'value="revoke"')
    return { path, form, isDone: async () => (await tokenCalled(name))?.revokedAt !== undefined }
  },
  'end a session': async browser => {
    await signedIn('ada@example.com')
    const [last] = (await sessionsOf('ada@example.com')).slice(-1)
    const id = last?.id ?? ''
    const form = fieldsOf(await browser.ask(w.team + SESSIONS), id)
    return {
      path: SESSIONS,
      form,
      isDone: async () => !(await sessionsOf('ada@example.com')).some(one => one.id === id),
    }
  },
  'end all sessions of a person': async browser => {
    await signedIn('ada@example.com')
    await signedIn('ada@example.com')
    const [{ subject = '' } = {}] = await sessionsOf('ada@example.com')
    const form = fieldsOf(await browser.ask(w.team + SESSIONS), `name="subject" value="${subject}"`)
    return { path: SESSIONS, form, isDone: async () => (await sessionsOf('ada@example.com')).length === 0 }
  },
}

/** Ways to send a form that is not one, from our page in this browser. */
const FORGED: Readonly<Record<string, { headers?: Record<string, string>; fields?: Record<string, string> }>> = {
  'without its token': { fields: { csrf: '' } },
  'with a made up token': { fields: { csrf: 'A'.repeat(43) } },
  'from another site': { headers: { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' } },
  'from an application': { headers: { 'sec-fetch-site': 'same-site', origin: 'https://wiki.localhost' } },
  'typed in': { headers: { 'sec-fetch-site': 'none' } },
  'with another Origin alone': { headers: { 'sec-fetch-site': '', origin: 'https://evil.example' } },
  'with a null Origin alone': { headers: { 'sec-fetch-site': '', origin: 'null' } },
  'with neither': { headers: { 'sec-fetch-site': '', origin: '' } },
  'as text': { headers: { 'content-type': 'text/plain' } },
  'as JSON': { headers: { 'content-type': 'application/json' } },
  'with files': { headers: { 'content-type': 'multipart/form-data; boundary=x' } },
}

describe.each(Object.keys(ACTS))('row 39: %s', name => {
  let act: Act
  beforeEach(async () => {
    act = (await ACTS[name]?.(root)) as Act
  })

  it('by a form that our page did not send: refused, and nothing is done; by the true one it is', async () => {
    for (const [way, { headers = {}, fields = {} }] of Object.entries(FORGED)) {
      const shown = await root.ask(w.team + act.path, { form: { ...act.form, ...fields }, headers })
      expect([400, 403], way).toContain(shown.status)
      expect(shown.body).not.toContain('psts_')
      expect(await act.isDone(), way).toBe(false)
    }
    const twin = await root.ask(w.team + act.path, { form: act.form })
    expect([200, 303]).toContain(twin.status)
    expect(await act.isDone()).toBe(true)
  })

  it('with the token of another administrator’s page: refused', async () => {
    const other = hidden(await (await signedIn()).ask(w.team + NEW))
    const shown = await root.ask(w.team + act.path, { form: { ...act.form, csrf: other.csrf ?? '' } })
    expect(shown.status).toBe(403)
    expect(await act.isDone()).toBe(false)
  })

  it('by a method that is said otherwise: nothing is done', async () => {
    const query = new URLSearchParams({ ...act.form, _method: 'POST' })
    await root.ask(`${w.team}${act.path}?${query}`)
    await root.ask(w.team + act.path, { headers: { 'x-http-method-override': 'POST' } })
    for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS'])
      expect((await root.ask(w.team + act.path, { method, form: act.form })).status).toBe(405)
    expect(await act.isDone()).toBe(false)
    // What a field says of the method is nothing to us.
    await root.ask(w.team + act.path, { form: { ...act.form, _method: 'GET' } })
    expect(await act.isDone()).toBe(true)
  })

  it('row 104: by a stranger, a user, an administrator of a day ago, or one no more: refused', async () => {
    const send = (who: Browser, csrf = '') => who.ask(w.team + act.path, { form: { ...act.form, csrf } })
    expect((await send(w.browser())).status).toBe(401)
    const user = await signedIn('ada@example.com')
    const { csrf } = hidden(await user.ask(`${w.team}/logout`))
    const refused = await send(user, csrf)
    expect(refused.status).toBe(403)
    expect(refused.body).toContain('For administrators only')
    await user.submit(await user.ask(`${w.team}/logout`), {})

    const [id = ''] = (root.cookies('edge.localhost').get('__Host-postern-team') ?? '').split('.')
    const restore = await aged(id, 12 * 3600 + 1)
    const old = await root.ask(w.team + act.path, { form: act.form })
    expect(old.status).toBe(401)
    expect(old.body).toContain('Sign in again')
    await restore()

    await w.setting('administrators', [{ email: 'nobody@example.com' }])
    expect((await root.ask(w.team + act.path, { form: act.form })).status).toBe(403)
    await w.setting('administrators', [{ email: 'root@example.com' }])
    expect(await act.isDone()).toBe(false)
    await root.ask(w.team + act.path, { form: act.form })
    expect(await act.isDone()).toBe(true)
  })
})

/** Makes a session one of somebody who signed in that many seconds ago. */
async function aged(id: string, seconds: number): Promise<() => Promise<void>> {
  const { store } = w.world.edge
  const row = store.snapshot.records.get('browser-sso')?.get(`session.${id}`) as Record<string, Json>
  const put = async (value: Json) => {
    const change = { put: 'record', namespace: 'browser-sso', id: `session.${id}`, value } as const
    await store.apply([change], { action: 'test', actor: 'test' })
  }
  await put({ ...row, authenticatedAt: Date.now() - seconds * 1000 })
  return () => put(row)
}

describe('row 104: every page, as everybody', () => {
  const paths = ['/admin', ...PAGES.map(({ path }) => path), '/admin/nothing', '/admin/sessions/more']

  it('a stranger goes to sign in, and comes back', async () => {
    const { id } = await make(root)
    for (const path of paths.map(one => one.replace('{id}', id))) {
      const begun = await w.browser().ask(w.team + path)
      expect(begun.status).toBe(303)
      expect(new URL(begun.headers.location ?? '').pathname).toBe('/login')
      expect(begun.body).toBe('')
    }
    const back = await w.withPassword(w.browser(), `${w.team}${SESSIONS}?user=root`, 'root@example.com')
    expect(back.url.pathname + back.url.search).toBe(`${SESSIONS}?user=root`)
    expect(back.status).toBe(200)
  })

  it('whoever is signed in and no administrator is told so, and the audit log too', async () => {
    const user = await signedIn('ada@example.com')
    for (const path of paths) {
      const { status, body } = await user.ask(w.team + path)
      expect(status).toBe(403)
      expect(body).toContain('For administrators only')
      expect(body).toContain('ada@example.com')
      expect(body).not.toContain('root@example.com')
    }
    const [row] = await audit('admin.refused')
    const [{ subject = '' } = {}] = await sessionsOf('ada@example.com')
    expect(row).toMatchObject({ allowed: false, code: 'ACCESS_DENIED', actor: `${w.team} ${subject}` })
  })

  it('service tokens and admin tokens open none: people do', async () => {
    const { administration } = w.world.edge
    const body = { name: fresh(), role: 'admin' } as const
    const { token } = await administration.call('admin-token.create', { body })
    for (const headers of [w.world.headers(), { authorization: `Bearer ${token}` }] as Record<string, string>[])
      expect((await w.browser().ask(w.team + TOKENS, { headers })).status).toBe(303)
  })

  it('whoever has a form of a new page has it tried above', () => {
    const withForms = PAGES.filter(({ take }) => take !== undefined).map(({ path }) => path)
    expect(withForms).toEqual([NEW, `${TOKENS}/{id}`, SESSIONS])
  })

  it('the administration judges a person at each call, by the session and the setting of that moment', async () => {
    const { administration, store } = w.world.edge
    await w.user('bob@example.com')
    const bob = await signedIn('bob@example.com')
    const [id = ''] = (bob.cookies('edge.localhost').get('__Host-postern-team') ?? '').split('.')
    const { person, expiresAt } = sessionOf(store.snapshot, id) as SessionRecord
    const { issuer, subject } = person
    const email = 'bob@example.com'
    const identity: Identity = { kind: 'user', issuer, subject, email, claims: {}, revokeKeys: [], expiresAt }
    const as = (caller: Caller) => administration.call('whoami.get', {}, caller)
    const caller: Caller = { kind: 'person', id, identity }
    await expect(as(caller)).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
    await w.setting('administrators', [{ email: 'root@example.com' }, { email }])
    const expected = { actor: `admin:${email} (${issuer} ${subject})`, role: 'admin' }
    await expect(as(caller)).resolves.toMatchObject(expected)
    const setup = administration.call('setup.use', { body: { name: 'x' } }, caller)
    await expect(setup).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
    const over = { ...identity, expiresAt: Date.now() }
    await expect(as({ ...caller, identity: over })).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    // What waits for its turn behind what ends it is not done.
    const name = fresh()
    const ended = administration.call('session.revoke', { body: { session: id } })
    const late = administration.call('service-token.create', { body: { name } }, caller)
    await expect(late).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    await ended
    expect(await tokenCalled(name)).toBeUndefined()
    await w.setting('administrators', [{ email: 'root@example.com' }])
  })

  it('an administrator sees them all; none is framed, runs a script or is kept', async () => {
    const browser = await signedIn()
    const { id, shown } = await make(browser)
    const asked = ['/admin', ...PAGES.map(({ path }) => path.replace('{id}', id))]
    const pages = [shown, ...(await Promise.all(asked.map(path => browser.open(w.team + path))))]
    for (const { status, headers, body } of pages) {
      expect(status).toBe(200)
      const policy = String(headers['content-security-policy'])
      for (const part of ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"])
        expect(policy).toContain(part)
      expect(headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
      expect(body).not.toMatch(/<script|javascript:|\son\w+=|<iframe|<img|<link|\sstyle=/i)
      for (const [, field = ''] of body.matchAll(/<(?:input|select) id="([^"]+)"/g))
        expect(body).toContain(`<label for="${field}">`)
      for (const [, ids = ''] of body.matchAll(/aria-describedby="([^"]+)"/g))
        for (const one of ids.split(' ')) expect(body).toContain(`id="${one}"`)
    }
    expect((await browser.ask(`${w.team}/admin/nothing`)).status).toBe(404)
    expect((await browser.ask(`${w.team}${TOKENS}/pst_none`)).status).toBe(404)
    expect((await browser.ask(`${w.team}/`)).body).toContain('href="/admin"')
    expect((await (await signedIn('ada@example.com')).ask(`${w.team}/`)).body).not.toContain('/admin')
  })

  it('an administrator who signed in twelve hours ago signs in again; a moment less is enough', async () => {
    const browser = await signedIn()
    const [id = ''] = (browser.cookies('edge.localhost').get('__Host-postern-team') ?? '').split('.')
    await aged(id, 12 * 3600 - 60)
    expect((await browser.ask(w.team + TOKENS)).status).toBe(200)
    await aged(id, 12 * 3600 + 1)
    expect((await browser.ask(w.team + TOKENS)).status).toBe(303)
    // The rest of the team’s pages want no newer proof.
    expect((await browser.ask(`${w.team}/`)).status).toBe(200)
  })
})

describe('a service token made on the page', () => {
  it('opens what was ticked, in one change; the audit log names the person', async () => {
    const { version } = w.world.edge.store.snapshot
    const { shown, id, name, secret } = await make(root, fresh(), {
      'app:wiki.localhost': 'yes',
      'app:box.localhost': 'yes',
    })
    expect(w.world.edge.store.snapshot.version).toBe(version + 1)
    expect(shown.status).toBe(200)
    expect(shown.body).toContain(`curl --header @${name.replace(' ', '-')}.headers ${w.origin('wiki')}/`)
    expect(shown.body).toContain('postern access ssh --hostname box.localhost:')
    expect(await comeIn(id, secret)).toBe(200)
    const [row] = await audit('service-token.create')
    const [{ subject = '' } = {}] = await sessionsOf('root@example.com')
    expect(row).toMatchObject({ actor: `admin:root@example.com (${w.team} ${subject})`, remoteAddress: '127.0.0.1' })
    expect(row?.detail).toEqual({
      id,
      name,
      rules: [`wiki.localhost: allow ${name}`, `box.localhost: allow ${name}`],
    })
    const list = await root.ask(w.team + TOKENS)
    expect(list.body).toContain('box.localhost, wiki.localhost')
    for (const { body } of [list, await root.ask(`${w.team}${TOKENS}/${id}`)]) {
      expect(body).toContain(id)
      expect(body).not.toContain(secret)
    }
    expect(JSON.stringify(await w.world.edge.store.readAudit({ most: 1000 }))).not.toContain(secret)
  })

  it('that was not ticked for an application does not open it', async () => {
    const { id, secret } = await make(root, fresh(), { 'app:box.localhost': 'yes' })
    expect(await comeIn(id, secret)).toBe(403)
  })

  it.each([
    ['1d', 1],
    ['7d', 7],
    ['30d', 30],
    ['90d', 90],
    ['1y', 365],
    ['never', undefined],
  ])('expires as was chosen: %s', async (expires, days) => {
    const { name } = await make(root, undefined, { expires })
    const { createdAt = '', expiresAt } = (await tokenCalled(name)) ?? {}
    const wanted = days === undefined ? undefined : new Date(Date.parse(createdAt) + days * 86_400_000).toISOString()
    expect(expiresAt).toBe(wanted)
  })

  it('a page that is loaded again makes no other', async () => {
    const { form, name } = await make(root)
    const before = (await tokens()).length
    const again = await root.ask(w.team + NEW, { form })
    expect(again.status).toBe(409)
    expect(again.body).toContain('This form was sent already')
    expect(await root.ask(w.team + NEW, { form: { ...form, name: fresh() } })).toMatchObject({ status: 409 })
    expect((await tokens()).length).toBe(before)
    expect(await tokenCalled(name)).toBeDefined()
  })

  it('what is wrong is said beside its field, and nothing that was filled in is lost', async () => {
    const { name: taken } = await make(root)
    const before = (await tokens()).length
    const cases: readonly [Record<string, string>, number, string, string][] = [
      [{ name: taken }, 409, 'name', 'called &quot;token'],
      [{ name: '<b>no</b>' }, 400, 'name', 'A name has 1 to 64 letters'],
      [{ name: '' }, 400, 'name', 'A name has 1 to 64 letters'],
      [{ name: 'pst_0123' }, 400, 'name', 'does not look like an ID'],
      [{ name: 'x'.repeat(65) }, 400, 'name', 'A name has 1 to 64 letters'],
      [{ expires: '2d' }, 400, 'expires', 'Choose one of these'],
      [{ 'app:gone.localhost': 'yes' }, 404, 'applications', 'gone.localhost'],
    ]
    for (const [fields, status, field, words] of cases) {
      const filled = { name: fresh(), expires: '7d', 'app:wiki.localhost': 'yes', ...fields }
      const shown = await root.ask(w.team + NEW, { form: { ...hidden(await root.ask(w.team + NEW)), ...filled } })
      expect(shown.status).toBe(status)
      const [, said = ''] = new RegExp(`id="${field}-wrong" role="alert">([^<]*)<`).exec(shown.body) ?? []
      expect(said).toContain(words)
      expect(shown.body).not.toContain('<b>no</b>')
      expect(shown.body).toContain(`value="${filled.name.replaceAll('<', '&lt;').replaceAll('>', '&gt;')}"`)
      expect(shown.body).toContain('name="app:wiki.localhost" value="yes" checked')
      expect(shown.body).not.toContain('name="app:box.localhost" value="yes" checked')
      if (field !== 'expires') expect(shown.body).toContain('<option value="7d" selected>')
      expect((await tokens()).length, 'no half of it').toBe(before)
      const corrected = { ...hidden(shown), name: fresh(), expires: '7d' }
      expect((await root.ask(w.team + NEW, { form: corrected })).status).toBe(200)
      await w.world.edge.administration.call('service-token.revoke', { params: { token: corrected.name } })
      expect((await tokens()).length).toBe(before + 1)
      await forget(corrected.name)
    }
  })

  it('after one of the same name, revoked since, gets a rule of another name', async () => {
    const name = fresh()
    const first = await make(root, name, { 'app:wiki.localhost': 'yes' })
    await w.world.edge.administration.call('service-token.revoke', { params: { token: first.id } })
    const { shown } = await make(root, name, { 'app:wiki.localhost': 'yes' })
    const [secret = ''] = /psts_[\w-]{43}/.exec(shown.body) ?? []
    const second = (await tokens()).find(one => one.name === name && one.revokedAt === undefined)
    expect(await comeIn(second?.id ?? '', secret)).toBe(200)
    expect(await comeIn(first.id, first.secret)).toBe(401)
    const rules = w.world.edge.store.snapshot.applications.get('wiki.localhost')?.rules.map(one => one.name)
    expect(rules).toEqual(expect.arrayContaining([`allow ${name}`, `allow ${name} 2`]))
  })
})

/** Takes a token out of the store, so that the next count begins from the same. */
async function forget(name: string): Promise<void> {
  const id = (await tokenCalled(name))?.id ?? ''
  await w.world.edge.store.apply([{ delete: 'record', namespace: 'service-token', id }], {
    action: 'test',
    actor: 'test',
  })
}

describe('a service token on its page', () => {
  it.each([
    ['none', 401],
    ['1h', 200],
    ['1d', 200],
    ['7d', 200],
  ])('is rotated; the secret before: %s', async (overlap, status) => {
    const { id, secret } = await make(root, undefined, { 'app:wiki.localhost': 'yes' })
    const page = await root.ask(`${w.team}${TOKENS}/${id}`)
    const form = { ...fieldsOf(page, 'value="rotate"'), overlap }
    const shown = await root.ask(`${w.team}${TOKENS}/${id}`, { form })
    const [next = ''] = /psts_[\w-]{43}/.exec(shown.body) ?? []
    expect(shown.status).toBe(200)
    expect(next).not.toBe(secret)
    expect([await comeIn(id, next), await comeIn(id, secret)]).toEqual([200, status])
    const again = await root.ask(`${w.team}${TOKENS}/${id}`, { form })
    expect([again.status, /psts_/.test(again.body)]).toEqual([409, false])
    expect(await comeIn(id, next), 'loaded again, it does not end the secret that was shown').toBe(200)
  })

  it('with an overlap that is none: the choice is shown again', async () => {
    const { id } = await make(root)
    const form = { ...fieldsOf(await root.ask(`${w.team}${TOKENS}/${id}`), 'value="rotate"'), overlap: '1000d' }
    const shown = await root.ask(`${w.team}${TOKENS}/${id}`, { form })
    expect(shown.status).toBe(400)
    expect(shown.body).toContain('id="overlap-wrong"')
  })

  it('is revoked: its page stays and offers nothing; rotating it then says why not', async () => {
    const { id, secret } = await make(root, undefined, { 'app:wiki.localhost': 'yes' })
    const page = await root.ask(`${w.team}${TOKENS}/${id}`)
    expect(await comeIn(id, secret)).toBe(200)
    const done = await root.open(`${w.team}${TOKENS}/${id}`, { form: fieldsOf(page, 'value="revoke"') })
    expect(done.url.pathname + done.url.search).toBe(`${TOKENS}?done=revoked`)
    expect(done.body).toContain('role="status">The service token is revoked')
    expect(await comeIn(id, secret)).toBe(401)
    const form = { ...fieldsOf(page, 'value="rotate"'), overlap: '1h' }
    const late = await root.ask(`${w.team}${TOKENS}/${id}`, { form })
    expect(late.status).toBe(409)
    expect(late.body).toContain('is revoked or has expired')
    expect((await root.ask(`${w.team}${TOKENS}/${id}`)).body).not.toContain('<form')
    const strange = { ...hidden(await root.ask(w.team + NEW)), do: 'delete' }
    expect((await root.ask(`${w.team}${TOKENS}/${id}`, { form: strange })).status).toBe(400)
  })

  it('that a group lets in is shown with what it opens', async () => {
    const { id } = await make(root)
    const { administration } = w.world.edge
    await administration.call('group.put', { params: { name: 'inner' }, body: { selectors: [{ serviceToken: id }] } })
    await administration.call('group.put', { params: { name: 'outer' }, body: { selectors: [{ inGroup: 'inner' }] } })
    const rule = { name: 'by group', action: 'allow', include: [{ inGroup: 'outer' }] } as const
    const params = { hostname: 'box.localhost' }
    expect((await root.ask(`${w.team}${TOKENS}/${id}`)).body).not.toContain('box.localhost')
    await administration.call('policy.add', { params, body: { rule } } as never)
    expect((await root.ask(`${w.team}${TOKENS}/${id}`)).body).toContain('box.localhost')
    await administration.call('policy.remove', { params, query: { name: 'by group' } })
  })
})

describe('sessions on the page', () => {
  it('are listed by person, found by name, and say what is this browser', async () => {
    const headers = { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0' }
    const ada = w.browser()
    await ada.submit(await ada.open(w.origin('wiki')), { email: 'ada@example.com', password: PASSWORD }, { headers })
    const { body } = await root.ask(`${w.team}${SESSIONS}?user=ADA`)
    expect(body).toContain('ada@example.com')
    expect(body).toContain('Firefox on Linux')
    expect(body).toContain('wiki.localhost')
    expect(body).not.toContain('<h2>root@example.com')
    expect((await root.ask(w.team + SESSIONS)).body).toContain('this browser')
    const none = await root.ask(`${w.team}${SESSIONS}?user=${encodeURIComponent('<b>x</b>')}`)
    expect(none.body).toContain('“&lt;b&gt;x&lt;/b&gt;”')
  })

  it('ended is out: of the team and of applications; others stay', async () => {
    const ada = w.browser()
    await w.withPassword(ada, w.origin('wiki'), 'ada@example.com')
    const other = w.browser()
    await w.withPassword(other, w.origin('wiki'), 'ada@example.com')
    const [id = ''] = (ada.cookies('edge.localhost').get('__Host-postern-team') ?? '').split('.')
    const form = fieldsOf(await root.ask(w.team + SESSIONS), id)
    const done = await root.open(w.team + SESSIONS, { form })
    expect(done.body).toContain('role="status">Ended.')
    expect((await ada.ask(w.origin('wiki'))).status).toBe(303)
    expect((await other.ask(w.origin('wiki'))).status).toBe(200)
    const [row] = await audit('session.revoke')
    expect(row?.actor).toMatch(/^admin:root@example\.com \(/)
    const again = await root.open(w.team + SESSIONS, { form })
    expect(again.body).toContain('There was nothing left to end')
  })

  it('one’s own: signed out, without a redirect from the form to elsewhere', async () => {
    const browser = await signedIn()
    const [id = ''] = (browser.cookies('edge.localhost').get('__Host-postern-team') ?? '').split('.')
    const form = fieldsOf(await browser.ask(w.team + SESSIONS), id)
    const shown = await browser.ask(w.team + SESSIONS, { form })
    expect(shown.status).toBe(200)
    expect(shown.body).toContain('You are signed out')
    expect((await browser.ask(w.team + SESSIONS)).status).toBe(303)
  })

  it('named twice, or not at all: nothing is ended', async () => {
    await signedIn('ada@example.com')
    const [{ id = '', issuer = '', subject = '' } = {}] = await sessionsOf('ada@example.com')
    const before = (await sessionsOf('ada@example.com')).length
    const { csrf = '' } = hidden(await root.ask(w.team + SESSIONS))
    const cases: readonly Record<string, string>[] = [
      {},
      { session: id, issuer, subject },
      { subject },
      { session: '' },
    ]
    for (const fields of cases)
      expect((await root.ask(w.team + SESSIONS, { form: { csrf, ...fields } })).status).toBe(400)
    expect((await sessionsOf('ada@example.com')).length).toBe(before)
  })

  it('row 40: what a browser calls itself, and people’s names, are text', async () => {
    const NAME = `<img src=x onerror=alert(1)>`
    await w.user('eve@example.com', NAME)
    const eve = w.browser()
    const headers = { 'user-agent': `Mozilla <script>` }
    await eve.submit(await eve.open(`${w.team}/login`), { email: 'eve@example.com', password: PASSWORD }, { headers })
    const { body } = await root.ask(w.team + SESSIONS)
    expect(body).toContain('&lt;img src=x')
    expect(body).not.toMatch(/<img|<script/)
  })

  it('browsers by the name that people know', () => {
    const chrome =
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36'
    expect(browserName(chrome)).toBe('Chrome on Windows')
    expect(browserName(`${chrome} Edg/141.0`)).toBe('Edge on Windows')
    expect(browserName('Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19 Safari/604')).toBe(
      'Safari on iPhone',
    )
    expect(browserName('curl/8')).toBe('A browser')
    expect(browserName(undefined)).toBe('A browser')
  })
})
