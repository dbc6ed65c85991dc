import type { Provider } from 'oidc-provider'
import type { Exchange } from '../front/exchange.ts'
import { methodNotAllowed } from '../team/site.ts'
import { sendJson } from './json.ts'
import type { AuthorizationServerParts } from './needs.ts'

/** Who signed in, for who holds the team's token: what a program says of itself to its person. */
export async function serveUserinfo(
  exchange: Exchange,
  provider: Provider,
  { sessions }: Pick<AuthorizationServerParts, 'sessions'>,
): Promise<void> {
  if (exchange.method !== 'GET') return methodNotAllowed(exchange, 'GET')
  const [sent = '', ...more] = exchange.presented.headers.authorization ?? []
  const [, token] = /^bearer ([!-~]+)$/i.exec(sent) ?? []
  const found = token === undefined || more.length > 0 ? undefined : await provider.AccessToken.find(token)
  const session = found === undefined ? undefined : sessions.get(found.accountId)
  if (session === undefined) {
    const error = { error: 'invalid_token', error_description: 'the token is not good, or not good any more' }
    const challenge = sent === '' ? 'Bearer' : 'Bearer error="invalid_token"'
    return sendJson(exchange, 401, error, { 'www-authenticate': challenge })
  }
  const { person, id, authenticatedAt, expiresAt } = session
  const { issuer, subject, name, email, groups } = person
  sendJson(exchange, 200, {
    sub: subject,
    idp: issuer,
    name,
    email,
    groups,
    sid: id,
    auth_time: Math.floor(authenticatedAt / 1000),
    session_expires_at: Math.floor(expiresAt / 1000),
  })
}
