import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWTHeaderParameters, SignJWT } from 'jose'
import Provider, { type Configuration } from 'oidc-provider'

const CLIENT = 'postern-edge'
const SECRET = 'a secret of the edge and the provider'
const KEYS = await generateKeyPair('RS256', { extractable: true })
const KID = 'one'

/** An identity provider that does as it should: another make than the edge’s relying party. */
export interface Honest extends AsyncDisposable {
  readonly issuer: string
  readonly host: string
  readonly record: { readonly issuer: string; readonly clientId: string; readonly clientSecret: string }
  /** Who signs in next. */
  account: { sub: string; claims: Record<string, unknown> }
}

/**
 * @param team the edge’s origin, once it is known
 * @param post how it reaches the edge, whose certificate nobody knows
 */
export async function startHonest(
  id: string,
  team: () => string,
  post: (url: string, form: string) => Promise<number>,
): Promise<Honest> {
  let provider: Provider | undefined
  const server = createServer((request, response) => {
    void serve(request, response)
  })
  const { issuer, host } = await listening(server)
  const honest = {
    account: { sub: 'ada', claims: { email: 'ada@example.com', email_verified: true } as Record<string, unknown> },
  }
  const make = () => {
    const configuration: Configuration = {
      clients: [
        {
          client_id: CLIENT,
          client_secret: SECRET,
          redirect_uris: [`${team()}/login/callback/${id}`],
          backchannel_logout_uri: `${team()}/login/ended/${id}`,
          backchannel_logout_session_required: true,
        },
      ],
      jwks: { keys: [] },
      cookies: { keys: ['test'] },
      claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'] },
      scopes: ['openid', 'profile', 'email', 'groups'],
      features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true } },
      fetch: async (url, sent) => new Response(null, { status: await post(String(url), String(sent?.body)) }),
      pkce: { required: () => true },
      findAccount: (_ctx, sub) => ({ accountId: sub, claims: async () => ({ sub, ...honest.account.claims }) }),
      interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
      loadExistingGrant: async ctx => {
        const { client, session } = ctx.oidc
        const grant = new ctx.oidc.provider.Grant({
          clientId: client?.clientId ?? '',
          accountId: session?.accountId ?? '',
        })
        grant.addOIDCScope('openid profile email groups')
        await grant.save()
        return grant
      },
    }
    return exportJWK(KEYS.privateKey).then(jwk => {
      const keys = [{ ...jwk, alg: 'RS256', use: 'sig', kid: KID }]
      return new Provider(issuer, { ...configuration, jwks: { keys } as never })
    })
  }
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    provider ??= await make()
    if (!request.url?.startsWith('/interaction/')) return void provider.callback()(request, response)
    await provider.interactionFinished(request, response, { login: { accountId: honest.account.sub } })
  }
  return Object.assign(honest, {
    issuer,
    host,
    record: { issuer, clientId: CLIENT, clientSecret: SECRET },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  })
}

/** What a dishonest provider, or somebody between, may say. */
export interface Say {
  /** In place of the parameters of the authorization response. */
  response: (honest: Record<string, string>) => Record<string, string>
  /** In place of the claims of the id_token. */
  claims: (honest: Record<string, unknown>) => Record<string, unknown>
  /** In place of the whole id_token. */
  token: ((claims: Record<string, unknown>) => Promise<string> | string) | undefined
  userinfo: Record<string, unknown> | (() => Promise<Record<string, unknown>>)
  /** A status to answer with whatever the edge asks; 'hang' never answers. */
  broken: number | 'hang' | undefined
  metadata: Record<string, unknown>
}

export interface Fake extends AsyncDisposable {
  readonly issuer: string
  readonly host: string
  readonly record: { readonly issuer: string; readonly clientId: string }
  readonly say: Say
  /** Requests, by path. */
  readonly asked: string[]
  /** The parameters of the authorization requests, and of the token requests. */
  readonly authorizations: URLSearchParams[]
  readonly exchanges: URLSearchParams[]
  logoutToken(claims: Record<string, unknown>, header?: Partial<JWTHeaderParameters>): Promise<string>
}

