import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { endingOf } from '../src/sign-in/endings.ts'
import { rowsOf } from '../src/sign-in/session-record.ts'
import { TEAM } from './authorization-browser.ts'
import {
  ACCESS_TOKEN,
  ANN,
  type AuthorizationWorld,
  EXCHANGE,
  exchangeFor,
  refreshWith,
  SECRET,
  SHORT,
  signIn,
  startAuthorization,
  WIKI,
} from './authorization-world.ts'

let world: AuthorizationWorld
let access: string
let refresh: string
beforeAll(async () => {
  world = await startAuthorization()
  const tokens = await signIn(world)
  access = tokens.access
  refresh = tokens.refresh
})
afterAll(() => world[Symbol.asyncDispose]())

const rows = async (hostname: string) =>
  (await world.store.readAudit({ most: 50 } as never)).filter(
    row => row.hostname === hostname && row.action === 'access.decide',
  )

describe('a token for one application', () => {
  test('says who, for this application alone, for ten minutes', async () => {
    const { status, json, headers } = await exchangeFor(world, access, WIKI)
    expect(status).toBe(200)
    expect(headers['cache-control']).toBe('no-store')
    expect(json).toMatchObject({ issued_token_type: ACCESS_TOKEN, token_type: 'Bearer', expires_in: 600 })
    const { claims } = await world.keys.verify(json.access_token, { typ: 'at+jwt', audience: WIKI })
    expect(claims).toMatchObject({ sub: 'ann', idp: TEAM, iss: TEAM, aud: WIKI, client_id: 'postern' })
    expect(claims).toMatchObject({ email: 'ann@example.com', groups: ['staff'] })
    const session = world.sessions.get(String(claims.sid))
    expect(session?.via).toBe('cli')
    expect(claims.session_expires_at).toBe(Math.floor((session?.expiresAt ?? 0) / 1000))
    expect(claims.auth_time).toBe(Math.floor((session?.authenticatedAt ?? 0) / 1000))
    expect(Number(claims.exp) - Number(claims.iat)).toBe(600)
    expect(await rows('wiki.localhost')).toMatchObject([{ allowed: true, actor: `${TEAM} ann` }])
  })

  test('the session is found by the application from its first token on, and ended by it', async () => {
    const own = await signIn(world)
    const { json } = await exchangeFor(world, own.access, SHORT)
    const { claims } = await world.keys.verify(json.access_token, { typ: 'at+jwt', audience: SHORT })
    const of = (hostname: string) =>
      endingOf(
        world.store.snapshot,
        ({ id }, cookies) => id === claims.sid && cookies.some(one => one.hostname === hostname),
      )
    expect(of('wiki.localhost').count).toBe(0)
    await Promise.all([exchangeFor(world, own.access, WIKI), exchangeFor(world, own.access, WIKI)])
    expect(of('wiki.localhost').count).toBe(1)
    const { cookies } = rowsOf(world.store.snapshot)
    expect(
      cookies
        .filter(one => one.session === claims.sid)
        .map(({ hostname }) => hostname)
        .sort(),
    ).toEqual(['short.localhost', 'wiki.localhost'])
    await world.store.apply([...of('wiki.localhost').changes], { action: 'session.revoke', actor: 'test' })
    expect((await exchangeFor(world, own.access, WIKI)).status).toBe(400)
    expect(rowsOf(world.store.snapshot).cookies.filter(one => one.session === claims.sid)).toEqual([])
  })

  test('the slash behind the origin is none; anything else is', async () => {
    expect((await exchangeFor(world, access, `${WIKI}/`)).status).toBe(200)
    for (const resource of [`${WIKI}/x`, `${WIKI}:8443`, `${WIKI}?x`, 'http://wiki.localhost', 'wiki.localhost', 'x'])
      expect(await exchangeFor(world, access, resource)).toMatchObject({
        status: 400,
        json: { error: 'invalid_target' },
      })
  })

  test('where the policy says no, there is none; it says whom to ask', async () => {
    const { status, json, headers } = await exchangeFor(world, access, SECRET)
    expect(status).toBe(400)
    expect(json.error).toBe('access_denied')
    expect(json.error_description).toContain('secret.localhost')
    expect(json.error_description).toContain('bob@example.com')
    expect(json.error_description).toContain(headers['postern-request-id'])
    expect(await rows('secret.localhost')).toMatchObject([{ allowed: false, code: 'ACCESS_DENIED' }])
    const bob = await signIn(world, await world.browser({ ...ANN, subject: 'bob', email: 'bob@example.com' }))
    expect((await exchangeFor(world, bob.access, SECRET)).status).toBe(200)
  })

  test.each([
    ['a rule about paths lets in', 'paths', 200],
    ['somebody is denied by name', 'banned', 400],
    ['a rule cannot be decided at all', 'broken', 400],
  ])('what only a request can decide is left to it: %s', async (_what, name, status) => {
    expect((await exchangeFor(world, access, `https://${name}.localhost`)).status).toBe(status)
  })

  test('who is not signed in does not learn which applications there are', async () => {
    const [known, unknown] = [
      await exchangeFor(world, 'x', WIKI),
      await exchangeFor(world, 'x', 'https://no.localhost'),
    ]
    expect(known.json).toEqual(unknown.json)
    expect(known).toMatchObject({ status: 400, json: { error: 'invalid_grant' } })
    expect((await exchangeFor(world, access, 'https://no.localhost')).json.error).toBe('invalid_target')
  })

  test('a sign-in that is too old for it is to be made again; it does for others', async () => {
    const old = await signIn(world, await world.browser(ANN, 120))
    expect(await exchangeFor(world, old.access, SHORT)).toMatchObject({
      status: 400,
      json: { error: 'login_required' },
    })
    expect((await exchangeFor(world, old.access, WIKI)).status).toBe(200)
    const fresh = await signIn(world)
    const { json } = await exchangeFor(world, fresh.access, SHORT)
    expect(Number(json.expires_in)).toBeLessThanOrEqual(60)
  })

  test('more groups than a header carries are left to the edge’s own records', async () => {
    const groups = Array.from({ length: 100 }, (_, n) => `a-group-with-a-long-name-${n}`)
    const many = await signIn(world, await world.browser({ ...ANN, subject: 'many', groups }))
    const { json } = await exchangeFor(world, many.access, WIKI)
    const { claims } = await world.keys.verify(json.access_token, { typ: 'at+jwt', audience: WIKI })
    expect(claims).not.toHaveProperty('groups')
  })
})

