import { PosternError, type Presented } from '@postern/interface'
import type { Exchange } from '../front/exchange.ts'

/** A sign-in of the team, on the team domain. */
export const TEAM_COOKIE = '__Host-postern-team'
/** A sign-in to one application, on its hostname. */
export const SESSION_COOKIE = '__Host-postern-session'
/** Nothing but a number that tells one browser from another, on either, while somebody signs in. */
export const LOGIN_COOKIE = '__Host-postern-login'

/**
 * A cookie of ours.
 *
 * @throws PosternError BAD_USAGE when it comes twice: nobody may guess which one counts
 */
export function readCookie({ headers }: Pick<Presented, 'headers'>, name: string): string | undefined {
  const found = (headers.cookie ?? [])
    .flatMap(line => line.split(';'))
    .map(pair => pair.trim())
    .filter(pair => pair.startsWith(`${name}=`))
  if (found.length > 1) throw new PosternError('BAD_USAGE', `the cookie ${name} came twice`, { speaker: 'edge' })
  return found[0]?.slice(name.length + 1) || undefined
}

/** @param maxAge seconds; without it, until the browser closes; 0 takes the cookie away */
export function addCookie(
  { response }: Pick<Exchange, 'response'>,
  name: string,
  value: string,
  maxAge?: number,
): void {
  const age = maxAge === undefined ? '' : `; Max-Age=${Math.max(0, Math.floor(maxAge))}`
  response.appendHeader('set-cookie', `${name}=${value}; Path=/; Secure; HttpOnly; SameSite=Lax${age}`)
}
