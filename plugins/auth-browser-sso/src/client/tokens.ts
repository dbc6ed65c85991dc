import { type Account, PosternError } from '@postern/interface'
import { type Answered, type Asking, askJson, OAuthError, postForm } from './asking.ts'
import type { Team } from './discovery.ts'

/** Who we are at every team's authorization server: a program that anybody can have, hence without a secret. */
export const CLIENT_ID = 'postern'
export const SCOPE = 'postern'

/** What a sign-in gives. Both are good at the team's authorization server only. */
export interface TeamTokens {
  readonly refreshToken: string
  readonly accessToken: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface ApplicationToken {
  readonly token: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** Asks the token endpoint for a sign-in's tokens. @throws OAuthError, PosternError */
export async function grant(team: Team, fields: Readonly<Record<string, string>>, asking: Asking): Promise<TeamTokens> {
  const answer = await postForm(team.token, { ...fields, client_id: CLIENT_ID }, asking)
  return {
    accessToken: textIn(answer, 'access_token', team),
    refreshToken: textIn(answer, 'refresh_token', team),
    expiresAt: expiryOf(answer),
  }
}

/** A token for one application, after its policy was asked (RFC 8693). @throws OAuthError, PosternError */
export async function exchange(
  team: Team,
  accessToken: string,
  resource: string,
  asking: Asking,
): Promise<ApplicationToken> {
  const answer = await postForm(
    team.token,
    {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      client_id: CLIENT_ID,
      subject_token: accessToken,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource,
    },
    asking,
  )
  return { token: textIn(answer, 'access_token', team), expiresAt: expiryOf(answer) }
}

/** Ends the sign-in: its tokens, those of its applications, and the streams they opened. @throws OAuthError, PosternError */
export async function revoke(team: Team, refreshToken: string, asking: Asking): Promise<void> {
  const fields = { token: refreshToken, token_type_hint: 'refresh_token', client_id: CLIENT_ID }
  await postForm(team.revocation, fields, asking)
}

/** Whose sign-in it is, for the person to read. @throws PosternError */
export async function accountOf(team: Team, accessToken: string, asking: Asking): Promise<Account> {
  const headers = { authorization: `Bearer ${accessToken}` }
  const { status, value } = await askJson(team.userinfo, { headers }, asking)
  const { sub, name, email, session_expires_at: ends } = value
  if (status !== 200 || typeof sub !== 'string') throw nonsense(team)
  return {
    issuer: team.issuer,
    subject: sub,
    ...(typeof name === 'string' && { name }),
    ...(typeof email === 'string' && { email }),
    ...(typeof ends === 'number' && { expiresAt: ends * 1000 }),
  }
}

/** What an answer of the authorization server means to who wanted to reach an application. */
export function refusalOf(error: unknown, team: Team, resource: string): unknown {
  if (!(error instanceof OAuthError)) return error
  const { code, description, requestId } = error
  const facts = { cause: error, speaker: 'edge', ...(requestId && { requestId }) } as const
  const said = description?.slice(0, 500)
  const why = said === undefined ? '' : `: ${said}`
  if (code === 'access_denied')
    return new PosternError('ACCESS_DENIED', said ?? `the policy of ${resource} does not let you in`, facts)
  if (code === 'invalid_target')
    return new PosternError('NOT_FOUND', `${team.issuer} knows no application at ${resource}${why}`, facts)
  if (code === 'temporarily_unavailable')
    return new PosternError('EDGE_UNAVAILABLE', `${team.issuer} cannot sign anybody in now${why}`, facts)
  return new PosternError(
    'AUTH_REJECTED',
    `${team.issuer} did not accept the sign-in (${code.slice(0, 60)})${why}`,
    facts,
  )
}

function textIn({ value }: Answered, name: string, team: Team): string {
  const text = value[name]
  // It becomes a header's value.
  if (typeof text !== 'string' || !/^[\x21-\x7e]{1,16384}$/.test(text)) throw nonsense(team)
  return text
}

function expiryOf({ value: { expires_in: seconds } }: Answered): number {
  return Date.now() + (typeof seconds === 'number' && seconds > 0 ? Math.min(seconds, 3600) : 0) * 1000
}

function nonsense({ issuer }: Team): PosternError {
  return new PosternError('EDGE_PROTOCOL', `${issuer} answered something that cannot be used`, { speaker: 'client' })
}
