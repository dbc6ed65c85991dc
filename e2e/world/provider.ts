import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'

/** An identity provider that signs everybody in as one person at once, and shows what passed through its hands. */
export interface OpenProvider extends AsyncDisposable {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string
  /** Codes, states, nonces and tokens, by what they are. */
  readonly secrets: ReadonlyMap<string, string>
  /** The `Referer` of everybody who came. */
  readonly referers: readonly string[]
}

const KEY = 'one'

/** At `https://idp.localhost:PORT`, for someone with this email. */
export async function startProvider(tls: { cert: string; key: string }, email: string): Promise<OpenProvider> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const secrets = new Map<string, string>()
  const referers: string[] = []
  const clientId = 'postern'
  const clientSecret = random('client-secret')
  let count = 0
  const keep = (name: string, value: string | null): string => {
    if (value !== null) secrets.set(`provider’s ${name} ${count}`, value)
    return value ?? ''
  }
  const signed = (claims: object): string => {
    const [head, body] = [{ alg: 'ES256', kid: KEY, typ: 'JWT' }, claims].map(one =>
      Buffer.from(JSON.stringify(one)).toString('base64url'),
    )
    const bytes = sign('sha256', Buffer.from(`${head}.${body}`), { key: privateKey, dsaEncoding: 'ieee-p1363' })
    return `${head}.${body}.${bytes.toString('base64url')}`
  }
  const nonces = new Map<string, string>()
  const pages: Record<string, (url: URL, body: string) => object | string> = {
    '/.well-known/openid-configuration': ({ origin }) => ({
      issuer: origin,
      authorization_endpoint: `${origin}/authorize`,
      token_endpoint: `${origin}/token`,
      jwks_uri: `${origin}/jwks`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
      code_challenge_methods_supported: ['S256'],
    }),
    '/jwks': () => ({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: KEY, use: 'sig', alg: 'ES256' }] }),
    '/authorize': ({ searchParams }) => {
      count += 1
      const back = new URL(searchParams.get('redirect_uri') ?? '')
      const code = keep('code', random('code'))
      nonces.set(code, searchParams.get('nonce') ?? '')
      back.searchParams.set('code', code)
      back.searchParams.set('state', keep('state', searchParams.get('state')))
      back.searchParams.set('iss', issuer())
      return back.href
    },
    '/token': (_url, body) => {
      const nonce = nonces.get(new URLSearchParams(body).get('code') ?? '')
      const now = Math.floor(Date.now() / 1000)
      const claims = { sub: 'prov', email, email_verified: true, nonce, auth_time: now }
      const id_token = keep('ID token', signed({ iss: issuer(), aud: clientId, iat: now, exp: now + 300, ...claims }))
      const access_token = keep('access token', random('access'))
      return {
        access_token,
        refresh_token: keep('refresh token', random('refresh')),
        id_token,
        token_type: 'Bearer',
        expires_in: 300,
      }
    },
  }
  const server = createServer(tls, (request, response) => void answer(request, response))
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '/', issuer())
    referers.push(request.headers.referer ?? '')
    const chunks = await request.toArray()
    const said = pages[url.pathname]?.(url, Buffer.concat(chunks).toString())
    if (said === undefined) response.writeHead(404).end()
    else if (typeof said === 'string') response.writeHead(303, { location: said }).end()
    else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(said))
  }
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', () => resolve()))
  const issuer = () => `https://idp.localhost:${(server.address() as AddressInfo).port}`
  return {
    issuer: issuer(),
    clientId,
    clientSecret,
    secrets,
    referers,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}

function random(name: string): string {
  return `${name}-${randomBytes(18).toString('base64url')}`
}
