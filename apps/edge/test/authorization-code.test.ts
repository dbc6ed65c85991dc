import * as openid from 'openid-client'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { goOnOf, hiddenOf, pathOf, TEAM } from './authorization-browser.ts'
import {
  ANN,
  type AuthorizationWorld,
  approve,
  begin,
  CALLBACK,
  refreshWith,
  signIn,
  startAuthorization,
} from './authorization-world.ts'

let world: AuthorizationWorld
/** What oidc-provider says of itself, of its defaults and of errors, it says here. */
const printed = (['info', 'log', 'warn', 'error'] as const).map(name => vi.spyOn(console, name).mockReturnValue())
beforeAll(async () => {
  world = await startAuthorization()
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  expect(printed.flatMap(({ mock }) => mock.calls)).toEqual([])
})

const cliSessions = () => world.sessions.list().filter(({ via }) => via === 'cli')

describe('discovery', () => {
  test.each(['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration'])('%s', async path => {
    const { status, body, headers } = await world.send('GET', path)
    expect(status).toBe(200)
    expect(headers['postern-request-id']).toMatch(/^[0-9a-f-]{36}$/)
    expect(JSON.parse(body)).toMatchObject({
      issuer: TEAM,
      authorization_endpoint: `${TEAM}/oauth/authorize`,
      token_endpoint: `${TEAM}/oauth/token`,
      device_authorization_endpoint: `${TEAM}/oauth/device_authorization`,
      revocation_endpoint: `${TEAM}/oauth/revoke`,
      userinfo_endpoint: `${TEAM}/oauth/userinfo`,
      jwks_uri: `${TEAM}/.well-known/jwks.json`,
      code_challenge_methods_supported: ['S256'],
      authorization_response_iss_parameter_supported: true,
      token_endpoint_auth_methods_supported: ['none'],
      response_types_supported: ['code'],
      response_modes_supported: ['query'],
    })
  })

  test('addresses are the public ones, whatever Host is sent', async () => {
    const { body } = await world.send('GET', '/.well-known/oauth-authorization-server', { host: 'edge.localhost:9' })
    expect(JSON.parse(body)).toMatchObject({ issuer: TEAM, token_endpoint: `${TEAM}/oauth/token` })
  })

  test.each([
    ['GET', '/oauth/token', 'POST'],
    ['GET', '/oauth/revoke', 'POST'],
    ['PUT', '/oauth/device_authorization', 'POST'],
    ['POST', '/oauth/authorize', 'GET, HEAD'],
    ['DELETE', '/device', 'GET, POST'],
    ['POST', '/oauth/userinfo', 'GET'],
  ])('%s %s is not allowed', async (method, path, allow) => {
    const answer = await world.send(method, path)
    expect(answer).toMatchObject({ status: 405, headers: { allow } })
    expect(answer.headers['content-type']).toMatch(/json/)
  })

  test.each([
    '/oauth/jwks',
    '/oauth/registration',
    '/oauth/introspection',
    '/oauth/end_session',
    '/session/end/confirm',
    '/oauth/authorize/x',
  ])('%s is nothing', async path => {
    expect(await world.send('GET', path)).toMatchObject({ status: 404 })
    expect(await world.send('POST', path)).toMatchObject({ status: 404 })
  })
})

