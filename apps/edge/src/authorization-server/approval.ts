import { PosternError } from '@postern/interface'
import type { Provider } from 'oidc-provider'
import { isAdministrator } from '../admin/administrators.ts'
import type { Exchange } from '../front/exchange.ts'
import type { SessionRecord } from '../sign-in/session-record.ts'
import type { AuthorizationServerParts } from './needs.ts'
import { CLIENT_ID, SCOPE } from './words.ts'

export interface Approved {
  readonly via: 'cli' | 'device'
  readonly for?: SessionRecord['for']
  /** Where the program runs that gets in. */
  readonly remoteAddress: string
  readonly userAgent?: string | undefined
}

/**
 * A session of the program's own, for the person at the browser: it ends no later than if they had signed in there, and is listed
 * and revoked by itself.
 *
 * @throws PosternError LOGIN_REQUIRED: their sign-in is too old for another one, or has ended; STORE_UNUSABLE
 */
export async function approve(
  { sessions }: Pick<AuthorizationServerParts, 'sessions'>,
  provider: Provider,
  browser: SessionRecord,
  { requestId }: Exchange,
  approved: Approved,
): Promise<{ readonly sessionId: string; readonly grantId: string }> {
  const { authenticatedAt, person } = browser
  const holds = () => sessions.get(browser.id) !== undefined
  const { session } = await sessions.open(person, { ...approved, requestId, authenticatedAt, holds })
  const grant = new provider.Grant({ accountId: session.id, clientId: CLIENT_ID })
  grant.addOIDCScope(SCOPE)
  return { sessionId: session.id, grantId: await grant.save() }
}

/**
 * The application a program says it wants, for who is signed in to read. It binds nothing; but what is no application here is not
 * shown, or a page of ours would say what somebody else wrote.
 */
export function wantedApplication(
  { store, origins }: Pick<AuthorizationServerParts, 'store' | 'origins'>,
  resource: unknown,
): string | undefined {
  const origin = typeof resource === 'string' ? originOf(resource) : undefined
  if (origin === undefined) return undefined
  const { hostname } = new URL(origin)
  return store.snapshot.applications.has(hostname) && origins.of(hostname) === origin ? origin : undefined
}

/**
 * Whether a program wants to administer: it names the team domain itself. That binds: what is approved for applications
 * administers nothing, and the other way round.
 */
export function wantsAdministration(
  { origins }: Pick<AuthorizationServerParts, 'origins'>,
  resource: unknown,
): boolean {
  return typeof resource === 'string' && originOf(resource) === origins.team
}

/** @throws PosternError ACCESS_DENIED: whoever is at the browser may not do what they would let a program do */
export function mustAdminister(
  { store, sessions }: Pick<AuthorizationServerParts, 'store' | 'sessions'>,
  session: SessionRecord,
): void {
  if (isAdministrator(sessions.identityOf(session), store.snapshot, Date.now())) return
  throw new PosternError('ACCESS_DENIED', 'only administrators may let a program administer', {
    speaker: 'edge',
    next: 'Ask an administrator to do it, or to make you one.',
  })
}

/** An https origin, exactly spelled, with or without the slash behind it. */
export function originOf(resource: string): string | undefined {
  const url = URL.parse(resource)
  if (url?.protocol !== 'https:') return undefined
  return resource === url.origin || resource === `${url.origin}/` ? url.origin : undefined
}