/** An identity provider that says whatever a test wants. */
export async function startFake(): Promise<Fake> {
  const say: Say = {
    response: same => same,
    claims: same => same,
    token: undefined,
    userinfo: { sub: 'eve' },
    broken: undefined,
    metadata: {},
  }
  const asked: string[] = []
  const authorizations: URLSearchParams[] = []
  const exchanges: URLSearchParams[] = []
  const issued = new Map<string, URLSearchParams>()
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', issuer)
    asked.push(url.pathname)
    const isBroken = say.broken !== undefined && url.pathname !== '/auth'
    if (isBroken && say.broken === 'hang') return
    if (isBroken) return void response.writeHead(Number(say.broken)).end('it is broken')
    const answer = (value: unknown) => response.setHeader('content-type', 'application/json').end(JSON.stringify(value))
    if (url.pathname === '/.well-known/openid-configuration')
      return void answer({ ...metadataOf(issuer), ...say.metadata })
    if (url.pathname === '/jwks') return void publicJwk().then(key => answer({ keys: [key] }))
    if (url.pathname === '/userinfo')
      return void Promise.resolve(typeof say.userinfo === 'function' ? say.userinfo() : say.userinfo).then(answer)
    if (url.pathname === '/auth') {
      authorizations.push(url.searchParams)
      const code = `code-${authorizations.length}`
      issued.set(code, url.searchParams)
      const to = new URL(url.searchParams.get('redirect_uri') ?? '')
      const honest = { code, state: url.searchParams.get('state') ?? '', iss: issuer }
      for (const [name, value] of Object.entries(say.response(honest))) to.searchParams.set(name, value)
      return void response.writeHead(303, { location: to.href }).end()
    }
    void tokens(request).then(answer, () => response.writeHead(400).end('{"error":"invalid_grant"}'))
  })
  async function tokens(request: IncomingMessage): Promise<unknown> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const form = new URLSearchParams(Buffer.concat(chunks).toString())
    exchanges.push(form)
    const begun = issued.get(form.get('code') ?? '')
    if (begun === undefined) throw new Error('no such code')
    const now = Math.floor(Date.now() / 1000)
    const claims = say.claims({
      iss: issuer,
      sub: 'eve',
      aud: CLIENT,
      exp: now + 60,
      iat: now,
      nonce: begun.get('nonce') ?? '',
      email: 'eve@example.com',
      email_verified: true,
    })
    const id_token = await (say.token === undefined ? signed(claims) : say.token(claims))
    return { access_token: 'an access token', token_type: 'Bearer', expires_in: 60, id_token }
  }
  const { issuer, host } = await listening(server)
  return {
    issuer,
    host,
    say,
    asked,
    authorizations,
    exchanges,
    record: { issuer, clientId: CLIENT },
    logoutToken(claims, header = {}) {
      const now = Math.floor(Date.now() / 1000)
      const events = { 'http://schemas.openid.net/event/backchannel-logout': {} }
      const all = { iss: issuer, aud: CLIENT, iat: now, exp: now + 60, jti: String(Math.random()), events, ...claims }
      return signed(all, { typ: 'logout+jwt', ...header })
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

export function signed(claims: Record<string, unknown>, header: Partial<JWTHeaderParameters> = {}): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: KID, ...header }).sign(KEYS.privateKey)
}

/** A token that nobody signed. */
export function unsigned(claims: Record<string, unknown>, alg = 'none', signature = ''): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg, kid: KID })}.${part(claims)}.${signature}`
}

async function publicJwk() {
  return { ...(await exportJWK(KEYS.publicKey)), alg: 'RS256', use: 'sig', kid: KID }
}

function metadataOf(issuer: string) {
  return {
    issuer,
    authorization_endpoint: `${issuer}/auth`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/jwks`,
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256', 'none', 'HS256'],
    authorization_response_iss_parameter_supported: true,
  }
}

async function listening(server: ReturnType<typeof createServer>): Promise<{ issuer: string; host: string }> {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { issuer: `http://127.0.0.1:${port}`, host: `127.0.0.1:${port}` }
}