describe('sign-in with a browser', () => {
  test('gives tokens of a session of its own, as openid-client sees it', async () => {
    const before = cliSessions().length
    const browser = await world.browser()
    const { access } = await signIn(world, browser)
    const who = await world.send('GET', '/oauth/userinfo', { headers: { authorization: `Bearer ${access}` } })
    expect(JSON.parse(who.body)).toMatchObject({ sub: 'ann', idp: TEAM, email: 'ann@example.com', groups: ['staff'] })
    expect(cliSessions()).toHaveLength(before + 1)
    expect(cliSessions().map(({ id }) => id)).toContain(JSON.parse(who.body).sid)
    expect(browser.cookieNames).not.toContain('__Host-postern-oauth')
    expect(world.logged).toEqual([])
  })

  test('the page says who, where the answer goes, and which application', async () => {
    const { url } = await begin(world, { resource: 'https://wiki.localhost' })
    const browser = await world.browser({ ...ANN, name: '<b>Ann</b>' })
    const page = await browser.get((await browser.get(url.href)).headers.location ?? '')
    expect(page.status).toBe(200)
    expect(page.body).toContain('&lt;b&gt;Ann&lt;/b&gt; (ann@example.com)')
    expect(page.body).toContain('127.0.0.1:51234')
    expect(page.body).toContain('https://wiki.localhost')
    const foreign = await begin(world, { resource: 'https://other.example' })
    const path = (await browser.get(foreign.url.href)).headers.location ?? ''
    expect((await browser.get(path)).body).not.toContain('other.example')
    expect(page.headers['cache-control']).toBe('no-store')
    expect(page.headers['content-security-policy']).toContain("form-action 'self'")
  })

  test('whoever is not signed in is sent to sign in, and comes back to the same question', async () => {
    const { url } = await begin(world)
    const stranger = await world.browser(ANN, 0)
    const confirm = (await stranger.get(url.href)).headers.location ?? ''
    const nobody = await world.send('GET', confirm, { headers: { accept: 'text/html' } })
    expect(nobody.status).toBe(404) // another browser: not even that
    expect((await stranger.get(confirm)).status).toBe(200)
  })

  test('somebody who refuses is an error at the program, and nobody is signed in', async () => {
    const before = cliSessions().length
    const { url, state } = await begin(world)
    const back = await approve(await world.browser(), url, 'no')
    expect(Object.fromEntries(back.searchParams)).toMatchObject({ error: 'access_denied', state, iss: TEAM })
    expect(cliSessions()).toHaveLength(before)
  })

  test('prompt=login: a sign-in from before does not do, one from after does', async () => {
    const { url } = await begin(world, { prompt: 'login' })
    const old = await world.browser(ANN, 3600)
    const sent = await old.get((await old.get(url.href)).headers.location ?? '')
    expect(sent).toMatchObject({ status: 303, headers: { location: expect.stringContaining('/login?to=') } })
    const fresh = await world.browser()
    expect((await fresh.get((await fresh.get(url.href)).headers.location ?? '')).status).toBe(200)
  })

  test('the program’s session ends when the browser’s would', async () => {
    const { access } = await signIn(world, await world.browser(ANN, 3600))
    const who = await world.send('GET', '/oauth/userinfo', { headers: { authorization: `Bearer ${access}` } })
    const { auth_time: since, session_expires_at: until } = JSON.parse(who.body)
    expect(until - since).toBe(24 * 3600)
    expect(Math.abs(Date.now() / 1000 - 3600 - since)).toBeLessThan(60)
  })

  test('two programs at the same time, in one browser, both get in', async () => {
    const browser = await world.browser()
    const [one, other] = [await begin(world), await begin(world)]
    const questions = [await browser.get(one.url.href), await browser.get(other.url.href)]
    for (const [at, begun] of [one, other].entries()) {
      const path = pathOf(questions[at]?.headers.location ?? '')
      const done = await browser.submit(await browser.get(path), path, { answer: 'yes' })
      const back = new URL((await browser.get(goOnOf(done))).headers.location ?? '')
      const checks = { pkceCodeVerifier: begun.verifier, expectedState: begun.state }
      expect((await openid.authorizationCodeGrant(world.client, back, checks)).access_token).toBeTruthy()
    }
    expect(browser.cookieNames.filter(name => name.includes('resume'))).toEqual([])
  })

  test('what one browser begun, another cannot answer', async () => {
    const { url } = await begin(world)
    const begun = await world.browser()
    const confirm = (await begun.get(url.href)).headers.location ?? ''
    const other = await world.browser()
    expect((await other.get(confirm)).status).toBe(404)
    expect((await begun.get(confirm)).status).toBe(200)
  })
})

