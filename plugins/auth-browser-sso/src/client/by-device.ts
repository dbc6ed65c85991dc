import { setTimeout as sleep } from 'node:timers/promises'
import { PosternError } from '@postern/interface'
import { type Answered, type Asking, OAuthError, postForm } from './asking.ts'
import type { Wanted } from './by-browser.ts'
import type { Team } from './discovery.ts'
import { CLIENT_ID, grant, SCOPE, type TeamTokens } from './tokens.ts'

/** Seconds between two questions, unless the server says otherwise (RFC 8628, section 3.2), and how much longer after `slow_down`. */
const INTERVAL = 5
/** Seconds. */
const LONGEST = 15 * 60

/**
 * A person signs in on another device, with a code that they type there (RFC 8628).
 *
 * @throws OAuthError: they said no; PosternError LOGIN_REQUIRED: nobody typed the code in time
 */
export async function signInByDevice({ team, resource }: Wanted, asking: Asking): Promise<TeamTokens> {
  const { host, call } = asking
  const begun = await postForm(team.device, { client_id: CLIENT_ID, scope: SCOPE, resource }, asking)
  const { deviceCode, userCode, page, lifetime, interval } = read(begun, team)
  host.ui.show(`Sign in within ${Math.round(lifetime / 60)} minutes, on any device: open ${page} and type the code`)
  host.ui.show(`    ${userCode}`)
  const fields = { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: deviceCode }
  let wait = interval
  for (const until = Date.now() + lifetime * 1000; Date.now() < until; ) {
    await sleep(wait * 1000, undefined, { signal: call.signal }).catch(() => call.signal.throwIfAborted())
    try {
      return await grant(team, fields, asking)
    } catch (error) {
      const code = error instanceof OAuthError ? error.code : undefined
      if (code === 'expired_token') break
      if (code === 'slow_down') wait += INTERVAL
      else if (code !== 'authorization_pending') throw error
    }
  }
  throw new PosternError('LOGIN_REQUIRED', `nobody typed the code at ${team.issuer} in time`)
}

function read({ value }: Answered, { issuer }: Team) {
  const { device_code: deviceCode, user_code: userCode, verification_uri: page, expires_in, interval } = value
  const at = URL.parse(String(page))
  if (typeof deviceCode !== 'string' || typeof userCode !== 'string' || at?.origin !== issuer)
    throw new PosternError('EDGE_PROTOCOL', `${issuer} gave no code to sign in with`, { speaker: 'client' })
  return {
    deviceCode,
    userCode,
    page: at.href,
    lifetime: Math.min(seconds(expires_in, LONGEST), LONGEST),
    interval: seconds(interval, INTERVAL),
  }
}

function seconds(value: unknown, otherwise: number): number {
  return typeof value === 'number' && value > 0 ? value : otherwise
}
