import { createHash, randomUUID } from 'node:crypto'

export const TEAM = 'https://team.postern.test'

type Fields = Record<string, string>

/** One sign-in, and the tokens that came of it. */
interface Session {
  over: boolean
  refreshToken: string
  /** Good until the current one is first used. */
  previous: string | undefined
}

/**
 * A team's authorization server as far as a client sees it, in memory: code with PKCE, device code, refresh with rotation, token
 * exchange, revocation, and the documents of the applications. What a test wants to be otherwise, it sets.
 */
export class TeamServer {
  readonly seen: { readonly url: URL; readonly fields: Fields; readonly headers: Headers }[] = []
  readonly sessions: Session[] = []
  /** What is answered instead, by path. */
  readonly instead = new Map<string, () => Response | Promise<Response>>()
  readonly metadata: Record<string, unknown> = {}
  /** What an application says of itself. */
  resource: Record<string, unknown> = {}
  /** Who signs in. */
  person = 'ann'
  /** Answers of an exchange other than a token, one after the other. */
  readonly refusals: string[] = []
  /** Answers to who asks for a device's code, one after the other, and then the tokens. */
  readonly deviceAnswers: string[] = []
  expiresIn = 600
  readonly #codes = new Map<string, { readonly challenge: string; readonly redirectUri: string }>()
  readonly #accessTokens = new Map<string, Session>()
  #tokens = 0

  readonly fetch = async (url: URL, init: RequestInit = {}): Promise<Response> => {
    init.signal?.throwIfAborted()
    const fields = Object.fromEntries(new URLSearchParams(String(init.body ?? '')))
    this.seen.push({ url, fields, headers: new Headers(init.headers) })
    const instead = this.instead.get(url.pathname)
    if (instead) return instead()
    if (url.pathname === '/.well-known/oauth-protected-resource')
      return json(200, { resource: url.origin, authorization_servers: [TEAM], ...this.resource })
    if (url.origin !== TEAM) return json(404, {})
    if (url.pathname === '/.well-known/oauth-authorization-server') return json(200, this.#document())
    if (url.pathname === '/oauth/token') return this.#token(fields)
    if (url.pathname === '/oauth/revoke') return this.#revoke(fields)
    if (url.pathname === '/oauth/userinfo') return this.#userinfo(new Headers(init.headers))
    if (url.pathname === '/oauth/device_authorization')
      return json(200, {
        device_code: 'device-code',
        user_code: 'BCDF-GHJK',
        verification_uri: `${TEAM}/device`,
        expires_in: 600,
        interval: 0.01,
      })
    return json(404, {})
  }

  /** How often a path was asked. */
  count(path: string, fields: Fields = {}): number {
    return this.seen.filter(
      one => one.url.pathname === path && Object.entries(fields).every(([name, value]) => one.fields[name] === value),
    ).length
  }

  /** What the authorization endpoint answers to who says yes: where it sends the browser. */
  approve(url: URL): URL {
    const wanted = Object.fromEntries(url.searchParams)
    if (url.origin + url.pathname !== `${TEAM}/oauth/authorize`) throw new Error(`not asked here: ${url}`)
    if (wanted.response_type !== 'code' || wanted.client_id !== 'postern' || wanted.scope !== 'postern')
      throw new Error(`not asked so: ${url}`)
    if (wanted.code_challenge_method !== 'S256') throw new Error('no PKCE')
    if (!/^http:\/\/(127\.0\.0\.1|\[::1\]):\d+\/callback$/.test(wanted.redirect_uri ?? ''))
      throw new Error('sent elsewhere')
    const code = randomUUID()
    this.#codes.set(code, { challenge: wanted.code_challenge ?? '', redirectUri: wanted.redirect_uri ?? '' })
    const back = new URL(wanted.redirect_uri ?? '')
    back.search = String(new URLSearchParams({ code, state: wanted.state ?? '', iss: TEAM }))
    return back
  }

  /** Ends every sign-in, as an administrator does. */
  endAll(): void {
    for (const session of this.sessions) session.over = true
  }

  #document(): object {
    return {
      issuer: TEAM,
      authorization_endpoint: `${TEAM}/oauth/authorize`,
      token_endpoint: `${TEAM}/oauth/token`,
      device_authorization_endpoint: `${TEAM}/oauth/device_authorization`,
      revocation_endpoint: `${TEAM}/oauth/revoke`,
      userinfo_endpoint: `${TEAM}/oauth/userinfo`,
      code_challenge_methods_supported: ['S256'],
      ...this.metadata,
    }
  }

  #token(fields: Fields): Response {
    const kind = fields.grant_type?.split(':').at(-1)
    if (fields.client_id !== 'postern') return json(400, { error: 'invalid_client' })
    if (kind === 'authorization_code') return this.#redeem(fields)
    if (kind === 'refresh_token') return this.#refresh(fields.refresh_token ?? '')
    if (kind === 'token-exchange') return this.#exchange(fields)
    const answer = this.deviceAnswers.shift()
    return answer === undefined ? this.#begin() : json(400, { error: answer })
  }

  #redeem({ code = '', code_verifier: verifier = '', redirect_uri: redirectUri }: Fields): Response {
    const known = this.#codes.get(code)
    this.#codes.delete(code)
    const challenge = createHash('sha256').update(verifier).digest('base64url')
    if (!known || known.challenge !== challenge || known.redirectUri !== redirectUri)
      return json(400, { error: 'invalid_grant' })
    return this.#begin()
  }

  #begin(): Response {
    const session: Session = { over: false, refreshToken: randomUUID(), previous: undefined }
    this.sessions.push(session)
    return this.#tokensOf(session)
  }

  #refresh(presented: string): Response {
    const session = this.sessions.find(one => one.refreshToken === presented || one.previous === presented)
    if (!session || session.over) return json(400, { error: 'invalid_grant' })
    if (presented === session.refreshToken) {
      session.previous = presented
      session.refreshToken = randomUUID()
    }
    return this.#tokensOf(session)
  }

  #tokensOf(session: Session): Response {
    const accessToken = randomUUID()
    this.#accessTokens.set(accessToken, session)
    return json(200, {
      access_token: accessToken,
      refresh_token: session.refreshToken,
      expires_in: this.expiresIn,
      token_type: 'Bearer',
    })
  }

  #exchange({ subject_token: subject = '', resource }: Fields): Response {
    const refusal = this.refusals.shift()
    if (refusal !== undefined) return json(400, { error: refusal, error_description: 'as the test wants' })
    const session = this.#accessTokens.get(subject)
    if (!session || session.over) return json(400, { error: 'invalid_grant' })
    return json(200, { access_token: `token-${++this.#tokens}-of-${resource}`, expires_in: this.expiresIn })
  }

  #revoke({ token }: Fields): Response {
    for (const session of this.sessions) if (session.refreshToken === token) session.over = true
    return new Response(null, { status: 200 })
  }

  #userinfo(headers: Headers): Response {
    const session = this.#accessTokens.get(headers.get('authorization')?.replace('Bearer ', '') ?? '')
    if (!session || session.over) return json(401, {})
    return json(200, { sub: this.person, idp: TEAM, email: 'ann@example.com', session_expires_at: 4_102_444_800 })
  }
}

function json(status: number, value: object): Response {
  return new Response(JSON.stringify(value), { status, headers: { 'postern-request-id': 'request-1' } })
}