describe('row 18: PKCE', () => {
  test.each([
    ['plain', { code_challenge_method: 'plain' }],
    ['no method', { code_challenge_method: '' }],
    ['none', { code_challenge: '', code_challenge_method: '' }],
    ['a challenge that is none', { code_challenge: 'short' }],
  ])('%s is refused at the start', async (_what, more) => {
    const { url } = await begin(world)
    for (const [name, value] of Object.entries(more)) {
      if (value === '') url.searchParams.delete(name)
      else url.searchParams.set(name, value)
    }
    const answer = await (await world.browser()).get(url.href)
    const back = new URL(answer.headers.location ?? '')
    expect(back.origin + back.pathname).toBe(CALLBACK)
    expect(back.searchParams.get('error')).toBe('invalid_request')
    expect(back.searchParams.get('iss')).toBe(TEAM)
  })

  const redeem = async (change: (sent: Record<string, string>) => void) => {
    const { url, verifier } = await begin(world)
    const back = await approve(await world.browser(), url)
    const sent: Record<string, string> = {
      grant_type: 'authorization_code',
      code: back.searchParams.get('code') ?? '',
      redirect_uri: CALLBACK,
      code_verifier: verifier,
    }
    change(sent)
    return world.token(sent)
  }

  test('the verifier is wanted, and its own', async () => {
    expect((await redeem(() => {})).json).toMatchObject({ token_type: 'Bearer', scope: 'postern' })
    const missing = await redeem(sent => delete sent.code_verifier)
    expect(missing).toMatchObject({ status: 400, json: { error: 'invalid_grant' } })
    const others = await redeem(sent => {
      sent.code_verifier = openid.randomPKCECodeVerifier()
    })
    expect(others).toMatchObject({ status: 400, json: { error: 'invalid_grant' } })
  })

  test('row 19: the redirect is the very one that was asked for', async () => {
    const moved = await redeem(sent => {
      sent.redirect_uri = CALLBACK.replace('51234', '51235')
    })
    expect(moved).toMatchObject({ status: 400, json: { error: 'invalid_grant' } })
  })
})

describe('row 19: redirects', () => {
  const ask = async (redirect: string) => {
    const { url } = await begin(world, { redirect_uri: redirect })
    return (await world.browser()).get(url.href)
  }

  test.each([
    'http://127.0.0.1:1/callback',
    'http://127.0.0.1:65535/callback',
    'http://127.0.0.1/callback',
    'http://[::1]:51234/callback',
  ])('%s is let through', async redirect => {
    const answer = await ask(redirect)
    expect(answer).toMatchObject({ status: 303 })
    expect(answer.headers.location).toMatch(/\/oauth\/interaction\/[\w-]{43}$/)
  })

  test.each([
    'http://127.0.0.1:51234.evil.com/callback',
    'http://127.0.0.1.evil.com/callback',
    'http://localhost@evil.com/callback',
    'http://127.0.0.1:51234@evil.com/callback',
    'http://user@127.0.0.1:51234/callback',
    'http://127.0.0.1\\@evil.com/callback',
    'http://localhost:51234/callback',
    'http://0.0.0.0:51234/callback',
    'http://127.1:51234/callback',
    'http://2130706433:51234/callback',
    'http://[::ffff:127.0.0.1]:51234/callback',
    'http://127.0.0.1:51234/callback/',
    'http://127.0.0.1:51234/callback/../x',
    'http://127.0.0.1:51234//callback',
    'http://127.0.0.1:51234/Callback',
    'http://127.0.0.1:51234/callback?x=1',
    'http://127.0.0.1:51234/callback#x',
    'http://127.0.0.1:51234/',
    'https://127.0.0.1:51234/callback',
    'postern://callback',
    'javascript:alert(1)',
    '//evil.com/callback',
    '/callback',
    '',
  ])('%s is refused, on a page of ours', async redirect => {
    const answer = await ask(redirect)
    expect(answer.status).toBe(400)
    expect(answer.headers.location).toBeUndefined()
    expect(answer.body).toContain('This sign-in cannot be continued')
    expect(answer.headers['content-security-policy']).toContain("default-src 'none'")
    expect(answer.body).not.toMatch(/at .*\.js:|node_modules/)
  })

  test.each(['form_post', 'fragment', 'web_message', 'nonsense'])(
    'row 40: the answer is in no page with a script, or elsewhere: %s',
    async mode => {
      const { url } = await begin(world, { response_mode: mode })
      const browser = await world.browser()
      for (const asked of [url.href, url.href.replace('response_type=code', 'response_type=bad')]) {
        const answer = await browser.get(asked)
        expect(answer).toMatchObject({ status: 400, headers: { 'content-type': expect.stringMatching(/json|html/) } })
        expect(answer.body).not.toContain('<script')
      }
      const allowed = await begin(world, { response_mode: 'query' })
      expect((await browser.get(allowed.url.href)).headers.location).toContain('/oauth/interaction/')
    },
  )

  test('two redirects are none', async () => {
    const { url } = await begin(world)
    url.searchParams.append('redirect_uri', 'https://evil.com/')
    expect((await (await world.browser()).get(url.href)).status).toBe(400)
  })

  test('another client, or an ID token, is not to be had', async () => {
    const { url } = await begin(world)
    const browser = await world.browser()
    url.searchParams.set('client_id', 'other')
    expect((await browser.get(url.href)).status).toBe(400)
    const open = await begin(world, { scope: 'openid postern' })
    const back = new URL((await browser.get(open.url.href)).headers.location ?? '')
    expect(back.searchParams.get('error')).toBe('invalid_scope')
  })
})

