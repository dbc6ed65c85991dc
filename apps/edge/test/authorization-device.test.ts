import * as openid from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Answer, type Browser, hiddenOf, TEAM } from './authorization-browser.ts'
import {
  ANN,
  type AuthorizationWorld,
  exchangeFor,
  refreshWith,
  startAuthorization,
  WIKI,
} from './authorization-world.ts'

const GRANT = 'urn:ietf:params:oauth:grant-type:device_code'

let world: AuthorizationWorld
beforeAll(async () => {
  // Only one test waits between polls.
  world = await startAuthorization({ pollSeconds: 0.01 })
})
afterAll(() => world[Symbol.asyncDispose]())

const deviceSessions = () => world.sessions.list().filter(({ via }) => via === 'device')
const ask = (more: Record<string, string> = {}) =>
  openid.initiateDeviceAuthorization(world.client, { scope: 'postern', ...more })
const poll = (deviceCode: string) => world.token({ grant_type: GRANT, device_code: deviceCode })
const type = async (browser: Browser, code: string): Promise<Answer> =>
  browser.submit(await browser.get('/device'), '/device', { user_code: code })
const answer = async (browser: Browser, code: string, said: string): Promise<Answer> =>
  browser.submit(await type(browser, code), '/device', { answer: said })

describe('sign-in of a device', () => {
  test('the code is short, typed, and in no link', async () => {
    const begun = await ask()
    expect(begun).toMatchObject({ verification_uri: `${TEAM}/device`, expires_in: 600 })
    expect(begun.user_code).toMatch(/^[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}$/)
    expect(begun.verification_uri_complete).toBeUndefined()
  })

  test('the page shows code, address, program and application; a person approves', async () => {
    const begun = await ask({ resource: WIKI })
    expect(await poll(begun.device_code)).toMatchObject({ status: 400, json: { error: 'authorization_pending' } })
    const browser = await world.browser()
    const page = await type(browser, begun.user_code.toLowerCase().replace('-', ' '))
    for (const shown of [begun.user_code, '127.0.0.1', WIKI, 'Ann (ann@example.com)'])
      expect(page.body).toContain(shown)
    expect(await poll(begun.device_code)).toMatchObject({ json: { error: 'authorization_pending' } })
    const before = deviceSessions().length
    const done = await browser.submit(page, '/device', { answer: 'yes' })
    expect(done.body).toContain('It is signed in')
    const tokens = await poll(begun.device_code)
    expect(tokens).toMatchObject({ status: 200, json: { token_type: 'Bearer', scope: 'postern' } })
    expect(deviceSessions()).toHaveLength(before + 1)
    expect((await refreshWith(world, tokens.json.refresh_token ?? '')).status).toBe(200)
    expect((await exchangeFor(world, tokens.json.access_token ?? '', WIKI)).status).toBe(200)
  })

  test('a device code is good once', async () => {
    const begun = await ask()
    await answer(await world.browser(), begun.user_code, 'yes')
    expect((await poll(begun.device_code)).status).toBe(200)
    const before = deviceSessions().length
    expect((await poll(begun.device_code)).json.error).toBe('invalid_grant')
    expect(deviceSessions()).toHaveLength(before - 1)
  })

  test('somebody refuses', async () => {
    const begun = await ask()
    const browser = await world.browser()
    expect((await answer(browser, begun.user_code, 'no')).body).toContain('Refused')
    expect(await poll(begun.device_code)).toMatchObject({ status: 400, json: { error: 'access_denied' } })
    expect((await type(browser, begun.user_code)).status).toBe(400)
  })

  test('openid-client polls until it is in', async () => {
    const begun = await ask()
    const got = openid.pollDeviceAuthorizationGrant(world.client, { ...begun, interval: 0.2 })
    await answer(await world.browser(), begun.user_code, 'yes')
    expect((await got).access_token.length).toBeGreaterThan(20)
  })

  test('polling faster than it was told is slowed down', async () => {
    await using slow = await startAuthorization({ pollSeconds: 5 })
    const begun = await openid.initiateDeviceAuthorization(slow.client, { scope: 'postern' })
    expect(begun.interval).toBe(5)
    const device_code = begun.device_code
    const errors = [1, 2].map(async () => (await slow.token({ grant_type: GRANT, device_code })).json.error)
    expect((await Promise.all(errors)).sort()).toEqual(['authorization_pending', 'slow_down'])
  })

  test.each(['', 'x', '__proto__'])('device code %j is none', async code => {
    expect((await poll(code)).json.error).toMatch(/^invalid_(grant|request)$/)
  })
})

describe('row 39: nothing but a person’s own click approves', () => {
  test('a code in the address is not taken', async () => {
    const begun = await ask()
    const browser = await world.browser()
    for (const query of [`?user_code=${begun.user_code}`, `?user_code=${begun.user_code}&answer=yes`]) {
      const page = await browser.get(`/device${query}`)
      expect(page.status).toBe(200)
      expect(page.body).not.toContain(begun.user_code)
      expect(page.body).toContain('Type the code')
    }
    expect((await poll(begun.device_code)).json.error).toBe('authorization_pending')
  })

  test('a form of somebody else’s site is refused; typing is no approval', async () => {
    const begun = await ask()
    const browser = await world.browser()
    const page = await type(browser, begun.user_code)
    const fields: Record<string, string> = { ...hiddenOf(page.body), answer: 'yes' }
    const { csrf: _csrf, ...bare } = fields
    expect((await browser.post('/device', bare)).status).toBe(403)
    expect((await browser.post('/device', fields, { origin: 'https://evil.com' })).status).toBe(403)
    const another = await world.browser()
    expect((await another.post('/device', fields)).status).toBe(403)
    expect((await poll(begun.device_code)).json.error).toBe('authorization_pending')
    expect((await browser.post('/device', fields)).status).toBe(200)
    expect((await poll(begun.device_code)).status).toBe(200)
  })

  test('nobody is signed in: nothing is shown', async () => {
    const sent = await world.send('GET', '/device', { headers: { accept: 'text/html' } })
    expect(sent).toMatchObject({ status: 303, headers: { location: '/login?to=%2Fdevice' } })
  })
})

test('guessing codes is slowed for who guesses, and for nobody else', async () => {
  await using own = await startAuthorization()
  const guesser = await own.browser()
  const begun = await openid.initiateDeviceAuthorization(own.client, { scope: 'postern' })
  const page = await guesser.get('/device')
  const guess = (code: string) => guesser.submit(page, '/device', { user_code: code })
  for (let n = 0; n < 10; n += 1) expect((await guess('BBBB-BBBB')).status).toBe(400)
  expect((await guess(begun.user_code)).status).toBe(429)
  expect((await own.token({ grant_type: GRANT, device_code: begun.device_code })).json.error).toBe(
    'authorization_pending',
  )
})

test('the session says from where, and what it calls itself', async () => {
  const send = await world.send('POST', '/oauth/device_authorization', {
    headers: { 'content-type': 'application/x-www-form-urlencoded', 'user-agent': 'postern/1 <b>' },
    body: 'client_id=postern&scope=postern',
  })
  const { user_code: code } = JSON.parse(send.body)
  const browser = await world.browser({ ...ANN, subject: 'device-owner' })
  const page = await type(browser, code)
  expect(page.body).toContain('postern/1 &lt;b&gt;')
  await browser.submit(page, '/device', { answer: 'yes' })
  const own = deviceSessions().find(({ person }) => person.subject === 'device-owner')
  expect(own).toMatchObject({ userAgent: 'postern/1 <b>', remoteAddress: '127.0.0.1' })
})
