import { PosternError } from '@postern/interface'
import { type Asking, OAuthError } from './asking.ts'
import type { Team } from './discovery.ts'
import { type Arrived, listenForAnswer } from './loopback.ts'
import { CLIENT_ID, grant, SCOPE, type TeamTokens } from './tokens.ts'

/** Milliseconds for a person to sign in; as long is a port of this machine open to whoever else is on it. */
const PATIENCE = 2 * 60_000

export interface Wanted {
  readonly team: Team
  /** The application's origin, for the person to see what it is about. */
  readonly resource: string
  /** Whoever is signed in in the browser signs in once more. */
  readonly again: boolean
  /** Whether a browser is opened, or the address is shown only. */
  readonly browser: boolean
}

/** The answer of the authorization server, of which the state was ours. */
interface Answer {
  readonly code: string | null
  readonly error: string | null
  readonly verifier: string
}

/**
 * A person signs in with the browser of this machine: authorization code with PKCE, back to a port of this program.
 *
 * @throws OAuthError: they said no; PosternError LOGIN_REQUIRED: nobody signed in within 2 minutes
 */
export async function signInByBrowser(wanted: Wanted, asking: Asking): Promise<TeamTokens> {
  const { team, resource, again, browser } = wanted
  const { host, call } = asking
  await using loopback = await listenForAnswer()
  const { redirectUri } = loopback
  const client = await clientFor(team, redirectUri)
  const request = await client.createSigninRequest({ resource, ...(again && { prompt: 'login' }) })
  const late = AbortSignal.timeout(PATIENCE)
  const answered = loopback.answer(url => judge(url, team, client), AbortSignal.any([call.signal, late]))
  answered.catch(() => {}) // it may be given up while the browser is still coming
  host.ui.show(`Sign in at ${team.issuer} within ${PATIENCE / 60_000} minutes:`)
  host.ui.show(request.url)
  if (browser) void openPage(new URL(request.url), asking) // the answer may be there before the browser is
  try {
    return await redeem(await answered, redirectUri, wanted, asking)
  } catch (error) {
    if (error !== late.reason) throw error
    throw new PosternError('LOGIN_REQUIRED', `nobody signed in at ${team.issuer} within ${PATIENCE / 60_000} minutes`)
  }
}

async function openPage(url: URL, { host: { ui } }: Asking): Promise<void> {
  const opened = await ui.open(url).catch(() => false)
  if (!opened) ui.show('No browser could be opened here: open that address in one on this machine, or use --device.')
}

async function clientFor(team: Team, redirectUri: string) {
  const { InMemoryWebStorage, OidcClient, WebStorageStateStore } = await import('oidc-client-ts')
  return new OidcClient({
    authority: team.issuer,
    metadata: {
      issuer: team.issuer,
      authorization_endpoint: team.authorization.href,
      token_endpoint: team.token.href,
    },
    client_id: CLIENT_ID,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope: SCOPE,
    // In memory: the port that the answer comes to is this process's, and goes with it.
    stateStore: new WebStorageStateStore({ store: new InMemoryWebStorage() }),
  })
}

/** @returns undefined for whatever does not answer the request that was made, at the server it was made to (RFC 9207) */
async function judge(
  url: URL,
  { issuer }: Team,
  client: Awaited<ReturnType<typeof clientFor>>,
): Promise<Answer | undefined> {
  const names = [...url.searchParams.keys()]
  if (new Set(names).size !== names.length || url.searchParams.get('iss') !== issuer) return undefined
  const { state, response } = await client.readSigninResponseState(url.href) // throws where the state is none of ours
  const { code, error } = response
  if (state.code_verifier === undefined || (code === null) === (error === null)) return undefined
  return { code, error, verifier: state.code_verifier }
}

async function redeem(
  { value, show }: Arrived<Answer>,
  redirectUri: string,
  { team }: Wanted,
  asking: Asking,
): Promise<TeamTokens> {
  const { code, error, verifier } = value
  try {
    if (code === null) throw new OAuthError(error ?? 'server_error', { status: 400, requestId: undefined, value: {} })
    const fields = { grant_type: 'authorization_code', code, redirect_uri: redirectUri, code_verifier: verifier }
    const tokens = await grant(team, fields, asking)
    await show('You are signed in', 'You can close this page and go back to your terminal.')
    return tokens
  } catch (failure) {
    await show('You are not signed in', 'Your terminal says why. You can close this page.')
    throw failure
  }
}
