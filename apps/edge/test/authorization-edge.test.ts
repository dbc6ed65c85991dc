import { readFileSync } from 'node:fs'
import { connect } from 'node:http2'
import * as openid from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { nextOf } from './sign-in-browser.ts'
import { people, type SignInWorld, startSignInWorld } from './sign-in-world.ts'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const CALLBACK = 'http://127.0.0.1:51234/callback'

/** What the program may know of its person. */
const TOLD = ['sub', 'idp', 'name', 'email', 'groups', 'sid', 'auth_time', 'session_expires_at']

let w: SignInWorld
let client: openid.Configuration
beforeAll(async () => {
  w = await startSignInWorld()
  await w.user('ada@example.com')
  await w.application('wiki', people('ada@example.com'))
  await w.application('secret', people('bob@example.com'))
  const options = { algorithm: 'oauth2', [openid.customFetch]: overHttp2() } as const
  client = await openid.discovery(new URL(w.team), 'postern', undefined, openid.None(), options)
  client[openid.customFetch] = overHttp2()
})
afterAll(async () => w[Symbol.asyncDispose]())

/** openid-client over HTTP/2, one connection a request; browsers in these tests speak HTTP/1.1. */
function overHttp2(): openid.CustomFetch {
  return async (address, { method, headers, body }) => {
    const url = new URL(address)
    const ca = readFileSync(w.world.edge.caFile ?? '')
    const session = connect(`https://127.0.0.1:${w.world.edge.port}`, { ca, servername: url.hostname })
    try {
      const path = url.pathname + url.search
      const stream = session.request({ ...headers, ':method': method, ':path': path, ':authority': url.host })
      const head = new Promise<Record<string, unknown>>((resolve, reject) => {
        stream.once('response', resolve)
        stream.once('error', reject)
      })
      stream.end(body === undefined || body === null ? undefined : String(body))
      const { ':status': status, ...received } = await head
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk as Buffer)
      const fields = Object.entries(received).map(([name, value]): [string, string] => [name, String(value)])
      return new Response(Buffer.concat(chunks), { status: Number(status), headers: fields })
    } finally {
      session.close()
    }
  }
}

async function signIn(): Promise<openid.TokenEndpointResponse> {
  const pkceCodeVerifier = openid.randomPKCECodeVerifier()
  const expectedState = openid.randomState()
  const url = openid.buildAuthorizationUrl(client, {
    redirect_uri: CALLBACK,
    scope: 'postern',
    state: expectedState,
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  })
  const browser = w.browser()
  const question = await w.withPassword(browser, url.href, 'ada@example.com')
  expect(question.body).toContain('Let the <code>postern</code> command in?')
  const action = /action="([^"]+)"/.exec(question.body)?.[1] ?? ''
  const hidden = /name="csrf"[^>]* value="([^"]+)"/.exec(question.body)?.[1] ?? ''
  const done = await browser.ask(new URL(action, w.team), { form: { csrf: hidden, answer: 'yes' } })
  const on = nextOf(done)
  expect(on?.origin).toBe(w.team)
  const back = nextOf(await browser.ask(on ?? ''))
  expect(back?.href).toMatch(/^http:\/\/127\.0\.0\.1:51234\/callback\?code=/)
  return openid.authorizationCodeGrant(client, back ?? new URL(w.team), { pkceCodeVerifier, expectedState })
}

const exchange = (subject_token: string, name: string) =>
  openid.genericGrantRequest(client, EXCHANGE, {
    subject_token,
    subject_token_type: ACCESS_TOKEN,
    resource: w.origin(name),
  })

