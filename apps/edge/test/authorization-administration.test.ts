import * as openid from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { identifyPerson, standingOf } from '../src/admin/caller.ts'
import { TEAM } from './authorization-browser.ts'
import {
  ANN,
  type AuthorizationWorld,
  approve,
  begin,
  exchangeFor,
  refreshWith,
  signIn,
  startAuthorization,
  WIKI,
} from './authorization-world.ts'

const GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
const BOB = { ...ANN, subject: 'bob', name: 'Bob', email: 'bob@example.com' }

let world: AuthorizationWorld
const setAdministrators = (...emails: string[]) =>
  world.store.apply([{ put: 'setting', key: 'administrators', value: emails.map(email => ({ email })) }], {
    action: 'test',
    actor: 'test',
  })
beforeAll(async () => {
  world = await startAuthorization({ pollSeconds: 0.01 })
  await setAdministrators('ann@example.com')
})
afterAll(() => world[Symbol.asyncDispose]())

const identify = (bearer: string) =>
  identifyPerson(bearer, {
    keys: world.keys,
    people: world.sessions,
    audience: TEAM,
    snapshot: world.store.snapshot,
    now: Date.now(),
  })
const administer = async () => {
  const { access, refresh } = await signIn(world, undefined, { resource: TEAM })
  const { json } = await exchangeFor(world, access, TEAM)
  return { access, refresh, bearer: json.access_token ?? '', json }
}

describe('a program that administers', () => {
  test('gets what is good for ten minutes at most, as the person who let it', async () => {
    const { bearer, json } = await administer()
    expect(Number(json.expires_in)).toBeLessThanOrEqual(600)
    const caller = await identify(bearer)
    expect(caller).toMatchObject({ kind: 'person', identity: { subject: 'ann' } })
    const standing = standingOf(caller, world.store.snapshot, Date.now())
    expect(standing).toMatchObject({ role: 'admin', actor: expect.stringContaining('ann@example.com') })
  })

  test('the page says that it will administer, and by which machine', async () => {
    const begun = await openid.initiateDeviceAuthorization(world.client, { scope: 'postern', resource: TEAM })
    const browser = await world.browser()
    const page = await browser.submit(await browser.get('/device'), '/device', { user_code: begun.user_code })
    for (const said of ['Let this program administer?', TEAM, '127.0.0.1', begun.user_code])
      expect(page.body).toContain(said)
    expect(page.body).not.toContain('open every application')
    const plain = await openid.initiateDeviceAuthorization(world.client, { scope: 'postern', resource: WIKI })
    const other = await browser.submit(await browser.get('/device'), '/device', { user_code: plain.user_code })
    expect(other.body).toContain('open every application')
    expect(other.body).not.toContain('administer')
    await browser.submit(page, '/device', { answer: 'yes' })
    const tokens = await world.token({ grant_type: GRANT, device_code: begun.device_code })
    expect((await exchangeFor(world, tokens.json.access_token ?? '', TEAM)).status).toBe(200)
  })

  test('ends with the session, at once', async () => {
    const { bearer, refresh } = await administer()
    await identify(bearer)
    const body = new URLSearchParams({ token: refresh, client_id: 'postern' }).toString()
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    expect((await world.send('POST', '/oauth/revoke', { headers, body })).status).toBe(200)
    await expect(identify(bearer)).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
  })

  test('and with the person’s right to administer', async () => {
    const { bearer, access } = await administer()
    await setAdministrators('bob@example.com')
    await expect(identify(bearer)).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
    expect((await exchangeFor(world, access, TEAM)).json).toMatchObject({ error: 'access_denied' })
    await setAdministrators('ann@example.com')
    await expect(identify(bearer)).resolves.toBeDefined()
  })
})

describe('row 11: what was approved is all that it is good for', () => {
  test('a sign-in for applications administers nothing', async () => {
    const { access, refresh } = await signIn(world)
    expect((await exchangeFor(world, access, TEAM)).json).toMatchObject({ error: 'access_denied' })
    const renewed = await refreshWith(world, refresh)
    expect((await exchangeFor(world, renewed.json.access_token ?? '', TEAM)).json.error).toBe('access_denied')
    // The allow twin.
    const { json } = await exchangeFor(world, access, WIKI)
    // An application's token is no bearer of the API either, nor is the team's own.
    await expect(identify(json.access_token ?? '')).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    await expect(identify(access)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  test('a sign-in for administration opens no application', async () => {
    const { access } = await administer()
    expect((await exchangeFor(world, access, WIKI)).json).toMatchObject({ error: 'access_denied' })
  })

  test('a token that the team signed for something else, or of a session that was not approved for it, is refused', async () => {
    const [session] = world.sessions.list().filter(one => one.for === undefined)
    const claims = { sid: session?.id ?? '', sub: 'ann' }
    const typ = 'postern-administration+jwt'
    const sign = (how: { typ: string; audience: string }) => world.keys.sign(claims, { ...how, lifetimeSeconds: 60 })
    await expect(identify(await sign({ typ, audience: TEAM }))).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    await expect(identify(await sign({ typ: 'at+jwt', audience: TEAM }))).rejects.toMatchObject({
      code: 'AUTH_REJECTED',
    })
    await expect(identify(await sign({ typ, audience: WIKI }))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })
})

describe('who may not', () => {
  test('somebody who is no administrator is told so by the page, and their program gets nothing', async () => {
    const { url } = await begin(world, { resource: TEAM })
    const browser = await world.browser(BOB)
    const confirm = (await browser.get(url.href)).headers.location ?? ''
    expect(await browser.get(confirm)).toMatchObject({ status: 403 })
    const begun = await openid.initiateDeviceAuthorization(world.client, { scope: 'postern', resource: TEAM })
    const typed = await browser.submit(await browser.get('/device'), '/device', { user_code: begun.user_code })
    expect(typed.status).toBe(403)
    expect(await world.token({ grant_type: GRANT, device_code: begun.device_code })).toMatchObject({
      json: { error: 'authorization_pending' },
    })
  })

  test('an administrator whose sign-in is older than half a day signs in again first', async () => {
    const { url } = await begin(world, { resource: TEAM })
    const old = await world.browser(ANN, 13 * 3600)
    const confirm = (await old.get(url.href)).headers.location ?? ''
    expect((await old.get(confirm)).headers.location).toContain('/login?to=')
    const { url: again } = await begin(world, { resource: TEAM })
    expect((await approve(await world.browser(ANN, 3600), again)).searchParams.get('code')).toBeTruthy()
  })
})