describe('row 36: a code', () => {
  test('is good once: used again, everything of it ends', async () => {
    const { url, verifier } = await begin(world)
    const code = (await approve(await world.browser(), url)).searchParams.get('code') ?? ''
    const sent = { grant_type: 'authorization_code', code, redirect_uri: CALLBACK, code_verifier: verifier }
    const first = await world.token(sent)
    expect(first.status).toBe(200)
    const before = cliSessions().length
    expect(await world.token(sent)).toMatchObject({ status: 400, json: { error: 'invalid_grant' } })
    expect(cliSessions()).toHaveLength(before - 1)
    expect(await refreshWith(world, first.json.refresh_token ?? '')).toMatchObject({ json: { error: 'invalid_grant' } })
  })

  test('redeemed twice at the same moment gives one answer', async () => {
    const { url, verifier } = await begin(world)
    const code = (await approve(await world.browser(), url)).searchParams.get('code') ?? ''
    const sent = { grant_type: 'authorization_code', code, redirect_uri: CALLBACK, code_verifier: verifier }
    const answers = await Promise.all(Array.from({ length: 10 }, () => world.token(sent)))
    expect(answers.filter(({ status }) => status === 200).length).toBeLessThanOrEqual(1)
    expect(answers.filter(({ status }) => status !== 200).every(({ json }) => json.error === 'invalid_grant')).toBe(
      true,
    )
  })
})

describe('row 39: being signed in approves nothing', () => {
  test('the question is asked every time, and only its own form answers it', async () => {
    const browser = await world.browser()
    await signIn(world, browser)
    const { url } = await begin(world)
    const confirm = (await browser.get(url.href)).headers.location ?? ''
    expect(confirm).toContain('/oauth/interaction/')
    const page = await browser.get(confirm)
    const fields: Record<string, string> = { ...hiddenOf(page.body), answer: 'yes' }
    const before = cliSessions().length
    const { csrf: _csrf, ...bare } = fields
    const path = new URL(confirm, TEAM).pathname
    expect((await browser.post(path, bare)).status).toBe(403)
    expect((await browser.post(path, { ...fields, csrf: 'x'.repeat(43) })).status).toBe(403)
    expect((await browser.post(path, fields, { origin: 'https://evil.com' })).status).toBe(403)
    expect((await browser.post(path, fields, { 'sec-fetch-site': 'cross-site' })).status).toBe(403)
    expect((await browser.post(path, fields, {})).status).toBe(403)
    expect(cliSessions()).toHaveLength(before)
    const yes = await browser.post(path, fields)
    expect(yes.status).toBe(200)
    expect(goOnOf(yes)).toContain(`${TEAM}/oauth/authorize/`)
    expect(cliSessions()).toHaveLength(before + 1)
    expect((await browser.post(path, fields)).status).toBe(404)
    expect(cliSessions()).toHaveLength(before + 1)
  })

  test('prompt=none is refused', async () => {
    const { url } = await begin(world, { prompt: 'none' })
    const back = new URL((await (await world.browser()).get(url.href)).headers.location ?? '')
    expect(back.searchParams.get('error')).toMatch(/required/)
    expect(back.searchParams.get('code')).toBeNull()
  })
})