describe('a program at a real edge', () => {
  test('a person signs in once, with their password; each application gets its own token, and takes no other', async () => {
    const { access_token: access } = await signIn()
    const { access_token: token } = await exchange(access, 'wiki')
    const browser = w.browser()
    const headers = { 'postern-access-token': token, accept: 'application/json' }
    const before = w.reached.length
    expect(await browser.ask(`${w.origin('wiki')}/x`, { headers })).toMatchObject({ status: 200 })
    expect(w.reached.length).toBe(before + 1)
    expect(w.reached.at(-1)?.headers['postern-access-token']).toBeUndefined()
    await expect(exchange(access, 'secret')).rejects.toMatchObject({ error: 'access_denied' })
    expect(await browser.ask(`${w.origin('secret')}/x`, { headers })).toMatchObject({ status: 401 })
    expect(w.reached.length).toBe(before + 1)
  })

  test('row 11: the team’s token, or the refresh token, opens no application, as header or cookie', async () => {
    const { access_token: access, refresh_token: refresh = '' } = await signIn()
    const { access_token: token } = await exchange(access, 'wiki')
    const before = w.reached.length
    const ask = (headers: Record<string, string>) =>
      w.browser().ask(`${w.origin('wiki')}/x`, { headers: { accept: 'application/json', ...headers } })
    for (const wrong of [access, refresh]) expect((await ask({ 'postern-access-token': wrong })).status).toBe(401)
    for (const wrong of [access, refresh, token])
      expect((await ask({ cookie: `__Host-postern-session=${wrong}` })).status).toBe(401)
    expect(w.reached.length).toBe(before)
    const api = { authorization: `Bearer ${token}`, accept: 'application/json' }
    expect((await w.browser().ask(`${w.team}/api/v1/applications`, { headers: api })).status).toBe(401)
    expect((await ask({ 'postern-access-token': token })).status).toBe(200)
  })

  test('signed out, what was opened with it is over at once', async () => {
    const { access_token: access, refresh_token: refresh = '' } = await signIn()
    const { access_token: token } = await exchange(access, 'wiki')
    const headers = { 'postern-access-token': token, accept: 'application/json' }
    expect((await w.browser().ask(`${w.origin('wiki')}/x`, { headers })).status).toBe(200)
    await openid.tokenRevocation(client, refresh)
    const before = w.reached.length
    expect((await w.browser().ask(`${w.origin('wiki')}/x`, { headers })).status).toBe(401)
    expect(w.reached.length).toBe(before)
    await expect(openid.refreshTokenGrant(client, refresh)).rejects.toMatchObject({ error: 'invalid_grant' })
  })

  test('it is found from the application, and so are the keys', async () => {
    const browser = w.browser()
    const refused = await browser.ask(`${w.origin('wiki')}/x`, { headers: { accept: 'application/json' } })
    const [, found = ''] = /resource_metadata="([^"]+)"/.exec(String(refused.headers['www-authenticate'])) ?? []
    expect(JSON.parse((await browser.ask(found)).body)).toMatchObject({
      resource: w.origin('wiki'),
      authorization_servers: [w.team],
    })
    const { jwks_uri: keys = '' } = client.serverMetadata()
    expect(JSON.parse((await browser.ask(keys)).body).keys.length).toBeGreaterThan(0)
    const unknown = await browser.ask(`${w.origin('no')}/.well-known/oauth-protected-resource`)
    const other = await browser.ask(`${w.origin('no')}/x`)
    expect(unknown.status).toBe(404)
    expect(unknown.status).toBe(other.status)
  })

  test('row 43: who one is is told to the token’s own program alone, and nothing that a provider gave', async () => {
    const { access_token: access, refresh_token: refresh = '' } = await signIn()
    const { access_token: token } = await exchange(access, 'wiki')
    const url = `${w.team}/oauth/userinfo`
    const evil = { origin: 'https://evil.example', accept: 'application/json', 'sec-fetch-site': 'cross-site' }
    const ask = (bearer: string, method = 'GET') =>
      w.browser().ask(url, { method, headers: { ...evil, authorization: `Bearer ${bearer}` } })
    const told = await ask(access)
    expect(told.status).toBe(200)
    const who = JSON.parse(told.body)
    expect(who).toMatchObject({ email: 'ada@example.com', idp: w.team })
    expect(Object.keys(who).filter(name => !TOLD.includes(name))).toEqual([])
    // A page elsewhere can neither read it nor ask whether it may; cookies say nothing here.
    const preflight = await w.browser().ask(url, {
      method: 'OPTIONS',
      headers: { ...evil, 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' },
    })
    for (const { headers } of [told, preflight])
      expect(Object.keys(headers).filter(name => name.startsWith('access-control-'))).toEqual([])
    expect(preflight.status).toBe(405)
    const browser = w.browser()
    await w.withPassword(browser, w.origin('wiki'), 'ada@example.com')
    expect((await browser.ask(url, { headers: { accept: 'application/json' } })).status).toBe(401)
    // Neither an application’s token nor the one that renews.
    for (const other of [token, refresh]) expect((await ask(other)).status).toBe(401)
  })
})