describe('row 11: a token is what it is, and nothing else', () => {
  test.each([
    ['the refresh token', () => refresh],
    ['an application’s token', async () => (await exchangeFor(world, access, WIKI)).json.access_token ?? ''],
    ['nothing', () => ''],
    ['anything', () => 'x'.repeat(43)],
  ])('%s is no team token', async (_what, token) => {
    expect((await exchangeFor(world, await token(), WIKI)).json.error).toMatch(/^invalid_(grant|request)$/)
    const headers = { authorization: `Bearer ${await token()}` }
    expect((await world.send('GET', '/oauth/userinfo', { headers })).status).toBe(401)
    expect((await exchangeFor(world, access, WIKI)).status).toBe(200)
  })

  test('the team token is no refresh token', async () => {
    expect((await refreshWith(world, access)).json.error).toBe('invalid_grant')
  })

  test('row 10: a token for one application is not for another, nor of another kind', async () => {
    const token = (await exchangeFor(world, access, WIKI)).json.access_token
    await expect(world.keys.verify(token, { typ: 'at+jwt', audience: SHORT })).rejects.toThrow()
    await expect(world.keys.verify(token, { typ: 'postern-identity+jwt', audience: WIKI })).rejects.toThrow()
    await world.keys.verify(token, { typ: 'at+jwt', audience: WIKI })
  })

  test.each([
    ['subject_token_type', { subject_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }],
    ['requested_token_type', { requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }],
    ['client', { client_id: 'other' }],
    ['grant', { grant_type: 'client_credentials' }],
    ['password', { grant_type: 'password', username: 'ann', password: 'x' }],
  ])('another %s is refused', async (_what, more) => {
    const sent = { grant_type: EXCHANGE, subject_token: access, subject_token_type: ACCESS_TOKEN, resource: WIKI }
    const { status, json } = await world.token({ ...sent, ...more })
    expect(status).toBeGreaterThanOrEqual(400)
    expect(json.error).toMatch(/^(invalid_request|invalid_client|unsupported_grant_type)$/)
    expect((await world.token(sent)).status).toBe(200)
  })

  test('two resources are none', async () => {
    const sent = { grant_type: EXCHANGE, client_id: 'postern', subject_token: access, subject_token_type: ACCESS_TOKEN }
    const body = new URLSearchParams(sent)
    body.append('resource', WIKI)
    body.append('resource', SHORT)
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    expect((await world.send('POST', '/oauth/token', { headers, body: body.toString() })).status).toBe(400)
  })
})

describe('where an application says who signs in for it', () => {
  const PATH = '/.well-known/oauth-protected-resource'

  test('RFC 9728', async () => {
    const { status, body } = await world.send('GET', PATH, { host: 'wiki.localhost' })
    expect(status).toBe(200)
    expect(JSON.parse(body)).toEqual({
      resource: WIKI,
      authorization_servers: [TEAM],
      bearer_methods_supported: ['header'],
    })
    expect((await world.send('HEAD', PATH, { host: 'wiki.localhost' })).status).toBe(200)
    expect((await world.send('POST', PATH, { host: 'wiki.localhost' })).status).toBe(405)
  })
})
