import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Logger, ReceivedHeaders } from '@postern/interface'
import type { Rule } from '@postern/policy'
import { type ApplicationOptions, openStore, type Store } from '@postern/store'
import * as openid from 'openid-client'
import { AuthorizationServer } from '../src/authorization-server/authorization-server.ts'
import { protectedResource } from '../src/authorization-server/protected-resource.ts'
import { FailureCounter } from '../src/authorize/attempts.ts'
import { type Exchange, HttpExchange } from '../src/front/exchange.ts'
import { requestedHostname } from '../src/front/hostname.ts'
import { canonicalTarget } from '../src/front/target.ts'
import { Seal } from '../src/keys/seal.ts'
import { TeamKeys } from '../src/keys/team-keys.ts'
import { Origins } from '../src/origins.ts'
import type { Person, SessionRecord } from '../src/sign-in/session-record.ts'
import { Sessions } from '../src/sign-in/sessions.ts'
import { readCookie, TEAM_COOKIE } from '../src/team/cookies.ts'
import { sendRedirect } from '../src/team/page.ts'
import { TeamSite } from '../src/team/site.ts'
import { type Answer, Browser, FORM, goOnOf, pathOf, type Sender, TEAM } from './authorization-browser.ts'
import { call, quiet } from './world.ts'

export const WIKI = 'https://wiki.localhost'
export const SECRET = 'https://secret.localhost'
export const SHORT = 'https://short.localhost'
export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
export const CALLBACK = 'http://127.0.0.1:51234/callback'

export const ANN: Person = {
  issuer: TEAM,
  subject: 'ann',
  name: 'Ann',
  email: 'ann@example.com',
  groups: ['staff'],
  claims: {},
}

/** The authorization server behind a real HTTP server, with a real store, sessions and keys; browsers sign in elsewhere. */
export interface AuthorizationWorld extends AsyncDisposable {
  readonly store: Store
  readonly sessions: Sessions
  readonly keys: TeamKeys
  readonly server: AuthorizationServer
  /** openid-client, which knows nothing but the issuer and the client’s name. */
  readonly client: openid.Configuration
  readonly logged: string[]
  readonly send: Sender
  token(parameters: Record<string, string>): Promise<Answer & { readonly json: Record<string, string> }>
  /** A browser in which somebody is signed in, unless `person` is undefined. */
  browser(person?: Person | undefined, ageSeconds?: number): Promise<Browser>
}

export interface Options {
  readonly pollSeconds?: number
}

export async function startAuthorization({ pollSeconds }: Options = {}): Promise<AuthorizationWorld> {
  const stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'postern-as-'))
  stack.defer(() => rm(folder, { recursive: true }))
  const store = stack.use(await openStore({ path: join(folder, 'edge.db') }, call))
  const logged: string[] = []
  const log: Logger = {
    ...quiet,
    error: (message, fields) => void logged.push(message + JSON.stringify(fields)),
  }
  const origins = new Origins('edge.localhost', () => 443)
  const sessions = stack.use(new Sessions(store, log))
  const keys = stack.use(await TeamKeys.open({ store, seal: await Seal.open(folder, false), origins, log }))
  const server = stack.use(
    new AuthorizationServer({
      store,
      origins,
      sessions,
      keys,
      signIn: gateOf(sessions),
      authorizer: { isKnockNoted: () => true },
      failures: new FailureCounter(),
      log,
      ...(pollSeconds !== undefined && { pollSeconds }),
    }),
  )
  const site = new TeamSite({ rooms: [server], log })
  const ownPaths = protectedResource(origins)
  const send = await listen(stack, exchange => {
    const application = store.snapshot.applications.get(exchange.hostname)
    if (application === undefined) void site.serve(exchange)
    else void ownPaths.serveOnApplication(exchange, application)
  })
  await putApplications(store)
  const discovered = await openid.discovery(new URL(TEAM), 'postern', undefined, openid.None(), {
    algorithm: 'oauth2',
    [openid.customFetch]: fetchOver(send),
  })
  discovered[openid.customFetch] = fetchOver(send)
  return {
    store,
    sessions,
    keys,
    server,
    client: discovered,
    logged,
    send,
    async token(parameters) {
      const body = new URLSearchParams({ client_id: 'postern', ...parameters }).toString()
      const answer = await send('POST', '/oauth/token', { headers: FORM, body })
      return { ...answer, json: JSON.parse(answer.body) }
    },
    async browser(person = ANN, ageSeconds = 0) {
      const how = { via: 'browser', remoteAddress: '127.0.0.1', requestId: 'test' } as const
      const { cookie } = await sessions.open(person, { ...how, authenticatedAt: Date.now() - ageSeconds * 1000 })
      return new Browser(send, cookie)
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

/** What the sign-in pages are to the authorization server. */
function gateOf(sessions: Sessions) {
  return {
    require(exchange: Exchange, { returnTo, maxAgeSeconds }: { returnTo: string; maxAgeSeconds?: number }) {
      const session = sessions.ofTeamCookie(readCookie(exchange.presented, TEAM_COOKIE) ?? '')
      if (session !== undefined && isFresh(session, maxAgeSeconds)) return session
      sendRedirect(exchange, `/login?to=${encodeURIComponent(returnTo)}`)
      return undefined
    },
  }
}

function isFresh({ authenticatedAt }: SessionRecord, maxAgeSeconds = Number.POSITIVE_INFINITY): boolean {
  return Date.now() - authenticatedAt <= maxAgeSeconds * 1000
}

async function putApplications(store: Store): Promise<void> {
  const put = (name: string, rules: readonly Rule[], options?: ApplicationOptions) => {
    const value = { id: name, hostname: `${name}.localhost`, tunnelId: 'home', protocols: ['http'], rules }
    return { put: 'application', value: { ...value, ...(options && { options }) } } as const
  }
  const everyone = { name: 'all', action: 'allow', include: [{ everyone: true }] } as const
  const bob = { name: 'bob', action: 'allow', include: [{ email: 'bob@example.com' }] } as const
  const admin = { name: 'admin', action: 'deny', include: [{ path: ['/admin'] }] } as const
  await store.apply(
    [
      { put: 'tunnel', value: { id: 'home', name: 'home' } },
      put('wiki', [admin, everyone]),
      put('secret', [bob], { contact: 'bob@example.com' }),
      put('short', [everyone], { sessionSeconds: 60 }),
      put('paths', [{ ...everyone, require: [{ path: ['/docs'] }] }]),
      put('banned', [everyone, { name: 'not ann', action: 'deny', include: [{ email: 'ann@example.com' }] }]),
      put('broken', [{ name: 'broken', action: 'allow', include: [{ nonsense: true }] }, admin] as unknown as Rule[]),
    ],
    { action: 'test', actor: 'test' },
  )
}

async function listen(stack: AsyncDisposableStack, serve: (exchange: Exchange) => void): Promise<Sender> {
  const server = createServer((incoming, outgoing) => {
    const { method = '', url = '', headersDistinct } = incoming
    const headers = headersDistinct as ReceivedHeaders
    const target = canonicalTarget(url)
    const presented = { method, url: target, headers, remoteAddress: incoming.socket.remoteAddress ?? '' }
    const hostname = requestedHostname(headers.host, url)
    serve(new HttpExchange(incoming, outgoing, { method, hostname, target, presented }))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  stack.defer(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  return (method, path, { headers = {}, body, host = 'edge.localhost' } = {}) =>
    new Promise((resolve, reject) => {
      const all = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value].flat()]))
      const asked = request({ port, host: '127.0.0.1', method, path, headers: { ...all, host } }, async answer => {
        const chunks: Buffer[] = []
        for await (const chunk of answer) chunks.push(chunk as Buffer)
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks).toString() })
      })
      asked.on('error', reject)
      asked.end(body)
    })
}

/** `fetch` for openid-client: `https` to whoever asks, and our server behind it. */
function fetchOver(send: Sender): openid.CustomFetch {
  return async (url, { method, headers, body }) => {
    const { pathname, search, host } = new URL(url)
    const sent = body === undefined || body === null ? undefined : String(body)
    const answer = await send(method, pathname + search, { headers, host, ...(sent !== undefined && { body: sent }) })
    const received = Object.entries(answer.headers).map(([name, value]): [string, string] => [name, String(value)])
    return new Response(answer.status === 204 ? null : answer.body, { status: answer.status, headers: received })
  }
}

export interface Begun {
  readonly url: URL
  readonly verifier: string
  readonly state: string
}

/** Begins a sign-in as a program does. */
export async function begin(world: AuthorizationWorld, more: Record<string, string> = {}): Promise<Begun> {
  const verifier = openid.randomPKCECodeVerifier()
  const state = openid.randomState()
  const parameters = {
    redirect_uri: CALLBACK,
    scope: 'postern',
    state,
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...more,
  }
  return { url: openid.buildAuthorizationUrl(world.client, parameters), verifier, state }
}

/** What the program’s own listener is asked with, after the person said yes. */
export async function approve(browser: Browser, url: URL, answer = 'yes'): Promise<URL> {
  const started = await browser.get(url.href)
  const confirm = started.headers.location ?? ''
  const page = await browser.get(confirm)
  const done = await browser.submit(page, pathOf(confirm), { answer })
  const back = await browser.get(goOnOf(done))
  return new URL(back.headers.location ?? '')
}

/** The whole way: tokens of the team. */
export async function signIn(
  world: AuthorizationWorld,
  browser?: Browser,
  more: Record<string, string> = {},
): Promise<{ readonly access: string; readonly refresh: string }> {
  const { url, verifier, state } = await begin(world, more)
  const back = await approve(browser ?? (await world.browser()), url)
  const checks = { pkceCodeVerifier: verifier, expectedState: state }
  const { access_token: access, refresh_token: refresh = '' } = await openid.authorizationCodeGrant(
    world.client,
    back,
    checks,
  )
  return { access, refresh }
}

export const refreshWith = (world: AuthorizationWorld, refresh: string) =>
  world.token({ grant_type: 'refresh_token', refresh_token: refresh })

export const exchangeFor = (world: AuthorizationWorld, access: string, resource: string) =>
  world.token({ grant_type: EXCHANGE, subject_token: access, subject_token_type: ACCESS_TOKEN, resource })
